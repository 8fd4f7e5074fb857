"""Sources that are not files of this machine: buckets and web servers, through fsspec.

A listing tells each file's size, time and ETag, which make its stamp; what changed is fetched to a folder of
this machine, parsed there, and removed. A document is named by a percent-encoded uri without credentials:
those come from where each service's own tools look for them (environment, profile, netrc), never from a uri.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import time_ns
from typing import Any
from urllib.parse import quote, unquote, unquote_to_bytes, urlsplit, urlunsplit

from latewood.ingest.metadata import described_by, sidecar_of
from latewood.ingest.parsing.zip_archive import is_container
from latewood.ingest.sources.patterns import Selection
from latewood.ingest.sources.scan import Finding, ScannedFile, ScanResult
from latewood.ingest.sources.uris import SourceError, covers, remote_holds
from latewood.ingest.types import ParseError
from latewood.search.types import FileStamp

SCHEMES = ("s3", "gs", "http", "https", "memory")
_INSTALL = {"s3": "s3fs", "gs": "gcsfs", "http": "aiohttp", "https": "aiohttp"}
_TIMES = ("LastModified", "Last-Modified", "last_modified", "mtime", "updated", "created")
_LEFT = "left"  # in what is known of a file: the error of a redirect that was refused
_TAGS = ("ETag", "etag", "md5Hash", "Content-MD5", "crc32c")


def check_uri(uri: str) -> str:
    """A remote source's uri as documents bear it: percent-encoded anew, a folder's with its "/" kept.

    Raises:
        SourceError: `source_invalid`, another scheme, or something that may hold a secret.
    """
    try:
        parts = urlsplit(uri)
    except ValueError:  # which may repeat a password
        raise SourceError(
            "source_invalid", "the source's host cannot be read; write it as scheme://host/path"
        ) from None
    shown = f"{parts.scheme}://{parts.hostname or ''}{parts.path}"
    if parts.scheme not in SCHEMES:
        raise SourceError(
            "source_invalid",
            f"{shown!r} has the scheme {parts.scheme!r}; known are a path, file, {', '.join(SCHEMES)}",
        )
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise SourceError(
            "source_invalid",
            f"{shown!r} comes with a user, a query or a fragment, which may hold a secret and would be kept "
            "with every document; give it without, and credentials as the service's own tools take them",
        )
    path = quote(unquote_to_bytes(parts.path), safe="/")
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


class RemoteSource:
    """One remote source, and the folder where what is fetched of it lies until it was parsed.

    Safe to share by threads.
    """

    def __init__(self, uri: str, aside: Path, limit: int, roots: Sequence[str] = ()) -> None:
        """Nothing is asked yet.

        Args:
            uri: see `check_uri`.
            aside: a folder of this machine, removed with `close`.
            limit: bytes; larger files are not fetched.
            roots: where a source that lies in one of them has to stay, wherever a server redirects to. A
                source outside was named on this machine itself, whose user may fetch from anywhere.

        Raises:
            SourceError: `source_invalid`, see `check_uri`, or what reads such uris is not installed.
        """
        self.uri = check_uri(uri)
        self._limit = limit
        self._scheme = urlsplit(self.uri).scheme
        aside.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._aside = Path(tempfile.mkdtemp(dir=aside))
        try:
            within = tuple(root for root in roots if remote_holds(root, self.uri)) and tuple(roots)
            self._files = _file_system(self._scheme, within)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove what was fetched."""
        shutil.rmtree(self._aside, ignore_errors=True)

    def scan(self, selection: Selection, *, missing_ok: bool) -> ScanResult:
        """What the source holds now, in order of uri; sidecars and archives are fetched on the way.

        A place where nothing lies does not exist, as far as a bucket can tell; with `missing_ok` it is empty.

        Raises:
            SourceError: `source_missing`, or `source_unreadable` when the listing does not come whole.
        """
        try:
            listed = self._listed()
        except SourceError as error:
            if error.code != "source_missing" or not missing_ok:
                raise
            listed = {}
        if not listed and not missing_ok:
            raise SourceError("source_missing", f"nothing lies at {self.uri}; check its name and credentials")
        folder = self.uri if self.uri.endswith("/") else f"{self.uri}/"
        single = set(listed) == {self.uri}
        files: list[ScannedFile] = []
        failed: list[Finding] = []
        for uri in sorted(listed):
            place = unquote(uri.removeprefix(folder))
            if described_by(uri) in listed or not (single or _takes(selection, place)):
                continue
            if isinstance(left := listed[uri].get(_LEFT), SourceError):
                failed.append(Finding(uri, left.code, left.message))
                continue
            file = ScannedFile(uri, stamp_of(listed[uri]), kept=self._place(uri))
            try:
                files.append(self._with_company(file, listed))
            except ParseError as error:
                failed.append(Finding(uri, error.code, error.message))
        unreadable = tuple(finding.uri for finding in failed)
        return ScanResult(tuple(files), failed=tuple(failed), unreadable=unreadable, selection=selection)

    @contextmanager
    def at(self, file: ScannedFile) -> Iterator[str]:
        """A file's content on this machine, as its `path`; removed after, but for archives.

        Raises:
            ParseError: `vanished`, `too_large`, or `unreadable`, which may pass.
        """
        self._fetch(file.archive or file.uri, file.kept, file.stamp.size)
        try:
            yield file.path
        finally:
            if not file.archive and not is_container(file.uri):
                Path(file.path).unlink(missing_ok=True)

    def _with_company(self, file: ScannedFile, listed: Mapping[str, Mapping[str, Any]]) -> ScannedFile:
        beside = sidecar_of(file.uri)
        if beside in listed:
            self._fetch(beside, sidecar_of(file.kept), size_of(listed[beside]))
        if is_container(file.uri):
            self._fetch(file.uri, file.kept, file.stamp.size)
        return ScannedFile(file.uri, file.stamp, sidecar=beside in listed, kept=file.kept)

    def _place(self, uri: str) -> str:
        """Where a file is fetched to: a folder of its own, its own name, which decides how it is read."""
        digest = hashlib.sha256(uri.encode()).hexdigest()[:24]
        name = unquote(uri.rsplit("/", 1)[-1]).replace("\0", "\ufffd").replace("/", "_") or "index"
        return str(self._aside / digest / os.fsdecode(name.encode("utf-8", "surrogateescape")[-200:]))

    def _listed(self) -> dict[str, Mapping[str, Any]]:
        """Every file below the source, or the one it names: uri to what the service tells of it."""
        path = self._path(self.uri)
        try:
            found = self._single(path)
            if found is None:
                everything = self._files.find(path, detail=True)
                found = {uri: info for uri, info in self._named(everything) if covers(self._folder, uri)}
            return {uri: self._whole(uri, info) for uri, info in found.items()}
        except SourceError:
            raise
        except FileNotFoundError as error:
            if isinstance(error.__cause__, SourceError):  # fsspec takes every failure for a missing file
                raise error.__cause__ from error
            raise SourceError(
                "source_missing", f"{self.uri} does not exist, or may not be seen with these credentials"
            ) from error
        except Exception as error:
            raise SourceError(
                "source_unreadable", f"{self.uri} cannot be listed ({said(error)}); nothing was removed"
            ) from error

    @property
    def _folder(self) -> str:
        return self.uri if self.uri.endswith("/") else f"{self.uri}/"

    def _single(self, path: str) -> dict[str, Mapping[str, Any]] | None:
        """The one file the source names; None when it is a folder."""
        if self.uri.endswith("/"):
            return None
        info = self._files.info(path)
        return {self.uri: info} if info.get("type") == "file" else None

    def _named(self, listing: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for path, info in listing.items():
            if info.get("type") == "file" and not path.endswith("/") and "?" not in path:
                yield self._uri(path), info

    def _whole(self, uri: str, info: Mapping[str, Any]) -> Mapping[str, Any]:
        """What is told of a file; a web server's page names it only, so it is asked for."""
        if self._scheme in {"http", "https"} and not any(info.get(name) for name in (*_TAGS, *_TIMES)):
            try:
                asked: Mapping[str, Any] = self._files.info(self._path(uri))
            except FileNotFoundError as error:
                if not isinstance(error.__cause__, SourceError):
                    raise
                return {**info, _LEFT: error.__cause__}
            return asked
        return info

    def _path(self, uri: str) -> str:
        """As fsspec names it."""
        if self._scheme in {"http", "https"}:
            return uri
        return unquote(uri.partition("://")[2])

    def _uri(self, path: str) -> str:
        if self._scheme in {"http", "https"}:
            return check_uri(path)
        bare = path.partition("://")[2] if "://" in path else path
        return f"{self._scheme}://{quote(bare.lstrip('/'), safe='/')}"

    def _fetch(self, uri: str, kept: str, size: int) -> None:
        if size > self._limit:
            raise ParseError("too_large", f"{size} bytes, and FILE_BYTES allows {self._limit}")
        if Path(kept).exists():
            return
        Path(kept).parent.mkdir(exist_ok=True)
        draft = f"{kept}.part"
        try:
            self._files.get_file(self._path(uri), draft, callback=_at_most(self._limit))
        except FileNotFoundError as error:
            raise ParseError("vanished", "it was there when the source was listed", transient=True) from error
        except ParseError:
            Path(draft).unlink(missing_ok=True)
            raise
        except SourceError as error:
            raise ParseError(error.code, error.message) from error
        except Exception as error:
            raise ParseError(
                "unreadable", f"it could not be fetched ({said(error)})", transient=True
            ) from error
        Path(draft).rename(kept)


def _at_most(limit: int) -> Any:
    """Tells fsspec to end a download that brings more than it said, or that said nothing."""
    from fsspec.callbacks import Callback

    def check(_: int | None, value: int) -> None:
        if value > limit:
            raise ParseError("too_large", f"over {limit} bytes, and FILE_BYTES allows no more")

    return Callback(hooks={"limit": check})


def _takes(selection: Selection, place: str) -> bool:
    folders = place.split("/")[:-1]
    inside = all(selection.takes_folder("/".join(folders[: depth + 1])) for depth in range(len(folders)))
    takes: Callable[[str], bool] = selection.takes_folder if is_container(place) else selection.takes_file
    return inside and takes(place)


def _file_system(scheme: str, within: Sequence[str]) -> Any:
    import fsspec

    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if scheme in {"http", "https"}:
        options["client_kwargs"] = {"trust_env": True}
        if within:
            # aiohttp calls it for each request, those that follow a redirect too.
            options["client_kwargs"]["middlewares"] = (_staying_within(within),)
    if scheme == "memory":
        options = {}
    try:
        return fsspec.filesystem(scheme, **options)
    except ImportError as error:
        extra = "http" if scheme == "https" else scheme
        message = f"{scheme}:// needs {_INSTALL[scheme]}: pip install 'latewood[{extra}]'"
        raise SourceError("source_invalid", message) from error


def _staying_within(roots: Sequence[str]) -> Any:
    """A middleware of aiohttp that refuses requests to places outside all roots."""

    async def check(request: Any, handler: Callable[[Any], Any]) -> Any:
        place = (
            f"{request.url.scheme}://{request.url.authority}{request.url.raw_path}"  # a query may be secret
        )
        if not any(remote_holds(root, place) for root in roots):
            raise SourceError(
                "source_not_allowed",
                f"the server redirects to {place}, outside of ROOTS ({', '.join(roots)}); it was not fetched",
            )
        return await handler(request)

    return check


def said(error: BaseException) -> str:
    """What may be told of a service's error: its kind and number, not its words, which may quote a secret."""
    number = getattr(error, "status", None) or getattr(error, "errno", None)
    return f"{type(error).__name__}{f' {number}' if number else ''}"


def size_of(info: Mapping[str, Any]) -> int:
    """Bytes; 0 when nothing tells."""
    size = info.get("size")
    return int(size) if size is not None else 0


def stamp_of(info: Mapping[str, Any]) -> FileStamp:
    """What tells whether a file changed: its size, its time, and its ETag in place of an inode.

    Where a service tells neither time nor ETag the stamp says that it may change again at any moment, so
    that its content decides.
    """
    now = time_ns()
    changed = next((moment for name in _TIMES if (moment := _nanoseconds(info.get(name)))), 0)
    tag = next((str(info[name]) for name in _TAGS if info.get(name)), "")
    digest = int.from_bytes(hashlib.sha256(tag.encode()).digest()[:7], "big") if tag else 0
    uncertain = not tag and not changed
    return FileStamp(size_of(info), changed, now if uncertain else 0, digest, now)


def _nanoseconds(value: object) -> int:
    if isinstance(value, str):
        try:
            value = email.utils.parsedate_to_datetime(value)
        except ValueError:
            try:
                value = dt.datetime.fromisoformat(str(value))
            except ValueError:
                return 0
    if isinstance(value, dt.datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
        return int(moment.timestamp() * 1e9)
    return int(value * 1e9) if isinstance(value, (int, float)) else 0
