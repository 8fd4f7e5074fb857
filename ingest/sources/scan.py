"""What a folder holds now."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import time_ns
from typing import NamedTuple
from urllib.parse import quote, unquote

from latewood.ingest.metadata import described_by, sidecar_of
from latewood.ingest.parsing.zip_archive import is_container
from latewood.ingest.sources.patterns import EVERYTHING, Selection
from latewood.ingest.sources.uris import SourceError, file_uri, path_of, uri_of
from latewood.search.types import FileStamp


class Finding(NamedTuple):
    """Something in a source that is not ingested, and why."""

    uri: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class ScannedFile:
    """A file found in a source.

    Attributes:
        stamp: of the file; of the archive for a member of one.
        archive: uri of the archive it is a member of; empty for a file of its own.
        sidecar: whether a file with its metadata stands beside it.
        beside: what its path and its sidecar say of it, as a checksum; empty when they say nothing.
        kept: path of the copy that is fetched of what is no file of this machine; empty for one that is.
    """

    uri: str
    stamp: FileStamp
    archive: str = ""
    sidecar: bool = False
    beside: str = ""
    kept: str = ""

    @property
    def path(self) -> str:
        """Absolute, of the archive for a member; bytes that are not UTF-8 stand as lone surrogates."""
        return self.kept or path_of(self.archive or self.uri)

    @property
    def member(self) -> str | None:
        """Its name in its archive; None for a file of its own."""
        return unquote(self.uri.removeprefix(f"{self.archive}/")) if self.archive else None


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What a source holds now, each list in order of uri.

    Attributes:
        skipped: what is not meant to be read: links to folders, broken links, devices.
        failed: what should have been read and could not.
        unreadable: uris, a folder's ending in "/", about which nothing is known; what was ingested from
            there must not be taken for removed.
        identity: device and inode of the folder that was scanned; None for a file or a missing root.
        selection: what of the folder was asked for.
    """

    files: tuple[ScannedFile, ...] = ()
    skipped: tuple[Finding, ...] = ()
    failed: tuple[Finding, ...] = ()
    unreadable: tuple[str, ...] = ()
    identity: tuple[int, int] | None = field(default=None, compare=False)
    selection: Selection = EVERYTHING


_UNSEEN = FileStamp(0, 0, 0, 0, 0)


class _Folder(NamedTuple):
    """A folder below the root: its uri ends in "/", and so does its place, empty for the root."""

    path: str
    uri: str
    place: str


@dataclass(frozen=True, slots=True)
class _Found:
    """A scan under way; `folders` are still to be listed."""

    folders: list[_Folder]
    left_out: frozenset[str]
    selection: Selection
    files: list[ScannedFile] = field(default_factory=list)
    skipped: list[Finding] = field(default_factory=list)
    failed: list[Finding] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    def fail(self, uri: str, error: OSError) -> None:
        """Name what could not be read, so that what was ingested from there stays."""
        code, reason = _OS_ERRORS.get(error.errno or 0, ("unreadable", error.strerror or str(error)))
        self.failed.append(Finding(uri, code, f"{reason}; what was ingested from there before is kept"))
        self.unreadable.append(uri)


_OS_ERRORS = {
    errno.EACCES: ("permission_denied", "no permission to read it; grant it, or leave the file out"),
    errno.EPERM: ("permission_denied", "no permission to read it; grant it, or leave the file out"),
    errno.ELOOP: ("symlink_loop", "the link leads back to itself; remove it"),
}


def scan(
    root: str | os.PathLike[str],
    *,
    missing_ok: bool = False,
    left_out: Iterable[str | os.PathLike[str]] = (),
    selection: Selection = EVERYTHING,
) -> ScanResult:
    """Find the files of a source, in order of uri.

    Links to files are followed, links to folders are not. A file that vanishes meanwhile is not there. A file
    named like another one's sidecar (`NAME.meta.json` beside `NAME`) is no file of its own.

    Args:
        root: a folder, a file, or a link to one.
        missing_ok: take a root that does not exist for an empty one.
        left_out: folders below root not to look into, such as the index itself.
        selection: what of a folder to take; nothing is said of the rest.

    Raises:
        SourceError: `source_missing`, `source_unreadable`, or `source_invalid` for what is neither a folder
            nor a file.
    """
    scanned_ns = time_ns()
    try:
        status = Path(root).stat()
        if stat.S_ISDIR(status.st_mode):
            return _scan_folder(os.path.realpath(root), left_out, selection)
    except (FileNotFoundError, NotADirectoryError) as error:
        if missing_ok:
            return ScanResult(selection=selection)
        message = f"{os.fspath(root)!r} does not exist; give the path of a folder or file"
        raise SourceError("source_missing", message) from error
    except OSError as error:
        message = f"{os.fspath(root)!r} cannot be read: {error.strerror}; grant permission or mend the path"
        raise SourceError("source_unreadable", message) from error
    if not stat.S_ISREG(status.st_mode):
        message = f"{os.fspath(root)!r} is neither a folder nor a file; give one of the two"
        raise SourceError("source_invalid", message)
    sidecar = Path(sidecar_of(os.fspath(root))).is_file()
    file = ScannedFile(file_uri(root), _stamp(status, scanned_ns), sidecar=sidecar)
    return ScanResult((file,), selection=selection)


