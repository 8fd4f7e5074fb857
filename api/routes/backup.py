"""`/backup`: copy what the service keeps while it answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends

from api import backup
from api.auth import ServiceOf, admin_only
from api.routes.strict import StrictRoute
from api.schemas import ErrorOut, Strict

router = APIRouter(
    prefix="/backup",
    include_in_schema=False,  # between the command and the owner, no part of the contract
    responses={"4XX": {"model": ErrorOut}},
    route_class=StrictRoute,
)


class BackupBody(Strict):
    """Where to: an empty folder of the service's machine, or one that is not there yet."""

    folder: str


@router.post("", dependencies=[Depends(admin_only)])
def save(body: BackupBody, service: ServiceOf) -> dict[str, Any]:
    """Copy every index, checksummed; writers of one wait while it is copied, readers do not."""
    return backup.save(service, Path(body.folder))
