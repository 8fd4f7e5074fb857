"""`qdrant_client.models` to `qdrant_edge`, one way: exactly what the plans and filters here use."""

from __future__ import annotations

from datetime import datetime
from typing import cast

import qdrant_edge as edge
from qdrant_client import models


def query_request(request: models.QueryRequest) -> edge.QueryRequest:
    """A nearest-vector query."""
    query = request.query
    if not isinstance(query, models.NearestQuery) or request.limit is None or request.using is None:
        raise TypeError(f"no plan here asks for {type(query).__name__}")
    vector: edge.SparseVector | list[float]
    if isinstance(query.nearest, models.SparseVector):
        vector = edge.SparseVector(indices=query.nearest.indices, values=query.nearest.values)
    else:
        vector = cast(list[float], query.nearest)
    return edge.QueryRequest(
        limit=request.limit,
        query=edge.Query.Nearest(vector, using=request.using),
        filter=None if request.filter is None else to_filter(request.filter),
        params=_params(request.params),
        with_payload=False,
        with_vector=False,
    )


def to_filter(where: models.Filter) -> edge.Filter:
    """A filter with everything in it."""
    return edge.Filter(
        must=_conditions(where.must), should=_conditions(where.should), must_not=_conditions(where.must_not)
    )


def _params(params: models.SearchParams | None) -> edge.SearchParams | None:
    if params is None or params.idf is None:
        return None
    if not isinstance(params.idf, models.IdfCorpusParams):
        raise TypeError(f"no plan here asks for {type(params.idf).__name__}")
    return edge.SearchParams(idf=edge.IdfParams(corpus=to_filter(params.idf.corpus)))


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
