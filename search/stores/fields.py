"""Payload fields of metadata: which get an index, and how a document's word under a key is read back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from search.stores.filters import DATES, KEYWORDS
from search.stores.payload import Payload
from search.types import MetadataValue

MOST = 64
"""Keys with an index: each takes memory. Filters on others are right, and slow."""

_PREFIX = "metadata."


def indexed_keys(fields: Iterable[str]) -> set[str]:
    """The metadata keys among the fields that an engine has an index of."""
    return {one.removeprefix(_PREFIX).strip('"') for one in fields if one.startswith(_PREFIX)}


def field_of(key: str) -> str:
    """Where a metadata key lies in a payload."""
    return f'{_PREFIX}"{key}"'


def to_index(written: Iterable[Mapping[str, MetadataValue]], known: set[str]) -> list[str]:
    """The keys about to be written that want an index and have none, up to `MOST` in all.

    Only strings want one, because the engine lets an index of numbers answer for dates, too: a key may hold a
    number here and a date there, and with such an index a range of one finds the other.
    """
    found: dict[str, None] = {}
    for metadata in written:
        for key, value in metadata.items():
            room = len(known) + len(found) < MOST
            if key not in known and room and _are_words(value) and '"' not in key and "\\" not in key:
                found[key] = None
    return list(found)


def fields_of(key: str) -> list[str]:
    """What of a chunk's payload is needed to tell what its document says under a key."""
    return ["document_id", *([key] if key in KEYWORDS + DATES else ["metadata", "exact_metadata"])]


def value_of(key: str, payload: Payload) -> Any:
    """What a document says under a key; None where it says nothing."""
    if key in KEYWORDS + DATES:
        return payload[key]
    exact = payload.get("exact_metadata")
    return (payload["metadata"] if exact is None else json.loads(exact)).get(key)


def _are_words(value: MetadataValue) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and bool(value) and isinstance(value[0], str))
