"""A durable counter that never goes back, shared by the processes of one data directory.

The order of uploads and jobs is the order of these numbers. A clock can be set back; the counter cannot.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from pathlib import Path

_DIGITS = 19
_NO_WRITES = frozenset({errno.EROFS, errno.ENOSPC, errno.EDQUOT})


class Sequence:
    """Numbers kept in a file. Safe to call from many threads and processes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._guard = threading.Lock()
        self._unkept = 0

    def next(self, above: int = 0) -> int:
        """Return a number greater than every one before it, and greater than `above`.

        The number is on disk before it is returned, so that no crash gives it out twice.

        Raises:
            OSError: the file cannot be written.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)  # of this open file: it keeps threads apart as well
            number = max(_number(os.pread(handle, _DIGITS, 0)), above) + 1
            # Always the same length, in place: no moment in which the file is empty.
            os.pwrite(handle, f"{number:0{_DIGITS}d}\n".encode("ascii"), 0)
            os.fsync(handle)
        finally:
            os.close(handle)
        return number

    def next_in_process(self) -> int:
        """Return the next number for a job that lives in this process alone, such as `verify`.

        On a read-only or full disk it is counted in memory, above the number on disk: the job must run there
        too, and nobody sees its number after this process.

        Raises:
            OSError: the file cannot be written for another reason.
        """
        try:
            return self.next()
        except OSError as error:
            if error.errno not in _NO_WRITES:
                raise
            with self._guard:
                kept = self._path.read_text(encoding="ascii").strip() if self._path.exists() else ""
                self._unkept = max(self._unkept, _number(kept.encode())) + 1
                return self._unkept


def _number(text: bytes) -> int:
    """Return the number in the file. A new file holds none; the caller's `above` covers a damaged one."""
    return int(text) if text.isdigit() else 0
