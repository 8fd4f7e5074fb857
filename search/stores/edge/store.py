"""The embedded store: qdrant-edge in a worker process of its own."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from latewood.embedder.types import Vectors
from latewood.search.facets import Facets
from latewood.search.ranked_list import RankedList
from latewood.search.stores.durable import sync_files
from latewood.search.stores.edge.disk_space import disk_bytes
from latewood.search.stores.edge.fair import FairLock
from latewood.search.stores.edge.faults import WorkerDiedError, given_up, unreadable
from latewood.search.stores.edge.private_copy import PrivateCopy, read_only, too_full
from latewood.search.stores.edge.process import (
    CALL_SECONDS,
    QUESTION_SECONDS,
    QUESTIONS,
    READS,
    WRITES,
    WorkerProcess,
    ranked_list,
)
from latewood.search.stores.qdrant.newest import check_row
from latewood.search.stores.qdrant.payload import check_cursor, check_info, manifest_from, passage_from
from latewood.search.stores.records import row_of, whole_records
from latewood.search.stores.vectors import check_query, check_vectors
from latewood.search.types import (
    ChunkKey,
    DenseQuery,
    DiskFullError,
    DocumentInfo,
    Filter,
    IndexConfig,
    Leg,
    Manifest,
    ManifestWrite,
    Passage,
    Record,
    StoreDamagedError,
    StoreStats,
    StoreUnavailableError,
)

FREE_SPACE = 256 * 2**20
"""Bytes that stay free on the disk: the engine dies, it does not raise, when a disk is full."""

_SLICE = 256  # chunks per message, so that a search waits for one slice at most and not for a whole document
_ROWS = 32  # records per message, for the same reason
_ATTEMPTS = 2
_NO_FLOOR = -(2**50)  # for a copy, which takes no writes but what opening it takes

_log = logging.getLogger(__name__)
_Decoded = TypeVar("_Decoded")


class EdgeStore:
    """One index in one directory. Safe to share by threads; the caller holds the directory's lock.

    A worker that dies is replaced and the call repeated: every call may be repeated, and everything that was
    acknowledged is in the engine's journal.

    On a full disk, or in a folder that cannot be written, the index is read from a private copy
    (`edge_copy`); the first write with enough space opens the index itself again.
    """

    def __init__(
        self,
        directory: Path,
        config: IndexConfig,
        lock_fd: int | None = None,
        *,
        free_space: int = FREE_SPACE,
        unchecked: bool = False,
        call_seconds: float = CALL_SECONDS,
        question_seconds: float = QUESTION_SECONDS,
    ) -> None:
        """Open the index, which is made when the directory has none.

        Args:
            directory: a generation's folder; the engine's files go to `shard/` in it.
            config: what the index was, or is to be, made with.
            lock_fd: the owner's open lock file, handed on so that the lock is held until the worker is gone.
            free_space: bytes to leave free on the disk.
            unchecked: open even an index that does not hold what was acknowledged, to find and mend it.
            call_seconds: how long a call may be without an answer before the worker is ended and the call
                repeated, once; opening, flushing, closing and optimising have longer.
            question_seconds: the same for questions; also how long one waits for the calls before it.

        Raises:
            StoreDamagedError: the index does not hold what was acknowledged.
            StoreUnavailableError: it cannot be opened now.
            DiskFullError: too little space to make one, or for a copy of one on a full disk.
            StoreReadOnlyError: the folder is read-only, and there is no index or no space for a copy.
        """
        self._directory = directory
        self._config = config
        self._lock_fd = lock_fd
        self._free_space = free_space
        self._unchecked = unchecked
        self._call_seconds = call_seconds
        self._question_seconds = question_seconds
        self._lock = FairLock()
        self._closed = False
        self._worker: WorkerProcess | None = None
        self._copy: PrivateCopy | None = None
        self._languages: list[str] | None = None  # asked by every question; forgotten with every write
        self._syncing = threading.Lock()
        self._written = 1  # acknowledged writes; what is found at opening counts as one
        self._synced = 0
        self._unsynced: OSError | None = None
        self._call("in_flight")
        if self._copy is None:
            try:
                self._call("flush")
            except DiskFullError as error:  # the journal has what was acknowledged
                _log.warning("%s: opened without a flush: %s", directory, error)

    @property
    def config(self) -> IndexConfig:
        """What the index was made with."""
        return self._config

    @property
    def worker_pid(self) -> int | None:
        """Process id of the newest worker; None once closed."""
        worker = self._worker
        return None if worker is None else worker.pid

    def put_manifests(self, writes: Sequence[ManifestWrite]) -> list[bool]:
        """See `Store.put_manifests`."""
        taken: list[bool] = self._call("put_manifests", list(writes))
        return taken

    def get_manifests(self, ids: Sequence[str]) -> list[Manifest]:
        """See `Store.get_manifests`."""
        return self._decoded(manifest_from, self._call("get_manifests", list(ids)))

    def list_manifests(
        self, *, source: str | None = None, after: str | None = None, limit: int = 1000
    ) -> list[Manifest]:
        """See `Store.list_manifests`."""
        check_cursor(after)
        return self._decoded(manifest_from, self._call("list_manifests", source, after, limit))

    def newest(self, *, after: tuple[str, str] | None = None, limit: int = 100) -> list[tuple[str, str]]:
        """See `Store.newest`."""
        check_row(after)
        rows: list[tuple[str, str]] = self._call("newest", after, limit)
        return rows

    def in_flight(self) -> list[Manifest]:
        """See `Store.in_flight`."""
        return self._decoded(manifest_from, self._call("in_flight"))

    def abandoned(self) -> list[Manifest]:
        """See `Store.abandoned`; whoever holds the lock is the only one at work."""
        return self.in_flight()

    def put_chunks(self, passages: Sequence[Passage], vectors: Vectors) -> None:
        """See `Store.put_chunks`; a refusal half way leaves chunks that no manifest names."""
        check_vectors(self._config, passages, vectors)
        for start in range(0, len(passages), _SLICE):
            end = start + _SLICE
            part = Vectors(vectors.dense[start:end], vectors.sparse[start:end])
            self._call("put_chunks", list(passages[start:end]), part)

    def sweep(self, versions: Sequence[str]) -> int:
        """See `Store.sweep`; after a worker's death it may count only what was still there."""
        removed: int = self._call("sweep", list(versions))
        return removed

    def remove_chunks(self, ids: Sequence[str]) -> int:
        """See `Store.remove_chunks`; after a worker's death it may count only what was still there."""
        removed: int = self._call("remove_chunks", list(ids))
        return removed

    def put_info(self, document_id: str, version: str, info: DocumentInfo) -> None:
        """See `Store.put_info`."""
        check_info(document_id, info)
        self._call("put_info", document_id, version, info)

    def put_records(self, records: Sequence[Record]) -> None:
        """See `Store.put_records`; a refusal half way leaves records that no manifest names."""
        rows = [row_of(record) for record in records]
        for start in range(0, len(rows), _ROWS):
            self._call("put_records", rows[start : start + _ROWS])

    def get_records(self, ids: Sequence[str]) -> list[Record]:
        """See `Store.get_records`."""
        found = list[Record]()
        for start in range(0, len(ids), _ROWS):
            rows = self._call("get_records", list(ids[start : start + _ROWS]))
            found += whole_records(rows, self._directory)
        return found

    def list_records(
        self, *, after: tuple[str, str] | None = None, limit: int = 10_000
    ) -> list[tuple[str, str]]:
        """See `Store.list_records`."""
        page: list[tuple[str, str]] = self._call("list_records", after, limit)
        return page

    def search(self, legs: Sequence[Leg], where: Filter | None = None) -> list[RankedList]:
        """See `Store.search`."""
        for leg in legs:
            if isinstance(leg.query, DenseQuery):
                check_query(self._config, leg.query)
        return [ranked_list(ranked) for ranked in self._call("search", list(legs), where)]

    def fetch(self, ids: Sequence[str]) -> list[Passage]:
        """See `Store.fetch`."""
        return self._decoded(passage_from, self._call("fetch", list(ids)))

    def locate(self, ids: Sequence[str]) -> list[ChunkKey]:
        """See `Store.locate`."""
        found: list[ChunkKey] = self._call("locate", list(ids))
        return found

    def chunks_of(self, document_id: str, *, first: int = 0, last: int | None = None) -> list[Passage]:
        """See `Store.chunks_of`."""
        return self._decoded(passage_from, self._call("chunks_of", document_id, first, last))

    def read_chunks(
        self, document_id: str, *, first: int = 0, limit: int = 256
    ) -> tuple[list[Passage], Vectors]:
        """See `Store.read_chunks`.

        Raises:
            StoreDamagedError: the engine gives back what are no vectors.
        """
        return self._read("read_chunks", document_id, first, limit)

    def read_points(self, ids: Sequence[str]) -> tuple[list[Passage], Vectors]:
        """See `Store.read_points`.

        Raises:
            StoreDamagedError: the engine gives back what are no vectors.
        """
        return self._read("read_points", list(ids))

    def _read(self, method: str, *arguments: Any) -> tuple[list[Passage], Vectors]:
        payloads, dense, sparse = self._call(method, *arguments)
        passages = self._decoded(passage_from, payloads)
        try:
            return passages, Vectors(dense, tuple(sparse))
        except ValueError as error:
            documents = ", ".join(sorted({one.chunk.document_id for one in passages}))
            raise StoreDamagedError(
                f"vectors in {self._directory} are damaged ({error}), of {documents:.400}; "
                "run `latewood verify --repair`"
            ) from error

    def unsound(self, ids: Sequence[str]) -> list[str]:
        """See `Store.unsound`."""
        found: list[str] = self._call("unsound", list(ids))
        return found

    def list_chunks(
        self, *, after: str | None = None, limit: int = 10_000, where: Filter | None = None
    ) -> list[ChunkKey]:
        """See `Store.list_chunks`."""
        check_cursor(after)
        page: list[ChunkKey] = self._call("list_chunks", after, limit, where)
        return page

    def languages(self) -> list[str]:
        """See `Store.languages`."""
        known = self._languages
        if known is None or self._closed:
            known = self._call("languages")
        return list(known)

    def count(self, where: Filter | None = None) -> int:
        """See `Store.count`."""
        found: int = self._call("count", where)
        return found

    def facets(self, key: str, where: Filter | None = None) -> Facets:
        """See `Store.facets`."""
        counted: Facets = self._call("facets", key, where)
        return counted

    def stats(self) -> StoreStats:
        """See `Store.stats`."""
        counted: StoreStats = self._call("stats")
        if self._copy is not None:  # of the index, not of the copy, which may have fewer holes
            return replace(counted, bytes=disk_bytes(self._directory))
        return counted

    def optimise(self) -> None:
        """See `Store.optimise`.

        Raises:
            DiskFullError: not even as much is free as the index takes now.
        """
        self._call("optimise")

    def sync(self) -> None:
        """See `Store.sync`.

        The engine's journal is written through a memory map and synced by its `flush` only, which syncs every
        segment as well while all readers wait. Opening replays the journal over the segments as they are, so
        the journal's files are all it takes, and any process may sync these.
        """
        asked = self._written
        with self._syncing:
            if self._closed:
                raise StoreUnavailableError(f"the store in {self._directory} is closed; open it again")
            if self._unsynced is None and self._synced < asked:
                written = self._written
                try:
                    sync_files(self._directory / "shard" / "wal")
                except OSError as error:
                    self._unsynced = error  # for good: the kernel reports a page it could not write only once
                else:
                    self._synced = written
            if self._unsynced is not None:
                raise StoreUnavailableError(
                    f"syncing the journal of {self._directory} failed: {self._unsynced}; what was written "
                    "since may not survive a power cut; check the disk, then restart"
                )

    def flush(self) -> None:
        """See `Store.flush`."""
        self._call("flush")

    def close(self) -> None:
        """See `Store.close`."""
        with self._lock:
            self._closed = True
            self._end_worker()
            self._leave_copy()

    def _end_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is None or not worker.alive:
            return
        try:
            worker.end()
        except (WorkerDiedError, DiskFullError) as error:
            _log.warning("%s while closing %s; nothing acknowledged is lost", error, self._directory)

    def _leave_copy(self) -> None:
        copy, self._copy = self._copy, None
        if copy is not None:
            copy.close()

    def kill(self) -> None:
        """Close at once, whatever is under way: that call, and every later one, raises StoreUnavailableError.

        What was acknowledged stays.
        """
        self._closed = True  # first, or the call under way would start another worker
        worker = self._worker
        if worker is not None:
            worker.end_now()

    def _call(self, method: str, *arguments: Any) -> Any:
        """Ask the worker, a new one if it died; one call at a time."""
        with self._turn(method):
            for attempt in range(1, _ATTEMPTS + 1):
                if self._closed:
                    raise StoreUnavailableError(f"the store in {self._directory} is closed; open it again")
                if method not in READS:
                    self._languages = None
                try:
                    found = self._ask(method, arguments)
                    self._written += method not in READS
                    if method == "languages":
                        self._languages = found
                    return found
                except WorkerDiedError as error:
                    _log.warning("%s during %s (attempt %d)", error, method, attempt)
                    died = error
            raise given_up(died, self._directory, _ATTEMPTS) from died

    @contextmanager
    def _turn(self, method: str) -> Iterator[None]:
        """Hold the lock; a question waits `question_seconds` for the calls before it, no longer."""
        if method not in QUESTIONS:
            with self._lock:
                yield
            return
        with ExitStack() as stack:
            try:
                stack.enter_context(self._lock.within(self._question_seconds))
            except TimeoutError as error:
                raise StoreUnavailableError(
                    f"the store in {self._directory} was busy for {self._question_seconds:g} s; "
                    "try again, or raise QUESTION_SECONDS"
                ) from error
            yield

    def _ask(self, method: str, arguments: tuple[Any, ...]) -> Any:
        # A flush of a copy would promise what the index itself does not keep.
        writes = method in WRITES or method == "flush"
        try:
            return (self._opened_for_writing(method) if writes else self._opened()).ask(method, arguments)
        except (WorkerDiedError, DiskFullError) as error:
            of_full_disk = isinstance(error, DiskFullError) or error.status == -signal.SIGBUS
            if writes or self._copy is not None or not of_full_disk or not self._made:
                raise
            _log.warning("%s failed on a full disk: %s", method, error)
        if self._worker is not None:
            self._worker.kill()
        self._copy = PrivateCopy(self._directory)
        return self._opened().ask(method, arguments)

    def _opened_for_writing(self, method: str) -> WorkerProcess:
        """Return the worker that holds the index itself: again, when it was copied and there is space now."""
        worker = self._opened()
        while self._copy is not None:
            if not self._copy.outlived:
                raise self._copy.refusal(f"{method} is refused; a private copy answers questions meanwhile")
            self._end_worker()
            self._leave_copy()
            worker = self._opened()
        return worker

    def _opened(self) -> WorkerProcess:
        """Return the worker that holds the index, or the copy of one that cannot be opened where it is."""
        if self._worker is None or not self._worker.alive:
            directory = self._directory
            if self._copy is None and self._made and (read_only(directory) or too_full(directory)):
                self._copy = PrivateCopy(directory)
            copied = self._copy is not None
            self._worker = WorkerProcess(
                *(directory if self._copy is None else self._copy.path, self._config),
                *(_NO_FLOOR if copied else self._free_space, self._lock_fd),
                unchecked=self._unchecked,
                call_seconds=self._call_seconds,
                question_seconds=self._question_seconds,
            )
        return self._worker

    @property
    def _made(self) -> bool:
        """Whether there is an index to copy."""
        return (self._directory / "shard").exists()

    def _decoded(self, decode: Callable[[Any], _Decoded], stored: Sequence[Any]) -> list[_Decoded]:
        """What the worker read, decoded.

        Raises:
            StoreDamagedError: it is not what is ever written.
        """
        try:
            return [decode(one) for one in stored]
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise unreadable(f"reading {self._directory}", error) from error
