"""The records of a collection on a Qdrant server: points without vectors in a collection beside it."""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Iterable, Sequence

from qdrant_client import QdrantClient, models

from latewood.search.stores.qdrant.requests import keyword
from latewood.search.stores.records import Row, with_info
from latewood.search.stores.server.client import Calls, slices
from latewood.search.types import DocumentInfo

FIELDS = ("document_id", "version")
"""Payload fields with an index."""

_BYTES = 4 * 2**20  # of records in one request: the server takes 32 MiB by default
_PAGE = 256
_HALF = 2**64


class ServerRecords:
    """Records in `name`."""

    def __init__(self, calls: Calls, name: str) -> None:
        self._calls = calls
        self._name = name

    def put(self, rows: Sequence[Row]) -> None:
        """Write records over those of the same versions."""
        for part in _portions(rows):

            def upsert(client: QdrantClient, part: list[Row] = part) -> models.UpdateResult:
                points = [_point(row) for row in part]
                ordering = self._calls.ordering
                return client.upsert(self._name, points, wait=True, ordering=ordering)

            self._calls.write("writing records", upsert)

    def get(self, ids: Sequence[str]) -> list[Row]:
        """The records of these documents, in the order asked, then by version; not checked yet."""
        found: dict[str, list[Row]] = {}
        for part in slices(dict.fromkeys(ids), _PAGE):
            for record in self._scroll(models.Filter(must=[keyword("document_id", *part)]), True):
                row = _row(record)
                found.setdefault(row.document_id, []).append(row)
        return [row for one in ids for row in sorted(found.get(one, []), key=lambda row: row.version)]

    def page(self, after: tuple[str, str] | None, limit: int) -> list[tuple[str, str]]:
        """A page of (document id, version), in order.

        A point's id begins as its document's does, so points come in order of the documents, and those of one
        document together: a page is whole once the first of the next document is seen.
        """
        offset = None if after is None else str(uuid.UUID(int=uuid.UUID(after[0]).int // _HALF * _HALF))
        found: list[tuple[str, str]] = []
        for record in self._scroll(None, list(FIELDS), offset, _PAGE + limit):
            payload = record.payload or {}
            key = (payload["document_id"], payload["version"])
            if after is not None and key <= after:
                continue
            if len(found) >= limit and _start(key[0]) != _start(found[-1][0]):
                break
            found.append(key)
        return sorted(found)[:limit]

    def put_info(self, document_id: str, version: str, info: DocumentInfo) -> None:
        """Rewrite what this version's record says of its document, if there is a whole one."""
        rows = [row for row in self.get([document_id]) if row.version == version and row.whole]
        self.put([with_info(row, info) for row in rows])

    def sweep(self, versions: Sequence[str]) -> None:
        """Remove the records of these versions."""
        where = models.FilterSelector(filter=models.Filter(must=[keyword("version", *versions)]))
        self._calls.write(
            "removing records",
            lambda client: client.delete(self._name, where, wait=True, ordering=self._calls.ordering),
        )

    def _scroll(
        self,
        where: models.Filter | None,
        fields: list[str] | bool,
        offset: models.ExtendedPointId | None = None,
        size: int = _PAGE,
    ) -> Iterable[models.Record]:
        while True:

            def ask(
                client: QdrantClient, offset: models.ExtendedPointId | None = offset
            ) -> tuple[list[models.Record], models.ExtendedPointId | None]:
                return client.scroll(
                    self._name,
                    scroll_filter=where,
                    limit=size,
                    offset=offset,
                    with_payload=fields,
                    with_vectors=False,
                    consistency=self._calls.consistency,
                )

            page, offset = self._calls.ask("reading records", ask)
            yield from page
            if offset is None:
                return


def _portions(rows: Sequence[Row]) -> Iterable[list[Row]]:
    part: list[Row] = []
    size = 0
    for row in rows:
        own = len(row.manifest) + 4 * len(row.chunks) // 3
        if part and size + own > _BYTES:
            yield part
            part, size = [], 0
        part.append(row)
        size += own
    if part:
        yield part


def _start(document_id: str) -> int:
    return uuid.UUID(document_id).int // _HALF


def _point(row: Row) -> models.PointStruct:
    own = hashlib.blake2b(f"{row.document_id}/{row.version}".encode(), digest_size=8).digest()
    identity = uuid.UUID(int=_start(row.document_id) * _HALF + int.from_bytes(own, "big"))
    payload = {
        "document_id": row.document_id,
        "version": row.version,
        "manifest": row.manifest,
        "chunks": base64.b64encode(row.chunks).decode("ascii"),
        "checksum": row.checksum.hex(),
    }
    return models.PointStruct(id=str(identity), vector={}, payload=payload)


def _row(record: models.Record) -> Row:
    """A row as it stands: what is no longer readable has a checksum that no longer fits."""
    payload = record.payload or {}
    texts = {name: str(payload.get(name, "")) for name in (*FIELDS, "manifest", "chunks", "checksum")}
    try:
        chunks, checksum = base64.b64decode(texts["chunks"], validate=True), bytes.fromhex(texts["checksum"])
    except ValueError:
        chunks, checksum = b"", b""
    return Row(texts["document_id"], texts["version"], texts["manifest"], chunks, checksum)
