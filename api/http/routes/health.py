"""`/healthz`, `/readyz`, `/status`: is it there, can it answer, what does it hold."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from latewood.api.http.authorization import ServiceOf, TenantOf, admin_only
from latewood.api.http.schemas.documents import ErrorOut
from latewood.api.http.strict_json import StrictRoute
from latewood.engine.errors import ApiError, body
from latewood.engine.index_plan import set_plan
from latewood.engine.library import Service
from latewood.search.types import SearchError

router = APIRouter(tags=["service"], responses={"4XX": {"model": ErrorOut}}, route_class=StrictRoute)


@router.get("/healthz", openapi_extra={"security": [{}]})
async def healthz() -> dict[str, str]:
    """The process lives. Answered without a thread, however many are taken."""
    return {"status": "ok"}


@router.get("/readyz", openapi_extra={"security": [{}]})
def readyz(request: Request, service: ServiceOf) -> JSONResponse:
    """Whether a search would be answered now: the model is loaded and the default index, if any, answers.

    `store` is `empty` while there is no index of that name.
    """
    store, failed = _store(service)
    model = "failed" if service.warm_up_error else "loaded" if service.loaded else "loading"
    failed = failed or service.warm_up_error
    if model == "loaded" and not failed and store != "opening":
        return JSONResponse({"ready": True, "model": model, "store": store})
    message = failed or f"model {model}, store {store}; ask again in a moment"
    state = {"ready": False, "model": model, "store": store}
    return JSONResponse(
        {**state, **body("not_ready", message, request.state.request_id)},
        status_code=503,
        headers={"Retry-After": "1"},
    )


def _store(service: Service) -> tuple[str, str]:
    """How the default index is, by asking it, and what is wrong with it."""
    opened = service.opened("default", "default")
    if opened is None:
        return ("opening" if service.exists("default", "default") else "empty"), ""
    try:
        opened.store.stats()
    except SearchError as error:
        return "failed", str(error)
    return "open", ""


@router.get("/status")
def status(service: ServiceOf, tenant: TenantOf, collection: str = "default") -> dict[str, Any]:
    """What a collection holds and with what it was made."""
    store = service.open(tenant, collection).store
    stats = store.stats()
    config = store.config
    return {
        "tenant": tenant,
        "collection": collection,
        "documents": stats.documents,
        "chunks": stats.chunks,
        "in_flight_chunks": stats.hidden,
        "model": config.fingerprint.get("model", ""),
        "dimensions": list(config.dimensions),
        "plan": str(config.plan),
        "plan_set": set_plan(service.settings, config),
        "fingerprint": dict(config.fingerprint),
        "store": service.settings.store,
        "bytes": stats.bytes,
    }


@router.get("/owner", dependencies=[Depends(admin_only)], include_in_schema=False)
def owner(service: ServiceOf) -> dict[str, bool]:
    """Whether this owner lets go of the data, for a command that holds on to it between jobs."""
    return {"closing": service.jobs.closing}


@router.post("/owner/yield", dependencies=[Depends(admin_only)], include_in_schema=False, status_code=202)
def yield_ownership(service: ServiceOf) -> dict[str, str]:
    """Ask a short-lived owner to end its jobs at a safe point and make room for `serve`."""
    if service.serving:
        raise ApiError(409, "already_served", f"this data is already served at {service.serving}")
    service.yield_ownership()
    return {"status": "closing"}
