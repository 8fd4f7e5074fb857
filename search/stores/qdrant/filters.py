"""Filters: checked once, then written for Qdrant or answered in Python (the oracle of the first).

A key without a value matches no comparison but `ne` and `nin`, which are exactly `not eq` and `not in`. A
list matches when any of its values does. Numbers compare as numbers, whatever their type; fractions that
differ by a few units in the last place, and for ranges whole numbers from 2**53 on that are as near, count as
equal in every store but the one in memory. `page` is any
page of the chunk's range. Dates are RFC 3339; a time without a zone is UTC. Strings of metadata that are
dates compare as moments, and as strings. NFC and NFD of a string or a key are one: see
`search.unicode_forms`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from qdrant_client import models

from latewood.search.stores.qdrant import range_fields
from latewood.search.stores.qdrant.payload import last_page, truth
from latewood.search.stores.qdrant.range_fields import EXACT, parse_date
from latewood.search.types import (
    Comparison,
    DocumentInfo,
    Filter,
    Group,
    MetadataValue,
    Passage,
    QueryError,
)
from latewood.search.unicode_forms import forms, uri_forms

KEYWORDS = ("document_id", "uri", "source", "title", "kind", "language")
DATES = ("modified", "ingested")
_NEAR = 4
"""Floats on either side that count as equal: engines give one back up to a unit in the last place away from
what was written, and write anew what they gave back."""

_RANGES: dict[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}

_Value = str | bool | int | float | datetime
_NOTHING = models.HasIdCondition(has_id=[])


@dataclass(frozen=True, slots=True)
class _Checked:
    """A comparison whose values fit its key: `eq` with any of the values, or one range operator."""

    key: str
    op: str
    values: tuple[_Value, ...]
    negated: bool


def check(where: Filter) -> None:
    """Hold every comparison against the type of its key.

    Raises:
        QueryError: a key is compared with a value of another type than it holds or the operator takes.
    """
    if isinstance(where, Comparison):
        _check(where)
    else:
        for child in where.filters:
            check(child)


def to_qdrant(where: Filter, apart: bool = True) -> models.Filter:
    """The same filter for Qdrant.

    Args:
        where: what to match.
        apart: whether numbers and dates of metadata lie in fields of their own: see `search.stores.ranged`.

    Raises:
        QueryError: a key is compared with a value of another type than it holds or the operator takes.
    """
    if isinstance(where, Comparison):
        checked = _check(where)
        condition = _conditions(checked, apart)
        return models.Filter(must_not=[condition]) if checked.negated else models.Filter(must=[condition])
    children: list[models.Condition] = [to_qdrant(child, apart) for child in where.filters]
    if where.op == "and":
        return models.Filter(must=children)
    return models.Filter(should=children) if children else models.Filter(must=[_NOTHING])


def matches(where: Filter, passage: Passage) -> bool:
    """Whether a passage matches; the meaning `to_qdrant` is held against.

    Raises:
        QueryError: as `to_qdrant`.
    """
    if isinstance(where, Group):
        answers = [matches(child, passage) for child in where.filters]
        return all(answers) if where.op == "and" else any(answers)
    checked = _check(where)
    stored = _stored(checked, passage)
    if checked.op == "eq":
        found = any(_equal(checked.key, one, value) for one in stored for value in checked.values)
    else:
        found = any(_within(checked.op, one, checked.values[0]) for one in stored)
    return found != checked.negated


def asks(where: Filter, key: str) -> bool:
    """Whether any comparison is with this key."""
    if isinstance(where, Comparison):
        return where.key == key
    return any(asks(child, key) for child in where.filters)


def told(key: str, document: DocumentInfo) -> MetadataValue | None:
    """What a document says under any key but `page`; None where it says nothing."""
    if key in KEYWORDS + DATES:
        value: MetadataValue = getattr(document, "id" if key == "document_id" else key)
        return value
    return next((document.metadata[form] for form in forms(key) if form in document.metadata), None)


def _check(comparison: Comparison) -> _Checked:
    key, op, value = comparison.key, comparison.op, comparison.value
    if op in ("in", "nin"):
        if not isinstance(value, list):
            raise QueryError(f"filter {op!r} on {key!r} takes a list of values, not {value!r:.60}")
        return _Checked(key, "eq", tuple(_typed(key, op, one) for one in value), op == "nin")
    if isinstance(value, list):
        raise QueryError(f"filter {op!r} on {key!r} takes one value, not a list; use 'in' or 'nin' for lists")
    if op in ("eq", "ne"):
        return _Checked(key, "eq", (_typed(key, op, value),), op == "ne")
    if op not in _RANGES:
        raise QueryError(
            f"filter type {op!r} is not known; one of: eq, ne, gt, gte, lt, lte, in, nin, and, or"
        )
    return _Checked(key, op, (_typed(key, op, value),), negated=False)


def _typed(key: str, op: str, value: MetadataValue) -> _Value:
    """The value as its key holds it."""
    if key in KEYWORDS:
        if not isinstance(value, str):
            raise QueryError(f"filter on {key!r} takes a string, not {value!r:.60}")
        if op in _RANGES:
            raise QueryError(f"filter {op!r} does not apply to {key!r}; use eq, ne, in or nin")
        return value
    if key in DATES:
        return _date(key, value)
    if key == "page":
        if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= EXACT:
            raise QueryError(f"filter on 'page' takes a whole number, not {value!r:.60}")
        return value
    if not key or '"' in key or "\\" in key:
        raise QueryError(
            f"filter key {key!r} is not possible; a key is not empty and has no quotes or backslashes"
        )
    return _metadata_value(key, op, value)


def _metadata_value(key: str, op: str, value: MetadataValue) -> _Value:
    if isinstance(value, bool):
        if op in _RANGES:
            raise QueryError(f"filter {op!r} on {key!r} takes a number or a date, not {value!r}")
        return value
    if isinstance(value, int | float):
        fits = math.isfinite(value) if isinstance(value, float) else -(2**63) <= value < 2**63
        if not fits:
            raise QueryError(f"filter on {key!r}: {value!r:.60} must be a finite number within 64 bits")
        return value
    if not isinstance(value, str):
        raise QueryError(f"filter on {key!r} takes a string, number or boolean, not {value!r:.60}")
    return _date(key, value) if op in _RANGES else value


def _date(key: str, value: MetadataValue) -> datetime:
    moment = parse_date(value) if isinstance(value, str) else None
    if moment is None:
        raise QueryError(
            f"filter on {key!r} takes a date such as '2026-01-31' or '2026-01-31T12:00:00Z', "
            f"not {value!r:.60}"
        )
    return moment


# Qdrant


def _conditions(checked: _Checked, apart: bool) -> models.Condition:
    found = [one for key in forms(checked.key) for one in _alternatives(key, checked, apart)]
    if not found:
        return _NOTHING
    return found[0] if len(found) == 1 else models.Filter(should=found)


def _alternatives(key: str, checked: _Checked, apart: bool) -> list[models.Condition]:
    """Return the conditions of which a match meets one."""
    if checked.op != "eq":
        return [_range(key, checked.op, checked.values[0], apart)]
    texts = [value for value in checked.values if isinstance(value, str)]
    others = [value for value in checked.values if not isinstance(value, str)]
    others += dict.fromkeys(moment for text in texts if (moment := moment_of(key, text)) is not None)
    found = [_equals(key, value, apart) for value in others]
    if texts:
        spelled = list(dict.fromkeys(form for text in texts for form in _spellings(key, text)))
        found.append(models.FieldCondition(key=_path(key), match=models.MatchAny(any=spelled)))
    return found


def _spellings(key: str, text: str) -> list[str]:
    """Return the strings that count as `text` under a key."""
    return uri_forms(text) if key in ("uri", "source") else forms(text)


def moment_of(key: str, text: str) -> datetime | None:
    """Return the moment that a string of metadata names; None where it is no date."""
    return None if key in KEYWORDS else parse_date(text)


def _equals(key: str, value: _Value, apart: bool) -> models.Condition:
    if key == "page":
        return models.Filter(must=[_range(key, "gte", value, apart), _range(key, "lte", value, apart)])
    if isinstance(value, bool):
        return models.FieldCondition(key="truths", match=models.MatchValue(value=truth(key, value)))
    field = _ranged_path(key, value, apart)
    if isinstance(value, datetime):
        return models.FieldCondition(key=field, range=models.DatetimeRange(gte=value, lte=value))
    about = models.FieldCondition(key=field, range=models.Range(gte=_near(value, -1), lte=_near(value, 1)))
    if isinstance(value, int) and abs(value) >= EXACT:
        exact = models.FieldCondition(key=_path(key), match=models.MatchValue(value=value))
        return models.Filter(must=[about, exact])
    return about


def _range(key: str, op: str, value: _Value, apart: bool) -> models.Condition:
    if key == "page":
        # A range of pages reaches above a value when its last does, below it when its first does.
        end = "page_last" if op in ("gt", "gte") else "page_start"
        return models.FieldCondition(key=end, range=models.Range(**{op: float(value)}))  # type: ignore[arg-type]
    field = _ranged_path(key, value, apart)
    if isinstance(value, datetime):
        return models.FieldCondition(key=field, range=models.DatetimeRange(**{op: value}))
    towards = 1 if op in ("gt", "lte") else -1  # so that a value a little off is still where its own is
    return models.FieldCondition(key=field, range=models.Range(**{op: _near(value, towards)}))


def _near(value: _Value, towards: int) -> float:
    """A number as a bound: `_NEAR` floats up (1) or down (-1) where engines are inexact."""
    number = float(value)  # type: ignore[arg-type]
    if number.is_integer() and abs(number) < EXACT:
        return number
    moved = number
    for _ in range(_NEAR):
        moved = math.nextafter(moved, towards * math.inf)
    return moved if math.isfinite(moved) else number


def _path(key: str) -> str:
    return key if key in KEYWORDS + DATES else range_fields.path(range_fields.METADATA, key)


def _ranged_path(key: str, value: _Value, apart: bool) -> str:
    if key in DATES or not apart:
        return _path(key)
    return range_fields.path(range_fields.DATES if isinstance(value, datetime) else range_fields.NUMBERS, key)


# Python


def _stored(checked: _Checked, passage: Passage) -> list[Any]:
    """The values a passage holds under a key, as the comparison's type sees them."""
    chunk, document = passage.chunk, passage.document
    if checked.key == "page":
        last = last_page(chunk)
        return [] if chunk.page_start is None or last is None else list(range(chunk.page_start, last + 1))
    value = told(checked.key, document)
    if value is None:
        return []
    if any(isinstance(one, datetime) for one in checked.values):
        return range_fields.dates_of(value)
    return list(value) if isinstance(value, list) else [value]


def _equal(key: str, stored: Any, value: _Value) -> bool:
    if isinstance(stored, bool) or isinstance(value, bool):
        return stored is value
    if isinstance(value, int) and abs(value) >= EXACT:
        return isinstance(stored, int) and stored == value
    if isinstance(value, int | float):
        return isinstance(stored, int | float) and float(stored) == float(value)
    if isinstance(stored, str) and isinstance(value, str):
        moment = moment_of(key, value)
        same = moment is not None and moment_of(key, stored) == moment
        return same or stored in _spellings(key, value)
    return type(stored) is type(value) and bool(stored == value)


def _within(op: str, stored: Any, value: _Value) -> bool:
    if isinstance(value, datetime):
        return isinstance(stored, datetime) and _RANGES[op](stored, value)
    if isinstance(stored, bool) or not isinstance(stored, int | float):
        return False
    return _RANGES[op](float(stored), float(value))
