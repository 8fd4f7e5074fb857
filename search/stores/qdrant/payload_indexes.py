"""Payload fields of metadata: which get an index, and how a document's word under a key is read back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from latewood.search.stores.qdrant import range_fields
from latewood.search.stores.qdrant.filters import DATES, KEYWORDS
from latewood.search.stores.qdrant.payload import Payload
from latewood.search.types import MetadataValue
from latewood.search.unicode_forms import forms

MOST = 96
"""Fields of metadata with an index: each takes memory. Filters on others are right, and slow."""

KINDS = {range_fields.METADATA: "keyword", range_fields.NUMBERS: "float", range_fields.DATES: "datetime"}
"""Parts of a payload in which metadata lies, and the kind of index that each one's fields get."""


class Field(NamedTuple):
    """A metadata key in one of `KINDS`."""

    part: str
    key: str

    @property
    def path(self) -> str:
        """Where it lies in a payload."""
        return range_fields.path(self.part, self.key)

    @property
    def kind(self) -> str:
        """Of its index."""
        return KINDS[self.part]


def indexed_fields(fields: Iterable[str]) -> set[Field]:
    """Those of metadata among the fields that an engine has an index of."""
    parted = (one.partition(".") for one in fields)
    return {Field(part, key.strip('"')) for part, _, key in parted if part in KINDS}


def to_index(written: Iterable[Mapping[str, MetadataValue]], known: set[Field], apart: bool) -> list[Field]:
    """The fields about to be written that want an index and have none, up to `MOST` in all.

    Args:
        written: what is said of each document.
        known: fields that have one.
        apart: whether numbers and dates lie in fields of their own here: see `ranged`.
    """
    found: dict[Field, None] = {}
    for metadata in written:
        for key, value in metadata.items():
            if '"' in key or "\\" in key:  # no filter can name it
                continue
            wanted = (Field(part, key) for part in _parts(value, apart))
            found |= dict.fromkeys(field for field in wanted if field not in known)
    return list(found)[: max(0, MOST - len(known))]


def fields_of(key: str) -> list[str]:
    """What of a chunk's payload is needed to tell what its document says under a key."""
    return ["document_id", *([key] if key in KEYWORDS + DATES else ["metadata", "exact_metadata"])]


def value_of(key: str, payload: Payload) -> Any:
    """What a document says under a key; None where it says nothing."""
    if key in KEYWORDS + DATES:
        return payload[key]
    exact = payload.get("exact_metadata")
    metadata = payload["metadata"] if exact is None else json.loads(exact)
    return next((metadata[form] for form in forms(key) if form in metadata), None)


def _parts(value: MetadataValue, apart: bool) -> Iterator[str]:
    """Where a value can be found by an index."""
    if any(isinstance(one, str) for one in (value if isinstance(value, list) else [value])):
        yield range_fields.METADATA
    if apart and range_fields.numbers_of(value):
        yield range_fields.NUMBERS
    if apart and range_fields.dates_of(value):
        yield range_fields.DATES
