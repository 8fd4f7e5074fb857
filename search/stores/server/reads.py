"""What readers ask of a collection on a Qdrant server, each answer of one state of it (`server_sight`)."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from qdrant_client import QdrantClient, models

from latewood.embedder.types import SparseVector, Vectors
from latewood.search.stores.qdrant import newest
from latewood.search.stores.qdrant.newest import Row
from latewood.search.stores.qdrant.payload import CHUNK, Payload
from latewood.search.stores.qdrant.requests import SPARSE, leg_filter, leg_request, visible
from latewood.search.stores.server.client import Calls, slices, whole
from latewood.search.stores.server.manifests import ServerManifests, uuids
from latewood.search.stores.server.snapshot import Sight, look, sight_from, sight_request
from latewood.search.stores.vectors import vector_name
from latewood.search.types import Candidate, DenseQuery, Filter, IndexConfig, Leg, StoreUnavailableError

T = TypeVar("T")
TRIES = 40
"""Times a reader starts over because writers changed what is in flight meanwhile."""

_PAUSE = 0.005
_LONGEST_PAUSE = 0.25
_VECTORS = 128  # points with their vectors in one answer


class _MovedError(Exception):
    """What is in flight changed before the answer was there; holds the newer sight."""

    def __init__(self, now: Sight) -> None:
        super().__init__("what is in flight changed")
        self.now = now


class ServerReads:
    """Reads of one collection. Safe to use from many threads."""

    def __init__(self, calls: Calls, name: str, config: IndexConfig, points: ServerManifests) -> None:
        self._calls = calls
        self._name = name
        self._config = config
        self._points = points
        self._seen: Sight | None = None

    @property
    def seen(self) -> Sight | None:
        """The newest sight that was taken, by whichever thread."""
        return self._seen

    def steadily(self, read: Callable[[Sight], T]) -> T:
        """An answer during which nothing that hides versions changed.

        Raises:
            StoreUnavailableError: writers changed it at every one of `TRIES` tries.
        """
        before = self._seen or self.look()
        for attempt in range(TRIES):
            try:
                answer = read(before)
                after = self.look()
            except _MovedError as moved:
                before = self._seen = moved.now
                continue
            if after == before:
                return answer
            before = after
            if attempt > 2:
                time.sleep(min(_PAUSE * 2 ** (attempt - 3), _LONGEST_PAUSE))
        raise StoreUnavailableError(
            f"writers changed what is in flight in {self._name} {TRIES} times while it was read; try again"
        )

    def look(self) -> Sight:
        """Take a sight."""
        self._seen = look(self._calls, self._name)
        return self._seen

    def search(self, legs: Sequence[Leg], where: Filter | None) -> list[list[Candidate]]:
        """One ranked list per leg."""
        return self.steadily(lambda sight: self._search(sight, legs, where))

    def _search(self, sight: Sight, legs: Sequence[Leg], where: Filter | None) -> list[list[Candidate]]:
        hidden = sight.hidden
        narrowed = leg_filter(hidden, where, self._config.apart)
        corpus = visible(hidden) if hidden or sight.swept else None
        asked = [leg for leg in legs if _asks(leg)]

        def request(leg: Leg, limit: int) -> models.QueryRequest:
            return leg_request(leg, self._config, narrowed, corpus, limit)

        requests = [request(leg, leg.limit + 1) for leg in asked]
        now, *answers = self._batch([sight_request(), *requests])
        seen = sight_from(now)
        if seen is not None and seen != sight:
            raise _MovedError(seen)
        ranked = {
            id(leg): self._ranked(leg, request, points) for leg, points in zip(asked, answers, strict=True)
        }
        return [ranked.get(id(leg), []) for leg in legs]

    def _ranked(
        self, leg: Leg, request: Callable[[Leg, int], models.QueryRequest], points: list[Any]
    ) -> list[Candidate]:
        """The leg's first `limit`, ties by id: certain only once all that tie for the end are here."""
        asked = leg.limit + 1
        while len(points) == asked and points[leg.limit - 1].score == points[-1].score:
            asked *= 4
            (points,) = self._batch([request(leg, asked)])
        # In single precision as the server computes them; the in-memory engine answers in double.
        scores = array("f", [point.score for point in points])
        found = [Candidate(str(point.id), score) for point, score in zip(points, scores, strict=True)]
        found.sort(key=lambda one: (-one.score, one.id))
        return [one for one in found[: leg.limit] if leg.threshold is None or one.score >= leg.threshold]

    def _batch(self, requests: Sequence[models.QueryRequest]) -> list[list[Any]]:
        def ask(client: QdrantClient) -> list[list[Any]]:
            answers = client.query_batch_points(
                self._name, list(requests), consistency=self._calls.consistency
            )
            return [one.points for one in whole(answers, len(requests), "ranked lists")]

        return self._calls.ask("searching", ask)

    def fetch(self, ids: Sequence[str], fields: list[str] | bool) -> dict[str, Payload]:
        """Payloads of the visible chunks by id."""
        return self.steadily(lambda sight: self._fetch(sight, ids, fields))

    def _fetch(self, sight: Sight, ids: Sequence[str], fields: list[str] | bool) -> dict[str, Payload]:
        hidden = sight.hidden
        return {
            str(record.id): record.payload
            for record in self._points.retrieve(ids, fields)
            if record.payload and record.payload["type"] == CHUNK and record.payload["version"] not in hidden
        }

    def of_live(
        self, document_id: str, ids_of: Callable[[str, int], Sequence[str]]
    ) -> tuple[list[str], dict[str, Payload]]:
        """Ids of chunks of a document's live version, and the payloads of those that are there.

        Args:
            document_id: whose.
            ids_of: which chunks, given the version and how many it has.
        """

        def read(sight: Sight) -> tuple[list[str], dict[str, Payload]]:
            live = self._points.live(document_id)
            ids = [] if live is None else list(ids_of(*live))
            return ids, self._fetch(sight, ids, True) if ids else {}

        return self.steadily(read)

    def points(self, ids: Sequence[str]) -> tuple[list[Payload], Vectors]:
        """These chunks with their vectors, visible or not, in the order asked."""
        name = vector_name(self._config.dimensions[0])
        found: dict[str, models.Record] = {}
        for part in slices(uuids(ids), _VECTORS):

            def ask(client: QdrantClient, part: list[str] = part) -> list[models.Record]:
                return client.retrieve(
                    self._name,
                    part,
                    with_payload=True,
                    with_vectors=[name, SPARSE],
                    consistency=self._calls.consistency,
                )

            found |= {str(one.id): one for one in self._calls.ask("reading vectors", ask)}
        chunks = [found[one] for one in ids if one in found and _is_chunk(found[one])]
        vectors: list[Any] = [one.vector or {} for one in chunks]
        rows = [one[name] for one in vectors]
        dense = np.array(rows, np.float32).reshape(len(rows), self._config.dimensions[0])
        sparse = tuple(_sparse(one.get(SPARSE)) for one in vectors)
        return [dict(one.payload or {}) for one in chunks], Vectors(dense, sparse)

    def newest(self, after: Row | None, limit: int) -> list[Row]:
        """Return a page of (moment of ingestion, document id), newest first."""
        return self.steadily(lambda sight: newest.page(self._by_ingestion(sight), after, limit))

    def _by_ingestion(self, sight: Sight) -> Callable[[str | None, int], list[Row]]:
        where = newest.first_chunks(sight.hidden)

        def scroll(start: str | None, count: int) -> list[Row]:
            order = models.OrderBy(key="ingested", direction=models.Direction.DESC, start_from=start)

            def ask(client: QdrantClient) -> list[models.Record]:
                page, _ = client.scroll(
                    self._name,
                    scroll_filter=where,
                    limit=count,
                    order_by=order,
                    with_payload=newest.FIELDS,
                    consistency=self._calls.consistency,
                )
                return page

            records = self._calls.ask("listing documents by ingestion", ask)
            return newest.rows(records)

        return scroll

    def count(self, where: models.Filter) -> int:
        """Points that match, exactly."""
        # The in-memory client and the server differ in nothing here but that only the latter estimates.
        found = self._calls.ask("counting", lambda client: client.count(self._name, where, exact=True))
        return int(found.count)


def _asks(leg: Leg) -> bool:
    """Whether there is anything to rank by: a question without words has no BM25."""
    return isinstance(leg.query, DenseQuery) or len(leg.query.indices) > 0


def _is_chunk(record: models.Record) -> bool:
    return (record.payload or {}).get("type") == CHUNK


def _sparse(terms: Any) -> SparseVector:
    if terms is None:
        return SparseVector(np.array([], np.uint32), np.array([], np.float32))
    return SparseVector(np.array(terms.indices, np.uint32), np.array(terms.values, np.float32))
