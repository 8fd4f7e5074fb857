"""Packed files: opened only after what they would unpack to is known to be bearable."""

from __future__ import annotations

import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from latewood.ingest.types import ParseError

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_XML = (".xml", ".rels", ".xhtml", ".html", ".htm", ".opf", ".ncx")
XML_LIMIT = 100 * 1024**2
RATIO = 200
_FREE_BYTES = 1 << 20
_PIECE = 1 << 20
_TOTAL_LIMIT = 1024**3


@contextmanager
def open_archive(data: bytes, what: str, xml_limit: int = XML_LIMIT) -> Iterator[zipfile.ZipFile]:
    """The zip archive inside an Office file.

    Args:
        data: the file.
        what: how to name it in an error, with its article.
        xml_limit: bytes of XML the reader can bear; one that builds a tree needs ten times as much memory.

    Raises:
        ParseError: `encrypted`, `corrupt`, or `too_large` if it would unpack to more than `xml_limit`
            bytes of XML or 1 GiB in all.
    """
    if data.startswith(_OLE):
        raise _old_container(data, what)
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, OSError) as error:
        raise ParseError("corrupt", f"the file is damaged, incomplete or not {what} ({error})") from error
    with archive:
        entries = archive.infolist()
        total = sum(entry.file_size for entry in entries)
        xml = sum(entry.file_size for entry in entries if entry.filename.endswith(_XML))
        if xml > xml_limit or total > _TOTAL_LIMIT:
            raise ParseError(
                "too_large",
                f"the file would unpack to {xml >> 20} MiB of XML and {total >> 20} MiB in all; "
                f"the limits are {xml_limit >> 20} and {_TOTAL_LIMIT >> 20} MiB; split it",
            )
        yield archive


def read_entry(archive: zipfile.ZipFile, name: str) -> bytes:
    """One entry's bytes, never more than its header says.

    Raises:
        ParseError: `encrypted`, or `corrupt` if its bytes are damaged or packed in a way not known.
    """
    try:
        return archive.read(name)
    except RuntimeError as error:
        if "password" in str(error) or "encrypted" in str(error):
            raise ParseError("encrypted", "the file asks for a password; save a copy without one") from error
        raise
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, KeyError, NotImplementedError) as error:
        raise ParseError("corrupt", f"{name!r:.100} in the file is damaged ({error})") from error


def most_unpacked(packed: int) -> int:
    """Return the most that so many packed bytes may unpack to; text packs 50 times smaller at the best."""
    return max(_FREE_BYTES, RATIO * packed)


def unpacked(data: bytes, max_bytes: int) -> bytes:
    """What a gzip file holds (all its members in a row), checked against its sums.

    Raises:
        ParseError: `corrupt`; `too_large` beyond `max_bytes` or `most_unpacked`, before more is unpacked.
    """
    pieces: list[bytes] = []
    limit = min(max_bytes, most_unpacked(len(data)))
    left = limit
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            while piece := stream.read(_PIECE):
                left -= len(piece)
                if left < 0:
                    raise ParseError(
                        "too_large",
                        f"its {len(data)} bytes would unpack to more than {limit}; the limits are {RATIO} "
                        "times its packed size, and FILE_BYTES; unpack or split it",
                    )
                pieces.append(piece)
    except (OSError, EOFError, zlib.error) as error:
        raise ParseError("corrupt", f"the gzip file is damaged or incomplete ({error})") from error
    return b"".join(pieces)


def _old_container(data: bytes, what: str) -> ParseError:
    if "EncryptedPackage".encode("utf-16-le") in data:
        return ParseError("encrypted", "the file asks for a password; save a copy without one")
    return ParseError(
        "corrupt", f"the file is not {what} but a legacy Office file; convert it with LibreOffice"
    )
