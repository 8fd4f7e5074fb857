"""Zip archives as folders: what is in one, and one member's bytes; nothing an archive says is trusted."""

from __future__ import annotations

import os
import re
import stat
import time
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from latewood.ingest.parsing.gzip_zip import RATIO, most_unpacked
from latewood.ingest.parsing.read_file import opened, refuse_special, stamp_of
from latewood.ingest.parsing.router import HEAD_BYTES, route
from latewood.ingest.types import ParseError
from latewood.search.types import FileStamp

MOST_MEMBERS = 10_000
_FREE_BYTES = 256 * 1024**2
_PIECE = 1 << 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_UTF8 = 0x800
_ENCRYPTED = 0x41  # the old scheme, and the strong one
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive.

    Attributes:
        name: its path in the archive, `/` between parts, never absolute, no `.` or `..`; where that cannot be
            had, the name as it is (then `code` says so). Unique in its archive.
        size: bytes it says it unpacks to.
        crc: CRC-32 it says its bytes have.
        encrypted: whether it asks for a password.
        code, message: why it cannot be read, as in `ParseError`; empty where nothing speaks against it.
        skipped: with a code: it is not meant to be read.
    """

    name: str
    size: int
    crc: int
    encrypted: bool = False
    code: str = ""
    message: str = ""
    skipped: bool = False


def is_container(name: str) -> bool:
    """Whether a file of this name is read as a folder."""
    return name.lower().endswith(".zip")


@dataclass(frozen=True, slots=True)
class _Open:
    """An archive that is open, as it was when it was opened."""

    path: str
    stamp: FileStamp
    file: BinaryIO
    archive: zipfile.ZipFile
    entries: dict[str, tuple[Member, zipfile.ZipInfo]]


class ArchiveReader:
    """Lists archives and reads members; the archive used last stays open, so that its list is read once.

    Args:
        max_file_bytes: the most one member may unpack to.
    """

    def __init__(self, max_file_bytes: int) -> None:
        self._max_file_bytes = max_file_bytes
        self._last: _Open | None = None

    def members(self, path: str) -> list[Member]:
        """Every file in the archive, in its order, those that cannot be read with the reason.

        Folders, and what macOS adds (`__MACOSX`, `._*`, `.DS_Store`), are left out. Of several members with
        one name the last counts, as for one who unpacks them.

        Raises:
            ParseError: `corrupt`, `not_a_file`, or `too_large` with more than 10,000 members, or if all
                would unpack to more than 256 MiB and 200 times the archive.
        """
        return [member for member, _ in self._opened(path).entries.values()]

    def read(self, path: str, member: str, name: str) -> tuple[bytes, FileStamp]:
        """A member's bytes, checked against its sum, and the stamp of the archive.

        Args:
            path: the archive.
            member: as `Member.name`.
            name: the name that says what the member is; a kind without a reader is not unpacked.

        Raises:
            ParseError: what `members` raises or says of the member; `vanished` if there is no such member.
        """
        shelf = self._opened(path)
        if member not in shelf.entries:
            raise ParseError("vanished", "there is no such file in the archive", transient=True)
        known, entry = shelf.entries[member]
        if known.code:
            raise ParseError(known.code, known.message, skipped=known.skipped)
        data = self._unpack(shelf.archive, entry, name)
        if not self._current(shelf):
            raise ParseError("changed_while_reading", "the archive changed while it was read", transient=True)
        return data, shelf.stamp

    def packed_size(self, path: str, member: str) -> int:
        """Bytes that a member takes in its archive; call it after `read`.

        Raises:
            ParseError: what `members` raises.
        """
        return self._opened(path).entries[member][1].compress_size

    def close(self) -> None:
        """Close the archive that is open, if any."""
        if self._last is not None:
            self._last.file.close()
            self._last = None

    def _unpack(self, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> bytes:
        pieces: list[bytes] = []
        left = self._max_file_bytes
        try:
            with archive.open(entry) as stream:
                head = stream.read(HEAD_BYTES)
                if entry.file_size:
                    route(name, head)
                piece = head
                while piece:
                    left -= len(piece)
                    if left < 0:
                        raise _too_large(entry.file_size, self._max_file_bytes)
                    pieces.append(piece)
                    piece = stream.read(_PIECE)
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            OSError,
            RuntimeError,
            NotImplementedError,
        ) as error:
            raise ParseError("corrupt", f"the file is damaged in its archive ({error})") from error
        return b"".join(pieces)

    def _opened(self, path: str) -> _Open:
        if self._last is not None:
            if self._last.path == path and self._current(self._last):
                return self._last
            self.close()
        with opened(path) as descriptor:
            scanned = time.time_ns()
            status = os.fstat(descriptor)
            refuse_special(status)
            # A copy: a path is not opened a second time, it may lead elsewhere by then.
            file: BinaryIO = os.fdopen(os.dup(descriptor), "rb")
        try:
            archive = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, OSError) as error:
            file.close()
            raise ParseError("corrupt", f"the archive is damaged, incomplete or no zip ({error})") from error
        shelf = _Open(path, stamp_of(status, scanned), file, archive, {})
        try:
            self._fill(shelf)
        except ParseError:
            file.close()
            raise
        self._last = shelf
        return shelf

    def _current(self, shelf: _Open) -> bool:
        """Whether the path still leads to the file that is open, unchanged."""
        try:
            return shelf.stamp.same_file_state(stamp_of(Path(shelf.path).stat(), 0))
        except OSError:
            return False

    def _fill(self, shelf: _Open) -> None:
        size = shelf.stamp.size
        entries = shelf.archive.infolist()
        total = sum(entry.file_size for entry in entries)
        if len(entries) > MOST_MEMBERS:
            raise ParseError(
                "too_large",
                f"the archive holds {len(entries)} files, the limit is {MOST_MEMBERS}; unpack it",
            )
        if total > max(_FREE_BYTES, RATIO * size):
            raise ParseError(
                "too_large",
                f"the archive of {size} bytes would unpack to {total}; the limit is {_FREE_BYTES} bytes or "
                f"{RATIO} times its size; unpack it into a folder",
            )
        for entry in entries:
            name = _decoded(entry)
            if not (entry.is_dir() or name.endswith("/") or _added_by_system(name)):
                member = self._member(entry, name)
                shelf.entries.pop(member.name, None)
                shelf.entries[member.name] = (member, entry)

    def _member(self, entry: zipfile.ZipInfo, raw: str) -> Member:
        name = _safe(raw)
        encrypted = bool(entry.flag_bits & _ENCRYPTED)
        fault: tuple[str, str, bool] = ("", "", False)
        if not name:
            fault = (
                "unsafe_name",
                "its name leads out of the archive; pack it again with plain names",
                False,
            )
        elif stat.S_ISLNK(entry.external_attr >> 16):
            fault = ("not_a_file", "it is a symbolic link; links in archives are not followed", True)
        elif encrypted:
            fault = ("encrypted", "it asks for a password; pack it again without one", False)
        elif is_container(name):
            fault = ("unsupported_kind", "an archive inside an archive is not opened; unpack it", True)
        elif entry.compress_type not in _METHODS:
            method = f"it is packed by method {entry.compress_type}, only deflate is read; pack it again"
            fault = ("unsupported_kind", method, True)
        elif entry.file_size > self._max_file_bytes:
            error = _too_large(entry.file_size, self._max_file_bytes)
            fault = (error.code, error.message, False)
        elif entry.file_size > most_unpacked(entry.compress_size):
            sizes = f"its {entry.compress_size} bytes would unpack to {entry.file_size}"
            fault = ("too_large", f"{sizes}; the limit is {RATIO} times its packed size; unpack it", False)
        return Member(name or _storable(raw), entry.file_size, entry.CRC, encrypted, *fault)


def _decoded(entry: zipfile.ZipInfo) -> str:
    """The name as its maker meant it: many write UTF-8 without saying so."""
    name = entry.filename
    if not entry.flag_bits & _UTF8:
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            name = entry.filename
    return name if "/" in name else name.replace("\\", "/")


def _storable(name: str) -> str:
    return name.encode("utf-8", "replace").decode()


def _safe(name: str) -> str:
    """The name without empty parts and dots; '' where it is absolute or leads upwards."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or _DRIVE.match(name) or ".." in parts:
        return ""
    return _storable("/".join(parts))


def _added_by_system(name: str) -> bool:
    path = PurePosixPath(name)
    return "__MACOSX" in path.parts[:-1] or path.name == ".DS_Store"


def _too_large(size: int, limit: int) -> ParseError:
    return ParseError("too_large", f"the file has {size} bytes, the limit is {limit}; split it")
