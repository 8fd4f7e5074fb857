"""How a worker writes through the owner of the data: a Unix socket of its own, mode 0600, beside the owner's.

A worker parses and embeds; the owner alone holds the index. What crosses is whole documents, so that a
worker that is killed leaves nothing half done, and each request may be repeated. The wire is that of the
store's worker process: pickled pairs, `(method, arguments)` there and `("ok", value)` or `("error",
exception)` back. Whoever can open the socket is the user whose data it is, and nobody else can.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from latewood.embedder.types import EmbedderError
from latewood.engine.errors import ApiError
from latewood.engine.owner.lock import listen
from latewood.ingest.index import commit
from latewood.ingest.index.metadata_overrides import told
from latewood.ingest.index.writer import Embedded, StoreWriter, describe
from latewood.ingest.jobs import JobError
from latewood.search.stores.base import Store
from latewood.search.types import (
    DocumentInfo,
    Failure,
    FileStamp,
    IndexConfig,
    Manifest,
    SearchError,
    StoreUnavailableError,
)

if TYPE_CHECKING:
    from latewood.engine.library import Service

logger = logging.getLogger(__name__)
NAME = "workers.sock"
READS = frozenset({"get_manifests", "list_manifests", "chunks_of", "read_chunks", "stats", "flush", "sync"})
WRITES = frozenset({"write", "remove", "note_failure", "note_unchanged"})
PATIENCE = 60.0
"""Seconds for which a worker waits for the owner, or the next one, to answer."""


class Link:
    """The owner's end: one thread for each worker that is connected.

    Raises:
        DataError: the socket cannot be made.
    """

    def __init__(self, service: Service, path: Path) -> None:
        self._service = service
        self._path = path
        self._guard = threading.Lock()
        self._used: set[tuple[str, str]] = set()
        self._unsettled: set[tuple[str, str]] = set()
        self._open: set[Connection] = set()
        self._closing = False
        self._listener = listen(path)
        self._thread = threading.Thread(target=self._accept, name="link", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer what is being asked, then hang up."""
        self._closing = True
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        with self._guard:
            used = sorted(self._used)
        for key in used:  # whoever writes has come to its end, and nobody begins
            with self._lock(key):
                pass
        with self._guard:
            for connection in self._open:
                with contextlib.suppress(OSError), socket.socket(fileno=connection.fileno()) as shared:
                    shared.shutdown(socket.SHUT_RDWR)
                    shared.detach()

    def _accept(self) -> None:
        while not self._closing:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return  # closed
            connection = Connection(accepted.detach())
            with self._guard:
                self._open.add(connection)
            threading.Thread(target=self._serve, args=[connection], name="worker", daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        try:
            while True:
                method, tenant, collection, arguments, named = connection.recv()
                connection.send(self._answer(method, (tenant, collection), arguments, named))
        except (EOFError, OSError):
            logger.info("a worker hung up")
        finally:
            with self._guard:
                self._open.discard(connection)
            connection.close()

    def _answer(
        self, method: str, key: tuple[str, str], arguments: tuple[Any, ...], named: Mapping[str, Any]
    ) -> tuple[str, Any]:
        try:
            if method in READS:
                return "ok", getattr(self._service.open(*key).store, method)(*arguments, **named)
            return "ok", self._do(method, key, arguments)
        except (SearchError, ValueError) as error:
            return "error", error
        except (ApiError, EmbedderError, JobError, OSError) as error:
            return "error", StoreUnavailableError(f"the owner of the data says: {error}")

    def _do(self, method: str, key: tuple[str, str], arguments: tuple[Any, ...]) -> Any:
        service = self._service
        if method == "config":
            return service.open(*key).store.config if service.exists(*key) else None
        if method == "create":
            return self._create(key, *arguments)
        if method == "written":
            return service.after_writing(*key)
        if method in WRITES:
            return self._write(method, key, arguments)
        raise ValueError(f"the owner has no method {method!r} for workers")

    def _create(self, key: tuple[str, str], config: IndexConfig) -> IndexConfig:
        with self._lock(key):
            if not self._service.exists(*key):
                self._service.catalog.create(*key, config)
        return self._service.open(*key).store.config

    def _write(self, method: str, key: tuple[str, str], arguments: tuple[Any, ...]) -> Any:
        """One at a time in a collection, so that what a failed one left can be settled by the next."""
        with self._lock(key):
            if self._closing:
                raise StoreUnavailableError("the owner of the data lets go of it; ask the next one")
            store = self._service.open(*key).store  # a repair before it may have opened it anew
            if key in self._unsettled:
                commit.recover(store)
                self._unsettled.discard(key)
            self._unsettled.add(key)
            if method == "write":
                answer: Any = _write_for(store, *arguments)
            else:
                answer = getattr(StoreWriter(store), method)(*arguments)
            self._unsettled.discard(key)
            return answer

    def _lock(self, key: tuple[str, str]) -> threading.RLock:
        """A collection's lock, which a repair by the owner holds too."""
        with self._guard:
            self._used.add(key)
        return self._service.write_lock(*key)


def _write_for(
    store: Store, config: IndexConfig, batch: Sequence[Embedded], recorded: Mapping[str, str]
) -> list[bool]:
    if store.config != config:
        raise StoreUnavailableError("the index was given another model meanwhile; start again")
    return write_once(store, batch, recorded)


def write_once(store: Store, batch: Sequence[Embedded], recorded: Mapping[str, str]) -> list[bool]:
    """Write those documents that do not stand there already just so: another worker may have had the job.

    A batch that is handed in again after its answer was lost is not written again.
    """
    stands = {one.id: one for one in store.get_manifests([one.document.id for one in batch])}
    new = [one for one in batch if not _stands(stands.get(one.document.id), one, recorded)]
    won = iter(StoreWriter(store).write(new, recorded) if new else [])
    fresh = {id(one) for one in new}
    return [next(won) if id(one) in fresh else True for one in batch]


def _stands(manifest: Manifest | None, one: Embedded, recorded: Mapping[str, str]) -> bool:
    if manifest is None or manifest.live is None or manifest.failure is not None:
        return False
    document = one.document
    said = told(describe(document, one.prepared.chunks[0].language), manifest.amended)
    return (
        manifest.content_hash == document.content_hash
        and manifest.stamp == document.stamp
        and manifest.beside == document.beside
        and dict(manifest.recorded) == dict(recorded)
        and manifest.document == replace(said, ingested=manifest.document.ingested)
        and manifest.chunks == len(one.prepared.chunks)
    )


class OwnerIndex:
    """A worker's end: what an ingest reads of a collection and writes to it, through whoever owns the data.

    Implements `Writer`, and of `Store` what an ingest reads. Safe to share by threads.
    """

    config: IndexConfig
    """What the documents that are written were embedded for."""

    def __init__(self, path: Path, tenant: str, collection: str, stop: Callable[[], bool]) -> None:
        self._path = path
        self._key = (tenant, collection)
        self._stop = stop
        self._lock = threading.Lock()
        self._connection: Connection | None = None

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """What may be read of the store."""
        if name not in READS:
            raise AttributeError(f"an ingest reads {', '.join(sorted(READS))} of a store, not {name}")
        return lambda *arguments, **named: self._ask(name, arguments, named)

    def write(self, batch: Sequence[Embedded], recorded: Mapping[str, str]) -> list[bool]:
        """See `Writer.write`."""
        return cast(list[bool], self.ask("write", self.config, list(batch), dict(recorded)))

    def remove(self, ids: Sequence[str]) -> int:
        """See `Writer.remove`."""
        return int(self.ask("remove", list(ids)))

    def note_failure(self, info: DocumentInfo, failure: Failure) -> None:
        """See `Writer.note_failure`."""
        self.ask("note_failure", info, failure)

    def note_unchanged(self, document_id: str, stamp: FileStamp, modified: str) -> None:
        """See `Writer.note_unchanged`."""
        self.ask("note_unchanged", document_id, stamp, modified)

    def ask(self, method: str, *arguments: Any) -> Any:
        """One request; again with the next owner when this one goes.

        Raises:
            StoreUnavailableError: no owner answers for a minute.
            SearchError, ValueError: what the owner raised.
        """
        return self._ask(method, arguments, {})

    def _ask(self, method: str, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        deadline = time.monotonic() + PATIENCE
        while True:
            with self._lock:
                try:
                    connection = self._connected()
                    connection.send((method, *self._key, arguments, named))
                    outcome, value = connection.recv()
                    break
                except (EOFError, OSError) as error:
                    self._hang_up()
                    if time.monotonic() > deadline or self._stop():
                        raise StoreUnavailableError(
                            f"nobody who owns the data answers on {self._path}; start `latewood serve` there"
                        ) from error
            time.sleep(0.2)
        if outcome == "error":
            raise value
        return value

    def close(self) -> None:
        """Hang up."""
        with self._lock:
            self._hang_up()

    def _connected(self) -> Connection:
        if self._connection is None:
            with contextlib.ExitStack() as stack:
                ours = stack.enter_context(socket.socket(socket.AF_UNIX))
                ours.connect(str(self._path))
                self._connection = Connection(ours.detach())
        return self._connection

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
