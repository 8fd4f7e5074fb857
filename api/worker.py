"""`latewood worker`: works on the queue until stopped.

Where the queue is in the data directory, the worker owns the data as `serve` does, without HTTP over TCP.
With a PostgreSQL queue it parses and embeds, and writes through whoever owns the data: as many may run as
there are processors or GPUs.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from latewood.api.owner import SocketServer
from latewood.embedder.types import Embedder
from latewood.engine.addresses import MEMORY, SQLITE
from latewood.engine.jobs.durable_queue import DurableDesk
from latewood.engine.jobs.queue import Desk
from latewood.engine.library import Service
from latewood.engine.models import fingerprint
from latewood.engine.owner.lock import DataError, private_socket, try_lock
from latewood.engine.owner.writer_rpc import NAME, OwnerIndex
from latewood.engine.settings import Settings, SettingsError
from latewood.ingest.pipeline import Index
from latewood.search.stores.base import Store
from latewood.search.stores.generations import layout
from latewood.search.types import IndexConfig

_LOOK_SECONDS = 0.5
_QUIET_LOOKS = 3
Ready = Callable[[str], None]


class WorkerService(Service):
    """What a worker holds: models and readers, and of the indexes only the way to their owner."""

    def __init__(self, settings: Settings, worker: str) -> None:
        self._worker = worker
        self._indexes: dict[tuple[str, str], OwnerIndex] = {}
        super().__init__(settings)

    def exists(self, tenant: str, collection: str) -> bool:
        """See `Service.exists`."""
        return self._owned(tenant, collection).ask("config") is not None

    def for_writing(self, tenant: str, collection: str) -> Index:
        """An index that is read and written through its owner, made for this worker's model if need be."""
        owned = self._owned(tenant, collection)
        config = owned.ask("config")
        if config is None:
            config = owned.ask("create", self.config(self.embedder(None)))
        owned.config = config

        def embedder() -> Embedder:
            found = self.embedder(self.model_of(config))
            layout.check_fingerprint(config, fingerprint(found, self.analyzer))
            return found

        self._check_analyzer(config)
        tokens = self.settings.chunk_tokens
        return Index(tenant, collection, cast(Store, owned), embedder, self.analyzer, tokens, handed=owned)

    def after_writing(self, tenant: str, collection: str) -> None:
        """See `Service.after_writing`."""
        if (tenant, collection) in self._indexes and not self.jobs.closing:
            self._owned(tenant, collection).ask("written")

    def close(self) -> None:
        """See `Service.close`."""
        super().close()
        for owned in self._indexes.values():
            owned.close()

    def _desk(self) -> Desk:
        return DurableDesk(self, self._worker)

    def _check_analyzer(self, config: IndexConfig) -> None:
        layout.check_fingerprint(config, {**config.fingerprint, "analyzer": self.analyzer.fingerprint})

    def _owned(self, tenant: str, collection: str) -> OwnerIndex:
        key = (tenant, collection)
        with self._guard:
            if key not in self._indexes:
                path = private_socket(self.settings.data).with_name(NAME)
                self._indexes[key] = OwnerIndex(path, *key, lambda: self.jobs.closing)
            return self._indexes[key]


def work(settings: Settings, ready: Ready, *, until_idle: bool) -> None:
    """Work until interrupted, or until the queue is empty; `ready` gets the worker's name.

    Raises:
        SettingsError: `JOBS` is `memory`.
        DataError: the data is held by someone who works on its queue already.
        ApiError: the queue cannot be reached.
    """
    if settings.jobs == MEMORY:
        raise SettingsError("JOBS = 'memory' keeps no queue to work on; set it to sqlite or a PostgreSQL url")
    with _service(settings, ready) as service, contextlib.suppress(KeyboardInterrupt):
        service.desk.start()
        quiet = 0
        while not service.jobs.closing and quiet < _QUIET_LOOKS:
            time.sleep(_LOOK_SECONDS)
            quiet = quiet + 1 if until_idle and service.desk.idle() else 0


@contextmanager
def _service(settings: Settings, ready: Ready) -> Iterator[Service]:
    if settings.jobs != SQLITE:
        with named(settings.data) as name, contextlib.closing(WorkerService(settings, name)) as service:
            ready(name)
            yield service
        return
    handle = try_lock(settings.data)
    if handle is None:
        raise DataError(
            f"whoever holds {settings.data} works on its queue already; for workers of their own set JOBS to "
            "a PostgreSQL url"
        )
    try:
        with contextlib.closing(Service(settings, lock_fd=handle)) as service:
            server = SocketServer(service, private_socket(settings.data))
            try:
                ready("owner")
                yield service
            finally:
                service.jobs.close()
                server.close()
    finally:
        os.close(handle)


@contextmanager
def named(data: Path) -> Iterator[str]:
    """A name that no other living worker of this data directory has, and that comes back after a crash.

    It is a file's, locked while it is in use: the kernel lets go of it with the process.

    Raises:
        DataError: the folder cannot be written.
    """
    folder = data / "workers"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        taken = _first_free(folder)
    except OSError as error:
        raise DataError(f"cannot use {folder}: {error.strerror}; set LATEWOOD_DATA") from error
    handle, name = taken
    try:
        yield name
    finally:
        os.close(handle)


def _first_free(folder: Path) -> tuple[int, str]:
    for path in [*sorted(folder.iterdir()), folder / f"worker-{uuid.uuid4()}"]:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            continue
        return handle, path.name
    raise DataError(f"no name for a worker is free in {folder}; try again")
