"""`POST /search`."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic_core import to_json

from api.auth import ServiceOf, TenantOf
from api.opened import limits_of
from api.routes.strict import StrictRoute
from api.schemas import ErrorOut
from api.schemas_search import SearchBody, SearchOut, answer_from
from search.fusion import Fusion
from search.query import parse_filter
from search.request import Expand, Rerank, SearchRequest

router = APIRouter(tags=["search"], route_class=StrictRoute)


@router.post(
    "/search",
    response_model=SearchOut,
    responses={"4XX": {"model": ErrorOut}, "5XX": {"model": ErrorOut}},
)
def search(body: SearchBody, request: Request, service: ServiceOf, tenant: TenantOf) -> Response:
    """Passages that answer the query, best first."""
    opened = service.open(tenant, body.collection)
    limits = limits_of(service.settings)
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
            group_by=body.group_by or "",
            expand=Expand(body.expand.before, body.expand.after),
            rerank=None if body.rerank is None else Rerank(body.rerank.model, body.rerank.top_n),
            highlight=body.highlight,
        )
    )
    answer = to_json(answer_from(found, body, request.state.request_id))
    return Response(answer, media_type="application/json")
