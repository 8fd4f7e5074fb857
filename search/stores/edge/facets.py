"""What the documents in the embedded engine say under a key."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import qdrant_edge as edge
from qdrant_client import models

from latewood.search.stores.edge.convert import to_filter
from latewood.search.stores.edge.manifests import manifests
from latewood.search.stores.qdrant.filters import asks
from latewood.search.stores.qdrant.payload_indexes import fields_of, value_of
from latewood.search.stores.qdrant.requests import visible
from latewood.search.types import Filter, chunk_id


def values_of(
    shard: edge.EdgeShard, hidden: Collection[str], key: str, where: Filter | None, apart: bool
) -> Iterator[Any]:
    """For each document that answers and matches: its value, None where it has none."""
    live = {
        payload["document_id"]: payload["live"]
        for payload in manifests(shard, ["document_id", "live"])
        if payload["live"] is not None
    }
    only = visible(hidden, where, apart)
    if where is None or not asks(where, "page"):
        # What a filter asks of a document each of its chunks says: the first one's word is enough.
        firsts = [chunk_id(document, version, 0) for document, version in live.items()]
        only = models.Filter(must=[models.HasIdCondition(has_id=list(firsts)), only])
    points = shard.count(edge.CountRequest()) + 1
    records, _ = shard.scroll(
        edge.ScrollRequest(limit=points, filter=to_filter(only), with_payload=fields_of(key))
    )
    found = {payload["document_id"]: payload for record in records if (payload := record.payload)}
    return (value_of(key, payload) for document, payload in found.items() if document in live)
