"""Office files are zip archives: opened only after what they would unpack to is known to be bearable."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

from ingest.types import ParseError

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
XML_LIMIT = 100 * 1024**2
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
        xml = sum(entry.file_size for entry in entries if entry.filename.endswith((".xml", ".rels")))
        if xml > xml_limit or total > _TOTAL_LIMIT:
            raise ParseError(
                "too_large",
                f"the file would unpack to {xml >> 20} MiB of XML and {total >> 20} MiB in all; "
                f"the limits are {xml_limit >> 20} and {_TOTAL_LIMIT >> 20} MiB; split it",
            )
        yield archive


def _old_container(data: bytes, what: str) -> ParseError:
    if "EncryptedPackage".encode("utf-16-le") in data:
        return ParseError("encrypted", "the file asks for a password; save a copy without one")
    return ParseError(
        "corrupt", f"the file is not {what} but a legacy Office file; convert it with LibreOffice"
    )
