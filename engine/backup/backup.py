"""Backups of the embedded indexes, made while they answer.

    FOLDER/backup.json   written last: format, when, of which data, every file with its size and sha256
    FOLDER/objects/…     what the files hold, compressed; see `backup_objects`

A folder holds one backup. The next one into the same folder writes only content that is not there, then
replaces `backup.json` in one step, then removes what nobody names any more: whatever is killed when, the
folder holds the old backup, whole, or the new one. A fresh folder may share its content with an earlier one.

An index is copied file by file after a flush, while writers wait and readers go on; so a copy is what a
kill -9 at that moment would have left, and opens like that. What belongs to a moment is left out: locks,
sockets, jobs, caches, generations that do not answer.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from time import monotonic
from typing import TYPE_CHECKING, Any

from latewood.engine.addresses import EMBEDDED
from latewood.engine.backup.objects import Objects, digest_of
from latewood.engine.errors import ApiError
from latewood.ingest.index.writer import utc
from latewood.ingest.uploads import Spooled, Upload
from latewood.search.stores.generations import layout
from latewood.search.types import DiskFullError, StoreReadOnlyError

if TYPE_CHECKING:
    from latewood.engine.library import Service

FORMAT = 2
PLAIN_FORMAT = 1
"""Of backups that earlier versions made: files as they are, below `files/`."""

LIST = "backup.json"
KEYS = "keys.json"
LEFT_OUT = frozenset({"indexes", "uploads", "workers", "cache", "owner.lock", "keys.lock"})
_OURS = frozenset({LIST, f"{LIST}.partial", "objects"})
_JOBS = "jobs.sqlite"
_OF_A_MOMENT = frozenset({"NEXT", "PREVIOUS"})
SPARE = 256 * 2**20
"""Bytes that stay free where a backup or a restored data directory is written."""

PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Saved:
    """One file of a backup.

    Attributes:
        path: below the data directory.
        bytes: its size.
        sha256: of its content, in hexadecimal.
        disk: bytes that it took on disk, fewer than its size where it has holes; its size by default.
        mode: its permissions; None for a backup that keeps files as they are.
    """

    path: str
    bytes: int
    sha256: str
    disk: int | None = None
    mode: int | None = None

    @property
    def needed(self) -> int:
        """Bytes to write it."""
        return self.bytes if self.disk is None else min(self.bytes, self.disk)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which collections: all, all of a tenant, or one."""

    tenant: str | None = None
    collection: str | None = None

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return self.tenant is None

    def has(self, tenant: str, collection: str) -> bool:
        """Return whether a collection is selected."""
        return self.tenant in (None, tenant) and self.collection in (None, collection)

    def has_upload(self, upload: Upload) -> bool:
        """Return whether an upload's collection is selected."""
        return self.has(upload.tenant, upload.collection)

    def __str__(self) -> str:
        return "every collection" if self.everything else f"{self.tenant}/{self.collection or '*'}"


EVERYTHING = Selection()


def selected(tenant: str | None, collection: str | None) -> Selection:
    """Return a selection by names; a collection alone is one of tenant `default`.

    Raises:
        QueryError: a name that is not allowed.
    """
    tenant = "default" if tenant is None and collection is not None else tenant
    layout.check_names(tenant or "default", collection or "default")
    return Selection(tenant, collection)


