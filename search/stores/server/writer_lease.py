"""Who writes to a collection on a Qdrant server: many processes at once, or one that rebuilds it.

Each writing process keeps a note in the collection, renewed while it works, so that what it leaves in flight
is told from what a dead one left. A process that rebuilds a collection keeps everyone else's writes out: it
notes that first and then waits until no other writer is left, and a writer notes itself first and then looks
for it; so never are both at work. Notes hold an end by the wall clock: the machines' clocks must agree within
half of `SECONDS`. A process that was stopped for longer finds its note too old and announces itself anew
before it writes again.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from qdrant_client import QdrantClient, models

from latewood.search.stores.generations.write_barrier import BusyError
from latewood.search.stores.qdrant.requests import keyword
from latewood.search.stores.server.client import Calls
from latewood.search.types import StoreError, StoreUnavailableError

SECONDS = 120.0
"""How long a note is good for after it was last renewed."""

IDLE = 2.0
"""Seconds without a write after which a writer's note is taken away."""

_WRITER, _ALONE = "writer", "alone"
_ALONE_ID = str(uuid.uuid5(uuid.NAMESPACE_URL, "latewood:alone"))
_LOOK = 0.1
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Clocks:
    """What time it is: by the wall for notes, steadily for one's own waiting."""

    wall: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic


