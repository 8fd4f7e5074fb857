"""What the documents in the embedded engine say under a key."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any

import qdrant_edge as edge
from qdrant_client import models

from search.stores.convert import to_filter
from search.stores.edge_manifests import manifests
from search.stores.filters import DATES, KEYWORDS, asks
from search.stores.payload import Payload
from search.stores.plans import visible
from search.types import Filter, chunk_id


def values_of(
    shard: edge.EdgeShard, hidden: Collection[str], key: str, where: Filter | None
) -> Iterator[Any]:
    """For each document that answers and matches: its value, None where it has none."""
    live = {
        payload["document_id"]: payload["live"]
        for payload in manifests(shard, ["document_id", "live"])
        if payload["live"] is not None
    }
    only = visible(hidden, where)
    if where is None or not asks(where, "page"):
        # What a filter asks of a document each of its chunks says: the first one's word is enough.
        firsts = [chunk_id(document, version, 0) for document, version in live.items()]
        only = models.Filter(must=[models.HasIdCondition(has_id=list(firsts)), only])
    points = shard.count(edge.CountRequest()) + 1
    records, _ = shard.scroll(
        edge.ScrollRequest(limit=points, filter=to_filter(only), with_payload=_fields(key))
    )
    found = {payload["document_id"]: payload for record in records if (payload := record.payload)}
    return (_value(key, payload) for document, payload in found.items() if document in live)


def _fields(key: str) -> list[str]:
    own = [key] if key in KEYWORDS + DATES else ["metadata", "exact_metadata"]
    return ["document_id", *own]


def _value(key: str, payload: Payload) -> Any:
    if key in KEYWORDS + DATES:
        return payload[key]
    exact = payload.get("exact_metadata")
    return (payload["metadata"] if exact is None else json.loads(exact)).get(key)