def _scan_folder(root: str, left_out: Iterable[str | os.PathLike[str]], selection: Selection) -> ScanResult:
    """Raises OSError when the root itself cannot be listed; what fails below it is part of the result."""
    found = _Found([], frozenset(os.path.realpath(path) for path in left_out), selection)
    if any(Path(root).is_relative_to(path) for path in found.left_out):
        raise SourceError(
            "source_invalid", f"{root!r} is the data directory itself; give a folder of documents"
        )
    identity = _identity(root)
    _list(found, _Folder(root, _as_folder(uri_of(root)), ""))
    while found.folders:
        folder = found.folders.pop()
        try:
            _list(found, folder)
        except FileNotFoundError:
            continue  # vanished since its parent was listed: gone, like everything in it
        except OSError as error:
            found.fail(folder.uri, error)
    result = ScanResult(
        tuple(sorted(found.files, key=lambda file: file.uri)),
        tuple(sorted(found.skipped)),
        tuple(sorted(found.failed)),
        tuple(sorted(found.unreadable)),
        identity,
        selection,
    )
    check_unmoved(root, result)
    return result


def check_unmoved(root: str | os.PathLike[str], found: ScanResult) -> None:
    """Hold a scanned folder against what stands at its path now.

    A folder that was unmounted or renamed while it was read looks emptied, and its documents would be
    removed.

    Raises:
        SourceError: `source_missing`, it is gone or another one.
    """
    try:
        same = found.identity is None or _identity(root) == found.identity
    except OSError:
        same = False
    if not same:
        raise SourceError(
            "source_missing",
            f"{os.fspath(root)!r} was taken away while it was read; nothing was removed: mount it again "
            "or give its new path, then ingest again",
        )


def _identity(path: str | os.PathLike[str]) -> tuple[int, int]:
    status = Path(path).stat()
    return status.st_dev, status.st_ino


def _as_folder(uri: str) -> str:
    return uri if uri.endswith("/") else uri + "/"


def _list(found: _Found, folder: _Folder) -> None:
    with os.scandir(folder.path) as listing:
        entries = list(listing)
    names = {entry.name for entry in entries}
    for entry in entries:
        if described_by(entry.name) in names:
            continue
        uri = folder.uri + quote(os.fsencode(entry.name))
        try:
            sidecar = sidecar_of(entry.name) in names
            _look_at(found, entry, ScannedFile(uri, _UNSEEN, sidecar=sidecar), folder.place + entry.name)
        except OSError as error:
            found.fail(uri, error)


def _look_at(found: _Found, entry: os.DirEntry[str], file: ScannedFile, place: str) -> None:
    uri = file.uri
    if entry.is_dir(follow_symlinks=False):
        if entry.path not in found.left_out and found.selection.takes_folder(place):
            found.folders.append(_Folder(entry.path, uri + "/", place + "/"))
        return
    takes = found.selection.takes_folder if is_container(entry.name) else found.selection.takes_file
    if not takes(place):
        return
    scanned_ns = time_ns()  # before the look, so that a change right after it counts as close to it
    try:
        status = entry.stat()
    except FileNotFoundError:
        if entry.is_symlink():
            message = "the link's target does not exist; mend or remove the link"
            found.skipped.append(Finding(uri, "broken_symlink", message))
        return
    if stat.S_ISREG(status.st_mode):
        found.files.append(replace(file, stamp=_stamp(status, scanned_ns)))
    elif stat.S_ISDIR(status.st_mode):
        message = "links to folders are not followed; ingest the folder itself as a source"
        found.skipped.append(Finding(uri, "symlink_directory", message))
    else:
        found.skipped.append(Finding(uri, "not_a_file", "a pipe, socket or device holds no document"))


def _stamp(status: os.stat_result, scanned_ns: int) -> FileStamp:
    return FileStamp(
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        ctime_ns=status.st_ctime_ns,
        inode=status.st_ino,
        scanned_ns=scanned_ns,
    )
