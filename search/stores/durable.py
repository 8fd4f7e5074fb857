"""Files and folders that survive a power cut: what has to be synced for that, in one place."""

from __future__ import annotations

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Write a file's content, or a folder's entries, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_files(folder: Path) -> None:
    """Write the content of a folder's files, and its entries, to the disk.

    Also what was written through a memory map, by whichever process. A file that is renamed meanwhile is
    found under its new name.
    """
    vanished = True
    while vanished:
        vanished = False
        for path in sorted(folder.iterdir()):
            try:
                sync(path)
            except FileNotFoundError:
                vanished = True
    sync(folder)


def sync_folders(top: Path) -> None:
    """Write the entries of a folder and of all folders in it to the disk."""
    for place, _, _ in os.walk(top):
        sync(Path(place))


def make_folder(path: Path) -> None:
    """Make a folder and those above it that are missing; on return they survive a power cut."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync(path.parent)
