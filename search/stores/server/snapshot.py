"""What a reader of a Qdrant server must know before it looks and hold against what it finds after.

Many processes write to one collection, and no request sees all of it at one moment. So every collection has a
head, one point with a `clock` that each writer sets anew before it changes which versions are hidden. A
reader takes a `Sight` (clock, and the manifests in flight), asks what it has to ask, takes another, and
starts over when they differ. Clock and revisions are fresh uuids: two equal sights mean that nothing which
matters began and ended in between, however slow the answers were.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qdrant_client import QdrantClient, models

from latewood.search.index_config import plan_from, plan_shape
from latewood.search.stores.qdrant.requests import keyword
from latewood.search.stores.server.client import Calls, PartialAnswerError
from latewood.search.types import IndexConfig, StoreDamagedError, StoreUnavailableError

HEAD = "head"
HEAD_ID = str(uuid.uuid5(uuid.NAMESPACE_URL, "latewood:head"))
FORMAT = 2
"""Of the points and the head; raised when an older program could not read the index."""

FIELDS = ["type", "clock", "swept", "document_id", "revision", "hidden"]
_PAGE = 4096


@dataclass(frozen=True, slots=True)
class Sight:
    """What hides versions, as it stood at one moment.

    Attributes:
        clock: of the head.
        swept: chunks were removed or rewritten: the engine's own BM25 statistics still count them.
        flying: (document id, revision, hidden versions) of the manifests in flight, in order.
    """

    clock: str
    swept: bool
    flying: tuple[tuple[str, str, tuple[str, ...]], ...]

    @property
    def hidden(self) -> frozenset[str]:
        """Versions no reader may see."""
        return frozenset(version for _, _, versions in self.flying for version in versions)


def sight_request() -> models.QueryRequest:
    """The question for a sight, to be asked beside others in one batch."""
    return models.QueryRequest(filter=_filter(), limit=_PAGE, with_payload=FIELDS, with_vector=False)


def sight_from(points: list[Any]) -> Sight | None:
    """The sight that `sight_request` found; None when there may be more than one page of it.

    Raises:
        PartialAnswerError: there is no head in it.
    """
    return None if len(points) == _PAGE else _sight(points)


def look(calls: Calls, name: str) -> Sight:
    """Take a sight.

    Raises:
        StoreError: see `Calls.ask`.
    """

    def ask(client: QdrantClient) -> Sight:
        points: list[Any] = []
        offset: models.ExtendedPointId | None = None
        while True:
            page, offset = client.scroll(
                name,
                scroll_filter=_filter(),
                limit=_PAGE,
                offset=offset,
                with_payload=FIELDS,
                consistency=calls.consistency,
            )
            points += page
            if offset is None:
                return _sight(points)

    return calls.ask("reading what is in flight", ask)


def head_point(config: IndexConfig) -> models.PointStruct:
    """The head of a new collection."""
    payload = {
        "type": HEAD,
        "format": FORMAT,
        "clock": tick(),
        "swept": False,
        "config": json.dumps(
            {
                "dimensions": config.dimensions,
                "fingerprint": dict(config.fingerprint),
                "plan": plan_shape(config.plan),
            }
        ),
    }
    return models.PointStruct(id=HEAD_ID, vector={}, payload=payload)


def read_head(calls: Calls, name: str) -> dict[str, Any] | None:
    """The payload of a collection's head; None when it was not written: the collection is not whole."""

    def ask(client: QdrantClient) -> dict[str, Any] | None:
        found = client.retrieve(name, [HEAD_ID], consistency=calls.consistency)
        return dict(found[0].payload or {}) if found else None

    return calls.ask(f"opening {name}", ask)


def config_from(name: str, head: Mapping[str, Any] | None) -> IndexConfig:
    """What an index was made with.

    Raises:
        StoreDamagedError: the head is missing or cannot be read.
        StoreUnavailableError: it was made by a newer program.
    """
    try:
        shape = json.loads((head or {})["config"])
        version = int((head or {})["format"])
        sizes, plan = tuple(int(size) for size in shape["dimensions"]), plan_from(shape.get("plan", {}))
        config = IndexConfig(sizes, dict(shape["fingerprint"]), plan, apart=version >= 2)
    except (ValueError, KeyError, TypeError) as error:
        raise StoreDamagedError(
            f"the head of {name} on the Qdrant server cannot be read ({error!r}); restore a snapshot, or "
            "delete the collection and ingest again"
        ) from error
    if version > FORMAT:
        raise StoreUnavailableError(
            f"{name} on the Qdrant server has format {version}; this program reads up to {FORMAT}; "
            "use a newer latewood"
        )
    return config


def tick() -> str:
    """A clock no other is equal to."""
    return str(uuid.uuid4())


def ticking(**more: Any) -> models.SetPayloadOperation:
    """The operation that sets the clock; it stands before what it announces."""
    payload = {"clock": tick(), **more}
    return models.SetPayloadOperation(set_payload=models.SetPayload(payload=payload, points=[HEAD_ID]))


def _filter() -> models.Filter:
    return models.Filter(should=[keyword("in_flight", "yes"), models.HasIdCondition(has_id=[HEAD_ID])])


def _sight(points: list[Any]) -> Sight:
    payloads = [point.payload or {} for point in points]
    heads = [one for one in payloads if one.get("type") == HEAD]
    if len(heads) != 1:
        raise PartialAnswerError("answered without the collection's head")
    flying = sorted(
        (one["document_id"], one["revision"], tuple(one["hidden"])) for one in payloads if "revision" in one
    )
    return Sight(heads[0]["clock"], bool(heads[0]["swept"]), tuple(flying))
