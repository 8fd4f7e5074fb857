"""Search plans, written once in `qdrant_client.models` for every engine."""

from __future__ import annotations

from collections.abc import Collection

from qdrant_client import models

from search.stores.dense import vector_name
from search.stores.filters import to_qdrant
from search.stores.payload import CHUNK
from search.types import DenseQuery, Filter, IndexConfig, Leg

SPARSE = "bm25"


def keyword(key: str, *values: str) -> models.FieldCondition:
    """`key` is any of the values."""
    return models.FieldCondition(key=key, match=models.MatchAny(any=list(values)))


def visible(hidden: Collection[str], where: Filter | None = None) -> models.Filter:
    """Chunks that a reader may see, of those that match."""
    must: list[models.Condition] = [keyword("type", CHUNK)]
    if where is not None:
        must.append(to_qdrant(where))
    return models.Filter(must=must, must_not=_not(hidden))


def leg_filter(hidden: Collection[str], where: Filter | None) -> models.Filter | None:
    """As `visible`, for a query by vector: only chunks have one, so their type need not be asked."""
    if not hidden and where is None:
        return None
    return models.Filter(must=None if where is None else [to_qdrant(where)], must_not=_not(hidden))


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
    params = None
    query: models.NearestQuery
    if isinstance(leg.query, DenseQuery):
        using = vector_name(config.dimensions[0])
        # Not validated: these are numbers already, hundreds of them with every question.
        query = models.NearestQuery.model_construct(nearest=leg.query.vector.tolist())
    else:
        using = SPARSE
        indices, values = leg.query.indices.tolist(), leg.query.values.tolist()
        sparse = models.SparseVector.model_construct(indices=indices, values=values)
        query = models.NearestQuery.model_construct(nearest=sparse)
        if corpus is not None:
            params = models.SearchParams(idf=models.IdfCorpusParams(corpus=corpus))
    return models.QueryRequest(
        query=query,
        using=using,
        filter=where,
        params=params,
        limit=limit,
        with_payload=False,
        with_vector=False,
    )


def _not(hidden: Collection[str]) -> list[models.Condition] | None:
    return [keyword("version", *sorted(hidden))] if hidden else None
