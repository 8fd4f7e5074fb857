"""Soundness of stored points: whether the embedded engine gives back exactly what was written."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import qdrant_edge as edge
from qdrant_client import models

from latewood.embedder.types import Floats, SparseVector
from latewood.search.stores.edge.convert import query_request, to_filter
from latewood.search.stores.qdrant.payload import (
    CHUNK,
    MANIFEST,
    Payload,
    chunk_payload,
    manifest_from,
    manifest_payload,
    passage_from,
)
from latewood.search.stores.qdrant.requests import SPARSE
from latewood.search.stores.vectors import prefix, vector_name
from latewood.search.types import IndexConfig

_NEAR = 1e-3
"""How far a shorter vector may be from the prefix of the longest one, where no digest was kept."""

_LATER = {"numbers", "dates", "truths", "analysed", "sum"}
"""Fields that indexes of earlier versions lack."""


def digest(config: IndexConfig, rows: Mapping[int, Floats], sparse: SparseVector) -> bytes:
    """16 bytes over a chunk's vectors as the engine gives them back: bit for bit, in every plan.

    Args:
        config: the index's; its plan decides the precision.
        rows: (size,) float32 by size, as handed to the engine or as read.
        sparse: its terms, in any order.
    """
    summed = hashlib.blake2b(digest_size=16)
    for size in config.dimensions:
        row = rows[size]
        summed.update(row.astype("<f2" if config.plan.dtype == "float16" else "<f4").tobytes())
    order = np.argsort(sparse.indices, kind="stable")
    summed.update(sparse.indices[order].astype("<u4").tobytes())
    summed.update(sparse.values[order].astype("<f4").tobytes())
    return summed.digest()


def is_sound(point_id: object, payload: Payload) -> bool:
    """Whether a point's payload is one that is ever written under this id: each field fits the others."""
    try:
        if payload["type"] == MANIFEST:
            expected = manifest_payload(manifest_from(payload["manifest"]))
            if "sum" not in payload:  # of an earlier version, whose JSON may have fewer fields
                expected["manifest"] = payload["manifest"]
            own = expected["document_id"]
        elif payload["type"] == CHUNK:
            passage = passage_from(payload)
            expected, own = chunk_payload(passage), passage.chunk.id
        else:
            return False
    except (LookupError, TypeError, AttributeError, ValueError):
        return False
    lacking = {name for name, value in expected.items() if name not in payload and value is not None}
    return (
        str(point_id) == own
        and lacking <= _LATER
        and payload.keys() <= expected.keys()
        and all(_same(value, expected[name]) for name, value in payload.items())
    )


def _same(stored: Any, expected: Any) -> bool:
    """Equal, but for the last places of a float: the engine does not give those back."""
    if isinstance(stored, Mapping) and isinstance(expected, Mapping):
        return stored.keys() == expected.keys() and all(_same(stored[key], expected[key]) for key in stored)
    if isinstance(stored, list) and isinstance(expected, list):
        return len(stored) == len(expected) and all(map(_same, stored, expected))
    if isinstance(stored, float) or isinstance(expected, float):
        numbers = all(isinstance(one, int | float) for one in (stored, expected))
        return numbers and math.isclose(stored, expected, rel_tol=1e-12)
    return type(stored) is type(expected) and bool(stored == expected)


def sparse_of(record: Any) -> SparseVector:
    """A point's terms; none where it has no sparse vector."""
    terms = (record.vector or {}).get(SPARSE) or edge.SparseVector(indices=[], values=[])
    return SparseVector(np.array(terms.indices, np.uint32), np.array(terms.values, np.float32))


def unsound(
    shard: Any, config: IndexConfig, ids: Sequence[edge.PointId], digests: Mapping[str, bytes]
) -> list[str]:
    """Those of these points that are there and are not as they were written, or do not answer.

    Args:
        shard: the engine.
        config: the index's.
        ids: of chunks and manifests, a few hundred.
        digests: what `digest` made of their vectors as they were written, for those where it is known.
    """
    here = {str(one.id) for one in shard.scroll(_only(ids))[0]}
    whole: dict[str, dict[int, Floats]] = {}
    manifests: set[str] = set()
    for record in readable(shard, ids, True, True):
        payload = record.payload or {}
        if not is_sound(record.id, payload):
            continue
        if payload["type"] == MANIFEST:
            if not record.vector:  # with one, whose mark as deleted is lost, every search would find it
                manifests.add(str(record.id))
            continue
        rows, sparse = _rows(config, record), _terms(record)
        if rows is not None and sparse is not None:
            known = digests.get(str(record.id))
            if _fits(config, rows) if known is None else digest(config, rows, sparse) == known:
                whole[str(record.id)] = rows
    silent = _silent(shard, config, whole)
    return sorted((here - whole.keys() - manifests) | silent)


