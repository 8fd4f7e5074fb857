"""Documents in order of ingestion, newest first, one page at a time.

Engines scroll in order of a payload field from a start value, not from a point. Documents with the same value
come in any order, so a page is certain only after every document of its last value was read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import Any

from qdrant_client import models

from latewood.search.stores.qdrant.requests import visible
from latewood.search.types import QueryError

Row = tuple[str, str]
"""(moment of ingestion as ISO 8601, document id)."""

FIELDS = ["ingested", "document_id"]
"""Payload fields that make a row."""

_GROWTH = 4


def order_key(row: Row) -> tuple[float, str]:
    """Return the sort key of a row: newest first, ties by id."""
    return -datetime.fromisoformat(row[0]).timestamp(), row[1]


def rows(records: Iterable[Any]) -> list[Row]:
    """Return the rows of an engine's records, which hold `FIELDS`."""
    return [(one.payload["ingested"], one.payload["document_id"]) for one in records]


def check_row(after: Row | None) -> None:
    """Check that a cursor holds a moment.

    Raises:
        QueryError: it does not.
    """
    try:
        if after is not None:
            order_key(after)
    except ValueError as error:
        raise QueryError(
            f"cursor {after!r:.80} has no ISO 8601 moment; use the cursor of the page before"
        ) from error


def first_chunks(hidden: Collection[str]) -> models.Filter:
    """Return the filter of each visible document's first chunk."""
    first = models.FieldCondition(key="ordinal", range=models.Range(gte=0, lte=0))
    return models.Filter(must=[first, visible(hidden)])


def page(scroll: Callable[[str | None, int], Iterable[Row]], after: Row | None, limit: int) -> list[Row]:
    """Return the first `limit` rows that follow `after`, newest first, ties by id.

    Args:
        scroll: returns up to a number of rows, newest first, from a moment (inclusive) or from the newest.
        after: the last row of the page before.
        limit: rows to return at most.
    """
    start = None if after is None else after[0]
    asked = limit + 1
    while True:
        found = list(scroll(start, asked))
        complete = len(found) < asked
        if not complete:  # more rows of the last moment may follow
            found = [row for row in found if order_key(row)[0] != order_key(found[-1])[0]]
        ranked = sorted(found, key=order_key)
        ranked = [row for row in ranked if after is None or order_key(row) > order_key(after)]
        if complete or len(ranked) >= limit:
            return ranked[:limit]
        asked *= _GROWTH
