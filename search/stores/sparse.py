"""Copies of files with holes: the engine preallocates, so most of a small index is holes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

BLOCK = 2**20
_PAGE = 4096
_ZEROS = bytes(BLOCK)


class Readable(Protocol):
    """An open file of bytes, compressed or not."""

    def read(self, size: int, /) -> bytes:
        """Read at most this many bytes."""
        ...


def read_blocks(file: Readable) -> Iterator[bytes]:
    """Yield the file's bytes from its current position, a mebibyte at a time."""
    while block := file.read(BLOCK):
        yield block


def write_sparse(blocks: Iterable[bytes], file: BinaryIO) -> int:
    """Write blocks, leave a hole for every page of zeros, and return the number of bytes."""
    size = 0
    for block in blocks:
        if block != _ZEROS[: len(block)]:
            _write_pages(block, size, file)
        size += len(block)
    file.truncate(size)
    return size


def _write_pages(block: bytes, at: int, file: BinaryIO) -> None:
    """Write the runs of pages that hold anything."""
    view, zeros = memoryview(block), memoryview(_ZEROS)
    start = None
    for page in range(0, len(block), _PAGE):
        piece = view[page : page + _PAGE]
        empty = piece == zeros[: len(piece)]
        if empty and start is not None:
            file.seek(at + start)
            file.write(view[start:page])
            start = None
        elif not empty and start is None:
            start = page
    if start is not None:
        file.seek(at + start)
        file.write(view[start:])


def copy_tree(source: Path, target: Path) -> None:
    """Copy a folder with its holes; sockets and links are left out.

    Raises:
        OSError: a file cannot be read, or the target is full.
    """
    for place, folders, names in os.walk(source):
        folders.sort()
        into = target / Path(place).relative_to(source)
        into.mkdir(exist_ok=True)
        for name in sorted(names):
            path = Path(place, name)
            if path.is_file() and not path.is_symlink():
                with path.open("rb") as reading, (into / name).open("xb") as writing:
                    write_sparse(read_blocks(reading), writing)


def apparent_size(folder: Path) -> int:
    """Return the bytes of all files, holes included."""
    return sum(Path(place, name).lstat().st_size for place, _, names in os.walk(folder) for name in names)
