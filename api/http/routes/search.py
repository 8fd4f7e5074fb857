"""`POST /search`."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic_core import to_json

from latewood.api.http import search_request
from latewood.api.http.authorization import ServiceOf, TenantOf
from latewood.api.http.schemas.documents import ErrorOut
from latewood.api.http.schemas.search import SearchBody, SearchOut, answer_from
from latewood.api.http.strict_json import WatchedRoute

router = APIRouter(tags=["search"], route_class=WatchedRoute)


@router.post(
    "/search",
    response_model=SearchOut,
    responses={"4XX": {"model": ErrorOut}, "5XX": {"model": ErrorOut}},
)
def search(body: SearchBody, request: Request, service: ServiceOf, tenant: TenantOf) -> Response:
    """Passages that answer the query, best first."""
    found = search_request.answer(service, tenant, body)
    answer = to_json(answer_from(found, body, request.state.request_id))
    return Response(answer, media_type="application/json")
