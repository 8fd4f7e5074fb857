"""The embedded index as its worker process holds it: one thread, so each method is one atomic step."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import qdrant_edge as edge
from qdrant_client import models

from latewood.embedder.types import Floats, SparseVector, Vectors
from latewood.search.facets import Facets, check_key, count
from latewood.search.stores.edge.convert import query_request, to_filter
from latewood.search.stores.edge.disk_space import (
    EMPTY_BYTES,
    OVERHEAD,
    POINT_BYTES,
    REMOVAL_FLOOR,
    check_space,
    chunks_bytes,
    disk_bytes,
    rows_bytes,
)
from latewood.search.stores.edge.facets import values_of
from latewood.search.stores.edge.faults import EngineErrors, unreadable
from latewood.search.stores.edge.fields import BYTES as INDEX_BYTES
from latewood.search.stores.edge.fields import MetadataIndexes
from latewood.search.stores.edge.manifests import ManifestTable, manifests, scroll_after, uuids
from latewood.search.stores.edge.process import Ranked
from latewood.search.stores.edge.ranking import ranked_lists
from latewood.search.stores.edge.records import RecordFile
from latewood.search.stores.edge.shard import Marks, check_whole, counts_only_chunks, open_shard, recounted
from latewood.search.stores.edge.soundness import SoundShard, digest, sparse_of, unsound
from latewood.search.stores.qdrant import newest
from latewood.search.stores.qdrant.payload import CHUNK, MANIFEST, Payload, chunk_payload, document_payload
from latewood.search.stores.qdrant.requests import SPARSE, keyword, leg_filter, leg_request, visible
from latewood.search.stores.records import Row
from latewood.search.stores.vectors import prefix, vector_name
from latewood.search.types import (
    Chunk,
    ChunkKey,
    DocumentInfo,
    Filter,
    IndexConfig,
    Leg,
    ManifestWrite,
    Passage,
    StoreDamagedError,
    StoreStats,
)

_KEY = ("document_id", "version", "ordinal")

Read = tuple[list[Payload], Floats, list[SparseVector]]
"""Chunks on the wire: payloads, dense rows (n, largest dimension), sparse vectors."""


class EdgeIndex:
    """The embedded engine behind the store protocol; replies are payloads, decoded by the caller."""

    def __init__(self, directory: Path, config: IndexConfig, floor: int, unchecked: bool = False) -> None:
        """Open, or make, the index in `directory`.

        Raises:
            StoreError: see `open_shard` and, unless `unchecked`, `check_whole`. An index that is not checked
                is read as `SoundShard` does.
        """
        self._directory = directory
        self._config = config
        self._floor = floor
        self._marks = Marks(directory)
        self._records = RecordFile(directory)
        shard = recounted(open_shard(directory, config, floor), directory, config, self._marks)
        self._shard = cast(edge.EdgeShard, SoundShard(shard)) if unchecked else shard
        with EngineErrors(f"reading the index in {directory}", opening=True):
            if not unchecked:
                check_whole(self._shard, directory, self._marks.clean_points())
            self._manifests = ManifestTable(self._shard, self._before_write)
            self._built = self._shard.info().segments_count > 1
            self._fields = MetadataIndexes(self._shard, config.apart)

    # Manifests

    def put_manifests(self, writes: Sequence[ManifestWrite]) -> list[bool]:
        """Compare and write; sees the earlier entries of the same call."""
        return self._manifests.put(writes)

    def get_manifests(self, ids: Sequence[str]) -> list[str]:
        """Manifests as JSON, in the order asked."""
        return self._manifests.get(ids)

    def list_manifests(self, source: str | None, after: str | None, limit: int) -> list[str]:
        """A page of manifests as JSON."""
        return self._manifests.page(source, after, limit)

    def newest(self, after: newest.Row | None, limit: int) -> list[newest.Row]:
        """Return a page of (moment of ingestion, document id), newest first."""
        where = to_filter(newest.first_chunks(self._manifests.hidden()))

        def scroll(start: str | None, count: int) -> list[newest.Row]:
            order = edge.OrderBy("ingested", edge.Direction.Desc, start_from=start)
            records, _ = self._shard.scroll(
                edge.ScrollRequest(limit=count, filter=where, order_by=order, with_payload=newest.FIELDS)
            )
            return newest.rows(records)

        return newest.page(scroll, after, limit)

    def in_flight(self) -> list[str]:
        """Manifests with a hidden version, as JSON."""
        return self._manifests.in_flight()

    # Records

    def put_records(self, rows: Sequence[Row]) -> None:
        """Keep records."""
        check_space(self._directory, self._floor, rows_bytes(rows))
        self._records.put(rows)

    def get_records(self, ids: Sequence[str]) -> list[Row]:
        """Records of these documents; the caller checks and decodes them."""
        return self._records.get(ids)

    def list_records(self, after: tuple[str, str] | None, limit: int) -> list[tuple[str, str]]:
        """A page of (document id, version)."""
        return self._records.page(after, limit)

    # Chunks

    def put_chunks(self, passages: Sequence[Passage], vectors: Vectors) -> None:
        """Write chunks with one named vector per dimension and, when there are any terms, a sparse one."""
        payloads = [chunk_payload(passage) for passage in passages]
        fields = self._fields.lacking(passage.document.metadata for passage in passages)
        self._before_write(
            chunks_bytes(payloads, vectors, self._config.dimensions) + INDEX_BYTES * len(fields)
        )
        self._fields.cover(fields)
        dense = {size: prefix(vectors.dense, size) for size in self._config.dimensions}
        points, digests = [], []
        for row, (passage, payload) in enumerate(zip(passages, payloads, strict=True)):
            named: dict[str, Any] = {vector_name(size): rows[row] for size, rows in dense.items()}
            sparse = vectors.sparse[row]
            if len(sparse.indices):  # an empty one would count in a named corpus and not in the whole
                named[SPARSE] = edge.SparseVector(
                    indices=sparse.indices.tolist(), values=sparse.values.tolist()
                )
            points.append(edge.Point(passage.chunk.id, named, payload))
            own = digest(self._config, {size: rows_of[row] for size, rows_of in dense.items()}, sparse)
            digests.append((passage.chunk.id, passage.chunk.version, own))
        self._records.put_digests(digests)
        if self._built and self._shard.retrieve([point.id for point in points], False, False):
            self._marks.before_removal()
        self._shard.update(edge.UpdateOperation.upsert_points(points))

    def sweep(self, versions: Sequence[str]) -> int:
        """Remove the chunks of these versions, then their records."""
        if not versions:
            return 0
        removed = self._remove(keyword("version", *versions))
        self._records.sweep(versions)
        return removed

    def remove_chunks(self, ids: Sequence[str]) -> int:
        """Remove these chunks, and nothing that is not a chunk."""
        known = [str(one) for one in uuids(ids)]
        if not known:
            return 0
        removed = self._remove(models.HasIdCondition(has_id=list(known)))
        self._records.remove_digests(known)
        return removed

    def unsound(self, ids: Sequence[str]) -> list[str]:
        """Those of these chunks that are not as they were written."""
        return unsound(self._shard, self._config, uuids(ids), self._records.digests(ids))

    def _remove(self, which: models.Condition) -> int:
        where = models.Filter(must=[keyword("type", CHUNK), which])
        removed = self._count(where)
        if removed:
            self._marks.before_write()  # no check for space: removing is how space comes back
            self._marks.before_removal()
            self._shard.update(edge.UpdateOperation.delete_points_by_filter(to_filter(where)))
        return removed

    def put_info(self, document_id: str, version: str, info: DocumentInfo) -> None:
        """Rewrite what chunks say of their document in one operation of the engine, then their record."""
        told = document_payload(info)
        which: list[models.Condition] = [keyword("version", version), keyword("document_id", document_id)]
        where = models.Filter(must=[keyword("type", CHUNK), *which])
        # The engine writes whole payloads anew and, once indexes are built, moves the vectors too.
        places = scroll_after(self._shard, where, ["start", "end"], None, self._count(where))
        text = sum(record.payload["end"] - record.payload["start"] for record in places if record.payload)
        each = POINT_BYTES + 4 * len(json.dumps(told)) + 16 * sum(self._config.dimensions) * self._built
        fields = self._fields.lacking([info.metadata]) if places else []
        self._before_write(OVERHEAD * (4 * text + each * len(places)) + INDEX_BYTES * len(fields))
        if places:
            if self._built:
                self._marks.before_removal()
            self._fields.cover(fields)
            self._shard.update(edge.UpdateOperation.set_payload_by_filter(to_filter(where), told))
        self._records.put_info(document_id, version, info)

    def search(self, legs: Sequence[Leg], where: Filter | None) -> list[Ranked]:
        """Ids and scores per leg, of the chunks visible at this moment."""
        hidden = self._manifests.hidden()
        narrowed = leg_filter(hidden, where, self._config.apart)
        corpus = visible(hidden) if hidden or self._marks.swept else None

        def ask(leg: Leg, limit: int) -> edge.QueryRequest:
            return query_request(leg_request(leg, self._config, narrowed, corpus, limit))

        return ranked_lists(self._shard, legs, ask)

    def fetch(self, ids: Sequence[str]) -> list[Payload]:
        """Payloads of the visible chunks, in the order asked."""
        found = self._visible(ids, fields=True)
        return [found[one] for one in ids if one in found]

    def locate(self, ids: Sequence[str]) -> list[ChunkKey]:
        """Whose the visible chunks are, in the order asked."""
        found = self._visible(ids, fields=["type", *_KEY])
        return [ChunkKey(one, *(found[one][name] for name in _KEY)) for one in ids if one in found]

    def _visible(self, ids: Sequence[str], fields: list[str] | bool) -> dict[str, Payload]:
        hidden = self._manifests.hidden()
        return {
            str(record.id): record.payload
            for record in self._shard.retrieve(uuids(ids), fields, False)
            if record.payload and record.payload["type"] == CHUNK and record.payload["version"] not in hidden
        }

    def chunks_of(self, document_id: str, first: int, last: int | None) -> list[Payload]:
        """Payloads of the live version's chunks, found by their ids."""
        return self.fetch(self._live_ids(document_id, first, None if last is None else last + 1))

    def read_chunks(self, document_id: str, first: int, limit: int) -> Read:
        """The live version's chunks with their vectors."""
        return self.read_points(self._live_ids(document_id, first, max(first, 0) + limit))

    def read_points(self, ids: Sequence[str]) -> Read:
        """These chunks with their vectors."""
        name = vector_name(self._config.dimensions[0])
        found = {str(record.id): record for record in self._shard.retrieve(uuids(ids), True, [name, SPARSE])}
        payloads, rows, sparse = [], [], []
        for record in (found[one] for one in ids if one in found):
            if (record.payload or {}).get("type") != CHUNK:
                continue
            vectors: Any = record.vector or {}
            payloads.append(record.payload or {})
            rows.append(vectors[name])
            try:
                sparse.append(sparse_of(record))
            except ValueError as error:
                raise unreadable(f"reading {record.id}", error) from error
        dense = np.array(rows, np.float32).reshape(len(rows), self._config.dimensions[0])
        return payloads, dense, sparse

    def _live_ids(self, document_id: str, first: int, end: int | None) -> list[str]:
        """Ids of the live version's chunks from ordinal `first` up to `end`, exclusive."""
        live = self._manifests.live(document_id)
        if live is None:
            return []
        version, chunks = live
        wanted = range(max(first, 0), chunks if end is None else min(end, chunks))
        return [Chunk(document_id, version, one, 0, 1, " ").id for one in wanted]

    def list_chunks(self, after: str | None, limit: int, where: Filter | None) -> list[ChunkKey]:
        """A page of all chunks, or of the visible ones that match."""
        which = models.Filter(must=[keyword("type", CHUNK)])
        if where is not None:
            which = visible(self._manifests.hidden(), where, self._config.apart)
        page = scroll_after(self._shard, which, list(_KEY), after, limit)
        return [ChunkKey(str(one.id), **(one.payload or {})) for one in page]

    def languages(self) -> list[str]:
        """The languages of the chunks, read off the engine's index of that field: some 0.1 ms."""
        found = self._shard.facet(edge.FacetRequest("analysed", limit=1000, exact=False)).hits
        return sorted(str(hit.value) for hit in found if hit.count)

    def count(self, where: Filter | None) -> int:
        """Visible chunks that match."""
        return self._count(visible(self._manifests.hidden(), where, self._config.apart))

    def facets(self, key: str, where: Filter | None) -> Facets:
        """Values of a key, by documents."""
        check_key(key)
        hidden, apart = self._manifests.hidden(), self._config.apart
        return count(key, values_of(self._shard, hidden, key, where, apart))

    def stats(self) -> StoreStats:
        """Counts, and the space taken on disk."""
        if isinstance(self._shard, SoundShard):  # the engine would read, and fail at, every damaged payload
            documents = sum(one["live"] is not None for one in manifests(self._shard, ["live"]))
        else:
            live = models.IsEmptyCondition(is_empty=models.PayloadField(key="live"))
            documents = self._count(models.Filter(must=[keyword("type", MANIFEST)], must_not=[live]))
        chunks = self._count(visible(self._manifests.hidden()))
        return StoreStats(documents, chunks, self._count(visible(())) - chunks, disk_bytes(self._directory))

    def optimise(self) -> None:
        """Have the engine build its indexes and clear out what was removed."""
        points = self._shard.count(edge.CountRequest())
        check_space(self._directory, self._floor, disk_bytes(self._directory) + 2 * EMPTY_BYTES)
        self._marks.before_write()
        self._shard.optimize()
        after = self._shard.count(edge.CountRequest())
        if after != points:
            raise StoreDamagedError(f"optimising {self._directory} made {after} of {points} points")
        self._shard.flush()
        self._built = self._shard.info().segments_count > 1
        if self._marks.swept and counts_only_chunks(self._shard):
            self._marks.after_vacuum()

    def flush(self) -> None:
        """Write everything to its place."""
        self._shard.flush()

    def close(self) -> None:
        """Flush, close, and note how many points there are."""
        points = self._shard.count(edge.CountRequest())
        self._shard.flush()
        self._shard.close()
        self._records.close()
        self._marks.closed(points)

    def _count(self, where: models.Filter) -> int:
        return self._shard.count(edge.CountRequest(filter=to_filter(where), exact=True))

    def _before_write(self, size: int, removes: bool = False) -> None:
        """Refuse a write that could fill the disk. A removal may use the reserve: it brings space back."""
        check_space(self._directory, min(self._floor, REMOVAL_FLOOR) if removes else self._floor, size)
        self._marks.before_write()
