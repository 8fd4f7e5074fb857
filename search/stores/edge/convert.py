"""`qdrant_client.models` to `qdrant_edge`, one way: exactly what the plans and filters here use."""

from __future__ import annotations

from datetime import datetime
from typing import cast

import qdrant_edge as edge
from qdrant_client import models

_DTYPES = {
    models.Datatype.FLOAT32: edge.VectorStorageDatatype.Float32,
    models.Datatype.FLOAT16: edge.VectorStorageDatatype.Float16,
}
FULL_SCAN_KIB = 10_000
"""Fewer KiB of vectors than this are compared one by one: the engines' own default."""


def query_request(request: models.QueryRequest) -> edge.QueryRequest:
    """A nearest-vector query, with what it prefetches."""
    if request.limit is None:
        raise TypeError("every plan here has a limit")
    return edge.QueryRequest(
        limit=request.limit,
        prefetches=_prefetches(request.prefetch),
        query=_nearest(request),
        filter=None if request.filter is None else to_filter(request.filter),
        params=_params(request.params),
        with_payload=False,
        with_vector=False,
    )


def _prefetches(found: object) -> list[edge.Prefetch] | None:
    if found is None:
        return None
    if not isinstance(found, models.Prefetch) or found.limit is None:
        raise TypeError(f"no plan here prefetches {type(found).__name__}")
    return [
        edge.Prefetch(
            limit=found.limit,
            prefetches=_prefetches(found.prefetch),
            query=_nearest(found),
            filter=None if found.filter is None else to_filter(found.filter),
            params=_params(found.params),
        )
    ]


def _nearest(request: models.QueryRequest | models.Prefetch) -> edge.Query:
    query = request.query
    if not isinstance(query, models.NearestQuery) or request.using is None:
        raise TypeError(f"no plan here asks for {type(query).__name__}")
    vector: edge.SparseVector | list[float]
    if isinstance(query.nearest, models.SparseVector):
        vector = edge.SparseVector(indices=query.nearest.indices, values=query.nearest.values)
    else:
        vector = cast(list[float], query.nearest)
    return edge.Query.Nearest(vector, using=request.using)


def vector_params(params: models.VectorParams) -> edge.EdgeVectorParams:
    """A named vector: how it is kept and what is built for it."""
    if params.distance != models.Distance.COSINE or params.datatype is None:
        raise TypeError(f"no plan here has {params.distance} of {params.datatype}")
    graph = params.hnsw_config
    if graph is None or graph.m is None or graph.ef_construct is None:
        raise TypeError("every plan here says how its graph is built")
    return edge.EdgeVectorParams(
        size=params.size,
        distance=edge.Distance.Cosine,
        datatype=_DTYPES[params.datatype],
        quantization_config=_quantization(params.quantization_config),
        hnsw_config=edge.HnswIndexConfig(graph.m, graph.ef_construct, FULL_SCAN_KIB),
        memory=edge.Memory.Cold if params.on_disk else edge.Memory.Cached,
    )


def _quantization(config: models.QuantizationConfig | None) -> edge.QuantizationConfigType | None:
    """Always in memory: what is read with every question."""
    pinned = edge.Memory.Pinned
    if config is None:
        return None
    if isinstance(config, models.ScalarQuantization) and config.scalar.type == models.ScalarType.INT8:
        scalar = config.scalar
        return edge.ScalarQuantizationConfig(edge.ScalarType.Int8, quantile=scalar.quantile, memory=pinned)
    if isinstance(config, models.TurboQuantization) and config.turbo.bits == models.TurboQuantBitSize.BITS4:
        return edge.TurboQuantQuantizationConfig(bits=edge.TurboQuantBitSize.Bits4, memory=pinned)
    if isinstance(config, models.BinaryQuantization) and config.binary.encoding is None:
        return edge.BinaryQuantizationConfig(memory=pinned)
    raise TypeError(f"no plan here has {config}")


def to_filter(where: models.Filter) -> edge.Filter:
    """A filter with everything in it."""
    return edge.Filter(
        must=_conditions(where.must), should=_conditions(where.should), must_not=_conditions(where.must_not)
    )


def _params(params: models.SearchParams | None) -> edge.SearchParams | None:
    if params is None:
        return None
    idf, quantised = params.idf, params.quantization
    if idf is not None and not isinstance(idf, models.IdfCorpusParams):
        raise TypeError(f"no plan here asks for {type(idf).__name__}")
    return edge.SearchParams(
        hnsw_ef=params.hnsw_ef,
        exact=bool(params.exact),
        quantization=None if quantised is None else _quantised(quantised),
        idf=None if idf is None else edge.IdfParams(corpus=to_filter(idf.corpus)),
    )


def _quantised(params: models.QuantizationSearchParams) -> edge.QuantizationSearchParams:
    return edge.QuantizationSearchParams(
        ignore=bool(params.ignore), rescore=params.rescore, oversampling=params.oversampling
    )


def _conditions(conditions: object) -> list[edge.ConditionType] | None:
    if conditions is None:
        return None
    return [_condition(one) for one in (conditions if isinstance(conditions, list) else [conditions])]


def _condition(condition: object) -> edge.ConditionType:
    if isinstance(condition, models.Filter):
        return to_filter(condition)
    if isinstance(condition, models.HasIdCondition):
        return edge.HasIdCondition({str(one) for one in condition.has_id})
    if isinstance(condition, models.FieldCondition):
        return edge.FieldCondition(
            key=condition.key, match=_match(condition.match), range=_range(condition.range)
        )
    if isinstance(condition, models.IsEmptyCondition):
        return edge.IsEmptyCondition(condition.is_empty.key)
    raise TypeError(f"no plan here asks for {type(condition).__name__}")


def _match(match: models.Match | None) -> edge.MatchType | None:
    if match is None:
        return None
    if isinstance(match, models.MatchAny):
        return edge.MatchAny(match.any)
    if isinstance(match, models.MatchValue):
        return edge.MatchValue(match.value)
    raise TypeError(f"no plan here asks for {type(match).__name__}")


def _range(bounds: models.RangeInterface | None) -> edge.RangeType | None:
    if bounds is None:
        return None
    if isinstance(bounds, models.DatetimeRange):
        return edge.RangeDateTime(
            gte=_moment(bounds.gte), gt=_moment(bounds.gt), lte=_moment(bounds.lte), lt=_moment(bounds.lt)
        )
    return edge.RangeFloat(gte=bounds.gte, gt=bounds.gt, lte=bounds.lte, lt=bounds.lt)


def _moment(moment: object) -> str | None:
    return moment.isoformat() if isinstance(moment, datetime) else None
