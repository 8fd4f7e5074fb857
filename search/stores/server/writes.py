"""What writers do to the chunks of a collection on a Qdrant server; manifests say which of them are seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qdrant_client import models

from latewood.search.stores.qdrant.payload import CHUNK, document_payload
from latewood.search.stores.qdrant.requests import keyword
from latewood.search.stores.server.client import Calls, slices
from latewood.search.stores.server.manifests import ServerManifests
from latewood.search.stores.server.points import wire
from latewood.search.stores.server.reads import ServerReads
from latewood.search.stores.server.schema import ServerFields
from latewood.search.stores.server.snapshot import ticking
from latewood.search.types import DocumentInfo, MetadataValue

_SLICE = 64  # chunks in one request


class ServerWrites:
    """Writes of one collection. Safe to use from many threads."""

    def __init__(
        self, calls: Calls, name: str, points: ServerManifests, reads: ServerReads, apart: bool
    ) -> None:
        self._calls = calls
        self._name = name
        self._points = points
        self._reads = reads
        self._fields = ServerFields(calls, name, apart)

    def put(
        self, points: Sequence[models.PointStruct], metadata: Sequence[Mapping[str, MetadataValue]]
    ) -> None:
        """Write chunks; `metadata` is what they say of their documents."""
        self._fields.cover(metadata)
        for part in slices(points, _SLICE):
            if self._points.retrieve([str(point.id) for point in part], ["type"]):
                self._note_swept()
            self._write("writing chunks", models.UpsertOperation(upsert=models.PointsList(points=part)))

    def remove(self, which: models.Condition) -> int:
        """Remove the chunks that meet a condition; how many there were."""
        where = models.Filter(must=[keyword("type", CHUNK), which])
        removed = self._reads.count(where)
        if removed:
            self._note_swept()
            self._write("removing chunks", models.DeleteOperation(delete=models.FilterSelector(filter=where)))
        return removed

    def tell(self, document_id: str, version: str, info: DocumentInfo) -> None:
        """Rewrite what a version's chunks say of their document."""
        which: list[models.Condition] = [keyword("version", version), keyword("document_id", document_id)]
        where = models.Filter(must=[keyword("type", CHUNK), *which])
        self._fields.cover([info.metadata])
        self._note_swept()
        told = models.SetPayload(payload=wire(document_payload(info)), filter=where)
        # A new clock before and after: who began to read before the end starts over.
        self._write("telling chunks", ticking(), models.SetPayloadOperation(set_payload=told), ticking())

    def _note_swept(self) -> None:
        """Note, before it is so, that the engine's own BM25 statistics count what is no longer there."""
        seen = self._reads.seen
        if seen is None or not seen.swept:
            self._write("noting a removal", ticking(swept=True))
            self._reads.look()

    def _write(self, doing: str, *operations: models.UpdateOperation) -> None:
        self._calls.write(
            doing,
            lambda client: client.batch_update_points(
                self._name, list(operations), wait=True, ordering=self._calls.ordering
            ),
        )
