"""`/healthz`, `/readyz`, `/status`: is it there, can it answer, what does it hold."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from api.auth import ServiceOf, TenantOf, admin_only
from api.errors import ApiError, body
from api.schemas import ErrorOut

router = APIRouter(tags=["service"], responses={"4XX": {"model": ErrorOut}})


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process lives. Answered without a thread, however many are taken."""
    return {"status": "ok"}


@router.get("/readyz")
def readyz(request: Request, service: ServiceOf) -> JSONResponse:
    """Whether a search would be answered now: the model is loaded and the default index, if any, is open."""
    if service.model_loaded and not service.warm_up_error:
        return JSONResponse({"ready": True, "model": "loaded", "store": "open"})
    failed = service.warm_up_error
    message = failed or "the model is loading; ask again in a moment"
    state = {"ready": False, "model": "failed" if failed else "loading", "store": "open"}
    return JSONResponse(
        {**state, **body("not_ready", message, request.state.request_id)},
        status_code=503,
        headers={"Retry-After": "1"},
    )


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
