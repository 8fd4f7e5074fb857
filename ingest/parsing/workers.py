"""Parsing in children that can be killed: C code heeds no alarm, and no library can be trusted to end."""

from __future__ import annotations

import os
import queue
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil  # type: ignore[import-untyped]

from ingest.parsing.protocol import LENGTH, ParsedFile, Request, Unchanged, pack_request, unpack_reply
from ingest.types import ParseError

_ROOT = str(Path(__file__).parents[2])
_FILES_PER_CHILD = 200
_PIECE = 1 << 20
_TAIL = 4096
_LAST_BREATH_S = 2.0
_MEMORY_WORDS = (
    "MemoryError",
    "memory allocation of",
    "bad_alloc",
    "Cannot allocate memory",
    "out of memory",
)


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
        self._slots: queue.LifoQueue[_Child | None] = queue.LifoQueue()
        for _ in range(workers):
            self._slots.put(None)
        # Linux ends a child with the thread that started it: this one lives as long as the pool.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="parser-starter")
        self._lock = threading.Lock()
        self._children: set[_Child] = set()
        self._closed = False

    def parse(
        self, path: bytes | str, known_hash: str | None = None, name: str | None = None
    ) -> ParsedFile | Unchanged:
        """Parse one file; waits for a free child.

        Args:
            path: the file; bytes or surrogate escapes for names that are no UTF-8.
            known_hash: sha256 (hexadecimal) for which `Unchanged` is enough.
            name: the name that chooses the reader, where the path does not (an upload kept aside).

        Raises:
            ParseError: why the file cannot become a document: the codes of `parse_bytes` and `read_file`,
                and `timeout`, `crashed`, `out_of_memory`, `closed`.
        """
        decoded = os.fsdecode(path)
        request = Request(decoded, Path(decoded).name if name is None else name, known_hash or "")
        child = self._slots.get()
        try:
            ready = child = self._ready(child)
            return unpack_reply(ready.ask(pack_request(request), self._deadline_s))
        except ParseError as error:
            if error.code == "out_of_memory" and child is not None:
                # What the failed parse left behind may be most of the allowance: the next file starts clean.
                child.kill()
            raise
        finally:
            self._slots.put(self._kept(child))

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

    def _ready(self, child: _Child | None) -> _Child:
        """`child` if it can take a request, else a new one."""
        if child is not None and child.idle():
            return child
        if child is not None:
            self._forget(child)
        with self._lock:
            if self._closed:
                raise ParseError("closed", "parsing was stopped", transient=True)
            fresh = self._starter.submit(_Child, self._memory_bytes, self._max_file_bytes).result()
            self._children.add(fresh)
            return fresh

    def _kept(self, child: _Child | None) -> _Child | None:
        """`child` if it may serve again; otherwise it is ended."""
        if child is None or (child.idle() and not child.worn(self._memory_bytes // 2)):
            return child
        self._forget(child)
        return None

    def _forget(self, child: _Child) -> None:
        with self._lock:
            self._children.discard(child)
        child.dispose()


class _Child:
    """One child process and its pipes. One thread borrows it at a time; only `kill` may come from others."""

    def __init__(self, memory_bytes: int, max_file_bytes: int) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 -- lives as long as the child
        limits = [str(memory_bytes), str(max_file_bytes), str(os.getpid())]
        # -P: a file in the folder being ingested must not pass for a module of that name.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-W", "ignore", "-m", "ingest.parsing.child", *limits],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
            env=_environment(),
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests = self._process.stdin
        self._replies = self._process.stdout
        self._poll = select.poll()
        self._poll.register(self._replies, select.POLLIN)
        self._files = 0
        self._busy = False
        self._closing = False
        self._killed = False

    def idle(self) -> bool:
        """Whether it lives and waits for a request."""
        return not (self._busy or self._killed) and self._process.poll() is None

    def worn(self, memory_bytes: int) -> bool:
        """Whether it has served its number of files or holds more than `memory_bytes`."""
        try:
            resident = psutil.Process(self._process.pid).memory_info().rss
        except psutil.Error:
            return True
        return self._files >= _FILES_PER_CHILD or resident > memory_bytes

    def ask(self, request: bytes, deadline_s: float) -> bytes:
        """Send a request and wait for the reply's body.

        Raises:
            ParseError: `timeout`, `crashed`, `out_of_memory` or `closed`; the child is of no use afterwards.
        """
        self._busy = True
        self._files += 1
        end = time.monotonic() + deadline_s
        try:
            self._send(request)
            (length,) = LENGTH.unpack(self._receive(LENGTH.size, end))
            body = self._receive(length, end)
        except TimeoutError as error:
            raise ParseError(
                "timeout",
                f"parsing took longer than the limit of {deadline_s:g} s and was stopped; "
                "split the file, or raise the limit",
                transient=True,
            ) from error
        except (EOFError, BrokenPipeError) as error:
            raise self._obituary() from error
        self._busy = False
        return body

    def kill(self, *, closing: bool = False) -> None:
        """End the process, whatever it is doing."""
        self._killed = True
        self._closing = self._closing or closing
        self._process.kill()

    def dispose(self) -> None:
        """End the process and close the pipes. Repeating it does nothing."""
        self._process.kill()
        self._process.wait()
        for stream in (self._requests, self._replies, self._errors):
            stream.close()

    def _send(self, request: bytes) -> None:
        rest = memoryview(request)
        while rest:
            rest = rest[os.write(self._requests.fileno(), rest) :]

    def _receive(self, size: int, end: float) -> bytes:
        pieces: list[bytes] = []
        while size > 0:
            remaining = end - time.monotonic()
            if remaining <= 0 or not self._poll.poll(int(remaining * 1000) + 1):
                raise TimeoutError
            piece = os.read(self._replies.fileno(), min(size, _PIECE))
            if not piece:
                raise EOFError
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def _obituary(self) -> ParseError:
        """What to say of a child that ended before it answered."""
        try:
            status = self._process.wait(_LAST_BREATH_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        if self._closing:
            return ParseError("closed", "parsing was stopped", transient=True)
        words = self._last_words()
        if any(word in words for word in _MEMORY_WORDS):
            return ParseError("out_of_memory", "reading or parsing the file needs more memory than allowed")
        if status == -signal.SIGKILL:
            why = "it was killed from outside, perhaps by the system for want of memory"
            return ParseError("crashed", f"the parsing process ended: {why}", transient=True)
        how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        last = words.strip().rsplit("\n", 1)[-1][:200]
        return ParseError("crashed", f"the file made the parsing process end ({how}): {last or 'no message'}")

    def _last_words(self) -> str:
        size = os.fstat(self._errors.fileno()).st_size
        return os.pread(self._errors.fileno(), _TAIL, max(size - _TAIL, 0)).decode("utf-8", "replace")


def _environment() -> dict[str, str]:
    """This process's environment, with this package found wherever it lies and one thread a child."""
    found = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([_ROOT, found] if found else [_ROOT]),
        "PYTHONIOENCODING": "utf-8",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