class Lease:
    """This process's right to write to one collection. Safe to use from many threads."""

    def __init__(
        self, calls: Calls, name: str, busy: Callable[[], bool], clocks: Clocks | None = None
    ) -> None:
        """Nothing is noted yet.

        Args:
            calls: the server.
            name: of the collection.
            busy: whether this process has versions in flight; its note stays while it does.
            clocks: for tests.
        """
        self._calls = calls
        self._name = name
        self._us = calls.process
        self._own = str(uuid.uuid4())
        self._busy = busy
        self._clocks = clocks or Clocks()
        self._lock = threading.Lock()
        self._renewed: float | None = None
        self._used = 0.0
        self._alone = False
        self._ended = threading.Event()
        self._keeper: threading.Thread | None = None

    def hold(self) -> None:
        """To be called before anything is written.

        Raises:
            BusyError: another process rebuilds the collection.
            StoreUnavailableError: this one was stopped for so long that others may have swept what it had in
                flight.
        """
        with self._lock:
            now = self._clocks.steady()
            self._used = now
            if self._renewed is not None and now - self._renewed > SECONDS:
                self._renewed = None
                raise StoreUnavailableError(
                    f"this process was stopped for longer than {SECONDS:.0f} s while it wrote to "
                    f"{self._name}; others may have swept what it had begun; begin again"
                )
            if self._renewed is None or now - self._renewed > SECONDS / 2:
                self._note(_WRITER, self._own)
                other = self._others_rebuild()
                if other:
                    self._remove([self._own])
                    self._renewed = None
                    raise BusyError(
                        f"{self._name} is being rebuilt by {other}, which keeps other processes' writes out; "
                        "searches go on; try again when it is done"
                    )
                self._renewed = now
            if self._keeper is None:
                self._keeper = threading.Thread(target=self._keep, name="lease", daemon=True)
                self._keeper.start()

    def alive(self) -> set[str]:
        """Other processes that write."""
        where = models.Filter(must=[keyword("type", _WRITER)])
        now = self._clocks.wall()
        return {
            payload["by"]
            for payload in self._read(where)
            if payload["until"] > now and payload["by"] != self._us and not _is_dead(payload)
        }

    @contextmanager
    def alone(self, patience: float, keep: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """No other process writes until this is left.

        Args:
            patience: seconds to wait for others.
            keep: asked at the end; True leaves the note, which ends by itself: for a collection that is
                replaced by then, while others may not have seen that yet.

        Raises:
            BusyError: another rebuilds the collection, or writers did not end within `patience` seconds.
        """
        self._note_alone()
        other = self._others_rebuild()
        if other:
            raise BusyError(f"{self._name} is being rebuilt by {other} already; try again when it is done")
        try:
            with self._lock:
                self._alone = True
            deadline = self._clocks.steady() + patience
            while others := self.alive():
                if self._clocks.steady() > deadline:
                    raise BusyError(
                        f"{len(others)} other process(es) write to {self._name}, {min(others)} among them; "
                        "try again when they are done"
                    )
                time.sleep(_LOOK)
            self.hold()
            yield
        finally:
            with self._lock:
                self._alone = False
            try:
                if not keep():
                    self._remove([_ALONE_ID], by=self._us)
            except StoreError as error:
                _log.warning("the note of a rebuild stays for a while: %s", error)

    def open_up(self) -> None:
        """Take away the note of a rebuild that has ended, whoever's it is."""
        self._remove([_ALONE_ID])

    def close(self) -> None:
        """Take the note away."""
        self._ended.set()
        keeper = self._keeper
        if keeper is not None:
            keeper.join()
        with self._lock:
            if self._renewed is not None:
                self._renewed = None
                try:
                    self._remove([self._own])
                except StoreError as error:  # it ends by itself
                    _log.warning("the note of a writer stays for a while: %s", error)

    def _keep(self) -> None:
        """Renew the notes while they are used."""
        while not self._ended.wait(min(SECONDS / 4, IDLE)):
            with self._lock:
                now = self._clocks.steady()
                try:
                    if self._alone:
                        self._note_alone()
                    elif self._renewed is not None and now - self._used > IDLE and not self._busy():
                        self._remove([self._own])
                        self._renewed = None
                    elif self._renewed is not None and now - self._renewed > SECONDS / 4:
                        self._note(_WRITER, self._own)
                        self._renewed = now
                except StoreError as error:  # tried again at the next turn; `hold` sees how old it is
                    _log.warning("the note of a writer was not renewed: %s", error)

    def _note(self, kind: str, identity: str, unless: models.Filter | None = None) -> None:
        until = self._clocks.wall() + SECONDS
        host, pid = socket.gethostname(), os.getpid()
        payload = {"type": kind, "by": self._us, "host": host, "pid": pid, "until": until}
        point = models.PointStruct(id=identity, vector={}, payload=payload)
        self._calls.write(
            "noting who writes",
            lambda client: client.upsert(
                self._name,
                [point],
                wait=True,
                ordering=self._calls.ordering,
                update_filter=unless,
            ),
        )

    def _note_alone(self) -> None:
        """Over this process's own note, or one that has ended."""
        ended = models.FieldCondition(key="until", range=models.Range(lt=self._clocks.wall()))
        free = models.Filter(should=[keyword("by", self._us), ended])
        self._note(_ALONE, _ALONE_ID, free)

    def _others_rebuild(self) -> str:
        """Which other process rebuilds the collection; empty when none does."""
        for payload in self._read(models.Filter(must=[keyword("type", _ALONE)])):
            others = payload["by"] != self._us and not _is_dead(payload)
            if others and payload["until"] > self._clocks.wall():
                return f"{payload['host']} process {payload['pid']}"
        return ""

    def _read(self, where: models.Filter) -> list[dict[str, Any]]:
        def ask(client: QdrantClient) -> list[dict[str, Any]]:
            found, _ = client.scroll(
                self._name,
                scroll_filter=where,
                limit=1000,
                with_payload=True,
                consistency=self._calls.consistency,
            )
            return [record.payload or {} for record in found]

        return self._calls.ask("looking who writes", ask)

    def _remove(self, ids: Sequence[str], by: str | None = None) -> None:
        which: list[models.Condition] = [models.HasIdCondition(has_id=list(ids))]
        if by is not None:
            which.append(keyword("by", by))
        selector = models.FilterSelector(filter=models.Filter(must=which))
        self._calls.write(
            "noting who no longer writes",
            lambda client: client.delete(self._name, selector, wait=True, ordering=self._calls.ordering),
        )


def _is_dead(note: dict[str, Any]) -> bool:
    """Whether who wrote a note is known to be gone: a process of this machine that no longer is."""
    if note["host"] != socket.gethostname():
        return False
    try:
        os.kill(note["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it is, and belongs to somebody else
        return False
    return False
