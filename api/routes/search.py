"""`POST /search`."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter, Request

from api.auth import ServiceOf, TenantOf
from api.routes.strict import StrictRoute
from api.schemas import ErrorOut, SearchBody, SearchOut, result_from
from search.fusion import Fusion
from search.query import Limits, parse_filter
from search.searcher import SearchRequest

router = APIRouter(tags=["search"], route_class=StrictRoute)


@router.post(
    "/search",
    response_model_exclude_unset=True,
    responses={"4XX": {"model": ErrorOut}, "5XX": {"model": ErrorOut}},
)
def search(body: SearchBody, request: Request, service: ServiceOf, tenant: TenantOf) -> SearchOut:
    """Passages that answer the query, best first."""
    opened = service.open(tenant, body.collection)
    limits = Limits(
        filter_depth=service.settings.filter_depth, filter_conditions=service.settings.filter_conditions
    )
    if body.fusion is None:
        fusion = service.fusion(tenant, body.collection)
    else:
        fusion = Fusion(body.fusion.method, body.fusion.k, body.fusion.weights)
    found = opened.searcher.search(
        SearchRequest(
            query=body.query,
            limit=body.limit,
            offset=body.offset,
            mode=body.mode,
            where=parse_filter(body.filters, limits) if body.filters is not None else None,
            fusion=fusion,
            min_score=body.min_score,
        )
    )
    return SearchOut(
        results=[result_from(hit, explain=body.explain) for hit in found.hits],
        mode=found.mode,
        took_ms=asdict(found.took_ms),
        request_id=request.state.request_id,
    )
