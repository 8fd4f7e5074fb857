"""A private copy of an index that the engine cannot open where it is: on a full disk or a read-only one.

The engine opens every file for writing, rewrites its configuration and touches its flags when it opens an
index. It fails on a read-only file system, and a full one ends its process with SIGBUS. So the index is then
opened as a copy in a temporary folder, which answers questions and takes no writes.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from pathlib import Path

from latewood.search.stores.edge.disk_space import REMOVAL_FLOOR
from latewood.search.stores.held_folder import HeldFolder
from latewood.search.stores.sparse import apparent_size, copy_tree
from latewood.search.types import DiskFullError, StoreError, StoreReadOnlyError

MEMORY = Path("/dev/shm")
SPARE = 64 * 2**20
"""Bytes that stay free where the copy is made."""

_log = logging.getLogger(__name__)


def read_only(directory: Path) -> bool:
    """Return whether nothing can be written into a folder by this process."""
    return not os.access(directory, os.W_OK)


def too_full(directory: Path) -> bool:
    """Return whether the engine may die when it opens an index here."""
    return shutil.disk_usage(directory).free < REMOVAL_FLOOR


class PrivateCopy:
    """A copy of a generation's folder; the caller holds the lock of the data directory."""

    def __init__(self, directory: Path) -> None:
        """Copy the index.

        Raises:
            DiskFullError, StoreReadOnlyError: no temporary folder has room for it.
        """
        self._original = directory
        size = apparent_size(directory)
        self._folder = HeldFolder(_place(directory, size), f"latewood-copy-{os.geteuid()}-")
        self.path = self._folder.path / directory.name
        try:
            copy_tree(directory, self.path)
        except OSError as error:
            self._folder.close()
            raise self.refusal(f"a private copy of it in {self._folder.path} failed: {error}") from error
        _log.warning(
            "%s: the index is read from a private copy in %s (%.0f MiB) and takes no writes",
            *(_why(directory), self.path, size / 2**20),
        )

    @property
    def outlived(self) -> bool:
        """Whether the index can be opened where it is."""
        return not read_only(self._original) and not too_full(self._original)

    def refusal(self, doing: str) -> StoreError:
        """Return the error for what a copy cannot do."""
        return _refusal(self._original, doing)

    def close(self) -> None:
        """Remove the copy."""
        self._folder.close()


def _place(directory: Path, size: int) -> Path:
    """Return a temporary folder with room for a copy, on disk before memory."""
    places = [Path(tempfile.gettempdir()), MEMORY]
    for place in places:
        if place.is_dir() and not read_only(place) and shutil.disk_usage(place).free >= size + SPARE:
            return place
    raise _refusal(
        directory,
        f"a private copy to read from takes {(size + SPARE) / 2**20:.0f} MiB, more than is free in "
        f"{' or '.join(map(str, places))}; set TMPDIR to a folder with that much space",
    )


def _refusal(directory: Path, doing: str) -> StoreError:
    if read_only(directory):
        return StoreReadOnlyError(f"{_why(directory)}; {doing}; make it writable and try again")
    return DiskFullError(
        f"{_why(directory)}; {doing}; free {REMOVAL_FLOOR / 2**20:.0f} MiB or more and try again"
    )


def _why(directory: Path) -> str:
    if read_only(directory):
        return f"{directory} is read-only"
    free = shutil.disk_usage(directory).free / 2**20
    return f"the disk is full: {free:.0f} MiB are free at {directory}"
