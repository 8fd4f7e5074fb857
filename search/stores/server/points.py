"""Passages as points for the server."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from qdrant_client import models

from latewood.embedder.types import Vectors
from latewood.search.stores.qdrant.payload import Payload, chunk_payload
from latewood.search.stores.qdrant.requests import SPARSE
from latewood.search.stores.vectors import prefix, vector_name
from latewood.search.types import IndexConfig, Passage, chunk_id

_GREATEST = 2**63 - 1


def chunk_points(
    config: IndexConfig, passages: Sequence[Passage], vectors: Vectors
) -> list[models.PointStruct]:
    """Points with one named vector per dimension and, when there are any terms, a sparse one.

    Raises:
        ValueError: a metadata number the store cannot give back as it was.
    """
    dense = {vector_name(size): prefix(vectors.dense, size).tolist() for size in config.dimensions}
    points = []
    for row, (passage, sparse) in enumerate(zip(passages, vectors.sparse, strict=True)):
        named: dict[str, Any] = {name: rows[row] for name, rows in dense.items()}
        if len(sparse.indices):  # an empty one would count in a named corpus and not in the whole
            named[SPARSE] = models.SparseVector(
                indices=sparse.indices.tolist(), values=sparse.values.tolist()
            )
        payload = wire(chunk_payload(passage))
        points.append(models.PointStruct(id=passage.chunk.id, vector=named, payload=payload))
    return points


def ordinals(document_id: str, first: int, end: int | None) -> Callable[[str, int], list[str]]:
    """Ids of a version's chunks from ordinal `first` up to `end`, exclusive, as far as it has them."""

    def chosen(version: str, chunks: int) -> list[str]:
        wanted = range(max(first, 0), chunks if end is None else min(end, chunks))
        return [chunk_id(document_id, version, one) for one in wanted]

    return chosen


def wire(payload: Payload) -> Payload:
    """A payload with whole numbers that every protocol of the server carries; the exact ones stand beside."""
    metadata: dict[str, Any] = payload["metadata"]
    if not any(_is_long(value) for value in metadata.values()):
        return payload
    return {
        **payload,
        "metadata": {key: _shortened(value) for key, value in metadata.items()},
        "exact_metadata": json.dumps(metadata, allow_nan=False),
    }


def _is_long(value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    return any(isinstance(one, int) and one > _GREATEST for one in values)


def _shortened(value: Any) -> Any:
    if not _is_long(value):
        return value
    return [float(one) for one in value] if isinstance(value, list) else float(value)
