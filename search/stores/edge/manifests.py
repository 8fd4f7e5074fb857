"""The manifests in the embedded engine: the conditional write that is the commit, and who is hidden by it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import qdrant_edge as edge
from qdrant_client import models

from latewood.search.stores.edge.convert import to_filter
from latewood.search.stores.edge.disk_space import manifests_bytes
from latewood.search.stores.qdrant.payload import MANIFEST, Payload, manifest_payload
from latewood.search.stores.qdrant.requests import keyword
from latewood.search.types import ManifestWrite

_PAGE = 10_000


@dataclass(frozen=True, slots=True)
class _Ready:
    """A write with its payload, None for a removal; `hidden` is None when nothing is in flight."""

    document_id: str
    hidden: tuple[str, ...] | None
    payload: Payload | None


class ManifestTable:
    """Manifests of one shard, which nobody else writes."""

    def __init__(self, shard: edge.EdgeShard, before_write: Callable[[int, bool], None]) -> None:
        """Read which versions are hidden.

        Args:
            shard: the engine.
            before_write: called with the bytes about to be written, and whether the write only removes;
                refuses by raising.
        """
        self._shard = shard
        self._before_write = before_write
        flying = manifests(shard, ["document_id", "hidden"], keyword("in_flight", "yes"))
        self._hidden = {payload["document_id"]: tuple(payload["hidden"]) for payload in flying}

    def hidden(self) -> set[str]:
        """Versions no reader may see."""
        return {version for versions in self._hidden.values() for version in versions}

    def put(self, writes: Sequence[ManifestWrite]) -> list[bool]:
        """Compare and write; sees the earlier entries of the same call."""
        payloads = [None if one.manifest is None else manifest_payload(one.manifest) for one in writes]
        self._before_write(
            manifests_bytes([one for one in payloads if one is not None]), all(map(_removes, writes))
        )
        records = self._shard.retrieve(uuids(one.document_id for one in writes), ["revision"], False)
        revisions = {str(record.id): (record.payload or {}).get("revision") for record in records}
        taken = []
        last: dict[str, _Ready] = {}
        for write, payload in zip(writes, payloads, strict=True):
            stored = revisions.get(write.document_id)
            wanted = None if write.manifest is None else write.manifest.revision
            taken.append(stored in (wanted, write.expected))
            if stored != wanted and taken[-1]:
                flying = write.manifest is not None and write.manifest.in_flight
                hidden = write.manifest.hidden if write.manifest is not None and flying else None
                last[write.document_id] = _Ready(write.document_id, hidden, payload)
                revisions[write.document_id] = wanted
        self._write(last.values())
        return taken

    def _write(self, writes: Collection[_Ready]) -> None:
        points = [edge.Point(one.document_id, {}, one.payload) for one in writes if one.payload is not None]
        removed: list[edge.PointId] = [one.document_id for one in writes if one.payload is None]
        if points:
            self._shard.update(edge.UpdateOperation.upsert_points(points))
        if removed:
            self._shard.update(edge.UpdateOperation.delete_points(removed))
        for one in writes:
            self._hidden.pop(one.document_id, None)
            if one.hidden is not None:
                self._hidden[one.document_id] = one.hidden

    def get(self, ids: Sequence[str]) -> list[str]:
        """Manifests as JSON, in the order asked."""
        found = {
            str(record.id): record.payload["manifest"]
            for record in self._shard.retrieve(uuids(ids), ["type", "manifest"], False)
            if record.payload and record.payload["type"] == MANIFEST
        }
        return [found[one] for one in ids if one in found]

    def live(self, document_id: str) -> tuple[str, int] | None:
        """The version that answers, and its number of chunks."""
        records = self._shard.retrieve(uuids([document_id]), ["type", "live", "chunks"], False)
        payload = (records[0].payload or {}) if records else {}
        if payload.get("type") != MANIFEST or payload["live"] is None:
            return None
        return payload["live"], payload["chunks"]

    def page(self, source: str | None, after: str | None, limit: int) -> list[str]:
        """A page of manifests as JSON."""
        must: list[models.Condition] = [keyword("type", MANIFEST)]
        if source is not None:
            must.append(keyword("source", source))
        page = scroll_after(self._shard, models.Filter(must=must), ["manifest"], after, limit)
        return [(record.payload or {})["manifest"] for record in page]

    def in_flight(self) -> list[str]:
        """Manifests with a hidden version or chunks to be told, as JSON."""
        return self.get(sorted(self._hidden))


def _removes(write: ManifestWrite) -> bool:
    """Return whether a write is a step of taking a document out: it retires the live version, or forgets it.

    The first step marks the live version as replaced. The second step, once that version is swept, leaves a
    manifest without a version or none at all.
    """
    new = write.manifest
    if new is None:
        return True
    return write.expected is not None and new.live is None and bool(new.replaced or not new.pending)


def manifests(shard: edge.EdgeShard, fields: list[str], *conditions: models.Condition) -> Iterator[Payload]:
    """These payload fields of every manifest that meets the conditions, in order of document id."""
    where = to_filter(models.Filter(must=[keyword("type", MANIFEST), *conditions]))
    offset = None
    while True:
        records, offset = shard.scroll(
            edge.ScrollRequest(offset=offset, limit=_PAGE, filter=where, with_payload=fields)
        )
        for record in records:
            yield record.payload or {}
        if offset is None:
            return


def scroll_after(
    shard: edge.EdgeShard, where: models.Filter, fields: list[str], after: str | None, limit: int
) -> list[edge.Record]:
    """The first `limit` points that match with an id beyond `after`, in order of id."""
    records, _ = shard.scroll(
        edge.ScrollRequest(
            offset=after,
            limit=limit + 1,  # the offset itself may be part of the engine's answer
            filter=to_filter(where),
            with_payload=fields,
        )
    )
    return [record for record in records if after is None or str(record.id) > after][:limit]


def uuids(ids: Iterable[str]) -> list[edge.PointId]:
    """Those that are uuids at all: nothing else can be an id here."""
    found: list[edge.PointId] = []
    for one in ids:
        try:
            found.append(uuid.UUID(one))
        except ValueError:
            continue
    return found
