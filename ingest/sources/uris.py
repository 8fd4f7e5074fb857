"""How files, folders and sources are named.

A source is a folder, named by its file uri ending in "/", or a single file, named by its own uri.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, unquote_to_bytes, urlsplit


class SourceError(Exception):
    """A source that cannot be ingested as asked.

    Attributes:
        code: `source_missing`, `source_unreadable`, `source_empty`, `source_overlap`, `source_invalid`,
            `source_not_allowed` or `pattern_invalid`.
        message: what, the remedy.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def folder_uri(path: str | os.PathLike[str]) -> str:
    """The uri of a source: of the folder behind all links, ending in "/"; a file's own uri for a file.

    Raises:
        SourceError: `source_invalid`, an empty path or one with a NUL; `source_unreadable`.
    """
    if not os.fspath(path) or "\0" in os.fspath(path):
        raise SourceError("source_invalid", f"{os.fspath(path)!r} names no folder or file; give its path")
    try:
        single = Path(path).is_file()
    except OSError as error:  # a name too long, a folder that may not be entered
        raise SourceError(
            "source_unreadable", f"{os.fspath(path)} cannot be read ({error.strerror})"
        ) from error
    if single:
        return file_uri(path)
    uri = uri_of(os.path.realpath(path))
    return uri if uri.endswith("/") else uri + "/"


def file_uri(path: str | os.PathLike[str]) -> str:
    """The uri of a file: links in its folder's path are resolved, a link that is the file itself is not."""
    return uri_of(_real_file(path))


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


def uri_of(path: str) -> str:
    """The uri of an absolute path as it stands."""
    return "file://" + quote(os.fsencode(path), safe="/")


def _real_file(path: str | os.PathLike[str]) -> str:
    absolute = Path(path).absolute()
    if absolute.name in ("", ".."):
        return os.path.realpath(absolute)
    return str(Path(os.path.realpath(absolute.parent), absolute.name))


def is_remote(source: str) -> bool:
    """Whether a source is the uri of something that is not in this machine's file system."""
    return "://" in source and not source.startswith("file:")


def remote_holds(root: str, source: str) -> bool:
    """Whether a remote uri lies in a remote root: same scheme, host and port, and below its path."""
    try:
        ours, theirs = urlsplit(root), urlsplit(source)
        same = _server(ours) == _server(theirs)
    except ValueError:  # no uri at all
        return False
    if not same or theirs.query or theirs.fragment:
        return False
    path, place = unquote(theirs.path), unquote(ours.path).rstrip("/")
    if ".." in path.split("/") or "\\" in path:
        return False
    return path.rstrip("/") == place or path.startswith(f"{place}/")


def _server(parts: SplitResult) -> tuple[str, str, int | None, str]:
    """Scheme, host and port, however they are written; and a user, who is part of no root."""
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname or "", port, parts.netloc.rpartition("@")[0]


def covers(place: str, uri: str) -> bool:
    """Whether a file, or anything below a folder (its uri ends in "/"), bears this uri."""
    return place == uri or (place.endswith("/") and uri.startswith(place))
