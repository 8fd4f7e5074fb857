"""Matryoshka prefixes, and the one check that dense vectors fit their index."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from latewood.embedder.types import Floats, Vectors
from latewood.search.types import DenseQuery, IndexConfig, Passage, StoreDamagedError


def vector_name(dimension: int) -> str:
    """The named vector that holds this size."""
    return f"dense_{dimension}"


def prefix(rows: Floats, dimension: int) -> Floats:
    """Truncate, then normalise: (…, dim) float32 to (…, dimension) float32 of length 1 (0 stays 0)."""
    cut = rows[..., :dimension]
    norms = np.linalg.norm(cut, axis=-1, keepdims=True)
    scaled: Floats = (cut / np.where(norms == 0, 1, norms)).astype(np.float32)
    return scaled


def check_vectors(config: IndexConfig, passages: Sequence[Passage], vectors: Vectors) -> None:
    """Hold what is to be written against the index.

    Raises:
        ValueError: not one vector per passage, of another dimension than the index's largest, or with a value
            that is not finite (an array can be changed after `Vectors` looked at it).
    """
    if len(passages) != len(vectors):
        raise ValueError(f"{len(passages)} passages and {len(vectors)} vectors do not belong together")
    if len(vectors) and vectors.dense.shape[1] != config.dimensions[0]:
        raise ValueError(
            f"vectors of dimension {vectors.dense.shape[1]} do not fit an index of {config.dimensions[0]}"
        )
    if not np.isfinite(vectors.dense).all() or not all(
        np.isfinite(one.values).all() for one in vectors.sparse
    ):
        raise ValueError("vectors to be written have a value that is not finite; embed the passages again")


def unsound_vectors(read_points: Callable[[Sequence[str]], object], ids: Sequence[str]) -> list[str]:
    """Those of these chunks whose vectors `read_points` refuses: they are no finite rows of length 1."""
    if not ids:
        return []
    try:
        read_points(ids)
    except (StoreDamagedError, ValueError):
        if len(ids) == 1:
            return list(ids)
        middle = len(ids) // 2
        return [*unsound_vectors(read_points, ids[:middle]), *unsound_vectors(read_points, ids[middle:])]
    return []


def check_query(config: IndexConfig, query: DenseQuery) -> None:
    """Hold a query vector against the index.

    Raises:
        ValueError: another dimension than the index's largest, or a value that is not finite.
    """
    if query.vector.shape != (config.dimensions[0],):
        raise ValueError(
            f"a query of shape {query.vector.shape} does not fit an index of {config.dimensions[0]}"
        )
    if not np.isfinite(query.vector).all():
        raise ValueError("the query vector has a value that is not finite")