def save(
    service: Service, folder: Path, selection: Selection = EVERYTHING, base: Path | None = None
) -> dict[str, Any]:
    """Copy what an owner of a data directory keeps; what was saved, as JSON.

    Args:
        service: the owner.
        folder: a fresh one, or one that holds an earlier backup of the same data and selection.
        selection: which collections; keys are part of a backup of everything only.
        base: the folder of an earlier backup, whose content is linked where it is the same.

    Raises:
        ApiError: 404 `collection_not_found`, `backup_not_found`, 409 `target_not_empty`, `target_differs`,
            `target_busy`, 422 `invalid_target`.
        DiskFullError: too little space where the backup is written.
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
    base = None if base is not None and base.resolve() == folder.resolve() else base
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder), _unchanged(base):
        _check_earlier(service.data, folder, selection)
        copier = _Copier(service.data, folder, base)
        try:
            indexes, saved = _copy_all(service, copier, selection)
        except BaseException:
            copier.give_up()
            raise
        listed = {
            "format": FORMAT,
            "created": utc(),
            "data": str(service.data),
            "tenant": selection.tenant,
            "collection": selection.collection,
            "indexes": indexes,
            "files": [asdict(one) for one in sorted(saved, key=lambda one: one.path)],
        }
        copier.objects.sync()
        content = {"checksum": _checksum(listed), **listed}
        layout.write_file(folder / LIST, json.dumps(content, indent=1) + "\n")
        copier.objects.prune({one.sha256 for one in saved})
    return {
        "folder": str(folder),
        "indexes": indexes,
        "files": len(saved),
        "bytes": sum(one.bytes for one in saved),
        "copied_files": copier.files,
        "copied_bytes": copier.bytes,
        "seconds": round(monotonic() - started, 3),
    }


def _copy_all(
    service: Service, copier: _Copier, selection: Selection
) -> tuple[list[dict[str, Any]], list[Saved]]:
    """Copy uploads that wait, each index, then what is kept with them."""
    names = [key for key in layout.list_collections(service.data) if selection.has(*key)]
    if selection.collection is not None and not names:
        raise ApiError(404, "collection_not_found", f"no collection {selection} in {service.data}")
    indexes: list[dict[str, Any]] = []
    saved: list[Saved] = []
    waiting = _uploads(service, copier, selection)
    for tenant, collection in names:
        began = monotonic()
        home = layout.home_of(service.data, tenant, collection)
        try:
            with _still(service, tenant, collection) as counts:
                waiting = [one for one in waiting if _waits_still(service, tenant, collection, one[0])]
                copied = [copier.add(path) for path in _of_index(home)]
        except (ApiError, FileNotFoundError):
            if service.exists(tenant, collection):
                raise
            continue  # deleted meanwhile
        saved += copied
        named = {"tenant": tenant, "collection": collection, **counts}
        indexes.append({**named, "writers_waited": round(monotonic() - began, 3)})
    saved += [one for _, made in waiting for one in made]
    saved += [copier.add(path) for path in _others(service.data) if selection.everything or path.name != KEYS]
    return indexes, saved


class _Copier:
    """Adds files to a backup folder; counts what had to be copied."""

    def __init__(self, data: Path, folder: Path, base: Path | None) -> None:
        """Find the content that need not be copied: what is here, or in the base, and still whole."""
        self._data = data
        self._folder = folder
        self.objects = Objects(folder)
        self._here = self.objects.whole()
        self._fresh = not (folder / LIST).exists()
        self._base = None if base is None else Objects(base)
        self._there = set[str]() if self._base is None else self._base.whole()
        self.files = self.bytes = 0

    def add(self, path: Path) -> Saved:
        """Keep a file's content, whose name in the backup is its path in the data directory."""
        status = path.stat()
        size, digest = status.st_size, digest_of(path)
        if digest not in self._here:
            self.files += 1
            if self._base is not None and digest in self._there:
                self.bytes += self.objects.take(digest, self._base)
            else:
                check_space(self._folder, status.st_blocks * 512)
                digest, size, written = self.objects.add(path)
                self.bytes += written
            self._here.add(digest)
        place = path.relative_to(self._data).as_posix()
        return Saved(place, size, digest, status.st_blocks * 512, stat.S_IMODE(status.st_mode))

    def give_up(self) -> None:
        """Leave the earlier backup, or nothing."""
        if self._fresh:
            shutil.rmtree(self._folder / "objects", ignore_errors=True)


def read_list(folder: Path) -> dict[str, Any]:
    """Return what a backup lists, of this format or the one before.

    Raises:
        ApiError: 404, there is none; 422, it is damaged or was made by a newer version.
    """
    try:
        listed: dict[str, Any] = json.loads((folder / LIST).read_text(encoding="utf-8"))
        known = listed["format"] in (FORMAT, PLAIN_FORMAT)
        places = [PurePosixPath(one["path"]) for one in listed["files"]]
    except FileNotFoundError as error:
        message = f"{folder} holds no finished backup: {LIST} is not there"
        raise ApiError(404, "backup_not_found", message) from error
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ApiError(422, "backup_damaged", f"{folder / LIST} cannot be read: {error}") from error
    if not known:
        raise ApiError(
            422,
            "backup_damaged",
            f"{folder} has format {listed['format']}; this version reads {PLAIN_FORMAT} and {FORMAT}",
        )
    if listed["format"] == FORMAT and listed.pop("checksum", "") != _checksum(listed):
        raise ApiError(422, "backup_damaged", f"{folder / LIST} is damaged: its checksum is another one")
    outside = [place for place in places if place.is_absolute() or ".." in place.parts]
    if outside:
        raise ApiError(422, "backup_damaged", f"{folder / LIST} names {outside[0]}, which leads out of it")
    return listed


