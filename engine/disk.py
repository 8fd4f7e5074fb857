"""Errors of a full or a read-only disk, whichever library raises them: one meaning for HTTP and commands."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

from latewood.search.types import DiskFullError, StoreReadOnlyError

FULL, READ_ONLY = "disk_full", "read_only"
CODES = frozenset({FULL, READ_ONLY})
STATUS = {FULL: 507, READ_ONLY: 403}
"""HTTP statuses of the codes."""

REFUSALS = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
"""What the system answers where nothing may be written."""

_FULL_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT})
_SQLITE = {sqlite3.SQLITE_FULL: FULL, sqlite3.SQLITE_READONLY: READ_ONLY}


def explain(error: BaseException) -> tuple[str, str] | None:
    """Return the code and the message of a disk's error; None for every other error.

    An error raised because of another one, and a library's wrapper around one, count as that one.
    """
    seen = set[int]()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        code = _code(one)
        if code is not None:
            return code, _message(code, one)
        original = getattr(one, "orig", None)  # SQLAlchemy's name for the driver's own error
        one = original if isinstance(original, BaseException) else one.__cause__
    return None


def writable(folder: Path) -> bool:
    """Return whether this process may write into a folder."""
    return os.access(folder, os.W_OK)


def _code(error: BaseException) -> str | None:
    if isinstance(error, DiskFullError):
        return FULL
    if isinstance(error, StoreReadOnlyError):
        return READ_ONLY
    if isinstance(error, sqlite3.Error):
        return _SQLITE.get(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF)
    if isinstance(error, OSError) and error.errno in _FULL_ERRORS:
        return FULL
    if isinstance(error, OSError) and error.errno == errno.EROFS:
        return READ_ONLY
    return None


def _message(code: str, error: BaseException) -> str:
    if isinstance(error, DiskFullError | StoreReadOnlyError):
        return str(error)
    what = str(error)
    if isinstance(error, OSError):
        what = f"{error.strerror}: {error.filename}" if error.filename else f"{error.strerror}"
    if code == FULL:
        return f"the disk is full ({what}); free some space and try again"
    return f"the data directory is read-only ({what}); make it writable and try again"
