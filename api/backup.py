"""Backups of the embedded indexes, made while they answer, and the way back.

    FOLDER/backup.json   written last: format, when, every file with its size and sha256, counts of each index
    FOLDER/files/…       the data directory, without what belongs to a moment: locks, sockets, jobs, caches,
                         generations that do not answer

An index is copied file by file after a flush, while writers wait and readers go on; so a copy is what a
kill -9 at that moment would have left, and opens like that.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from time import monotonic
from typing import TYPE_CHECKING, Any

from api.addresses import EMBEDDED
from api.errors import ApiError
from ingest.uploads import Spooled
from ingest.writing import utc
from search.stores import catalog

if TYPE_CHECKING:
    from api.build import Service

FORMAT = 1
LIST = "backup.json"
FILES = "files"
LEFT_OUT = frozenset({"indexes", "uploads", "workers", "cache", "owner.lock"})
_JOBS = "jobs.sqlite"
_OF_A_MOMENT = frozenset({"NEXT", "PREVIOUS"})
SPARE = 256 * 2**20
"""Bytes that stay free where a backup or a restored data directory is written."""

PATIENCE = 60.0
_BLOCK = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Saved:
    """One file of a backup: its path below `files/`, its size in bytes, its sha256 in hexadecimal."""

    path: str
    bytes: int
    sha256: str


def save(service: Service, folder: Path) -> dict[str, Any]:
    """Copy everything an owner of a data directory keeps; what was saved, as JSON.

    Raises:
        ApiError: 409 `target_not_empty`, 422 `invalid_target`, 507 `disk_full`.
        StoreError: an index is damaged, or writers left no moment to copy it in.
        OSError: the folder cannot be written.
    """
    started = monotonic()
    if service.settings.store != EMBEDDED:
        raise ApiError(
            409,
            "store_elsewhere",
            f"documents are on {service.settings.store}, which has snapshots of its own (docs/growing.md); "
            "this copies embedded indexes only",
        )
    _check_target(service.data, folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = folder / FILES
    try:
        files.mkdir()
    except FileExistsError as error:  # another backup, begun meanwhile
        raise ApiError(409, "target_not_empty", f"{folder} is not empty; give a fresh folder") from error
    try:
        check_space(folder, sum(map(_size, _walk(service.data / "indexes"))))
        indexes, saved = _copy_all(service, files)
    except BaseException:
        shutil.rmtree(files, ignore_errors=True)
        raise
    listed = {
        "format": FORMAT,
        "created": utc(),
        "indexes": indexes,
        "files": [asdict(one) for one in sorted(saved, key=lambda one: one.path)],
    }
    catalog.write_file(folder / LIST, json.dumps(listed, indent=1) + "\n")
    return {
        "folder": str(folder),
        "indexes": indexes,
        "files": len(saved),
        "bytes": sum(one.bytes for one in saved),
        "seconds": round(monotonic() - started, 3),
    }


def _copy_all(service: Service, files: Path) -> tuple[list[dict[str, Any]], list[Saved]]:
    """Uploads that wait, each index, then what is kept beside them."""
    indexes: list[dict[str, Any]] = []
    saved: list[Saved] = []
    waiting = _uploads(service, files)
    for tenant, collection in catalog.list_collections(service.data):
        began = monotonic()
        home = catalog.home_of(service.data, tenant, collection)
        try:
            with _still(service, tenant, collection) as counts:
                waiting = [one for one in waiting if _waits_still(service, tenant, collection, files, one[0])]
                saved += [_copy(service.data, path, files) for path in _of_index(home)]
        except (ApiError, FileNotFoundError):
            if service.exists(tenant, collection):
                raise
            shutil.rmtree(files / home.relative_to(service.data), ignore_errors=True)  # deleted meanwhile
            saved = [one for one in saved if (files / one.path).exists()]
            continue
        named = {"tenant": tenant, "collection": collection, **counts}
        indexes.append({**named, "writers_waited": round(monotonic() - began, 3)})
    saved += [one for _, made in waiting for one in made]
    saved += [_copy(service.data, path, files) for path in _others(service.data)]
    _sync_folders(files)
    return indexes, saved


def restore(folder: Path, data: Path) -> dict[str, Any]:
    """Make a data directory of a backup: whole, every checksum compared, or not at all.

    Raises:
        ApiError: 404 `backup_not_found`, 422 `backup_damaged` (each file that differs is named), 409
            `target_not_empty`, 507 `disk_full`.
        OSError: the data directory cannot be written.
    """
    started = monotonic()
    data = data.absolute()
    if data.exists() and (not data.is_dir() or any(data.iterdir())):
        raise ApiError(
            409, "target_not_empty", f"{data} is not empty; give --data a folder that is, or is not there"
        )
    listed = read_list(folder)
    saved = [Saved(**one) for one in listed["files"]]
    data.parent.mkdir(parents=True, exist_ok=True)
    check_space(data.parent, sum(one.bytes for one in saved))
    aside = data.with_name(f".{data.name}.restoring-{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(mode=0o700)
    try:
        wrong = [reason for one in saved if (reason := _bring_back(folder / FILES, one, aside))]
        if wrong:
            raise ApiError(422, "backup_damaged", f"{folder} is damaged: {'; '.join(wrong[:20])}")
        _sync_folders(aside)
        if data.exists():
            data.rmdir()
        aside.rename(data)
        _sync(data.parent)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return {
        "data": str(data),
        "indexes": listed["indexes"],
        "files": len(saved),
        "bytes": sum(one.bytes for one in saved),
        "seconds": round(monotonic() - started, 3),
    }


def read_list(folder: Path) -> dict[str, Any]:
    """What a backup says of itself.

    Raises:
        ApiError: 404, there is none; 422, it cannot be read or was made by a newer version.
    """
    try:
        listed: dict[str, Any] = json.loads((folder / LIST).read_text(encoding="utf-8"))
        known = listed["format"] == FORMAT
        places = [PurePosixPath(one["path"]) for one in listed["files"]]
    except FileNotFoundError as error:
        message = f"{folder} holds no finished backup: {LIST} is not there"
        raise ApiError(404, "backup_not_found", message) from error
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ApiError(422, "backup_damaged", f"{folder / LIST} cannot be read: {error}") from error
    if not known:
        raise ApiError(
            422, "backup_damaged", f"{folder} has format {listed['format']}; this version reads {FORMAT}"
        )
    outside = [place for place in places if place.is_absolute() or ".." in place.parts]
    if outside:
        raise ApiError(422, "backup_damaged", f"{folder / LIST} names {outside[0]}, which leads out of it")
    return listed


def check_space(folder: Path, size: int) -> None:
    """Refuse to begin what would fill the disk.

    Raises:
        ApiError: 507 `disk_full`.
    """
    free = shutil.disk_usage(folder).free
    if free < size + SPARE:
        raise ApiError(
            507,
            "disk_full",
            f"{folder} has {free / 2**20:,.0f} MiB free and {(size + SPARE) / 2**20:,.0f} are needed; "
            "free some, or name another place",
        )


def _check_target(data: Path, folder: Path) -> None:
    if not folder.is_absolute():
        raise ApiError(422, "invalid_target", f"{folder} is no absolute path; give one")
    if folder.resolve().is_relative_to(data):
        raise ApiError(
            422, "invalid_target", f"{folder} lies in the data directory; give a folder outside {data}"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ApiError(409, "target_not_empty", f"{folder} is not empty; give a fresh folder")


@contextlib.contextmanager
def _still(service: Service, tenant: str, collection: str) -> Iterator[dict[str, int]]:
    """Nobody writes to an index, and all of it is in its files; what it holds."""
    live = service.open(tenant, collection).store
    with live.switching(PATIENCE):
        store = live.held().store
        store.flush()
        stats = store.stats()
        yield {"documents": stats.documents, "chunks": stats.chunks}


def _of_index(home: Path) -> Iterator[Path]:
    """The files of the generation that answers, and what stands beside it."""
    for path in sorted(home.iterdir()):
        if _is_file(path) and path.name not in _OF_A_MOMENT:
            yield path
    yield from _walk(catalog.current(home))


def _waits_still(service: Service, tenant: str, collection: str, files: Path, spooled: Spooled) -> bool:
    """Whether an upload is to be in the backup, asked while nobody writes to this collection.

    One of it that waits no more is in the index or was meant to go: restored, it would come back over a later
    version. Its copy is removed.
    """
    ours = (spooled.upload.tenant, spooled.upload.collection) == (tenant, collection)
    if not ours or service.spool.has(spooled.folder.name):
        return True
    shutil.rmtree(files / spooled.folder.relative_to(service.data))
    return False


def _uploads(service: Service, files: Path) -> list[tuple[Spooled, list[Saved]]]:
    """Uploads that wait: read before the indexes, so that one is missing only where its document is not."""
    saved: list[tuple[Spooled, list[Saved]]] = []
    service.settling.settle()  # what is committed needs no copy
    for spooled in service.spool.waiting():
        made: list[Saved] = []
        try:
            made.extend(_copy(service.data, path, files) for path in list(_walk(spooled.folder)))
        except FileNotFoundError:  # taken in meanwhile: its document is in the index
            shutil.rmtree(files / spooled.folder.relative_to(service.data))
            continue
        if made:  # else it was gone before anything of it was copied
            saved.append((spooled, made))
    return saved


def _others(data: Path) -> Iterator[Path]:
    """What is kept beside indexes and uploads: keys, whatever is not of a moment."""
    for path in sorted(data.iterdir()):
        if path.name in LEFT_OUT or path.name.startswith((".", _JOBS)):
            continue
        if path.is_dir():
            yield from (one for one in _walk(path) if not one.relative_to(path).parts[0].startswith("."))
        elif _is_file(path):
            yield path


def _walk(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders.sort()
        yield from (path for path in (Path(place, name) for name in sorted(names)) if _is_file(path))


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def _size(path: Path) -> int:
    """Bytes of a file; none of one that is gone."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _copy(data: Path, path: Path, files: Path) -> Saved:
    place = path.relative_to(data)
    target = files / place
    target.parent.mkdir(parents=True, exist_ok=True)
    size, digest = _write_through(path, target)
    return Saved(place.as_posix(), size, digest)


def _bring_back(files: Path, one: Saved, aside: Path) -> str:
    """Copy a file of a backup; what is wrong with it, empty when nothing is."""
    target = aside / one.path
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        size, digest = _write_through(files / one.path, target)
    except FileNotFoundError:
        return f"{one.path} is missing"
    if size != one.bytes:
        return f"{one.path} has {size} bytes, not {one.bytes}"
    return "" if digest == one.sha256 else f"{one.path} has other content"


def _write_through(source: Path, target: Path) -> tuple[int, str]:
    """Copy a file to disk; its size and sha256."""
    digest, size = hashlib.sha256(), 0
    with source.open("rb") as reading, target.open("xb") as writing:
        while block := reading.read(_BLOCK):
            digest.update(block)
            writing.write(block)
            size += len(block)
        writing.flush()
        os.fsync(writing.fileno())
    target.chmod(stat.S_IMODE(source.stat().st_mode))
    return size, digest.hexdigest()


def _sync_folders(root: Path) -> None:
    for place, _, _ in os.walk(root):
        _sync(Path(place))


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
