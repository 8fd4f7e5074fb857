"""One parsing process and its pipes: asked, timed, killed, and what to say when it died."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from latewood.ingest.parsing.sandbox.protocol import LENGTH
from latewood.ingest.types import ParseError

_ROOT = str(Path(__file__).parents[4])
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


class Child:
    """One child process and its pipes. One thread borrows it at a time; only `kill` may come from others."""

    def __init__(self, memory_bytes: int, max_file_bytes: int) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 -- lives as long as the child
        limits = [str(memory_bytes), str(max_file_bytes), str(os.getpid())]
        # -P: a file in the folder being ingested must not pass for a module of that name.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-W", "ignore", "-m", "latewood.ingest.parsing.sandbox.worker", *limits],
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
        os.set_blocking(self._requests.fileno(), False)
        self._room = select.poll()
        self._room.register(self._requests, select.POLLOUT)
        self._files = 0
        self._busy = False
        self._closing = False
        self._killed = False

    @property
    def used(self) -> bool:
        """Whether it has served a request before."""
        return self._files > 0

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
            self._send(request, end)
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

    def _send(self, request: bytes, end: float) -> None:
        rest = memoryview(request)
        while rest:
            _wait(self._room, end)
            rest = rest[os.write(self._requests.fileno(), rest[: select.PIPE_BUF]) :]

    def _receive(self, size: int, end: float) -> bytes:
        pieces: list[bytes] = []
        while size > 0:
            _wait(self._poll, end)
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


def _wait(pipe: select.poll, end: float) -> None:
    """Wait until something can be done with the pipe.

    Raises:
        TimeoutError: nothing can by `end` (monotonic clock, seconds).
    """
    remaining = end - time.monotonic()
    if remaining <= 0 or not pipe.poll(int(remaining * 1000) + 1):
        raise TimeoutError


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
