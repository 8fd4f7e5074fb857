"""The manifests on a Qdrant server: the conditional write that is the commit, among many writers.

The server compares: a manifest is written over the revision it names (`update_filter` with `update_only`) or
where there is none (`insert_only`), and removed by a filter that names it. It does not say what became of
that, so each manifest carries the trail of its last revisions: whoever finds its own in it was taken, even if
others have written since.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qdrant_client import QdrantClient, models

from latewood.search.stores.qdrant.payload import MANIFEST, Payload, manifest_payload
from latewood.search.stores.qdrant.requests import keyword
from latewood.search.stores.server.client import Calls, slices
from latewood.search.stores.server.snapshot import ticking
from latewood.search.types import ManifestWrite

TRAIL = 16
"""Revisions that a manifest remembers: as many writes may come between one and the look at it."""

_FIELDS = ["type", "revision", "trail", "owners"]
_BATCH = 128
_RETRIEVED = 1000


@dataclass(slots=True)
class _Plan:
    """What one call wants of one manifest.

    Attributes:
        stored: revision on the server; None when there is none.
        now: revision after the writes planned so far.
        payload: the last of them; None for a removal.
        written: places in the call of the writes that need this plan to succeed.
    """

    stored: str | None
    now: str | None
    trail: list[str]
    owners: Mapping[str, str]
    payload: Payload | None
    written: list[int]


class ServerManifests:
    """Manifests of one collection."""

    def __init__(self, calls: Calls, name: str) -> None:
        self._calls = calls
        self._name = name

    def put(self, writes: Sequence[ManifestWrite]) -> list[bool]:
        """Compare and write; sees the earlier entries of the same call."""
        payloads = [None if one.manifest is None else manifest_payload(one.manifest) for one in writes]
        taken = [False] * len(writes)
        for part in slices(range(len(writes)), _BATCH):
            self._put(writes, payloads, part, taken)
        return taken

    def _put(
        self,
        writes: Sequence[ManifestWrite],
        payloads: Sequence[Payload | None],
        part: Sequence[int],
        taken: list[bool],
    ) -> None:
        plans = self._plans([writes[place].document_id for place in part])
        for place in part:
            write, plan = writes[place], plans[writes[place].document_id]
            wanted = None if write.manifest is None else write.manifest.revision
            if plan.now == wanted:
                taken[place] = True
                if plan.written:  # it stands by a write of this very call
                    plan.written.append(place)
            elif plan.now == write.expected:
                plan.now, plan.payload = wanted, payloads[place]
                plan.written.append(place)
                plan.trail = plan.trail if wanted is None else [wanted, *plan.trail][:TRAIL]
            elif not plan.written:  # taken before, its answer lost, and others have written since
                taken[place] = wanted in plan.trail
        self._write({one: plan for one, plan in plans.items() if plan.written}, taken)

    def _write(self, plans: Mapping[str, _Plan], taken: list[bool]) -> None:
        if not plans:
            return
        operations = [ticking(), *(self._operation(one, plan) for one, plan in plans.items())]
        self._calls.write(
            "writing manifests",
            lambda client: client.batch_update_points(
                self._name, operations, wait=True, ordering=self._calls.ordering
            ),
        )
        after = self._plans(list(plans))
        for one, plan in plans.items():
            stored = after[one]
            stands = stored.stored is None if plan.now is None else plan.now in stored.trail
            for place in plan.written:
                taken[place] = stands

    def _operation(self, document_id: str, plan: _Plan) -> models.UpdateOperation:
        here = [models.HasIdCondition(has_id=[document_id]), keyword("type", MANIFEST)]
        same = models.Filter(must=[*here, keyword("revision", plan.stored or "")])
        if plan.payload is None:
            return models.DeleteOperation(delete=models.FilterSelector(filter=same))
        us = self._calls.process
        owners = {version: plan.owners.get(version, us) for version in plan.payload["hidden"]}
        owners[""] = us  # of the manifest itself: who wrote it last
        payload = {**plan.payload, "trail": plan.trail, "owners": owners}
        point = models.PointStruct(id=document_id, vector={}, payload=payload)
        if plan.stored is None:
            listed = models.PointsList(points=[point], update_mode=models.UpdateMode.INSERT_ONLY)
        else:
            listed = models.PointsList(
                points=[point], update_filter=same, update_mode=models.UpdateMode.UPDATE_ONLY
            )
        return models.UpsertOperation(upsert=listed)

    def _plans(self, ids: Sequence[str]) -> dict[str, _Plan]:
        plans = {one: _Plan(None, None, [], {}, None, []) for one in ids}
        for record in self.retrieve(list(plans), _FIELDS):
            payload = record.payload or {}
            if payload.get("type") == MANIFEST:
                revision, trail, owners = (payload[name] for name in _FIELDS[1:])
                plans[str(record.id)] = _Plan(revision, revision, list(trail), owners, None, [])
        return plans

    def get(self, ids: Sequence[str]) -> list[str]:
        """Manifests as JSON, in the order asked."""
        found = {
            str(record.id): record.payload["manifest"]
            for record in self.retrieve(ids, ["type", "manifest"])
            if record.payload and record.payload["type"] == MANIFEST
        }
        return [found[one] for one in ids if one in found]

    def live(self, document_id: str) -> tuple[str, int] | None:
        """The version that answers, and its number of chunks."""
        records = self.retrieve([document_id], ["type", "live", "chunks"])
        payload = (records[0].payload or {}) if records else {}
        if payload.get("type") != MANIFEST or payload["live"] is None:
            return None
        return payload["live"], payload["chunks"]

    def page(self, source: str | None, after: str | None, limit: int) -> list[str]:
        """A page of manifests as JSON."""
        must: list[models.Condition] = [keyword("type", MANIFEST)]
        if source is not None:
            must.append(keyword("source", source))
        page = self.scroll(models.Filter(must=must), ["manifest"], after, limit)
        return [(record.payload or {})["manifest"] for record in page]

    def in_flight(self, alive: Collection[str] = ()) -> list[str]:
        """Manifests with a hidden version or chunks to be told, as JSON; of no writer that is `alive`."""
        found, after = [], None
        where = models.Filter(must=[keyword("type", MANIFEST), keyword("in_flight", "yes")])
        while page := self.scroll(where, ["manifest", "owners"], after, _RETRIEVED):
            for record in page:
                payload = record.payload or {}
                if not set(payload["owners"].values()) & set(alive):
                    found.append(payload["manifest"])
            after = str(page[-1].id)
        return found

    def retrieve(self, ids: Iterable[str], fields: list[str] | bool) -> list[models.Record]:
        """The points of these ids that are there, in no order; what can be no id is left out."""
        found: list[models.Record] = []
        for part in slices(uuids(ids), _RETRIEVED):

            def ask(client: QdrantClient, part: list[str] = part) -> list[models.Record]:
                return client.retrieve(
                    self._name,
                    part,
                    with_payload=fields,
                    with_vectors=False,
                    consistency=self._calls.consistency,
                )

            found += self._calls.ask("reading points", ask)
        return found

    def scroll(
        self, where: models.Filter, fields: list[str] | bool, after: str | None, limit: int
    ) -> list[models.Record]:
        """The first `limit` points that match with an id beyond `after`, in order of id."""

        def ask(client: QdrantClient) -> list[models.Record]:
            page, _ = client.scroll(
                self._name,
                scroll_filter=where,
                limit=limit + 1,  # the offset itself may be part of the answer
                offset=after,
                with_payload=fields,
                with_vectors=False,
                consistency=self._calls.consistency,
            )
            return page

        found = self._calls.ask("listing points", ask)
        return [record for record in found if after is None or str(record.id) > after][:limit]


def uuids(ids: Iterable[str]) -> list[Any]:
    """Those that are uuids at all, each once: nothing else can be an id here."""
    found: dict[str, None] = {}
    for one in ids:
        try:
            found[str(uuid.UUID(one))] = None
        except ValueError:
            continue
    return list(found)
