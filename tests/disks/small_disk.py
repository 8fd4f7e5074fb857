"""A small file system in memory that can be filled and made read-only: root on Linux, else the test skips."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MOUNTS = sys.platform == "linux" and os.geteuid() == 0
needs_mount = pytest.mark.skipif(not MOUNTS, reason="mounting a small file system needs root on Linux")


class SmallDisk:
    """A folder with little room, and the ballast that takes it away."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    @property
    def free(self) -> int:
        return shutil.disk_usage(self.folder).free

    @contextmanager
    def full_but_for(self, left: int) -> Iterator[None]:
        with self._ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, self.free - left)
        try:
            assert self.free <= left
            yield
        finally:
            self._ballast.unlink()

    def fill(self) -> None:
        """Take what came free meanwhile, such as a journal that was removed; inside `full_but_for`."""
        with self._ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))

    @contextmanager
    def read_only(self) -> Iterator[None]:
        subprocess.run(["mount", "-o", "remount,ro", str(self.folder)], check=True)
        try:
            yield
        finally:
            subprocess.run(["mount", "-o", "remount,rw", str(self.folder)], check=True)


@contextmanager
def small_disk(mib: int) -> Iterator[SmallDisk]:
    """Mount a file system of this size until the block is left."""
    with tempfile.TemporaryDirectory(prefix="latewood-disk-") as folder:
        command = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", folder]
        told = subprocess.run(command, capture_output=True, text=True, check=False)
        if told.returncode:
            pytest.skip(f"no file system can be mounted here: {told.stderr.strip()}")
        try:
            yield SmallDisk(Path(folder))
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)
