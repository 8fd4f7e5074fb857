"""Metadata from where a file lies: templates such as `docs/{product}/{version}/**` held against its path."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from latewood.ingest.metadata import fault_of
from latewood.ingest.parsing.text_builder import clean
from latewood.search.types import MetadataValue

# These say what the index knows of a document itself; a filter on them would never see the metadata.
BUILT_IN = frozenset(("document_id", "uri", "source", "kind", "page", "modified", "ingested"))
_PART = re.compile(r"\{([^{}]*)\}|(\*\*/|\*\*)|(\*)|([^{}*]+)|(.)", re.S)
_NAMED = re.compile(r"([A-Za-z_][\w.-]*)(:int)?")


class TemplateError(ValueError):
    """A template that cannot be read; the message says what is wrong with it and the remedy."""


@dataclass(frozen=True, slots=True)
class Template:
    """A path with named parts.

    `{name}` stands for one or more characters of one folder's or the file's name, `{name:int}` for digits,
    `*` for anything, `**` for any number of folders; a template matches a file's whole path below its source.

    Attributes:
        text: as it was written.
        pattern: what the path must match, from start to end.
        names: each name, and whether its value is a whole number, in the order they stand.
    """

    text: str
    pattern: re.Pattern[str]
    names: tuple[tuple[str, bool], ...]

    @classmethod
    def read(cls, text: str) -> Template:
        """Read a template.

        Raises:
            TemplateError: it names nothing, a name twice or a built-in key, or its braces do not match.
        """
        names: list[tuple[str, bool]] = []
        parts: list[str] = []
        for named, deep, wide, literal, stray in _PART.findall(text.strip("/")):
            if stray or (not named and not deep and not wide and not literal):
                raise TemplateError(
                    f"the path template {text!r} has a brace or name that does not close; write {{name}} or "
                    "{name:int}"
                )
            if named:
                names.append(_name(text, named))
                parts.append(r"(\d{1,18})" if names[-1][1] else "([^/]+?)")
            elif deep:
                parts.append("(?:[^/]+/)*" if deep.endswith("/") else ".*")
            else:
                parts.append("[^/]*" if wide else re.escape(literal))
        if not names or len({name for name, _ in names}) < len(names):
            raise TemplateError(
                f"the path template {text!r} must name parts of the path, each name once: "
                "e.g. 'docs/{product}/{version}/**'"
            )
        return cls(text, re.compile("".join(parts), re.S), tuple(names))

    def values(self, relative: str) -> dict[str, MetadataValue]:
        """The named parts of a path below its source (`/` between names); empty where it does not match."""
        found = self.pattern.fullmatch(relative)
        if found is None:
            return {}
        pairs = zip(self.names, found.groups(), strict=True)
        values: dict[str, MetadataValue] = {
            name: int(part) if number else clean(part) for (name, number), part in pairs
        }
        return {name: value for name, value in values.items() if not fault_of(name, value)}


def _name(template: str, named: str) -> tuple[str, bool]:
    found = _NAMED.fullmatch(named)
    if found is None:
        raise TemplateError(
            f"{{{named}}} in the path template {template!r} is no name; use letters, digits, '_', '.' and "
            "'-', and ':int' behind it for a whole number"
        )
    if found[1] in BUILT_IN:
        raise TemplateError(
            f"{{{named}}} in the path template {template!r} is a key the index fills itself "
            f"({', '.join(sorted(BUILT_IN))}); choose another name"
        )
    return found[1], bool(found[2])


def read_templates(texts: Sequence[str]) -> tuple[Template, ...]:
    """Read the templates of a setting.

    Raises:
        TemplateError: one of them cannot be read.
    """
    return tuple(Template.read(text) for text in texts)


def from_path(relative: str, templates: Sequence[Template]) -> dict[str, MetadataValue]:
    """What all templates that match say of a file; where two give the same key, the first one counts.

    `relative` is the file's path below the root of its source, `/` between names, not percent-encoded.
    """
    values: dict[str, MetadataValue] = {}
    for template in templates:
        for key, value in template.values(relative).items():
            values.setdefault(key, value)
    return values
