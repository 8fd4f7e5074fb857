"""Numbers and dates of metadata, which payloads repeat in fields of their own.

Under one key a document may hold a number and the next a date. An index of the engine has one type, and one
of numbers would answer for dates, too: so `year` lies in `metadata.year` as it was given, and once more in
`numbers.year` or `dates.year`, each with an index that a range can use.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from latewood.search.types import MetadataValue

METADATA, NUMBERS, DATES = "metadata", "numbers", "dates"
EXACT = 2**53
"""Beyond it, two integers may be the same float."""

_DATE = re.compile(r"\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?([Zz]|[+-]\d\d:\d\d)?)?", re.ASCII)


def parse_date(text: str) -> datetime | None:
    """An RFC 3339 date or date and time, seconds optional, in UTC; None when it is none."""
    if not _DATE.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text.upper())
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def numbers_of(value: MetadataValue) -> list[int | float]:
    """The numbers among what a document says under a key; floats where they are no longer exact anyway."""
    numbers = [one for one in _all(value) if isinstance(one, int | float) and not isinstance(one, bool)]
    return [float(one) if abs(one) >= EXACT else one for one in numbers]


def dates_of(value: MetadataValue) -> list[datetime]:
    """The dates among what a document says under a key."""
    return [date for one in _all(value) if isinstance(one, str) and (date := parse_date(one)) is not None]


def ranged_fields(metadata: Mapping[str, MetadataValue]) -> dict[str, dict[str, list[Any]]]:
    """Both fields, each empty where there is nothing for it, so that writing them clears what was there."""
    numbers = {key: numbers_of(value) for key, value in metadata.items()}
    dates = {key: [date.isoformat() for date in dates_of(value)] for key, value in metadata.items()}
    return {
        NUMBERS: {key: found for key, found in numbers.items() if found},
        DATES: {key: found for key, found in dates.items() if found},
    }


def path(part: str, key: str) -> str:
    """Where a metadata key lies in one of the three."""
    return f'{part}."{key}"'


def _all(value: MetadataValue) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]
