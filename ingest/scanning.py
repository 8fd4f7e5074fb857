"""What a folder holds now, and how files and folders are named.

A source is a folder, named by its file uri ending in "/", or a single file, named by its own uri.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from time import time_ns
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from search.types import FileStamp


class SourceError(Exception):
    """A source that cannot be ingested as asked.

    Attributes:
        code: `source_missing`, `source_unreadable`, `source_empty`, `source_overlap` or `source_invalid`.
        message: what, the remedy.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Finding(NamedTuple):
    """Something in a source that is not ingested, and why."""

    uri: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class ScannedFile:
    """A file found in a source.

    Attributes:
        path: absolute; bytes that are not UTF-8 stand as lone surrogates (`os.fsdecode`).
    """

    path: str
    uri: str
    stamp: FileStamp


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What a source holds now, each list in order of uri.

    Attributes:
        skipped: what is not meant to be read: links to folders, broken links, devices.
        failed: what should have been read and could not.
        unreadable: uris, a folder's ending in "/", about which nothing is known; what was ingested from
            there must not be taken for removed.
        identity: device and inode of the folder that was scanned; None for a file or a missing root.
    """

    files: tuple[ScannedFile, ...] = ()
    skipped: tuple[Finding, ...] = ()
    failed: tuple[Finding, ...] = ()
    unreadable: tuple[str, ...] = ()
    identity: tuple[int, int] | None = field(default=None, compare=False)


# --- names --------------------------------------------------------------------------------------------------


def folder_uri(path: str | os.PathLike[str]) -> str:
    """The uri of a source: of the folder behind all links, ending in "/"; a file's own uri for a file.

    Raises:
        SourceError: `source_invalid`, an empty path or one with a NUL.
    """
    if not os.fspath(path) or "\0" in os.fspath(path):
        raise SourceError("source_invalid", f"{os.fspath(path)!r} names no folder or file; give its path")
    if Path(path).is_file():
        return file_uri(path)
    uri = _uri(os.path.realpath(path))
    return uri if uri.endswith("/") else uri + "/"


def file_uri(path: str | os.PathLike[str]) -> str:
    """The uri of a file: links in its folder's path are resolved, a link that is the file itself is not."""
    return _uri(_real_file(path))


def path_of(uri: str) -> str:
    """The path that a file uri names; bytes that are not UTF-8 stand as lone surrogates.

    Raises:
        SourceError: `source_invalid`, not a `file:///` uri.
    """
    if not uri.startswith("file:///"):
        raise SourceError(
            "source_invalid", f"{uri!r} is not a file:/// uri; name a folder or file on this machine"
        )
    return os.fsdecode(unquote_to_bytes(uri.removeprefix("file://"))).rstrip("/") or "/"


def _uri(path: str) -> str:
    return "file://" + quote(os.fsencode(path), safe="/")


def _real_file(path: str | os.PathLike[str]) -> str:
    absolute = Path(path).absolute()
    if absolute.name in ("", ".."):
        return os.path.realpath(absolute)
    return str(Path(os.path.realpath(absolute.parent), absolute.name))


# --- scanning -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Found:
    """A scan under way; `folders` are still to be listed."""

    folders: list[str]
    left_out: frozenset[str]
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
) -> ScanResult:
    """Find the files of a source, in order of uri.

    Hidden files and folders are left out. Links to files are followed, links to folders are not. A file that
    vanishes meanwhile is not there.

    Args:
        root: a folder, a file, or a link to one.
        missing_ok: take a root that does not exist for an empty one.
        left_out: folders below root not to look into, such as the index itself.

    Raises:
        SourceError: `source_missing`, `source_unreadable`, or `source_invalid` for what is neither a folder
            nor a file.
    """
    scanned_ns = time_ns()
    try:
        status = Path(root).stat()
        if stat.S_ISDIR(status.st_mode):
            return _scan_folder(os.path.realpath(root), left_out)
    except (FileNotFoundError, NotADirectoryError) as error:
        if missing_ok:
            return ScanResult()
        message = f"{os.fspath(root)!r} does not exist; give the path of a folder or file"
        raise SourceError("source_missing", message) from error
    except OSError as error:
        message = f"{os.fspath(root)!r} cannot be read: {error.strerror}; grant permission or mend the path"
        raise SourceError("source_unreadable", message) from error
    if not stat.S_ISREG(status.st_mode):
        message = f"{os.fspath(root)!r} is neither a folder nor a file; give one of the two"
        raise SourceError("source_invalid", message)
    return ScanResult((ScannedFile(_real_file(root), file_uri(root), _stamp(status, scanned_ns)),))


def _scan_folder(root: str, left_out: Iterable[str | os.PathLike[str]]) -> ScanResult:
    """Raises OSError when the root itself cannot be listed; what fails below it is part of the result."""
    found = _Found([], frozenset(os.path.realpath(path) for path in left_out))
    if any(Path(root).is_relative_to(path) for path in found.left_out):
        raise SourceError(
            "source_invalid", f"{root!r} is the data directory itself; give a folder of documents"
        )
    identity = _identity(root)
    _list(found, root)
    while found.folders:
        folder = found.folders.pop()
        try:
            _list(found, folder)
        except FileNotFoundError:
            continue  # vanished since its parent was listed: gone, like everything in it
        except OSError as error:
            found.fail(_uri(folder) + "/", error)
    result = ScanResult(
        tuple(sorted(found.files, key=lambda file: file.uri)),
        tuple(sorted(found.skipped)),
        tuple(sorted(found.failed)),
        tuple(sorted(found.unreadable)),
        identity,
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


def _list(found: _Found, folder: str) -> None:
    with os.scandir(folder) as listing:
        entries = [entry for entry in listing if not entry.name.startswith(".")]
    for entry in entries:
        try:
            _look_at(found, entry)
        except OSError as error:
            found.fail(_uri(entry.path), error)


def _look_at(found: _Found, entry: os.DirEntry[str]) -> None:
    uri = _uri(entry.path)
    if entry.is_dir(follow_symlinks=False):
        if entry.path not in found.left_out:
            found.folders.append(entry.path)
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
        found.files.append(ScannedFile(entry.path, uri, _stamp(status, scanned_ns)))
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