def _checksum(listed: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest()


def check_space(folder: Path, size: int) -> None:
    """Refuse to write what would fill the disk.

    Raises:
        DiskFullError: it would leave fewer than `SPARE` bytes.
    """
    free = shutil.disk_usage(folder).free
    if free < size + SPARE:
        raise DiskFullError(
            f"{folder} has {free / 2**20:,.0f} MiB free and {(size + SPARE) / 2**20:,.0f} are needed; "
            "free some, or name another place"
        )


def _check_target(data: Path, folder: Path) -> None:
    if not folder.is_absolute():
        raise ApiError(422, "invalid_target", f"{folder} is no absolute path; give one")
    if folder.resolve().is_relative_to(data):
        raise ApiError(
            422, "invalid_target", f"{folder} lies in the data directory; give a folder outside {data}"
        )
    if folder.exists() and (not folder.is_dir() or {one.name for one in folder.iterdir()} - _OURS):
        message = f"{folder} is not empty and holds no backup of this version; give a fresh folder"
        raise ApiError(409, "target_not_empty", message)


def _check_earlier(data: Path, folder: Path, selection: Selection) -> None:
    """Refuse to replace a backup of something else."""
    if not (folder / LIST).exists():
        return
    earlier = read_list(folder)
    if earlier["format"] != FORMAT:
        raise ApiError(
            409, "target_not_empty", f"{folder} holds a backup of an earlier version; give a fresh folder"
        )
    held = Selection(earlier["tenant"], earlier["collection"])
    if earlier["data"] != str(data) or held != selection:
        raise ApiError(
            409,
            "target_differs",
            f"{folder} holds a backup of {held} of {earlier['data']}, not of {selection} of {data}; "
            f"give a fresh folder (`--base {folder}` shares what is the same)",
        )


@contextlib.contextmanager
def _unchanged(base: Path | None) -> Iterator[None]:
    """Keep backups from renewing the base meanwhile.

    Raises:
        ApiError: 404 or 422, see `read_list`; 409, it is being renewed; 422, it keeps files as they are.
    """
    if base is None:
        yield
        return
    if read_list(base)["format"] != FORMAT:
        message = f"{base} was made by an earlier version and cannot share its content; leave --base out"
        raise ApiError(422, "invalid_base", message)
    with _alone(base, fcntl.LOCK_SH):
        yield


@contextlib.contextmanager
def _alone(folder: Path, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    """Keep every other backup out of a folder."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, how | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"another backup is being written to {folder}; wait for it, or give another folder"
            raise ApiError(409, "target_busy", message) from error
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def _still(service: Service, tenant: str, collection: str) -> Iterator[dict[str, int]]:
    """Keep writers out of an index while all of it is in its files; what it holds."""
    live = service.open(tenant, collection).store
    with live.switching(PATIENCE):
        store = live.held().store
        # Without a flush the copy has more in its journal and less in its places, and opens all the same.
        with contextlib.suppress(DiskFullError, StoreReadOnlyError):
            store.flush()
        stats = store.stats()
        yield {"documents": stats.documents, "chunks": stats.chunks}


def _of_index(home: Path) -> Iterator[Path]:
    """Yield the files of the generation that answers, and those next to it."""
    for path in sorted(home.iterdir()):
        if _is_file(path) and path.name not in _OF_A_MOMENT:
            yield path
    yield from _walk(layout.current(home))


def _waits_still(service: Service, tenant: str, collection: str, spooled: Spooled) -> bool:
    """Return whether an upload is to be in the backup, while nobody writes to this collection.

    One of it that waits no more is in the index or was meant to go: restored, it would come back over a later
    version.
    """
    ours = (spooled.upload.tenant, spooled.upload.collection) == (tenant, collection)
    return not ours or service.spool.has(spooled.folder.name)


def _uploads(service: Service, copier: _Copier, selection: Selection) -> list[tuple[Spooled, list[Saved]]]:
    """Copy uploads that wait: before the indexes, so that one is missing only where its document is not."""
    saved: list[tuple[Spooled, list[Saved]]] = []
    service.settling.settle()  # what is committed needs no copy
    for spooled in filter(lambda one: selection.has_upload(one.upload), service.spool.waiting()):
        try:
            made = [copier.add(path) for path in list(_walk(spooled.folder))]
        except FileNotFoundError:  # taken in meanwhile: its document is in the index
            continue
        if made:  # else it was gone before anything of it was copied
            saved.append((spooled, made))
    return saved


def _others(data: Path) -> Iterator[Path]:
    """Yield what is kept with indexes and uploads: keys, and every other file that is not of a moment."""
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
