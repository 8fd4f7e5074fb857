"""Ranked lists out of the embedded engine: one trip for all legs, ties by id."""

from __future__ import annotations

import uuid
from array import array
from collections.abc import Callable, Sequence

import qdrant_edge as edge

from latewood.search.stores.edge.process import Ranked
from latewood.search.types import Leg

Ask = Callable[[Leg, int], edge.QueryRequest]
"""A leg as a query for that many."""


def ranked_lists(shard: edge.EdgeShard, legs: Sequence[Leg], ask: Ask) -> list[Ranked]:
    """Ids and scores of each leg."""
    batch = edge.QueryBatchRequest([ask(leg, leg.limit + 1) for leg in legs])
    answers = shard.query_batch(batch)
    return [_ranked(shard, leg, points, ask) for leg, points in zip(legs, answers, strict=True)]


def _ranked(shard: edge.EdgeShard, leg: Leg, points: list[edge.ScoredPoint], ask: Ask) -> Ranked:
    """The leg's first `limit`, ties by id: certain only once all that tie for the end are here."""
    asked = leg.limit + 1
    while len(points) == asked and points[leg.limit - 1].score == points[-1].score:
        asked *= 4
        points = shard.query(ask(leg, asked))
    # One look at each id: the engine makes it anew every time. Integers sort as the ids' texts do.
    seen = [(-point.score, identity.int) for point in points if isinstance(identity := point.id, uuid.UUID)]
    seen.sort()
    kept = [one for one in seen[: leg.limit] if leg.threshold is None or -one[0] >= leg.threshold]
    identities = b"".join(identity.to_bytes(16, "big") for _, identity in kept)
    return identities, array("d", [-score for score, _ in kept]).tobytes()
