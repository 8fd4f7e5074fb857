"""Search plans, written once in `qdrant_client.models` for every engine."""

from __future__ import annotations

import math
from collections.abc import Collection

from qdrant_client import models

from latewood.search.index_config import DensePlan
from latewood.search.stores.qdrant.filters import to_qdrant
from latewood.search.stores.qdrant.payload import CHUNK
from latewood.search.stores.vectors import prefix, vector_name
from latewood.search.types import DenseQuery, Filter, IndexConfig, Leg

SPARSE = "bm25"


def keyword(key: str, *values: str) -> models.FieldCondition:
    """`key` is any of the values."""
    return models.FieldCondition(key=key, match=models.MatchAny(any=list(values)))


def visible(hidden: Collection[str], where: Filter | None = None, apart: bool = True) -> models.Filter:
    """Chunks that a reader may see, of those that match; `apart` as in `IndexConfig`."""
    must: list[models.Condition] = [keyword("type", CHUNK)]
    if where is not None:
        must.append(to_qdrant(where, apart))
    return models.Filter(must=must, must_not=_not(hidden))


def leg_filter(hidden: Collection[str], where: Filter | None, apart: bool) -> models.Filter | None:
    """As `visible`, for a query by vector: only chunks have one, so their type need not be asked."""
    if not hidden and where is None:
        return None
    must = None if where is None else [to_qdrant(where, apart)]
    return models.Filter(must=must, must_not=_not(hidden))


def leg_request(
    leg: Leg, config: IndexConfig, where: models.Filter | None, corpus: models.Filter | None, limit: int
) -> models.QueryRequest:
    """One leg as a query for ids and scores.

    Args:
        leg: what to rank by.
        config: of the index.
        where: which points may answer.
        corpus: which points BM25 statistics count, when not all that have a sparse vector.
        limit: how many to return.
    """
    if isinstance(leg.query, DenseQuery):
        return _dense_request(leg.query, config, where, limit)
    indices, values = leg.query.indices.tolist(), leg.query.values.tolist()
    # Not validated: these are numbers already, hundreds of them with every question.
    sparse = models.SparseVector.model_construct(indices=indices, values=values)
    params = None
    if corpus is not None:
        params = models.SearchParams(idf=models.IdfCorpusParams(corpus=corpus))
    return models.QueryRequest(
        query=models.NearestQuery.model_construct(nearest=sparse),
        using=SPARSE,
        filter=where,
        params=params,
        limit=limit,
        with_payload=False,
        with_vector=False,
    )


def _dense_request(
    query: DenseQuery, config: IndexConfig, where: models.Filter | None, limit: int
) -> models.QueryRequest:
    """The plan's stages, each but the last a prefetch of the next one, with more candidates than it."""
    plan, sizes = config.plan, config.plan.sizes(config.dimensions)
    counts = [math.ceil(limit * plan.oversampling**left) for left in reversed(range(len(sizes)))]
    found: models.Prefetch | None = None
    for place, size in enumerate(sizes[:-1]):
        found = models.Prefetch(
            prefetch=found,
            query=_nearest(query, size),
            using=vector_name(size),
            filter=where,
            params=_params(plan, first=place == 0, last=False),
            limit=counts[place],
        )
    return models.QueryRequest(
        prefetch=found,
        query=_nearest(query, sizes[-1]),
        using=vector_name(sizes[-1]),
        filter=where,
        params=_params(plan, first=len(sizes) == 1, last=True),
        limit=limit,
        with_payload=False,
        with_vector=False,
    )


def _nearest(query: DenseQuery, size: int) -> models.NearestQuery:
    vector = query.vector if size == len(query.vector) else prefix(query.vector, size)
    # Not validated: these are numbers already, hundreds of them with every question.
    return models.NearestQuery.model_construct(nearest=vector.tolist())


def _params(plan: DensePlan, *, first: bool, last: bool) -> models.SearchParams:
    """How a stage searches: the first one through graph and quantised vectors, a later one by originals.

    Told outright, for left alone the engines score by the quantised vectors and rank by that.
    """
    if not first:
        return models.SearchParams(quantization=models.QuantizationSearchParams(ignore=True))
    if plan.quantization == "none":
        return models.SearchParams(exact=not plan.graph, hnsw_ef=plan.ef if plan.graph else None)
    rescored = models.QuantizationSearchParams(
        ignore=False, rescore=last, oversampling=plan.oversampling if last else None
    )
    return models.SearchParams(hnsw_ef=plan.ef if plan.graph else None, quantization=rescored)


def vector_params(config: IndexConfig) -> dict[str, models.VectorParams]:
    """What the plan makes of each named vector.

    Only the first stage has a graph and quantised vectors, which stay in memory. Sizes that no stage reads
    are left on disk.
    """
    plan, sizes = config.plan, config.plan.sizes(config.dimensions)
    made = {}
    for size in config.dimensions:
        searched = size == sizes[0]
        made[vector_name(size)] = models.VectorParams(
            size=size,
            distance=models.Distance.COSINE,
            datatype=models.Datatype(plan.dtype),
            on_disk=plan.on_disk or size not in sizes,
            hnsw_config=models.HnswConfigDiff(
                m=plan.m if searched and plan.graph else 0, ef_construct=plan.ef_construct
            ),
            quantization_config=_quantization(plan) if searched else None,
        )
    return made


def _quantization(plan: DensePlan) -> models.QuantizationConfig | None:
    if plan.quantization == "int8":
        scalar = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)
        return models.ScalarQuantization(scalar=scalar)
    if plan.quantization == "turbo":
        turbo = models.TurboQuantQuantizationConfig(bits=models.TurboQuantBitSize.BITS4, always_ram=True)
        return models.TurboQuantization(turbo=turbo)
    if plan.quantization == "binary":
        return models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
    return None


def _not(hidden: Collection[str]) -> list[models.Condition] | None:
    return [keyword("version", *sorted(hidden))] if hidden else None
