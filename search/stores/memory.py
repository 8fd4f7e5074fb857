"""The exact store, in memory: what every other store is held against."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from latewood.embedder.types import Vectors
from latewood.search.facets import Facets, check_key, count
from latewood.search.stores.exact import Entry, bm25_scores, dense_scores
from latewood.search.stores.qdrant.filters import check, matches, told
from latewood.search.stores.qdrant.newest import check_row, order_key
from latewood.search.stores.qdrant.payload import (
    check_cursor,
    check_info,
    chunk_payload,
    manifest_from,
    manifest_json,
    passage_from,
)
from latewood.search.stores.records import Row, record_of, row_of, with_info
from latewood.search.stores.vectors import check_query, check_vectors, prefix, unsound_vectors
from latewood.search.types import (
    Candidate,
    ChunkKey,
    DenseQuery,
    DocumentInfo,
    Filter,
    IndexConfig,
    Leg,
    Manifest,
    ManifestWrite,
    Passage,
    Record,
    StoreStats,
    StoreUnavailableError,
)


class MemoryStore:
    """Chunks and manifests in dictionaries; every answer by brute force, in float64."""

    def __init__(self, config: IndexConfig) -> None:
        self._config = config
        self._manifests: dict[str, str] = {}
        self._entries: dict[str, Entry] = {}
        self._records: dict[tuple[str, str], Row] = {}
        self._lock = threading.RLock()
        self._closed = False

    @property
    def config(self) -> IndexConfig:
        """What the index was made with."""
        return self._config

    def put_manifests(self, writes: Sequence[ManifestWrite]) -> list[bool]:
        """See `Store.put_manifests`."""
        texts = [None if one.manifest is None else manifest_json(one.manifest) for one in writes]
        with self._lock:
            self._check_open()
            return [self._put(write, text) for write, text in zip(writes, texts, strict=True)]

    def _put(self, write: ManifestWrite, text: str | None) -> bool:
        stored = self._manifests.get(write.document_id)
        revision = None if stored is None else manifest_from(stored).revision
        wanted = None if write.manifest is None else write.manifest.revision
        if revision == wanted:
            return True
        if revision != write.expected:
            return False
        if text is None:
            del self._manifests[write.document_id]
        else:
            self._manifests[write.document_id] = text
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
        return [one for one in everything if one.in_flight]

    def abandoned(self) -> list[Manifest]:
        """See `Store.abandoned`; there is no other process."""
        return self.in_flight()

    def put_chunks(self, passages: Sequence[Passage], vectors: Vectors) -> None:
        """See `Store.put_chunks`."""
        check_vectors(self._config, passages, vectors)
        with self._lock:
            self._check_open()
            dense = prefix(vectors.dense, self._config.dimensions[0])
            for row, (passage, sparse) in enumerate(zip(passages, vectors.sparse, strict=True)):
                weights = dict(zip(sparse.indices.tolist(), sparse.values.tolist(), strict=True))
                kept = passage_from(chunk_payload(passage))  # what is written later must not change it
                self._entries[passage.chunk.id] = Entry(kept, dense[row], weights)

    def sweep(self, versions: Sequence[str]) -> int:
        """See `Store.sweep`."""
        with self._lock:
            self._check_open()
            gone = [one for one, entry in self._entries.items() if entry.passage.chunk.version in versions]
            for one in gone:
                del self._entries[one]
            for key in [key for key in self._records if key[1] in versions]:
                del self._records[key]
            return len(gone)

    def remove_chunks(self, ids: Sequence[str]) -> int:
        """See `Store.remove_chunks`."""
        with self._lock:
            self._check_open()
            return sum(self._entries.pop(one, None) is not None for one in ids)

    def put_info(self, document_id: str, version: str, info: DocumentInfo) -> None:
        """See `Store.put_info`."""
        check_info(document_id, info)
        with self._lock:
            self._check_open()
            for one, entry in self._entries.items():
                chunk = entry.passage.chunk
                if (chunk.document_id, chunk.version) == (document_id, version):
                    told = passage_from(chunk_payload(Passage(chunk, info)))
                    self._entries[one] = replace(entry, passage=told)
            row = self._records.get((document_id, version))
            if row is not None:
                self._records[document_id, version] = with_info(row, info)

    def put_records(self, records: Sequence[Record]) -> None:
        """See `Store.put_records`."""
        rows = [row_of(record) for record in records]
        with self._lock:
            self._check_open()
            self._records.update({(row.document_id, row.version): row for row in rows})

    def get_records(self, ids: Sequence[str]) -> list[Record]:
        """See `Store.get_records`."""
        with self._lock:
            self._check_open()
            kept = sorted(self._records)
            return [record_of(self._records[key]) for one in ids for key in kept if key[0] == one]

    def list_records(
        self, *, after: tuple[str, str] | None = None, limit: int = 10_000
    ) -> list[tuple[str, str]]:
        """See `Store.list_records`."""
        with self._lock:
            self._check_open()
            return [key for key in sorted(self._records) if after is None or key > after][:limit]

    def search(self, legs: Sequence[Leg], where: Filter | None = None) -> list[list[Candidate]]:
        """See `Store.search`."""
        with self._lock:
            self._check_open()
            if where is not None:
                check(where)
            visible = self._visible()
            found = {one: entry for one, entry in visible.items() if _matching(where, entry)}
            return [self._ranked(leg, visible, found) for leg in legs]

    def _ranked(self, leg: Leg, visible: dict[str, Entry], found: dict[str, Entry]) -> list[Candidate]:
        if isinstance(leg.query, DenseQuery):
            check_query(self._config, leg.query)
            scored = dense_scores(leg.query.vector, found)
        else:
            scored = bm25_scores(leg.query, visible.values(), found)
        scored.sort(key=lambda one: (-one.score, one.id))
        return [one for one in scored[: leg.limit] if leg.threshold is None or one.score >= leg.threshold]

    def fetch(self, ids: Sequence[str]) -> list[Passage]:
        """See `Store.fetch`."""
        with self._lock:
            self._check_open()
            visible = self._visible()
            return [visible[one].passage for one in ids if one in visible]

    def locate(self, ids: Sequence[str]) -> list[ChunkKey]:
        """See `Store.locate`."""
        with self._lock:
            self._check_open()
            visible = self._visible()
            return [visible[one].key for one in ids if one in visible]

    def chunks_of(self, document_id: str, *, first: int = 0, last: int | None = None) -> list[Passage]:
        """See `Store.chunks_of`."""
        entries = self._live(document_id)
        return [entry.passage for key, entry in entries if first <= key and (last is None or key <= last)]

    def read_chunks(
        self, document_id: str, *, first: int = 0, limit: int = 256
    ) -> tuple[list[Passage], Vectors]:
        """See `Store.read_chunks`."""
        first = max(first, 0)
        return self._read([entry for key, entry in self._live(document_id) if first <= key < first + limit])

    def read_points(self, ids: Sequence[str]) -> tuple[list[Passage], Vectors]:
        """See `Store.read_points`."""
        with self._lock:
            self._check_open()
            return self._read([self._entries[one] for one in ids if one in self._entries])

    def _read(self, found: Sequence[Entry]) -> tuple[list[Passage], Vectors]:
        rows = [entry.dense for entry in found]
        dense = np.stack(rows) if rows else np.empty((0, self._config.dimensions[0]), np.float32)
        return [entry.passage for entry in found], Vectors(dense, tuple(one.sparse_vector for one in found))

    def _live(self, document_id: str) -> list[tuple[int, Entry]]:
        """(ordinal, entry) of the live version's chunks, in order."""
        with self._lock:
            manifests = self.get_manifests([document_id])
            version = manifests[0].live if manifests else None
            found = [
                (entry.key.ordinal, entry)
                for entry in self._visible().values()
                if (entry.key.document_id, entry.key.version) == (document_id, version)
            ]
        return sorted(found, key=lambda one: one[0])

    def unsound(self, ids: Sequence[str]) -> list[str]:
        """See `Store.unsound`."""
        return unsound_vectors(self.read_points, ids)

    def list_chunks(
        self, *, after: str | None = None, limit: int = 10_000, where: Filter | None = None
    ) -> list[ChunkKey]:
        """See `Store.list_chunks`."""
        check_cursor(after)
        with self._lock:
            self._check_open()
            if where is not None:
                check(where)
            entries = self._entries if where is None else self._visible()
            found = [one for one, entry in entries.items() if _matching(where, entry)]
            page = sorted(one for one in found if after is None or one > after)[:limit]
            return [self._entries[one].key for one in page]

    def newest(self, *, after: tuple[str, str] | None = None, limit: int = 100) -> list[tuple[str, str]]:
        """See `Store.newest`."""
        check_row(after)
        with self._lock:
            self._check_open()
            found = {
                (entry.passage.document.ingested, entry.key.document_id) for entry in self._visible().values()
            }
            ranked = sorted(found, key=order_key)
            return [row for row in ranked if after is None or order_key(row) > order_key(after)][:limit]

    def languages(self) -> list[str]:
        """See `Store.languages`."""
        with self._lock:
            self._check_open()
            return sorted({entry.passage.chunk.language for entry in self._entries.values()})

    def count(self, where: Filter | None = None) -> int:
        """See `Store.count`."""
        with self._lock:
            self._check_open()
            if where is not None:
                check(where)
            return sum(_matching(where, entry) for entry in self._visible().values())

    def facets(self, key: str, where: Filter | None = None) -> Facets:
        """See `Store.facets`."""
        check_key(key)
        with self._lock:
            self._check_open()
            if where is not None:
                check(where)
            kept = [manifest_from(text) for text in self._manifests.values()]
            live = {one.id for one in kept if one.live is not None}
            found = [entry.passage for entry in self._visible().values() if _matching(where, entry)]
            documents = {one.document.id: one.document for one in found if one.document.id in live}
            return count(key, (told(key, document) for document in documents.values()))

    def stats(self) -> StoreStats:
        """See `Store.stats`."""
        with self._lock:
            self._check_open()
            live = sum(manifest_from(text).live is not None for text in self._manifests.values())
            chunks = len(self._visible())
            return StoreStats(live, chunks, len(self._entries) - chunks, 0)

    def optimise(self) -> None:
        """See `Store.optimise`; there is nothing to build."""
        self.flush()

    def sync(self) -> None:
        """See `Store.sync`; nothing here survives its process."""
        with self._lock:
            self._check_open()

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

    def _visible(self) -> dict[str, Entry]:
        hidden = {version for text in self._manifests.values() for version in manifest_from(text).hidden}
        return {
            one: entry for one, entry in self._entries.items() if entry.passage.chunk.version not in hidden
        }


def _matching(where: Filter | None, entry: Entry) -> bool:
    return where is None or matches(where, entry.passage)
