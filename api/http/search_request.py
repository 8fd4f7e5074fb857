"""A question as the contract has it, put to a tenant's collection: one way for every route and tool."""

from __future__ import annotations

from latewood.api.http.schemas.search import SearchBody
from latewood.engine.collection import limits_of
from latewood.engine.library import Service
from latewood.search.filters import parse_filter
from latewood.search.fusion import Fusion
from latewood.search.request import Expand, Rerank, SearchRequest
from latewood.search.results import SearchResult


def answer(service: Service, tenant: str, body: SearchBody) -> SearchResult:
    """Passages that answer, best first.

    Raises:
        ApiError: 404, there is no such collection.
        QueryError: it cannot be answered as asked.
        SearchError, EmbedderError: as `Searcher.search`.
    """
    opened = service.open(tenant, body.collection)
    limits = limits_of(service.settings)
    found = opened.searcher.search(
        SearchRequest(
            query=body.query,
            limit=body.limit if "limit" in body.model_fields_set else min(body.limit, limits.limit),
            offset=body.offset,
            mode=body.mode,
            where=parse_filter(body.filters, limits),
            fusion=fusion_of(service, tenant, body),
            min_score=body.min_score,
            group_by=body.group_by or "",
            expand=Expand(body.expand.before, body.expand.after),
            rerank=None if body.rerank is None else Rerank(body.rerank.model, body.rerank.top_n),
            highlight=body.highlight,
        )
    )
    service.metrics.search(found.took_ms)
    return found


def fusion_of(service: Service, tenant: str, body: SearchBody) -> Fusion:
    """The fusion that is asked for, else the collection's own."""
    if body.fusion is None:
        return service.fusion(tenant, body.collection)
    return Fusion(**body.fusion.model_dump())
