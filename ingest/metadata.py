"""What is known of a document beside its text: values every store keeps, sidecars, rules on paths.

Three sources, each stronger than the one before: what the file says of itself (its parser's metadata), what
its path says (`ingest.paths`), what stands in `NAME.meta.json` beside it (`read_sidecar`). A rule on paths
outranks the file, so that a file cannot claim another team or product than the folder it lies in.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from latewood.ingest.parsing.text_builder import clean, one_line
from latewood.ingest.types import ParseError
from latewood.search.types import MetadataValue

SIDECAR_SUFFIX = ".meta.json"
SIDECAR_LIMIT = 1_000_000  # bytes
MOST_KEYS = 64
LONGEST_KEY = 200
LONGEST_VALUE = 4000  # characters of a string, or of all strings of a list: every passage carries them
MOST_ENTRIES = 256
_DEEPEST = 8
_FORBIDDEN = re.compile(r'["\\]')


# --- values -------------------------------------------------------------------------------------------------


def fault_of(key: str, value: object) -> str:
    """Why a key and value cannot be metadata, with the limit; an empty string when they can."""
    if not key or _FORBIDDEN.search(key) or len(key) > LONGEST_KEY or key != clean(key):
        return (
            f"key {key!r:.80} must have 1 to {LONGEST_KEY} characters and no quotes, backslashes or NUL; "
            "rename it"
        )
    if isinstance(value, bool):
        return ""
    entries: list[Any] = value if isinstance(value, list) else [value]
    kinds = {type(entry) for entry in entries}
    if not (kinds == {str} or kinds <= {int, float}):
        return (
            f"{key!r} is {value!r:.80}; it must be a string, a number, true or false, or a list of strings "
            "or of numbers"
        )
    return excess_of(key, value)


def excess_of(key: str, value: object) -> str:
    """Why a value is too much for what every passage carries; an empty string when it is not."""
    entries: list[Any] = value if isinstance(value, list) else [value]
    if len(entries) > MOST_ENTRIES:
        return f"{key!r} has {len(entries)} entries; the limit is {MOST_ENTRIES}: shorten it"
    length = sum(len(entry) for entry in entries if isinstance(entry, str))
    if length > LONGEST_VALUE:
        return f"{key!r} has {length} characters; the limit is {LONGEST_VALUE}: shorten it"
    unfit = [entry for entry in entries if not isinstance(entry, str) and not _fits(entry)]
    if unfit:
        return (
            f"{key!r} is {unfit[0]!r:.80}; a number must be finite and within 64 bits: write it as a string"
        )
    return ""


def _fits(number: float) -> bool:
    return -(2**63) <= number < 2**63 if isinstance(number, int) else math.isfinite(number)


def plain(
    values: Mapping[object, object], limit: int = MOST_KEYS
) -> tuple[dict[str, MetadataValue], list[str]]:
    """Values as YAML, TOML or JSON give them, as metadata, and notes on what could not be kept.

    Types are kept; dates become ISO 8601; nested keys are joined by dots; a list of mixed types becomes
    strings; a value that is null or empty is left out.
    """
    kept: dict[str, MetadataValue] = {}
    dropped: list[str] = []
    for key, given in _flat(values, "", 1):
        value = _scalar(given)
        if isinstance(value, list):
            value = _entries(value)
        if value is None or value in ("", []):
            continue
        if isinstance(value, str | int | float | list) and not fault_of(key, value) and len(kept) < limit:
            kept[key] = value
        else:
            dropped.append(f"{key:.40}")
    more = f" and {len(dropped) - 5} more" if len(dropped) > 5 else ""
    names = ", ".join(dropped[:5]) + more
    rule = f"at most {limit} keys of strings, numbers, booleans, dates and lists of them are kept"
    return kept, [f"metadata left out: {names} ({rule})"] if dropped else []


def _flat(values: Mapping[object, object], prefix: str, depth: int) -> Iterator[tuple[str, object]]:
    for name, value in values.items():
        key = f"{prefix}{one_line(_text(_scalar(name)))}"
        if isinstance(value, Mapping) and depth < _DEEPEST:
            yield from _flat(value, f"{key}.", depth + 1)
        else:
            yield key, value


def _scalar(value: object) -> object:
    """Dates as text, text under the text rules; all else as it is."""
    if isinstance(value, dt.datetime):
        return moment(value)
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    return clean(value).strip() if isinstance(value, str) else value


def _entries(values: list[object]) -> list[object]:
    entries = [entry for entry in map(_scalar, values) if entry is not None]
    kinds = {type(entry) for entry in entries}
    if kinds <= {int, float} or not kinds <= {str, int, float, bool}:
        return entries
    return [_text(entry) for entry in entries]


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def moment(value: dt.datetime) -> str:
    """A moment as ISO 8601 to the second; in UTC with a `Z` where its zone is known."""
    value = value.replace(microsecond=0)
    if value.tzinfo is None:
        return value.isoformat()
    try:
        return value.astimezone(dt.UTC).replace(tzinfo=None).isoformat() + "Z"
    except OverflowError:  # a zone that leads out of the years 1 to 9999
        return value.isoformat()


def listed(text: str) -> list[str]:
    """Keywords written in one line, divided by `;`, else by `,`."""
    parts = text.split(";" if ";" in text else ",")
    return list(dict.fromkeys(word for part in parts if (word := one_line(part))))


def common(
    *,
    author: str | None = "",
    created: dt.datetime | str | None = None,
    keywords: str | Sequence[str] | None = "",
    subject: str | None = "",
    language: str | None = "",
) -> dict[str, MetadataValue]:
    """The keys that mean the same in every format; what is empty or cannot be kept is left out.

    Of a language tag such as `en-GB` the first part alone is kept, in lower case, so that one filter finds
    every document in that language. Keywords may be one string, divided by `;` or `,`.
    """
    when = moment(created) if isinstance(created, dt.datetime) else one_line(created or "")
    tag = re.match(r"\s*([A-Za-z]{2,3})(?![A-Za-z])", language or "")
    values: dict[str, MetadataValue] = {
        "author": one_line(author or ""),
        "created": when,
        "keywords": listed(keywords or "")
        if isinstance(keywords, str) or keywords is None
        else list(keywords),
        "subject": one_line(subject or ""),
        "language": tag[1].lower() if tag else "",
    }
    return {key: value for key, value in values.items() if value and not fault_of(key, value)}


# --- sidecars -----------------------------------------------------------------------------------------------


def sidecar_of(path: str) -> str:
    """Where the metadata of the file at `path` stands: `report.pdf` -> `report.pdf.meta.json`."""
    return path + SIDECAR_SUFFIX


def described_by(path: str) -> str:
    """The file that a sidecar describes; an empty string where `path` is not named like one.

    A name that is nothing but the suffix describes nothing. Whether the file exists is not asked.
    """
    name = path.rpartition("/")[2]
    return (
        path.removesuffix(SIDECAR_SUFFIX) if name.endswith(SIDECAR_SUFFIX) and name != SIDECAR_SUFFIX else ""
    )


def read_sidecar(data: bytes, limit: int = MOST_KEYS) -> dict[str, MetadataValue]:
    """The metadata in a sidecar: a JSON object of strings, numbers, booleans, lists of strings or numbers.

    `title` and `language` are the document's own (see `merge`). Null leaves a key out.

    Raises:
        ParseError: `invalid_metadata`; the message says what is wrong with it, where, and the remedy.
    """
    if len(data) > SIDECAR_LIMIT:
        raise _invalid(f"it has {len(data):,} bytes; the limit is {SIDECAR_LIMIT:,}")
    try:
        values = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_once, parse_constant=_no_number)
    except UnicodeDecodeError as error:
        raise _invalid(f"it is not UTF-8 (byte {error.start})") from error
    except RecursionError as error:
        raise _invalid("it nests too deeply; make it one object of plain values") from error
    except ValueError as error:
        raise _invalid(f"it is not valid JSON: {error}") from error
    if not isinstance(values, dict):
        raise _invalid(f'it holds {type(values).__name__}; write one JSON object: {{"key": "value"}}')
    values = {key: value for key, value in values.items() if value is not None}
    if len(values) > limit:
        raise _invalid(f"it has {len(values)} keys; the limit is {limit}")
    for key, value in values.items():
        fault = fault_of(key, value)
        if not fault and key in ("title", "language") and not isinstance(value, str):
            fault = f"{key!r} must be a string, not {value!r:.80}"
        if fault:
            raise _invalid(fault)
    return {key: _cleaned(value) for key, value in values.items()}


def _invalid(reason: str) -> ParseError:
    message = f"the file's sidecar (its name with {SIDECAR_SUFFIX}) cannot be used: {reason}"
    return ParseError("invalid_metadata", message)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = next(key for index, (key, _) in enumerate(pairs) if key in dict(pairs[:index]))
        raise ValueError(f"the key {twice!r:.80} stands there twice")
    return values


def _no_number(name: str) -> object:
    raise ValueError(f"{name} is no number in JSON")


def _cleaned(value: MetadataValue) -> MetadataValue:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [clean(entry) if isinstance(entry, str) else entry for entry in value]  # type: ignore[return-value]
    return value


# --- putting together ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Described:
    """A document's title, metadata (its language among it) and notes, all sources put together."""

    title: str
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def merge(
    title: str,
    metadata: Mapping[str, MetadataValue],
    *stronger: Mapping[str, MetadataValue],
    limit: int = MOST_KEYS,
) -> Described:
    """What a parser found, overridden key by key: each mapping outranks the ones before it.

    `title` in one of the stronger ones becomes the document's title, `language` its language (the metadata
    key that `ingest.pipeline.describe` reads). Beyond `limit` keys the weakest are left out, with a note.
    """
    merged: dict[str, MetadataValue] = {}
    for values in reversed((metadata, *stronger)):
        for key, value in values.items():
            merged.setdefault(key, value)
    stated = next((values["title"] for values in reversed(stronger) if values.get("title")), "")
    if any("title" in values for values in stronger):
        del merged["title"]
    over = list(merged)[limit:]
    note = f"metadata left out beyond {limit} keys: {', '.join(over[:5])}"
    return Described(
        one_line(str(stated)) or title,
        {key: value for key, value in merged.items() if key not in over},
        (note,) if over else (),
    )
