"""Faults of the embedded engine, sorted in one place into damage and what passes.

Damage (`StoreDamagedError`) is on disk: a repeat fails again, and `latewood verify --repair` is the remedy.
Everything else (`StoreUnavailableError`, `DiskFullError`) passes: the files are whole, a repeat may succeed.

A fault reaches us in one of four ways:

* The engine raises a bare `Exception`. Its text begins with the kind of the error. Internal errors ("Service
  runtime error", "Inconsistent storage") come from data it cannot decode, unless an error of the operating
  system that has nothing to do with the data is the cause, as too many open files. Missing indexes and
  vectors are damage too: the index was made with them.
* The engine panics. It does so on data that contradict each other.
* A payload that can be decoded lacks a field or has one of another type: a damaged name or value.
* The worker process dies, or gives no answer. One death may be chance, so each call is made twice; the fault
  is sorted by the last death:
  - SIGABRT, SIGSEGV, SIGILL, SIGFPE, SIGTRAP, SIGSYS come from the engine itself: damage. It also aborts when
    memory cannot be allocated. A damaged id map makes it allocate for billions of points. `limited_memory`
    turns that into an abort long before the system's memory is full, and a healthy index stays far below.
  - SIGBUS is how a write to a mapped file fails when the disk is full, and how a read fails behind the end of
    a file that is too short. With space on the disk it is damage, otherwise a full disk.
  - SIGKILL comes from outside: the system is short of memory, or an operator ended it. So do SIGTERM, SIGINT
    and the others. An exit status is the interpreter's own error. All of these pass.
  - No answer: a worker that was stopped, or waits for its disk, used hardly any processor time. That passes.
    A worker that computed all the time while it opened the index reads nonsense: damage.
"""

from __future__ import annotations

import errno
import re
import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from latewood.search.types import DiskFullError, StoreDamagedError, StoreError, StoreUnavailableError

REMEDY = "run `latewood verify --repair` to restore it from the records beside it and the sources"

_DAMAGED = (
    "Service runtime error",
    "Inconsistent storage",
    "No appropriate index",
    "Not existing vector name",
)
_FULL = {errno.ENOSPC, errno.EDQUOT}
_PASSING = {
    errno.EINTR,
    errno.EAGAIN,
    errno.ENOMEM,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENFILE,
    errno.EMFILE,
    errno.EBUSY,
    errno.ETIMEDOUT,
    errno.ESTALE,
}
_CRASHES = {
    signal.SIGABRT,
    signal.SIGSEGV,
    signal.SIGILL,
    signal.SIGFPE,
    signal.SIGTRAP,
    signal.SIGSYS,
}
_UNREADABLE = (LookupError, TypeError, AttributeError)
_FULL_BYTES = 64 * 2**20
"""With less than this free, SIGBUS counts as a full disk: the engine makes its files in pages of 32 MiB."""

_MEMORY_BYTES = 4 * 2**30
_MEMORY_PER_BYTE = 4
_BUSY_SHARE = 0.25
_OS_ERROR = re.compile(r"os error (\d+)")


class WorkerDiedError(Exception):
    """The worker ended without answering.

    Attributes:
        status: its exit status, negative for a signal.
        method: the call it did not answer.
        waited: seconds without an answer after which it was ended; None when it died by itself.
        busy: processor time it used meanwhile, in seconds.
    """

    def __init__(self, status: int, method: str, waited: float | None = None, busy: float = 0.0) -> None:
        self.status = status
        self.method = method
        self.waited = waited
        self.busy = busy
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        super().__init__(
            f"the store's worker process ended ({how})"
            if waited is None
            else f"the store's worker process gave no answer for {waited:g} s and was ended"
        )


class EngineErrors:
    """Maps what the engine raises to the search package's errors.

    Args:
        doing: what is being done, for the message.
        reading: whether stored data are decoded, so that a field that is missing or of another type is damage
            and not a mistake of the caller.
        opening: whether the index is opened. Nothing but its files can be wrong then, so every error that
            does not pass is damage.
    """

    def __init__(self, doing: str, *, reading: bool = False, opening: bool = False) -> None:
        self._doing = doing
        self._reading = reading or opening
        self._opening = opening

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if error is None:
            return
        if type(error) is Exception or type(error).__name__ == "PanicException":
            raise _sorted(error, self._doing, self._opening) from error
        if self._reading and isinstance(error, _UNREADABLE):
            raise unreadable(self._doing, error) from error


def unreadable(doing: str, error: Exception) -> StoreDamagedError:
    """The error for stored data that can be decoded and are not what is ever written."""
    return StoreDamagedError(f"{doing} failed: stored data are damaged ({error!r:.200}); {REMEDY}")


def _sorted(error: BaseException, doing: str, opening: bool) -> StoreError:
    """What the engine raised, as damage or passing."""
    text = str(error)
    found = {int(number) for number in _OS_ERROR.findall(text)}
    if found & _FULL:
        return DiskFullError(
            f"{doing} failed because the disk is full: {text}; what was acknowledged is safe; "
            "free some space and try again"
        )
    if "WouldBlock" in text:
        return StoreUnavailableError(
            f"{doing} failed: another process has it open ({text}); close that process"
        )
    panicked = type(error) is not Exception
    if not found & _PASSING and (opening or panicked or text.startswith(_DAMAGED)):
        return StoreDamagedError(f"{doing} failed: {text}; {REMEDY}")
    return StoreUnavailableError(f"{doing} failed: {text}; try again")


def given_up(died: WorkerDiedError, directory: Path, attempts: int) -> StoreError:
    """The error for a call during which the worker died each time; see the module's text."""
    doing = f"{died} {attempts} times in {died.method} on {directory}"
    if died.waited is not None:
        if died.method == "open" and died.busy >= _BUSY_SHARE * died.waited:
            return StoreDamagedError(f"{doing}, computing all the time; {REMEDY}")
    elif -died.status in _CRASHES:
        return StoreDamagedError(f"{doing}, as it does when the index is damaged; {REMEDY}")
    elif -died.status == signal.SIGBUS:
        if shutil.disk_usage(directory).free >= _FULL_BYTES:
            return StoreDamagedError(f"{doing}, as it does when a file of the index is too short; {REMEDY}")
        return DiskFullError(f"{doing}, as it does when the disk is full; free some space and try again")
    return StoreUnavailableError(
        f"{doing}; nothing acknowledged is lost; look for the reason in the log, then try again"
    )


@contextmanager
def limited_memory(index_bytes: int) -> Iterator[None]:
    """Have this process abort, not fill the machine's memory, when a damaged index makes it allocate.

    For opening only: an index that is written to may grow far beyond what it was then.

    Args:
        index_bytes: taken by the index on disk; a healthy one needs less memory than the limit allows.
    """
    limit = _MEMORY_BYTES + _MEMORY_PER_BYTE * index_bytes
    before, most = resource.getrlimit(resource.RLIMIT_DATA)
    allowed = limit if most == resource.RLIM_INFINITY else min(limit, most)
    resource.setrlimit(resource.RLIMIT_DATA, (allowed, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, most))
