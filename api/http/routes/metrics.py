"""`GET /metrics`: numbers for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from latewood.api.http.authorization import ServiceOf, access_of
from latewood.api.http.schemas.documents import ErrorOut
from latewood.engine.metrics import TYPE

router = APIRouter(tags=["service"], responses={"4XX": {"model": ErrorOut}})


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(request: Request, service: ServiceOf) -> Response:
    """Latency by route and stage, queues, batches, tokens, errors; sizes of the key's tenant's indexes."""
    access = access_of(request)
    return Response(service.metrics.text(service, access.tenant if access.key else None), media_type=TYPE)
