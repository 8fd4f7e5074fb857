"""Records as two pieces of bytes and a checksum, and back: what any store keeps apart from its points."""

from __future__ import annotations

import hashlib
import json
import logging
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from latewood.search.stores.qdrant.payload import manifest_from, manifest_json
from latewood.search.types import Chunk, DocumentInfo, Record

_log = logging.getLogger(__name__)
_CHUNK = ("start", "end", "context", "headings", "page_start", "page_end", "language")


@dataclass(frozen=True, slots=True)
class Row:
    """A record as it is kept.

    Attributes:
        manifest: ASCII JSON.
        chunks: zlib over UTF-8 JSON: the whole text once, then each chunk without its text.
        checksum: 16 bytes over everything else, so that damage is noticed.
    """

    document_id: str
    version: str
    manifest: str
    chunks: bytes
    checksum: bytes

    @property
    def whole(self) -> bool:
        """Whether it is as it was written."""
        return self.checksum == checksum_of(self.document_id, self.version, self.manifest, self.chunks)


def checksum_of(document_id: str, version: str, manifest: str, chunks: bytes) -> bytes:
    """16 bytes that change when any of these does."""
    summed = hashlib.blake2b(digest_size=16)
    for part in (document_id.encode(), version.encode(), manifest.encode(), chunks):
        summed.update(len(part).to_bytes(8, "little"))
        summed.update(part)
    return summed.digest()


def row_of(record: Record) -> Row:
    """A record as it is kept.

    Raises:
        ValueError: metadata with a number the store cannot give back as it was.
    """
    shape = {
        "text": "".join(chunk.text for chunk in record.chunks),
        "chunks": [[getattr(chunk, name) for name in _CHUNK] for chunk in record.chunks],
    }
    # Lone surrogates are no UTF-8, but whatever a chunk held comes back.
    text = json.dumps(shape, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass")
    return _row(record.document_id, record.version, manifest_json(record.manifest), zlib.compress(text))


def record_of(row: Row) -> Record:
    """The record that `row_of` made of it; only for rows that are whole."""
    manifest = manifest_from(row.manifest)
    shape = json.loads(zlib.decompress(row.chunks).decode("utf-8", "surrogatepass"))
    return Record(manifest, tuple(_chunks(row, shape["text"], shape["chunks"])))


def whole_records(rows: Iterable[Row], place: object) -> list[Record]:
    """The records of the rows that are as they were written; each of the others is named in the log.

    Args:
        rows: as kept.
        place: where; for the log.
    """
    found = []
    for row in rows:
        if row.whole:
            found.append(record_of(row))
        else:
            _log.error(
                "the record of version %s of document %s in %s is damaged; "
                "run `latewood verify --repair` to write it again",
                *(row.version, row.document_id, place),
            )
    return found


def with_info(row: Row, info: DocumentInfo) -> Row:
    """The same record with another word of its document."""
    manifest = replace(manifest_from(row.manifest), document=info)
    return _row(row.document_id, row.version, manifest_json(manifest), row.chunks)


def _row(document_id: str, version: str, manifest: str, chunks: bytes) -> Row:
    return Row(document_id, version, manifest, chunks, checksum_of(document_id, version, manifest, chunks))


def _chunks(row: Row, text: str, shapes: Iterable[list[Any]]) -> Iterable[Chunk]:
    place = 0
    for ordinal, shape in enumerate(shapes):
        told = dict(zip(_CHUNK, shape, strict=False))  # older records end before `language`
        told["headings"] = tuple(told["headings"])
        length = told["end"] - told["start"]
        yield Chunk(row.document_id, row.version, ordinal, text=text[place : place + length], **told)
        place += length
