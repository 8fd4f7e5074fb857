"""Parsing in children that can be killed: C code heeds no alarm, and no library can be trusted to end."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from latewood.ingest.parsing.sandbox.process import Child
from latewood.ingest.parsing.sandbox.protocol import (
    ParsedFile,
    Request,
    Unchanged,
    pack_listing,
    pack_request,
    unpack_members,
    unpack_reply,
)
from latewood.ingest.parsing.zip_archive import Member
from latewood.ingest.types import ParseError

_T = TypeVar("_T")


class ParserPool:
    """Parses files in child processes, each with a deadline and a memory limit. Safe to use from threads.

    Children start when first needed, are used again, and are replaced after 200 files or once they hold
    half their allowance. They end with the pool, and with this process however it ends.

    Args:
        workers: files parsed at the same time; further calls wait.
        deadline_s: seconds a file may take, the start of a child included.
        memory_bytes: address space of a child.
        max_file_bytes: larger files fail as `too_large`.
    """

    def __init__(
        self,
        workers: int,
        deadline_s: float = 60.0,
        memory_bytes: int = 2 * 1024**3,
        max_file_bytes: int = 500_000_000,
    ) -> None:
        if workers < 1 or deadline_s <= 0 or memory_bytes < 1 or max_file_bytes < 1:
            raise ValueError(
                f"workers {workers}, deadline_s {deadline_s}, memory_bytes {memory_bytes} and "
                f"max_file_bytes {max_file_bytes} must all be positive"
            )
        self._deadline_s = deadline_s
        self._memory_bytes = memory_bytes
        self._max_file_bytes = max_file_bytes
        self._workers = workers
        self._slots: queue.LifoQueue[Child | None] = queue.LifoQueue()
        for _ in range(workers):
            self._slots.put(None)
        # Linux ends a child with the thread that started it: this one lives as long as the pool.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="parser-starter")
        self._lock = threading.Lock()
        self._children: set[Child] = set()
        self._closed = False

    def parse(
        self,
        path: bytes | str,
        known_hash: str | None = None,
        name: str | None = None,
        member: str | None = None,
    ) -> ParsedFile | Unchanged:
        """Parse one file; waits for a free child.

        Args:
            path: the file; bytes or surrogate escapes for names that are no UTF-8.
            known_hash: sha256 (hexadecimal) for which `Unchanged` is enough.
            name: the name that chooses the reader, where the path does not (an upload kept aside).
            member: parse this file in the zip archive at `path`, named as in `list_members`. The stamp is
                then the archive's, the hash the member's.

        Raises:
            ParseError: why the file cannot become a document: the codes of `parse_bytes`, `read_file` and
                `ArchiveReader.read`, and `timeout`, `crashed`, `out_of_memory`, `closed`.
        """
        decoded = os.fsdecode(path)
        given = Path(member or decoded).name if name is None else name
        request = Request(decoded, given, known_hash or "", member or "")
        return self._answer(pack_request(request), unpack_reply)

    def list_members(self, path: bytes | str) -> list[Member]:
        """The files in the zip archive at `path`, those that cannot be read with the reason.

        Raises:
            ParseError: why the archive cannot be read: the codes of `ArchiveReader.members`, and `timeout`,
                `crashed`, `out_of_memory`, `closed`.
        """
        return self._answer(pack_listing(os.fsdecode(path)), unpack_members)

    def close(self) -> None:
        """End all children; calls in flight or waiting fail with `closed`. Repeating it does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for child in self._children:
                child.kill(closing=True)
        for returned in [self._slots.get() for _ in range(self._workers)]:
            if returned is not None:
                self._forget(returned)
            self._slots.put(None)
        self._starter.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answer(self, request: bytes, read: Callable[[bytes], _T]) -> _T:
        """A child's reply, read. What a used child has no memory for, a fresh one may have."""
        child = self._slots.get()
        try:
            while True:
                ready = child = self._ready(child)
                used = ready.used
                try:
                    return read(ready.ask(request, self._deadline_s))
                except ParseError as error:
                    if error.code != "out_of_memory":
                        raise
                    # What the failed parse left behind may be most of the allowance: the next starts clean.
                    ready.kill()
                    if not used:
                        raise
        finally:
            self._slots.put(self._kept(child))

    def _ready(self, child: Child | None) -> Child:
        """`child` if it can take a request, else a new one."""
        if child is not None and child.idle():
            return child
        if child is not None:
            self._forget(child)
        with self._lock:
            if self._closed:
                raise ParseError("closed", "parsing was stopped", transient=True)
            fresh = self._starter.submit(Child, self._memory_bytes, self._max_file_bytes).result()
            self._children.add(fresh)
            return fresh

    def _kept(self, child: Child | None) -> Child | None:
        """`child` if it may serve again; otherwise it is ended."""
        if child is None or (child.idle() and not child.worn(self._memory_bytes // 2)):
            return child
        self._forget(child)
        return None

    def _forget(self, child: Child) -> None:
        with self._lock:
            self._children.discard(child)
        child.dispose()
