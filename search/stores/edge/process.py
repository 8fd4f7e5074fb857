"""The owner's hold on the store's worker process: start it, ask it, be rid of it."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from array import array
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from latewood.search.ranked_list import RankedList
from latewood.search.stores.edge.disk_space import disk_bytes
from latewood.search.stores.edge.faults import WorkerDiedError
from latewood.search.types import IndexConfig, StoreUnavailableError

Ranked = tuple[bytes, bytes]
"""A ranked list on the wire: 16 bytes per id, and float64 scores."""

READS = frozenset(
    {
        "get_manifests",
        "list_manifests",
        "newest",
        "in_flight",
        "get_records",
        "list_records",
        "search",
        "fetch",
        "locate",
        "chunks_of",
        "read_chunks",
        "read_points",
        "list_chunks",
        "unsound",
        "languages",
        "count",
        "facets",
        "stats",
        "flush",
    }
)
"""What the worker does that changes nothing anyone can see."""

WRITES = frozenset(
    {
        "put_manifests",
        "put_chunks",
        "sweep",
        "remove_chunks",
        "put_info",
        "put_records",
        "optimise",
    }
)
"""What else it does while an index is open."""

QUESTIONS = frozenset({"search", "fetch", "locate", "chunks_of", "languages", "count", "facets"})
"""Those of `READS` that a person waits for."""

CALL_SECONDS = 120.0
"""How long a call may be without an answer before the worker counts as stuck."""

QUESTION_SECONDS = 15.0
"""The same for `QUESTIONS`."""

_PATIENCE = {"flush": 600.0, "close": 600.0, "optimise": 86_400.0}
"""Seconds for what takes as long as the index is large."""

_OPEN_SECONDS = 120.0
_OPEN_BYTES = 4 * 2**20
"""An index may take this many seconds to open, and one more for each so many bytes on disk."""

_EXIT_SECONDS = 30.0
_USER_TICKS, _SYSTEM_TICKS = 11, 12  # in /proc/PID/stat, behind the command's name: see proc(5)
_ID = 36
_GROUPS = ((0, 8, 0), (8, 12, 9), (12, 16, 14), (16, 20, 19), (20, 32, 24))
"""From and to which digit, and where they stand in an id's text."""


class WorkerProcess:
    """One worker process and the socket to it. Not safe to share by threads."""

    def __init__(
        self,
        directory: Path,
        config: IndexConfig,
        free_space: int,
        lock_fd: int | None,
        *,
        unchecked: bool = False,
        call_seconds: float = CALL_SECONDS,
        question_seconds: float = QUESTION_SECONDS,
    ) -> None:
        """Start a worker and have it open the index.

        Args:
            directory: see `EdgeStore`, as for all others.
            config: the index's.
            free_space: bytes to leave free on the disk.
            lock_fd: the owner's open lock file.
            unchecked: open a damaged index.
            call_seconds: how long a call may be without an answer.
            question_seconds: how long one of `QUESTIONS` may be.

        Raises:
            StoreError: the index cannot be opened, or no process can be started.
            WorkerDiedError: it died of it.
        """
        ours, theirs = socket.socketpair()
        kept = (theirs.fileno(),) if lock_fd is None else (theirs.fileno(), lock_fd)
        with theirs:
            # A fresh interpreter, not a fork and not multiprocessing's spawn, which would run the caller's
            # main module again. -P: a folder of documents may hold a file that is named like a module. Its
            # own session: Ctrl-C is for the owner, which then closes the worker in order.
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "latewood.search.stores.edge.worker", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=kept,
                    start_new_session=True,
                )
            except OSError as error:
                ours.close()
                raise StoreUnavailableError(
                    f"no worker process for the store in {directory} could be started: {error}; try again"
                ) from error
        self._connection = Connection(ours.detach())
        self._patience = {
            **dict.fromkeys(QUESTIONS, min(question_seconds, call_seconds)),
            **{method: max(call_seconds, seconds) for method, seconds in _PATIENCE.items()},
            "open": max(call_seconds, _OPEN_SECONDS) + disk_bytes(directory) / _OPEN_BYTES,
        }
        self._call_seconds = call_seconds
        self._limit = 0.0
        try:
            self.ask("open", (str(directory.absolute()), config, free_space, unchecked))
        except BaseException:
            self.kill()
            raise

    @property
    def alive(self) -> bool:
        """Whether it can still be asked."""
        return not self._connection.closed

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ask(self, method: str, arguments: tuple[Any, ...]) -> Any:
        """One request, one reply.

        Raises:
            WorkerDiedError: the worker ended before it answered, or is stuck and was ended.
            SearchError, ValueError: what it raised.
        """
        limit = self._patience.get(method, self._call_seconds)
        busy = self._busy()
        try:
            self._wait_at_most(limit)
            self._connection.send((method, arguments))
            outcome, value = self._connection.recv()
        except BlockingIOError as error:
            busy = self._busy() - busy
            raise WorkerDiedError(self.kill(), method, limit, busy) from error
        except (EOFError, ConnectionError) as error:
            raise WorkerDiedError(self.kill(), method) from error
        except BaseException:
            self.kill()  # interrupted between question and answer: the socket is of no more use
            raise
        if outcome == "error":
            raise value
        return value

    def _wait_at_most(self, seconds: float) -> None:
        """Have the socket give up, with BlockingIOError, when nothing moves for so long either way."""
        if seconds == self._limit:
            return
        timeval = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
        with socket.socket(fileno=os.dup(self._connection.fileno())) as shared:
            shared.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
            shared.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)
        self._limit = seconds

    def _busy(self) -> float:
        """Seconds of processor time that it has used so far; 0 where the system does not show it."""
        try:
            fields = (
                Path(f"/proc/{self._process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            )
        except OSError:
            return 0.0
        return (int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> int:
        """End it at once; its exit status."""
        self._connection.close()
        self._process.kill()
        return self._process.wait()

    def end_now(self) -> None:
        """End it from another thread: whoever waits for an answer gets WorkerDiedError."""
        self._process.kill()

    def end(self) -> None:
        """Let it close the index and leave; at once if it does not within half a minute."""
        try:
            self.ask("close", ())
        finally:
            self._connection.close()
            try:
                self._process.wait(_EXIT_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def ranked_list(ranked: Ranked) -> RankedList:
    """A ranked list as it came over the wire."""
    identities, scores = ranked
    # All ids at once: `uuid.UUID` takes twenty times as long, hundreds of times a question.
    digits = np.frombuffer(identities.hex().encode(), np.uint8).reshape(-1, 32)
    written = np.full((len(digits), _ID), ord("-"), np.uint8)
    for first, last, at in _GROUPS:
        written[:, at : at + last - first] = digits[:, first:last]
    text = written.tobytes().decode()
    return RankedList([text[at : at + _ID] for at in range(0, len(text), _ID)], array("d", scores).tolist())