def _only(ids: Sequence[edge.PointId]) -> edge.ScrollRequest:
    among = models.Filter(must=[models.HasIdCondition(has_id=[str(one) for one in ids])])
    return edge.ScrollRequest(limit=len(ids) + 1, filter=to_filter(among), with_payload=False)


def _rows(config: IndexConfig, record: Any) -> dict[int, Floats] | None:
    """A point's dense rows by size; None where one is missing, or is no vector of length 1."""
    vectors: Any = record.vector or {}
    rows = {}
    for size in config.dimensions:
        row = np.array(vectors.get(vector_name(size), ()), np.float32)
        if row.shape != (size,) or not abs(float(np.linalg.norm(row)) - 1) <= _NEAR:
            return None
        rows[size] = row
    return rows


def _terms(record: Any) -> SparseVector | None:
    """A point's terms; None where a weight is not finite."""
    try:
        return sparse_of(record)
    except ValueError:
        return None


def _fits(config: IndexConfig, rows: Mapping[int, Floats]) -> bool:
    """Whether each shorter vector is the prefix of the longest."""
    longest = rows[config.dimensions[0]]
    return all(np.allclose(prefix(longest, size), rows[size], atol=_NEAR) for size in config.dimensions)


def _silent(shard: Any, config: IndexConfig, whole: Mapping[str, Mapping[int, Floats]]) -> set[str]:
    """Chunks that a query among exactly these does not find: their vectors are marked as deleted."""
    if not whole:
        return set()
    silent: set[str] = set()
    among = models.Filter(must=[models.HasIdCondition(has_id=list(whole))])
    params = models.SearchParams(exact=True, quantization=models.QuantizationSearchParams(ignore=True))
    for size in config.dimensions:
        row = next(iter(whole.values()))[size]
        request = models.QueryRequest(
            query=models.NearestQuery(nearest=row.tolist()),
            using=vector_name(size),
            filter=among,
            params=params,
            limit=len(whole),
            with_payload=False,
            with_vector=False,
        )
        silent |= whole.keys() - {str(one.id) for one in shard.query(query_request(request))}
    return silent


def readable(shard: Any, ids: Sequence[edge.PointId], fields: Any, vectors: Any) -> Iterator[Any]:
    """The points of these ids that the engine can decode."""
    try:
        yield from shard.retrieve(list(ids), fields, vectors)
    except BaseException as error:
        if type(error) is not Exception and type(error).__name__ != "PanicException":
            raise
        middle = len(ids) // 2
        if middle:
            yield from readable(shard, ids[:middle], fields, vectors)
            yield from readable(shard, ids[middle:], fields, vectors)


@dataclass(frozen=True, slots=True)
class _Found:
    """A point as the engine's own records are."""

    id: object
    payload: Payload
    vector: Any


class SoundShard:
    """The engine as a repair sees it: what cannot be read, or is not sound, is not there.

    Everything but reading goes to the engine itself.
    """

    def __init__(self, shard: edge.EdgeShard) -> None:
        self._shard = shard

    def __getattr__(self, name: str) -> Any:
        """What the engine does."""
        return getattr(self._shard, name)

    def retrieve(self, ids: Sequence[edge.PointId], fields: Any, vectors: Any) -> list[Any]:
        """The sound ones of these points."""
        return [
            _Found(one.id, _projected(one.payload, fields), one.vector)
            for one in readable(self._shard, ids, True, vectors)
            if is_sound(one.id, one.payload or {})
        ]

    def scroll(self, request: edge.ScrollRequest) -> tuple[list[Any], Any]:
        """The sound ones of a page of points, and where the next page begins."""
        ids = edge.ScrollRequest(
            offset=request.offset, limit=request.limit, filter=request.filter, with_payload=False
        )
        records, offset = self._shard.scroll(ids)
        found = self.retrieve([one.id for one in records], request.with_payload, request.with_vector or False)
        places = {one.id: place for place, one in enumerate(records)}
        return sorted(found, key=lambda one: places[one.id]), offset


def _projected(payload: Payload, fields: Any) -> Payload:
    return (
        {name: payload[name] for name in fields if name in payload} if isinstance(fields, list) else payload
    )
