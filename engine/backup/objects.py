"""The content of backups: one compressed file per content, named by its sha256.

    FOLDER/objects/3f/3f0a….gz     gzip members of one mebibyte each; `gzip -dc` gives the content back

A file that did not change since an earlier backup has the same name here, so it is there already. An object
appears by rename, whole or not at all.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import os
import shutil
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path

from latewood.search.stores.sparse import read_blocks

LEVEL = 1
"""Of compression: writers of an index wait while it is copied, and level 6 saves 1 % of vectors more."""

_SAMPLE = 64 * 2**10
_WORTH = 0.9
_DRAFT = ".partial"

logger = logging.getLogger(__name__)


class Objects:
    """The objects of one backup folder, used by one process at a time."""

    def __init__(self, folder: Path) -> None:
        self._root = folder / "objects"

    def path(self, digest: str) -> Path:
        """Return where the content with this sha256 is kept, there or not."""
        return self._root / digest[:2] / f"{digest}.gz"

    def whole(self) -> set[str]:
        """Read every object back and return the sha256 of those whose content is still what it was."""
        found = set[str]()
        for path in sorted(self._root.glob("*/*.gz")):
            digest = path.name.removesuffix(".gz")
            try:
                actual = hashlib.sha256()
                for block in self.read(digest):
                    actual.update(block)
                if actual.hexdigest() == digest:
                    found.add(digest)
                    continue
                reason = "its content is another one"
            except (OSError, EOFError, zlib.error) as error:
                reason = str(error)
            logger.warning("%s is damaged (%s) and is not used again", path, reason)
        return found

    def read(self, digest: str) -> Iterator[bytes]:
        """Yield a content's blocks.

        Raises:
            FileNotFoundError: it is not there.
            OSError, EOFError, zlib.error: the object is damaged.
        """
        with gzip.open(self.path(digest), "rb") as file:
            yield from read_blocks(file)

    def add(self, source: Path) -> tuple[str, int, int]:
        """Write a file's content; its sha256, its size, and the bytes that it takes here."""
        draft = self._root / f"{uuid.uuid4().hex}{_DRAFT}"
        draft.parent.mkdir(parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0
        try:
            with source.open("rb") as reading, draft.open("xb") as writing:
                draft.chmod(0o600)
                for block in read_blocks(reading):
                    digest.update(block)
                    size += len(block)
                    writing.write(_packed(block))
                writing.flush()
                os.fsync(writing.fileno())
            self._appear(draft, digest.hexdigest())
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        return digest.hexdigest(), size, self.path(digest.hexdigest()).stat().st_size

    def take(self, digest: str, other: Objects) -> int:
        """Link, or copy, an object of another backup folder; the bytes that were copied."""
        draft = self._root / f"{uuid.uuid4().hex}{_DRAFT}"
        draft.parent.mkdir(parents=True, exist_ok=True)
        source, copied = other.path(digest), 0
        try:
            os.link(source, draft)
        except OSError:  # another file system, or one without links
            shutil.copyfile(source, draft)
            copied = draft.stat().st_size
            with draft.open("rb") as file:
                os.fsync(file.fileno())
        self._appear(draft, digest)
        return copied

    def prune(self, needed: set[str]) -> None:
        """Remove objects that no backup names, and drafts that a killed process left."""
        for path in self._root.rglob("*"):
            if path.is_file() and path.name.removesuffix(".gz") not in needed:
                path.unlink()
        for folder in self._root.glob("*/"):
            if not any(folder.iterdir()):
                folder.rmdir()

    def sync(self) -> None:
        """Have the names of all objects survive a power cut."""
        for place, _, _ in os.walk(self._root):
            handle = os.open(place, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def _appear(self, draft: Path, digest: str) -> None:
        path = self.path(digest)
        path.parent.mkdir(exist_ok=True)
        draft.replace(path)


def digest_of(path: Path) -> str:
    """Return the sha256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in read_blocks(file):
            digest.update(block)
    return digest.hexdigest()


def _packed(block: bytes) -> bytes:
    """Return a gzip member; a stored one, 20 times as fast, of what hardly shrinks, such as vectors."""
    sample = block[len(block) // 2 :][:_SAMPLE]
    worth = len(zlib.compress(sample, LEVEL)) < _WORTH * len(sample)
    return gzip.compress(block, LEVEL if worth else 0, mtime=0)
