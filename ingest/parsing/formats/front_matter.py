"""Front matter: the YAML (`---`) or TOML (`+++`) block at the head of a Markdown file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any

import yaml  # type: ignore[import-untyped]

from latewood.ingest.metadata import MOST_KEYS, listed, plain
from latewood.search.types import MetadataValue

LIMIT = 64_000  # characters: a longer block is text
_YAML = re.compile(r"\s*---[^\S\n]*\n((?:.*\n)*?)(?:---|\.\.\.)[^\S\n]*(?:\n|\Z)")
_TOML = re.compile(r"\s*\+\+\+[^\S\n]*\n((?:.*\n)*?)\+\+\+[^\S\n]*(?:\n|\Z)")
# The one thing worth reading in a block that is not quite YAML: `title: Rings: a study`.
_TITLE = re.compile(r"^title[^\S\n]*[:=][^\S\n]*(.+)$", re.M | re.I)


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML's plain values alone: nothing is made but scalars, lists and mappings, and nothing is repeated."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012 - PyYAML reads it from the class

    def compose_node(self, parent: Any, index: Any) -> Any:
        # References to references grow a few lines beyond all memory.
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("references (*name) are not read; write the value out")
        return super().compose_node(parent, index)


# As YAML 1.2 has it, so that `country: no` is no boolean and `12:30` no number; `007` stays a string, too.
for _tag, _pattern, _starts in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(?:0|[1-9][0-9]*)(?:\.[0-9]*(?:[eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)", "-+0123456789"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    (
        "timestamp",
        r"\d{4}-\d\d-\d\d(?:(?:[Tt]|[ \t]+)\d\d?:\d\d:\d\d(?:\.\d*)?[ \t]*(?:Z|[-+]\d\d?(?::\d\d)?)?)?",
        "0123456789",
    ),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}",
        re.compile(rf"(?:{_pattern})\Z"),
        [first.replace("\0", "") for first in _starts],
    )


def split(source: str) -> tuple[int, str, dict[str, MetadataValue], list[str]]:
    """What stands at the head of a Markdown file.

    Returns:
        Where the body begins (0 when there is no front matter), the title stated or '', the metadata with the
        keys that all formats share, and notes: a block that cannot be read stays text, and says why.
    """
    head = source[: LIMIT + 10]
    for pattern, read in ((_YAML, _yaml), (_TOML, tomllib.loads)):
        found = pattern.match(head)
        if found is None:
            continue
        try:
            values = read(found[1])
        except (yaml.YAMLError, tomllib.TOMLDecodeError, ValueError, TypeError, RecursionError) as error:
            reason = " ".join(str(error).split())[:200]
            stated = _TITLE.search(found[1])
            title = stated[1].strip().strip("\"'") if stated else ""
            return found.end(), title, {}, [f"the front matter was not read as metadata: {reason}"]
        if not isinstance(values, Mapping):
            break  # a rule, text and another rule: no front matter
        return found.end(), *_described(values)
    return 0, "", {}, []


def _yaml(block: str) -> object:
    loader = _Loader(block)
    try:
        values = loader.get_single_data()
    finally:
        loader.dispose()
    return {} if values is None else values


def _described(values: Mapping[object, object]) -> tuple[str, dict[str, MetadataValue], list[str]]:
    kept, notes = plain(values)
    title = kept.pop("title", "")
    lowered = {key.lower(): value for key, value in reversed(kept.items())}
    named = {
        "author": _first(lowered, "author", "authors"),
        "created": _first(lowered, "created", "date"),
        "keywords": _first(lowered, "keywords", "tags"),
        "subject": _first(lowered, "subject", "description"),
        "language": _first(lowered, "language", "lang"),
    }
    if isinstance(named["keywords"], str):
        named["keywords"] = listed(named["keywords"])
    if not isinstance(named["language"], str):
        kept.pop("language", None)  # a list of languages is no language
        named["language"] = None
    for key, value in named.items():
        if value is not None and (key in kept or len(kept) < MOST_KEYS):
            kept[key] = value
    return title if isinstance(title, str) else str(title), kept, notes


def _first(values: Mapping[str, MetadataValue], *names: str) -> MetadataValue | None:
    return next((values[name] for name in names if name in values), None)
