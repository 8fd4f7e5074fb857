"""The store on a Qdrant server or cluster, through qdrant-client.

A generation is two collections: NAME holds manifests, chunks and a head, as an embedded shard does;
NAME.records holds the records. Many processes may read and write: see `server_sight`, `server_manifests` and
`server_lease`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from qdrant_client import models

from latewood.embedder.types import Vectors
from latewood.search.facets import Facets, check_key, count
from latewood.search.index_config import DensePlan
from latewood.search.stores.qdrant.filters import check
from latewood.search.stores.qdrant.newest import check_row
from latewood.search.stores.qdrant.payload import (
    CHUNK,
    MANIFEST,
    check_cursor,
    check_info,
    manifest_from,
    passage_from,
)
from latewood.search.stores.qdrant.requests import keyword, visible
from latewood.search.stores.records import row_of, whole_records
from latewood.search.stores.server import schema
from latewood.search.stores.server.client import Calls, slices
from latewood.search.stores.server.facets import values_of
from latewood.search.stores.server.manifests import ServerManifests, uuids
from latewood.search.stores.server.points import chunk_points, ordinals
from latewood.search.stores.server.reads import ServerReads
from latewood.search.stores.server.records import ServerRecords
from latewood.search.stores.server.snapshot import Sight, config_from, read_head
from latewood.search.stores.server.writer_lease import Lease
from latewood.search.stores.server.writes import ServerWrites
from latewood.search.stores.vectors import check_query, check_vectors, unsound_vectors
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
    StoreError,
    StoreStats,
    StoreUnavailableError,
)

_KEY = ("document_id", "version", "ordinal")
_PART = 500  # versions or ids in one request
_LANGUAGES = 1.0  # seconds that they are taken to be the same: they are asked with every question
_OPTIMISE_LOOK = 0.5  # seconds


class ServerStore:
    """One generation on a server. Safe to share by threads; close it to take the writer's note away."""

    def __init__(self, calls: Calls, name: str, asked: DensePlan | None = None) -> None:
        """Open the collection; where `asked` is given, it is asked as that plan asks.

        Raises:
            StoreDamagedError: it was not made whole.
            StoreUnavailableError: it is not there, or the server cannot be reached.
        """
        self._calls = calls
        self._name = name
        self._config = config_from(name, read_head(calls, name)).asked_by(asked)
        self._points = ServerManifests(calls, name)
        self._reads = ServerReads(calls, name, self._config, self._points)
        self._records = ServerRecords(calls, schema.records_name(name))
        self._writes = ServerWrites(calls, name, self._points, self._reads, self._config.apart)
        self._flying: set[str] = set()
        self._lease = Lease(calls, name, lambda: bool(self._flying))
        self._languages: tuple[float, list[str]] | None = None
        self._closed = False

    @property
    def config(self) -> IndexConfig:
        """What the index was made with."""
        return self._config

    @property
    def name(self) -> str:
        """Of the collection."""
        return self._name

    @contextmanager
    def alone(self, patience: float, keep: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """No other process writes until this is left. See `Lease.alone`."""
        self._check_open()
        with self._lease.alone(patience, keep):
            yield

    def open_up(self) -> None:
        """Let others write again, to a collection that is to answer from now on."""
        self._lease.open_up()

    # Manifests

    def put_manifests(self, writes: Sequence[ManifestWrite]) -> list[bool]:
        """See `Store.put_manifests`."""
        self._before_write()
        taken = self._points.put(writes)
        for write, ok in zip(writes, taken, strict=True):
            if ok and write.manifest is not None and write.manifest.in_flight:
                self._flying.add(write.document_id)
            elif ok:
                self._flying.discard(write.document_id)
        return taken

    def get_manifests(self, ids: Sequence[str]) -> list[Manifest]:
        """See `Store.get_manifests`."""
        self._check_open()
        return [manifest_from(text) for text in self._points.get(ids)]

    def list_manifests(
        self, *, source: str | None = None, after: str | None = None, limit: int = 1000
    ) -> list[Manifest]:
        """See `Store.list_manifests`."""
        check_cursor(after)
        self._check_open()
        return [manifest_from(text) for text in self._points.page(source, after, limit)]

    def in_flight(self) -> list[Manifest]:
        """See `Store.in_flight`."""
        self._check_open()
        return [manifest_from(text) for text in self._points.in_flight()]

    def abandoned(self) -> list[Manifest]:
        """See `Store.abandoned`: those of no other process that is at work."""
        self._check_open()
        return [manifest_from(text) for text in self._points.in_flight(self._lease.alive())]

    # Records

    def put_records(self, records: Sequence[Record]) -> None:
        """See `Store.put_records`; a refusal half way leaves records that no manifest names."""
        rows = [row_of(record) for record in records]
        self._before_write()
        self._records.put(rows)

    def get_records(self, ids: Sequence[str]) -> list[Record]:
        """See `Store.get_records`."""
        self._check_open()
        return whole_records(self._records.get(ids), self._name)

    def list_records(
        self, *, after: tuple[str, str] | None = None, limit: int = 10_000
    ) -> list[tuple[str, str]]:
        """See `Store.list_records`."""
        self._check_open()
        return self._records.page(after, limit)

    # Chunks

    def put_chunks(self, passages: Sequence[Passage], vectors: Vectors) -> None:
        """See `Store.put_chunks`; a refusal half way leaves chunks that no manifest names."""
        check_vectors(self._config, passages, vectors)
        points = chunk_points(self._config, passages, vectors)
        self._before_write()
        self._writes.put(points, [passage.document.metadata for passage in passages])
        self._languages = None

    def sweep(self, versions: Sequence[str]) -> int:
        """See `Store.sweep`; what others sweep at the same moment may count twice."""
        removed = 0
        for part in slices(versions, _PART):
            self._before_write()
            removed += self._writes.remove(keyword("version", *part))
            self._records.sweep(part)
        self._languages = None
        return removed

    def remove_chunks(self, ids: Sequence[str]) -> int:
        """See `Store.remove_chunks`."""
        removed = 0
        for part in slices(uuids(ids), _PART):
            self._before_write()
            removed += self._writes.remove(models.HasIdCondition(has_id=list(part)))
        self._languages = None
        return removed

    def put_info(self, document_id: str, version: str, info: DocumentInfo) -> None:
        """See `Store.put_info`; readers that come while it is under way may see it half done."""
        check_info(document_id, info)
        self._before_write()
        self._writes.tell(document_id, version, info)
        self._records.put_info(document_id, version, info)

    # Reading

    def search(self, legs: Sequence[Leg], where: Filter | None = None) -> list[list[Candidate]]:
        """See `Store.search`."""
        self._check_open()
        for leg in legs:
            if isinstance(leg.query, DenseQuery):
                check_query(self._config, leg.query)
        if where is not None:
            check(where)
        return self._reads.search(legs, where)

    def fetch(self, ids: Sequence[str]) -> list[Passage]:
        """See `Store.fetch`."""
        self._check_open()
        found = self._reads.fetch(ids, True) if ids else {}
        return [passage_from(found[one]) for one in ids if one in found]

    def locate(self, ids: Sequence[str]) -> list[ChunkKey]:
        """See `Store.locate`."""
        self._check_open()
        found = self._reads.fetch(ids, ["type", *_KEY]) if ids else {}
        return [ChunkKey(one, *(found[one][name] for name in _KEY)) for one in ids if one in found]

    def chunks_of(self, document_id: str, *, first: int = 0, last: int | None = None) -> list[Passage]:
        """See `Store.chunks_of`."""
        self._check_open()
        chosen = ordinals(document_id, first, None if last is None else last + 1)
        ids, found = self._reads.of_live(document_id, chosen)
        return [passage_from(found[one]) for one in ids if one in found]

    def read_chunks(
        self, document_id: str, *, first: int = 0, limit: int = 256
    ) -> tuple[list[Passage], Vectors]:
        """See `Store.read_chunks`."""
        self._check_open()
        live = self._points.live(document_id)
        chosen = ordinals(document_id, first, max(first, 0) + limit)
        return self.read_points([] if live is None else chosen(*live))

    def read_points(self, ids: Sequence[str]) -> tuple[list[Passage], Vectors]:
        """See `Store.read_points`."""
        self._check_open()
        payloads, vectors = self._reads.points(ids)
        return [passage_from(payload) for payload in payloads], vectors

    def unsound(self, ids: Sequence[str]) -> list[str]:
        """See `Store.unsound`."""
        return unsound_vectors(self.read_points, ids)

    def list_chunks(
        self, *, after: str | None = None, limit: int = 10_000, where: Filter | None = None
    ) -> list[ChunkKey]:
        """See `Store.list_chunks`."""
        check_cursor(after)
        self._check_open()
        if where is None:
            every = models.Filter(must=[keyword("type", CHUNK)])
            page = self._points.scroll(every, list(_KEY), after, limit)
        else:
            check(where)

            def read(sight: Sight) -> list[models.Record]:
                matching = visible(sight.hidden, where, self._config.apart)
                return self._points.scroll(matching, list(_KEY), after, limit)

            page = self._reads.steadily(read)
        return [ChunkKey(str(one.id), **(one.payload or {})) for one in page]

    def newest(self, *, after: tuple[str, str] | None = None, limit: int = 100) -> list[tuple[str, str]]:
        """See `Store.newest`."""
        check_row(after)
        self._check_open()
        return self._reads.newest(after, limit)

    def languages(self) -> list[str]:
        """See `Store.languages`; a language that another process brings shows within a second."""
        self._check_open()
        now = time.monotonic()
        kept = self._languages
        if kept is None or now - kept[0] > _LANGUAGES:
            answer = self._calls.ask(
                "reading the languages",
                lambda client: client.facet(self._name, "analysed", limit=1000, exact=True),
            )
            kept = now, sorted(str(hit.value) for hit in answer.hits if hit.count)
            self._languages = kept
        return list(kept[1])

    def count(self, where: Filter | None = None) -> int:
        """See `Store.count`."""
        self._check_open()
        if where is not None:
            check(where)
        apart = self._config.apart
        return self._reads.steadily(lambda sight: self._reads.count(visible(sight.hidden, where, apart)))

    def facets(self, key: str, where: Filter | None = None) -> Facets:
        """See `Store.facets`."""
        check_key(key)
        self._check_open()
        if where is not None:
            check(where)
        apart = self._config.apart
        return self._reads.steadily(
            lambda sight: count(key, values_of(self._points, sight.hidden, key, where, apart))
        )

    def stats(self) -> StoreStats:
        """See `Store.stats`; the server does not say what a collection takes on disk: 0."""
        self._check_open()
        live = models.IsEmptyCondition(is_empty=models.PayloadField(key="live"))
        documents = models.Filter(must=[keyword("type", MANIFEST)], must_not=[live])

        def counts(sight: Sight) -> tuple[int, int, int]:
            shown = self._reads.count(visible(sight.hidden))
            return self._reads.count(documents), shown, self._reads.count(visible(()))

        answering, chunks, everything = self._reads.steadily(counts)
        return StoreStats(answering, chunks, everything - chunks, 0)

    # Keeping

    def optimise(self) -> None:
        """Wait until the server, which builds its indexes by itself, has built them.

        Raises:
            StoreError: the server says that it cannot.
            StoreUnavailableError: it was closed meanwhile.
        """
        while True:
            self._check_open()
            found = self._calls.ask(
                f"optimising {self._name}", lambda client: client.get_collection(self._name)
            )
            if found.status == models.CollectionStatus.GREEN:
                return
            if found.status == models.CollectionStatus.RED:
                raise StoreError(
                    f"the Qdrant server cannot optimise {self._name}: {found.optimizer_status}; see its log"
                )
            time.sleep(_OPTIMISE_LOOK)

    def sync(self) -> None:
        """See `Store.sync`; the server does by itself."""
        self._check_open()

    def flush(self) -> None:
        """See `Store.flush`; the server does by itself."""
        self._check_open()

    def close(self) -> None:
        """See `Store.close`."""
        self._closed = True
        self._lease.close()

    def kill(self) -> None:
        """Close at once: whatever is under way ends at its next step."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailableError("the store is closed; open it again")

    def _before_write(self) -> None:
        self._check_open()
        self._lease.hold()
