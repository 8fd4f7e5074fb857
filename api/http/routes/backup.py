"""`/backup`: copy what the service keeps while it answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends

from latewood.api.http.authorization import ServiceOf, admin_only
from latewood.api.http.schemas.documents import ErrorOut, Strict
from latewood.api.http.strict_json import StrictRoute
from latewood.engine.backup import backup

router = APIRouter(
    prefix="/backup",
    include_in_schema=False,  # between the command and the owner, no part of the contract
    responses={"4XX": {"model": ErrorOut}},
    route_class=StrictRoute,
)


class BackupBody(Strict):
    """Where to, of what, and which earlier backup may share its content; folders of the service's machine."""

    folder: str
    base: str | None = None
    tenant: str | None = None
    collection: str | None = None


@router.post("", dependencies=[Depends(admin_only)])
def save(body: BackupBody, service: ServiceOf) -> dict[str, Any]:
    """Copy indexes, checksummed; writers of one wait while it is copied, readers do not."""
    base = None if body.base is None else Path(body.base)
    return backup.save(service, Path(body.folder), backup.selected(body.tenant, body.collection), base)
