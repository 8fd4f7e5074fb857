"""`POST /search`."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic_core import to_json

from api import asking
from api.auth import ServiceOf, TenantOf
from api.routes.strict import WatchedRoute
from api.schemas import ErrorOut
from api.schemas_search import SearchBody, SearchOut, answer_from

router = APIRouter(tags=["search"], route_class=WatchedRoute)


@router.post(
    "/search",
    response_model=SearchOut,
    responses={"4XX": {"model": ErrorOut}, "5XX": {"model": ErrorOut}},
)
def search(body: SearchBody, request: Request, service: ServiceOf, tenant: TenantOf) -> Response:
    """Passages that answer the query, best first."""
    found = asking.answer(service, tenant, body)
    answer = to_json(answer_from(found, body, request.state.request_id))
    return Response(answer, media_type="application/json")
