"""A temporary folder that lives as long as its process, and the removal of those whose process is dead."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import weakref
from pathlib import Path


class HeldFolder:
    """A fresh folder, locked by this process, which is removed when this object goes or is closed.

    A killed process leaves its folder. The kernel frees the lock, so the next process that makes a folder
    with the same prefix removes it, and never one that a living process uses.
    """

    def __init__(self, parent: Path, prefix: str) -> None:
        """Remove what dead processes left under this prefix, then make a folder.

        Raises:
            OSError: the folder cannot be made.
        """
        remove_dead(parent, prefix)
        self.path, handle = _made(parent, prefix)
        self._discard = weakref.finalize(self, _discard, self.path, handle)

    def close(self) -> None:
        """Remove the folder, unless it was renamed."""
        self._discard()


def remove_dead(parent: Path, prefix: str) -> None:
    """Remove this user's folders with this prefix that no living process holds."""
    for path in [one for one in parent.iterdir() if one.name.startswith(prefix)]:
        with contextlib.suppress(OSError):  # removed by another process meanwhile, or held by a living one
            handle = _open(path)
            try:
                if os.fstat(handle).st_uid != os.geteuid():
                    continue
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is(path, handle):
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(handle)


def _made(parent: Path, prefix: str) -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        with contextlib.suppress(FileNotFoundError):  # taken for a dead one's before it was locked
            handle = _open(path)
            fcntl.flock(handle, fcntl.LOCK_EX)
            if _is(path, handle):
                return path, handle
            os.close(handle)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _is(path: Path, handle: int) -> bool:
    """Return whether the path still names the open folder."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _discard(path: Path, handle: int) -> None:
    if _is(path, handle):
        shutil.rmtree(path, ignore_errors=True)
    os.close(handle)
