"""The way back from a backup to a data directory: whole, every checksum compared, or not at all."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import stat
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

from latewood.engine import places
from latewood.engine.backup import backup
from latewood.engine.backup.backup import EVERYTHING, FORMAT, KEYS, Saved, Selection
from latewood.engine.backup.objects import Objects
from latewood.engine.errors import ApiError
from latewood.engine.owner.lock import try_lock
from latewood.ingest.uploads import Spool
from latewood.search.stores.generations import layout
from latewood.search.stores.held_folder import HeldFolder
from latewood.search.stores.sparse import read_blocks, write_sparse


def restore(
    folder: Path, data: Path, selection: Selection = EVERYTHING, *, with_keys: bool = False
) -> dict[str, Any]:
    """Make a data directory of a backup, or add collections of one to a directory that is there.

    Args:
        folder: the backup.
        data: a folder that is empty or not there; any data directory that nobody has open, where some
            collections are selected that it does not have.
        selection: which collections.
        with_keys: bring API keys back, too. A backup cannot know which of them were revoked after it.

    Raises:
        ApiError: 404 `backup_not_found`, `collection_not_found`, 409 `target_not_empty`, `data_in_use`,
            `collection_exists`, 422 `backup_damaged` (each file that differs is named).
        DiskFullError: too little space for it.
        OSError: the data directory cannot be written.
    """
    started = monotonic()
    data = data.absolute()
    adds = not _is_free(data)
    if adds and selection.everything:
        raise ApiError(
            409,
            "target_not_empty",
            f"{data} is not empty; give --data a folder that is, or is not there, "
            "or --collection to add one to it",
        )
    listed = backup.read_list(folder)
    indexes = [one for one in listed["indexes"] if selection.has(one["tenant"], one["collection"])]
    if not indexes and not selection.everything:
        raise ApiError(404, "collection_not_found", f"{folder} holds nothing of {selection}")
    files = [Saved(**one) for one in listed["files"]]
    saved = [one for one in files if _wanted(one.path, selection, with_keys=with_keys)]
    data.parent.mkdir(parents=True, exist_ok=True)
    backup.check_space(data.parent, sum(one.needed for one in saved))
    with closing(HeldFolder(data.parent, f".{data.name}.restoring-")) as aside:
        _bring_all(folder, listed, saved, aside.path)
        _drop_uploads(aside.path, selection)
        _sync_folders(aside.path)
        if adds:
            _add(aside.path, data, indexes)
        else:
            _appear(aside.path, data)
    return {
        "data": str(data),
        "indexes": indexes,
        "files": len(saved),
        "bytes": sum(one.bytes for one in saved),
        "keys_left_out": not with_keys and any(one.path == KEYS for one in files),
        "seconds": round(monotonic() - started, 3),
    }


def _is_free(data: Path) -> bool:
    return not data.exists() or (data.is_dir() and not any(data.iterdir()))


def _wanted(path: str, selection: Selection, *, with_keys: bool) -> bool:
    parts = Path(path).parts
    if parts[0] == "indexes":
        return selection.has(parts[1], parts[2])
    return parts[0] != KEYS or (with_keys and selection.everything)


def _bring_all(folder: Path, listed: Mapping[str, Any], saved: Iterable[Saved], aside: Path) -> None:
    wrong = [reason for one in saved if (reason := _bring_back(folder, listed["format"], one, aside))]
    if wrong:
        raise ApiError(422, "backup_damaged", f"{folder} is damaged: {'; '.join(wrong[:20])}")


def _bring_back(folder: Path, made_as: int, one: Saved, aside: Path) -> str:
    """Write a file of a backup, with holes for zeros; return what is wrong with it, if anything."""
    target = aside / one.path
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()

    def content() -> Iterator[bytes]:
        blocks = (
            Objects(folder).read(one.sha256) if made_as == FORMAT else _plain(folder / "files" / one.path)
        )
        for block in blocks:
            digest.update(block)
            yield block

    try:
        with target.open("xb") as writing:
            size = write_sparse(content(), writing)
            writing.flush()
            os.fsync(writing.fileno())
    except FileNotFoundError:
        return f"{one.path} is missing"
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        return f"{one.path} cannot be unpacked ({error})"
    mode = (folder / "files" / one.path).stat().st_mode if one.mode is None else one.mode
    target.chmod(stat.S_IMODE(mode))
    if size != one.bytes:
        return f"{one.path} has {size} bytes, not {one.bytes}"
    return "" if digest.hexdigest() == one.sha256 else f"{one.path} has other content"


def _plain(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from read_blocks(file)


def _drop_uploads(aside: Path, selection: Selection) -> None:
    spool = Spool(aside / "uploads")
    for spooled in spool.waiting():
        if not selection.has_upload(spooled.upload):
            spool.remove(spooled)


def _appear(aside: Path, data: Path) -> None:
    """Let a whole data directory appear in one step."""
    try:
        if data.exists():
            data.rmdir()
        aside.rename(data)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise
        message = f"{data} was filled meanwhile, by another restore or by a command; look at what is there"
        raise ApiError(409, "target_not_empty", message) from error
    _sync(data.parent)


def _add(aside: Path, data: Path, indexes: Iterable[Mapping[str, Any]]) -> None:
    """Move collections into a data directory, each in one step, and what belongs to them."""
    with _owned(data):
        names = [(one["tenant"], one["collection"]) for one in indexes]
        there = ["/".join(name) for name in names if layout.exists(data, *name)]
        if there:
            raise ApiError(
                409,
                "collection_exists",
                f"{data} has {', '.join(there)} already; delete it first, or restore into another directory",
            )
        for tenant, collection in names:
            home = layout.home_of(data, tenant, collection)
            home.parent.mkdir(parents=True, exist_ok=True)
            layout.home_of(aside, tenant, collection).rename(home)
            _sync(home.parent)
        for spooled in Spool(aside / "uploads").waiting():
            place = data / "uploads" / spooled.folder.name
            place.parent.mkdir(exist_ok=True)
            spooled.folder.rename(place)
            _sync(place.parent)
        places.adopt(data, aside)


@contextmanager
def _owned(data: Path) -> Iterator[None]:
    handle = try_lock(data)
    if handle is None:
        raise ApiError(409, "data_in_use", f"another process has {data} open; stop it and try again")
    try:
        yield
    finally:
        os.close(handle)


def _sync_folders(root: Path) -> None:
    for place, _, _ in os.walk(root):
        _sync(Path(place))


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
