"""Exact scores by brute force: what the store in memory answers with."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from latewood.embedder.types import Floats, SparseVector
from latewood.search.stores.vectors import prefix
from latewood.search.types import Candidate, ChunkKey, Passage


@dataclass(frozen=True, slots=True)
class Entry:
    """A chunk as it is kept: `dense` (dim,) float32 of length 1, `sparse` weight by term."""

    passage: Passage
    dense: Floats
    sparse: dict[int, float]

    @property
    def key(self) -> ChunkKey:
        """Which chunk of which version it is."""
        chunk = self.passage.chunk
        return ChunkKey(chunk.id, chunk.document_id, chunk.version, chunk.ordinal)

    @property
    def sparse_vector(self) -> SparseVector:
        """Its terms as they were written."""
        terms, weights = list(self.sparse), list(self.sparse.values())
        return SparseVector(np.array(terms, np.uint32), np.array(weights, np.float32))


def dense_scores(vector: Floats, found: dict[str, Entry]) -> list[Candidate]:
    """Cosine of a query, (dim,) float32, with every entry found; in no order."""
    if not found:
        return []
    rows = np.stack([entry.dense for entry in found.values()]).astype(np.float64)
    unit = prefix(vector, len(vector)).astype(np.float64)
    # Rounded as the engines do, so that vectors that are equal there are equal here.
    scores = (rows @ unit).astype(np.float32).tolist()
    return [Candidate(one, score) for one, score in zip(found, scores, strict=True)]


def bm25_scores(query: SparseVector, corpus: Iterable[Entry], found: dict[str, Entry]) -> list[Candidate]:
    """Lucene's BM25: Σ count × ln(1 + (N − n + ½) / (n + ½)) × weight; N counts passages with any term."""
    terms = dict(zip(query.indices.tolist(), query.values.tolist(), strict=True))
    passages = 0
    frequency: Counter[int] = Counter()
    for entry in corpus:
        passages += bool(entry.sparse)
        frequency.update(terms.keys() & entry.sparse.keys())
    idf = {term: math.log(1 + (passages - n + 0.5) / (n + 0.5)) for term, n in frequency.items()}
    scored = []
    for one, entry in found.items():
        shared = sorted(terms.keys() & entry.sparse.keys())
        if shared:
            score = math.fsum(terms[term] * idf[term] * entry.sparse[term] for term in shared)
            scored.append(Candidate(one, float(np.float32(score))))
    return scored
