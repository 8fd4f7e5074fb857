"""What the documents on a Qdrant server say under a key."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from qdrant_client import models

from latewood.search.stores.qdrant.filters import asks
from latewood.search.stores.qdrant.payload import MANIFEST, Payload
from latewood.search.stores.qdrant.payload_indexes import fields_of, value_of
from latewood.search.stores.qdrant.requests import keyword, visible
from latewood.search.stores.server.manifests import ServerManifests
from latewood.search.types import Filter

_PAGE = 4096


def values_of(
    points: ServerManifests, hidden: Collection[str], key: str, where: Filter | None, apart: bool
) -> Iterator[Any]:
    """For each document that answers and matches: its value, None where it has none."""
    live = {
        payload["document_id"]: payload["live"]
        for payload in _all(points, models.Filter(must=[keyword("type", MANIFEST)]), ["document_id", "live"])
        if payload["live"] is not None
    }
    only = visible(hidden, where, apart)
    if where is None or not asks(where, "page"):
        # What a filter asks of a document each of its chunks says: the first one's word is enough.
        first = models.FieldCondition(key="ordinal", range=models.Range(gte=0, lte=0))
        only = models.Filter(must=[first, only])
    found = {
        payload["document_id"]: payload
        for payload in _all(points, only, ["version", *fields_of(key)])
        if live.get(payload["document_id"]) == payload["version"]
    }
    return (value_of(key, payload) for payload in found.values())


def _all(points: ServerManifests, where: models.Filter, fields: list[str]) -> Iterator[Payload]:
    after: str | None = None
    while page := points.scroll(where, fields, after, _PAGE):
        yield from (record.payload or {} for record in page)
        after = str(page[-1].id)
