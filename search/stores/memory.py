"""The exact store, in memory: what every other store is held against."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from embedder.types import Floats, SparseVector, Vectors
from search.stores.dense import check_query, check_vectors, prefix
from search.stores.filters import check, matches
from search.stores.payload import check_cursor, chunk_payload, manifest_from, manifest_json, passage_from
from search.types import (
    Candidate,
    DenseQuery,
    Filter,
    IndexConfig,
    Leg,
    Manifest,
    ManifestWrite,
    Passage,
    StoreStats,
    StoreUnavailableError,
)


@dataclass(frozen=True, slots=True)
class _Entry:
    passage: Passage
    dense: Floats
    sparse: dict[int, float]


class MemoryStore:
    """Chunks and manifests in dictionaries; every answer by brute force, in float64."""

    def __init__(self, config: IndexConfig) -> None:
        self._config = config
        self._manifests: dict[str, str] = {}
        self._entries: dict[str, _Entry] = {}
        self._lock = threading.RLock()
        self._closed = False

    @property
    def config(self) -> IndexConfig:
        """What the index was made with."""
        return self._config

    def put_manifests(self, writes: Sequence[ManifestWrite]) -> list[bool]:
        """See `Store.put_manifests`."""
        with self._lock:
            self._check_open()
            return [self._put(write) for write in writes]

    def _put(self, write: ManifestWrite) -> bool:
        stored = self._manifests.get(write.document_id)
        revision = None if stored is None else manifest_from(stored).revision
        wanted = None if write.manifest is None else write.manifest.revision
        if revision == wanted:
            return True
        if revision != write.expected:
            return False
        if write.manifest is None:
            del self._manifests[write.document_id]
        else:
            self._manifests[write.document_id] = manifest_json(write.manifest)
        return True

    def get_manifests(self, ids: Sequence[str]) -> list[Manifest]:
        """See `Store.get_manifests`."""
        with self._lock:
            self._check_open()
            return [manifest_from(self._manifests[one]) for one in ids if one in self._manifests]

    def list_manifests(
        self, *, source: str | None = None, after: str | None = None, limit: int = 1000
    ) -> list[Manifest]:
        """See `Store.list_manifests`."""
        check_cursor(after)
        with self._lock:
            self._check_open()
            everything = [manifest_from(text) for _, text in sorted(self._manifests.items())]
        asked = [
            one
            for one in everything
            if (source is None or one.document.source == source) and (after is None or one.id > after)
        ]
        return asked[:limit]

    def in_flight(self) -> list[Manifest]:
        """See `Store.in_flight`."""
        with self._lock:
            self._check_open()
            everything = [manifest_from(text) for _, text in sorted(self._manifests.items())]
        return [one for one in everything if one.hidden]

    def put_chunks(self, passages: Sequence[Passage], vectors: Vectors) -> None:
        """See `Store.put_chunks`."""
        check_vectors(self._config, passages, vectors)
        with self._lock:
            self._check_open()
            dense = prefix(vectors.dense, self._config.dimensions[0])
            for row, (passage, sparse) in enumerate(zip(passages, vectors.sparse, strict=True)):
                weights = dict(zip(sparse.indices.tolist(), sparse.values.tolist(), strict=True))
                kept = passage_from(chunk_payload(passage))  # what is written later must not change it
                self._entries[passage.chunk.id] = _Entry(kept, dense[row], weights)

    def sweep(self, versions: Sequence[str]) -> int:
        """See `Store.sweep`."""
        with self._lock:
            self._check_open()
            gone = [one for one, entry in self._entries.items() if entry.passage.chunk.version in versions]
            for one in gone:
                del self._entries[one]
            return len(gone)

    def search(self, legs: Sequence[Leg], where: Filter | None = None) -> list[list[Candidate]]:
        """See `Store.search`."""
        with self._lock:
            self._check_open()
            if where is not None:
                check(where)
            visible = self._visible()
            found = {one: entry for one, entry in visible.items() if _matching(where, entry)}
            return [self._ranked(leg, visible, found) for leg in legs]

    def _ranked(self, leg: Leg, visible: dict[str, _Entry], found: dict[str, _Entry]) -> list[Candidate]:
        if isinstance(leg.query, DenseQuery):
            check_query(self._config, leg.query)
            scored = _dense_scores(leg.query.vector, found)
        else:
            scored = _bm25_scores(leg.query, visible.values(), found)
        scored.sort(key=lambda one: (-one.score, one.id))
        return [one for one in scored[: leg.limit] if leg.threshold is None or one.score >= leg.threshold]

    def fetch(self, ids: Sequence[str]) -> list[Passage]:
        """See `Store.fetch`."""
        with self._lock:
            self._check_open()
            visible = self._visible()
            return [visible[one].passage for one in ids if one in visible]

    def chunks_of(self, document_id: str, *, first: int = 0, last: int | None = None) -> list[Passage]:
        """See `Store.chunks_of`."""
        with self._lock:
            manifests = self.get_manifests([document_id])
            version = manifests[0].live if manifests else None
            chosen = [
                entry.passage
                for entry in self._visible().values()
                if entry.passage.chunk.version == version and entry.passage.chunk.document_id == document_id
            ]
        inside = (
            one
            for one in chosen
            if one.chunk.ordinal >= first and (last is None or one.chunk.ordinal <= last)
        )
        return sorted(inside, key=lambda one: one.chunk.ordinal)

    def count(self, where: Filter | None = None) -> int:
        """See `Store.count`."""
        with self._lock:
            self._check_open()
            if where is not None:
                check(where)
            return sum(_matching(where, entry) for entry in self._visible().values())

    def stats(self) -> StoreStats:
        """See `Store.stats`."""
        with self._lock:
            self._check_open()
            live = sum(manifest_from(text).live is not None for text in self._manifests.values())
            chunks = len(self._visible())
            return StoreStats(live, chunks, len(self._entries) - chunks, 0)

    def flush(self) -> None:
        """See `Store.flush`."""
        with self._lock:
            self._check_open()

    def close(self) -> None:
        """See `Store.close`."""
        with self._lock:
            self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailableError("the store is closed; open it again")

    def _visible(self) -> dict[str, _Entry]:
        hidden = {version for text in self._manifests.values() for version in manifest_from(text).hidden}
        return {
            one: entry for one, entry in self._entries.items() if entry.passage.chunk.version not in hidden
        }


def _matching(where: Filter | None, entry: _Entry) -> bool:
    return where is None or matches(where, entry.passage)


def _dense_scores(vector: Floats, found: dict[str, _Entry]) -> list[Candidate]:
    if not found:
        return []
    rows = np.stack([entry.dense for entry in found.values()]).astype(np.float64)
    unit = prefix(vector, len(vector)).astype(np.float64)
    # Rounded as the engines do, so that vectors that are equal there are equal here.
    scores = (rows @ unit).astype(np.float32).tolist()
    return [Candidate(one, score) for one, score in zip(found, scores, strict=True)]


def _bm25_scores(query: SparseVector, corpus: Iterable[_Entry], found: dict[str, _Entry]) -> list[Candidate]:
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
