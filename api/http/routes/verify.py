"""`/verify`: hold an index against itself, and put right what differs."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends

from latewood.api.http.authorization import ServiceOf, TenantOf, admin_only
from latewood.api.http.schemas.documents import ErrorOut, Strict, shown
from latewood.api.http.strict_json import StrictRoute
from latewood.engine import verify

router = APIRouter(
    prefix="/verify", tags=["jobs"], responses={"4XX": {"model": ErrorOut}}, route_class=StrictRoute
)


class VerifyBody(Strict):
    """Which collection, and whether to put right what differs."""

    collection: str = "default"
    repair: bool = False

    model_config = shown(collection="default", repair=True)


@router.post("", status_code=202, dependencies=[Depends(admin_only)])
def start(body: VerifyBody, service: ServiceOf, tenant: TenantOf) -> dict[str, Any]:
    """Queue a verify; what it finds is the job's `result`."""
    job = verify.verify(service, tenant, body.collection, repair=body.repair)
    return {"job_id": job.id}
