"""The owner that is killed: opens the index as the service does, ingests the folder once, and ends.

It counts every message to the store's worker process and can be told to kill itself, the worker, or both,
just before, just after sending, or just after the answer of the n-th.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from killing_world import CONFIG, run_sync

from latewood.ingest.index import commit
from latewood.search.stores.edge import process
from latewood.search.stores.edge.store import EdgeStore
from latewood.search.stores.generations import layout

if TYPE_CHECKING:
    from killing_nursery import Nursery

PATIENCE = 120.0
SELF, WORKER, BOTH = "self", "worker", "both"
BEFORE, SENT, AFTER = "before", "sent", "after"


class _Fuse:
    """Counts the store's messages, and kills at one of them."""

    def __init__(self, at: int, who: str, when: str) -> None:
        self.calls = 0
        self._at, self._who, self._when = at, who, when
        self._ask = process.WorkerProcess.ask

    def ask(self, worker: process.WorkerProcess, method: str, arguments: tuple[Any, ...]) -> Any:
        self.calls += 1
        struck = self.calls == self._at
        if struck and self._when == BEFORE:
            self._strike(worker)
        if struck and self._when == SENT:
            worker._connection.send((method, arguments))
            self._strike(worker)
        answer = self._ask(worker, method, arguments)
        if struck and self._when == AFTER:
            self._strike(worker)
        return answer

    def _strike(self, worker: process.WorkerProcess) -> None:
        if self._who != SELF:
            os.kill(worker.pid, signal.SIGKILL)
        if self._who != WORKER:
            os.kill(os.getpid(), signal.SIGKILL)


@contextlib.contextmanager
def opened(data: Path) -> Iterator[EdgeStore]:
    """Own the data as the service does and open its index, made if there is none; nothing is recovered.

    The lock is free only when the owner before and its worker are both gone.
    """
    data.mkdir(exist_ok=True)
    lock = os.open(data / "owner.lock", os.O_RDWR | os.O_CREAT)
    try:
        _take(lock)
        if not layout.exists(data, "default", "default"):
            layout.create(data, "default", "default", CONFIG)
        generation = layout.path_of(data, "default", "default")
        store = EdgeStore(generation, layout.read_config(generation), lock)
        try:
            yield store
        finally:
            store.close()
    finally:
        os.close(lock)


def _take(lock: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            assert time.monotonic() < deadline, "the owner before is not gone"
            time.sleep(0.002)
        else:
            return


def own(nursery: Nursery, report: socket.socket, spec: dict[str, Any]) -> None:
    """Ingest `spec["folder"]` into `spec["data"]`; tells when it begins, and the number of messages."""
    process.subprocess = nursery.subprocess_module()  # type: ignore[assignment]
    fuse = _Fuse(spec.get("at", 0), spec.get("who", SELF), spec.get("when", BEFORE))

    def ask(worker: process.WorkerProcess, method: str, arguments: tuple[Any, ...]) -> Any:
        return fuse.ask(worker, method, arguments)

    process.WorkerProcess.ask = ask  # type: ignore[method-assign]
    report.send(b"begun 0\n")
    with opened(Path(spec["data"])) as store:
        commit.recover(store)
        report.send(f"open {store.worker_pid}\n".encode())
        run_sync(lambda: store, Path(spec["folder"]))
    report.send(f"done {fuse.calls}\n".encode())
