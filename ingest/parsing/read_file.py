"""Reading one file whole: as it was at one moment, or not at all."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager

from latewood.ingest.parsing.router import HEAD_BYTES, route
from latewood.ingest.types import ParseError
from latewood.search.types import FileStamp

_PIECE = 1 << 20
_REASONS = {
    errno.ENOENT: ("vanished", "the file is gone: it was removed or renamed after it was listed", True),
    errno.ENOTDIR: ("vanished", "the file's folder is gone", True),
    errno.ESTALE: ("unreadable", "its network folder was taken away; mount it again", True),
    errno.EACCES: ("permission_denied", "no permission to read the file; grant read access", True),
    errno.EPERM: ("permission_denied", "no permission to read the file; grant read access", True),
    errno.ELOOP: ("symlink_loop", "the path runs through a loop of symbolic links; remove the loop", False),
    errno.ENAMETOOLONG: ("unreadable", "the path is longer than the system allows; shorten it", False),
}


def read_file(path: str, name: str, max_bytes: int) -> tuple[bytes, FileStamp]:
    """A regular file's bytes and its stamp; one that changes while being read is read once more.

    Args:
        path: as `os.fsdecode` gives it.
        name: the name that says what the file is; a kind without a reader is not read.
        max_bytes: the largest file to read.

    Raises:
        ParseError: skipped: `unsupported_kind`, `not_a_file`; failed: `too_large`, `symlink_loop`,
            `unreadable`; transient: `vanished`, `permission_denied`, `changed_while_reading`.
    """
    for _ in range(2):
        with opened(path) as descriptor:
            scanned = time.time_ns()
            before = os.fstat(descriptor)
            _check(descriptor, before, name, max_bytes)
            data = _read(descriptor, before.st_size)
            stamp = stamp_of(before, scanned)
            if len(data) == before.st_size and stamp.same_file_state(stamp_of(os.fstat(descriptor), scanned)):
                return data, stamp
    raise ParseError(
        "changed_while_reading",
        "the file changed while it was read, twice; it will be read again next time",
        transient=True,
    )


@contextmanager
def opened(path: str) -> Iterator[int]:
    """A descriptor; opening does not wait, so that a pipe without a writer cannot hold the reader up.

    Raises:
        ParseError: the path cannot be opened, or whatever is read from it within cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise _not_a_file("a socket or device") from error
        raise _unreadable(error) from error
    except ValueError as error:
        raise ParseError("unreadable", f"not a path: {error}") from error
    try:
        yield descriptor
    except OSError as error:
        raise _unreadable(error) from error
    finally:
        os.close(descriptor)


def refuse_special(status: os.stat_result) -> None:
    """Pass only regular files.

    Raises:
        ParseError: skipped, `not_a_file`.
    """
    if stat.S_ISDIR(status.st_mode):
        raise _not_a_file("a folder")
    if not stat.S_ISREG(status.st_mode):
        raise _not_a_file("a pipe, socket or device")


def _check(descriptor: int, status: os.stat_result, name: str, max_bytes: int) -> None:
    refuse_special(status)
    if status.st_size:
        route(name, os.pread(descriptor, HEAD_BYTES, 0))
    if status.st_size > max_bytes:
        raise ParseError(
            "too_large", f"the file has {status.st_size} bytes, the limit is {max_bytes}; split it"
        )


def _read(descriptor: int, size: int) -> bytes:
    """Up to one byte more than `size`, so that a file that grew is noticed."""
    pieces: list[bytes] = []
    missing = size + 1
    while missing > 0 and (piece := os.read(descriptor, min(missing, _PIECE))):
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


def stamp_of(status: os.stat_result, scanned: int) -> FileStamp:
    """What `stat` saw, at `scanned` (nanoseconds of the wall clock)."""
    return FileStamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, scanned)


def _not_a_file(what: str) -> ParseError:
    return ParseError("not_a_file", f"the path leads to {what}, not to a file", skipped=True)


def _unreadable(error: OSError) -> ParseError:
    if error.errno in _REASONS:
        code, message, transient = _REASONS[error.errno]
        return ParseError(code, message, transient=transient)
    return ParseError("unreadable", f"the file cannot be read: {error.strerror}", transient=True)
