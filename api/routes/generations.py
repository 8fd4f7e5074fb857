"""`/migrate`, `/optimise`: rebuild an index while it answers."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends

from api.auth import ServiceOf, TenantOf, admin_only
from api.errors import ApiError
from api.routes.strict import StrictRoute
from api.schemas import Strict

router = APIRouter(
    include_in_schema=False,  # between the commands and the owner, no part of the contract
    route_class=StrictRoute,
    dependencies=[Depends(admin_only)],
)


class MigrateBody(Strict):
    """Which collection, and the model to go to; with `rollback` the one it had before."""

    collection: str = "default"
    model: str = ""
    rollback: bool = False


class OptimiseBody(Strict):
    """Which collection."""

    collection: str = "default"


@router.post("/migrate", status_code=202)
def migrate(body: MigrateBody, service: ServiceOf, tenant: TenantOf) -> dict[str, Any]:
    """Queue the change to another model; what became of it is the job's `result`."""
    if bool(body.model) == body.rollback:
        raise ApiError(422, "invalid_request", "give a model or rollback, and not both")
    job = service.rebuilds.migrate(tenant, body.collection, body.model or None)
    return {"job_id": job.id}


@router.post("/optimise", status_code=202)
def optimise(body: OptimiseBody, service: ServiceOf, tenant: TenantOf) -> dict[str, Any]:
    """Queue the building of the engine's indexes, which otherwise happens in the background now and then."""
    return {"job_id": service.rebuilds.optimise(tenant, body.collection).id}
