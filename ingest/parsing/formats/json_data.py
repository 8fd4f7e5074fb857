"""JSON and JSON Lines as readable `key: value` lines."""

from __future__ import annotations

import json
from collections.abc import Iterator

from latewood.ingest.parsing.encoding import decode
from latewood.ingest.parsing.formats.text import paragraphs
from latewood.ingest.parsing.text_builder import TextBuilder, pick_title
from latewood.ingest.types import ElementKind, Parsed, ParseError

_INDENT = "  "


class _Pairs(list[tuple[str, object]]):
    """An object's members in order; repeated keys are all kept."""


# Numbers stay as they are written: no digit is lost, and no limit on long integers is met.
_DECODER = json.JSONDecoder(object_pairs_hook=_Pairs, parse_float=str, parse_int=str, parse_constant=str)


def read_json(data: bytes, name: str) -> Parsed:
    """A JSON file: one element per top-level member; invalid JSON is kept as written, with a note.

    Raises:
        ParseError: `too_deep` if it nests deeper than Python can follow.
    """
    text, notes = decode(data)
    builder = TextBuilder()
    try:
        value = _decode(text)
        for member in _members(value):
            builder.add(ElementKind.PARAGRAPH, "\n".join(_lines(member, "")))
    except RecursionError as error:
        raise ParseError("too_deep", "the JSON nests deeper than can be followed; flatten it") from error
    except json.JSONDecodeError as error:
        note = f"not valid JSON ({error}): kept as written"
        return Parsed(pick_title(name), "json", text, paragraphs(text), {}, (*notes, note))
    return builder.finish(pick_title(name), "json", notes=notes)


def read_jsonl(data: bytes, name: str) -> Parsed:
    """JSON Lines: one element per record; lines that are not JSON are kept as written, and noted."""
    text, notes = decode(data)
    builder = TextBuilder()
    broken = 0
    for line in text.split("\n"):
        if not line.strip():
            continue
        try:
            builder.add(ElementKind.PARAGRAPH, "\n".join(_lines(_decode(line), "")))
        except (json.JSONDecodeError, RecursionError):
            broken += 1
            builder.add(ElementKind.PARAGRAPH, line)
    note = (f"{broken} lines are not valid JSON: kept as written",) if broken else ()
    return builder.finish(pick_title(name), "jsonl", notes=(*notes, *note))


def _decode(text: str) -> object:
    return _DECODER.decode(text)


def _members(value: object) -> Iterator[object]:
    if isinstance(value, _Pairs):
        yield from (_Pairs([pair]) for pair in value)
    elif isinstance(value, list):
        yield from value
    if not isinstance(value, list) or not value:
        yield value


def _lines(value: object, indent: str) -> Iterator[str]:
    """`key: value` lines, members indented below their key, list items after a dash."""
    if isinstance(value, _Pairs) and value:
        for key, member in value:
            yield from _entry(f"{key}:", member, indent)
    elif isinstance(value, list) and value:
        for member in value:
            yield from _entry("-", member, indent)
    else:
        yield indent + _scalar(value)


def _entry(label: str, member: object, indent: str) -> Iterator[str]:
    if isinstance(member, list) and member:
        yield indent + label
        yield from _lines(member, indent + _INDENT)
    else:
        yield f"{indent}{label} {_scalar(member)}"


def _scalar(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, _Pairs):
        return "{}"
    return "[]" if isinstance(value, list) else json.dumps(value)
