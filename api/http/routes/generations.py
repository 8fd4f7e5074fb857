"""`/migrate`, `/optimise`: rebuild an index while it answers."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends

from latewood.api.http.authorization import ServiceOf, TenantOf, admin_only
from latewood.api.http.schemas.documents import Strict
from latewood.api.http.strict_json import StrictRoute
from latewood.engine import store_migration
from latewood.engine.errors import ApiError

router = APIRouter(
    include_in_schema=False,  # between the commands and the owner, no part of the contract
    route_class=StrictRoute,
    dependencies=[Depends(admin_only)],
)


class MigrateBody(Strict):
    """Which collection, and one of: a model to go to, `rollback` to the one before, a store to go to."""

    collection: str = "default"
    model: str = ""
    store: str = ""
    rollback: bool = False


class OptimiseBody(Strict):
    """Which collection."""

    collection: str = "default"


@router.post("/migrate", status_code=202)
def migrate(body: MigrateBody, service: ServiceOf, tenant: TenantOf) -> dict[str, Any]:
    """Queue the change to another model or store; what became of it is the job's `result`."""
    if bool(body.model) + body.rollback + bool(body.store) != 1:
        raise ApiError(422, "invalid_request", "give one of a model, rollback and a store")
    if body.store:
        return {"job_id": store_migration.move(service, tenant, body.collection, body.store).id}
    job = service.rebuilds.migrate(tenant, body.collection, body.model or None)
    return {"job_id": job.id}


@router.post("/optimise", status_code=202)
def optimise(body: OptimiseBody, service: ServiceOf, tenant: TenantOf) -> dict[str, Any]:
    """Queue the building of the engine's indexes, which otherwise happens in the background now and then."""
    return {"job_id": service.rebuilds.optimise(tenant, body.collection).id}
