"""The embedded index as its worker process holds it: one thread, so each method is one atomic step."""

from __future__ import annotations

import os
import uuid
from array import array
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import qdrant_edge as edge
from qdrant_client import models

from embedder.types import Vectors
from search.stores.convert import query_request, to_filter
from search.stores.dense import prefix, vector_name
from search.stores.edge_process import Ranked
from search.stores.edge_shard import EngineErrors, Marks, check_space, check_whole, manifests, open_shard
from search.stores.payload import CHUNK, MANIFEST, Payload, chunk_payload, manifest_payload
from search.stores.plans import SPARSE, keyword, leg_filter, leg_request, visible
from search.types import Chunk, Filter, IndexConfig, Leg, ManifestWrite, Passage, StoreStats

_OVERHEAD = 4
"""How many times a write's own size it may take on disk: journal, storage, indexes, slack."""


class EdgeIndex:
    """The embedded engine behind the store protocol; replies are payloads, decoded by the caller."""

    def __init__(self, directory: Path, config: IndexConfig, floor: int) -> None:
        """Open, or make, the index in `directory`.

        Raises:
            StoreError: see `open_shard` and `check_whole`.
        """
        self._directory = directory
        self._config = config
        self._floor = floor
        self._marks = Marks(directory)
        self._shard = open_shard(directory, config, floor)
        with EngineErrors(f"reading the index in {directory}", opening=True):
            check_whole(self._shard, directory, self._marks.clean_points())
            self._hidden = self._read_hidden()

    def _read_hidden(self) -> dict[str, tuple[str, ...]]:
        """Versions no reader may see, by document; kept up to date by `put_manifests`, the only writer."""
        flying = manifests(self._shard, ["document_id", "hidden"], keyword("in_flight", "yes"))
        return {payload["document_id"]: tuple(payload["hidden"]) for payload in flying}

    def _versions(self) -> set[str]:
        return {version for versions in self._hidden.values() for version in versions}

    # Manifests

    def put_manifests(self, writes: Sequence[ManifestWrite]) -> list[bool]:
        """Compare and write; sees the earlier entries of the same call."""
        self._before_write(sum(_manifest_size(write) for write in writes))
        ids = [write.document_id for write in writes]
        revisions = {
            str(record.id): (record.payload or {}).get("revision")
            for record in self._shard.retrieve(_uuids(ids), ["revision"], False)
        }
        taken = []
        last: dict[str, ManifestWrite] = {}
        for write in writes:
            stored = revisions.get(write.document_id)
            wanted = None if write.manifest is None else write.manifest.revision
            taken.append(stored in (wanted, write.expected))
            if stored != wanted and taken[-1]:
                last[write.document_id] = write
                revisions[write.document_id] = wanted
        self._write_manifests(last.values())
        return taken

    def _write_manifests(self, writes: Collection[ManifestWrite]) -> None:
        points = []
        removed: list[edge.PointId] = []
        for write in writes:
            if write.manifest is None:
                removed.append(write.document_id)
            else:
                points.append(edge.Point(write.document_id, {}, manifest_payload(write.manifest)))
        if points:
            self._shard.update(edge.UpdateOperation.upsert_points(points))
        if removed:
            self._shard.update(edge.UpdateOperation.delete_points(removed))
        for write in writes:
            self._hidden.pop(write.document_id, None)
            if write.manifest is not None and write.manifest.hidden:
                self._hidden[write.document_id] = write.manifest.hidden

    def get_manifests(self, ids: Sequence[str]) -> list[str]:
        """Manifests as JSON, in the order asked."""
        found = {
            str(record.id): record.payload["manifest"]
            for record in self._shard.retrieve(_uuids(ids), ["type", "manifest"], False)
            if record.payload and record.payload["type"] == MANIFEST
        }
        return [found[one] for one in ids if one in found]

    def list_manifests(self, source: str | None, after: str | None, limit: int) -> list[str]:
        """A page of manifests as JSON."""
        must: list[models.Condition] = [keyword("type", MANIFEST)]
        if source is not None:
            must.append(keyword("source", source))
        records, _ = self._shard.scroll(
            edge.ScrollRequest(
                offset=after,
                limit=limit + 1,  # the offset itself is part of the engine's answer
                filter=to_filter(models.Filter(must=must)),
                with_payload=["manifest"],
            )
        )
        page = [record for record in records if after is None or str(record.id) > after]
        return [(record.payload or {})["manifest"] for record in page[:limit]]

    def in_flight(self) -> list[str]:
        """Manifests with a hidden version, as JSON."""
        return self.get_manifests(sorted(self._hidden))

    # Chunks

    def put_chunks(self, passages: Sequence[Passage], vectors: Vectors) -> None:
        """Write chunks with one named vector per dimension and, when there are any terms, a sparse one."""
        payloads = [chunk_payload(passage) for passage in passages]
        self._before_write(_chunk_size(payloads, vectors) * _OVERHEAD)
        dense = {vector_name(size): prefix(vectors.dense, size) for size in self._config.dimensions}
        points = []
        for row, (passage, payload) in enumerate(zip(passages, payloads, strict=True)):
            named: dict[str, Any] = {name: rows[row] for name, rows in dense.items()}
            sparse = vectors.sparse[row]
            if len(sparse.indices):  # an empty one would count in a named corpus and not in the whole
                named[SPARSE] = edge.SparseVector(
                    indices=sparse.indices.tolist(), values=sparse.values.tolist()
                )
            points.append(edge.Point(passage.chunk.id, named, payload))
        self._shard.update(edge.UpdateOperation.upsert_points(points))

    def sweep(self, versions: Sequence[str]) -> int:
        """Remove the chunks of these versions."""
        if not versions:
            return 0
        conditions: list[models.Condition] = [keyword("type", CHUNK), keyword("version", *versions)]
        where = to_filter(models.Filter(must=conditions))
        removed = self._shard.count(edge.CountRequest(filter=where, exact=True))
        if removed:
            self._marks.before_write()  # no check for space: removing is how space comes back
            self._marks.before_sweep()
            self._shard.update(edge.UpdateOperation.delete_points_by_filter(where))
        return removed

    def search(self, legs: Sequence[Leg], where: Filter | None) -> list[Ranked]:
        """Ids and scores per leg, of the chunks visible at this moment."""
        hidden = self._versions()
        narrowed = leg_filter(hidden, where)
        corpus = visible(hidden) if hidden or self._marks.swept else None
        requests = [leg_request(leg, self._config, narrowed, corpus, leg.limit + 1) for leg in legs]
        batch = edge.QueryBatchRequest([query_request(request) for request in requests])
        answers = self._shard.query_batch(batch)
        return [
            self._ranked(leg, request, points)
            for leg, request, points in zip(legs, requests, answers, strict=True)
        ]

    def _ranked(self, leg: Leg, request: models.QueryRequest, points: list[edge.ScoredPoint]) -> Ranked:
        """The leg's first `limit`, ties by id: certain only once all that tie for the end are here."""
        asked = leg.limit + 1
        while len(points) == asked and points[leg.limit - 1].score == points[-1].score:
            asked *= 4
            points = self._shard.query(query_request(request.model_copy(update={"limit": asked})))
        points.sort(key=lambda point: (-point.score, point.id))
        kept = [
            point for point in points[: leg.limit] if leg.threshold is None or point.score >= leg.threshold
        ]
        identities = b"".join(point.id.bytes for point in kept if isinstance(point.id, uuid.UUID))
        return identities, array("d", [point.score for point in kept]).tobytes()

    def fetch(self, ids: Sequence[str]) -> list[Payload]:
        """Payloads of the visible chunks, in the order asked."""
        hidden = self._versions()
        found = {
            str(record.id): record.payload
            for record in self._shard.retrieve(_uuids(ids), True, False)
            if record.payload and record.payload["type"] == CHUNK and record.payload["version"] not in hidden
        }
        return [found[one] for one in ids if one in found]

    def chunks_of(self, document_id: str, first: int, last: int | None) -> list[Payload]:
        """Payloads of the live version's chunks, found by their ids."""
        records = self._shard.retrieve(_uuids([document_id]), ["type", "live", "chunks"], False)
        payload = (records[0].payload or {}) if records else {}
        if payload.get("type") != MANIFEST or payload["live"] is None:
            return []
        end = payload["chunks"] if last is None else min(last + 1, payload["chunks"])
        wanted = range(max(first, 0), end)
        return self.fetch([Chunk(document_id, payload["live"], one, 0, 1, " ").id for one in wanted])

    def count(self, where: Filter | None) -> int:
        """Visible chunks that match."""
        return self._count(visible(self._versions(), where))

    def stats(self) -> StoreStats:
        """Counts, and the space taken on disk."""
        live = models.IsEmptyCondition(is_empty=models.PayloadField(key="live"))
        documents = self._count(models.Filter(must=[keyword("type", MANIFEST)], must_not=[live]))
        chunks = self._count(visible(self._versions()))
        return StoreStats(documents, chunks, self._count(visible(())) - chunks, _disk_bytes(self._directory))

    def flush(self) -> None:
        """Write everything to its place."""
        self._shard.flush()

    def close(self) -> None:
        """Flush, close, and note how many points there are."""
        points = self._shard.count(edge.CountRequest())
        self._shard.flush()
        self._shard.close()
        self._marks.closed(points)

    def _count(self, where: models.Filter) -> int:
        return self._shard.count(edge.CountRequest(filter=to_filter(where), exact=True))

    def _before_write(self, size: int) -> None:
        check_space(self._directory, self._floor, size)
        self._marks.before_write()


def _uuids(ids: Iterable[str]) -> list[edge.PointId]:
    """Those that are uuids at all: nothing else can be an id here."""
    found: list[edge.PointId] = []
    for one in ids:
        try:
            found.append(uuid.UUID(one))
        except ValueError:
            continue
    return found


def _manifest_size(write: ManifestWrite) -> int:
    return 0 if write.manifest is None else _OVERHEAD * len(manifest_payload(write.manifest)["manifest"])


def _chunk_size(payloads: Sequence[Payload], vectors: Vectors) -> int:
    words = sum(4 * (len(one["text"]) + len(one["context"])) + 2048 for one in payloads)
    return words + 2 * vectors.dense.nbytes + sum(8 * len(sparse.indices) for sparse in vectors.sparse)


def _disk_bytes(directory: Path) -> int:
    """Bytes really taken: the engine's files are sparse."""
    total = 0
    for folder, _, files in os.walk(directory):
        for name in files:
            try:
                total += (Path(folder) / name).stat().st_blocks * 512
            except FileNotFoundError:  # the engine replaces files while it works
                continue
    return total
