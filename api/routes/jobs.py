"""`/jobs`: ingest a folder of the service's machine, follow it, end it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Depends
from fastapi.responses import StreamingResponse

from api.auth import ServiceOf, TenantOf, admin_only
from api.build import Service
from api.errors import ApiError
from api.routes.strict import StrictRoute
from api.schemas import ErrorOut, JobBody
from ingest.jobs import FINAL, Job
from ingest.selection import Selection
from ingest.sync import SyncOptions

router = APIRouter(
    prefix="/jobs", tags=["jobs"], responses={"4XX": {"model": ErrorOut}}, route_class=StrictRoute
)
EVERY = 0.2
BEAT = 15.0
EVENT = {
    "type": "object",
    "required": ["data"],
    "properties": {"data": {"type": "string", "description": "the job, as JSON"}},
}


@router.post("", status_code=202, dependencies=[Depends(admin_only)])
def start(body: JobBody, service: ServiceOf, tenant: TenantOf) -> dict[str, Any]:
    """Queue an ingest of a folder or file."""
    options = SyncOptions(
        dry_run=body.dry_run,
        keep_deleted=body.keep_deleted,
        allow_empty=body.allow_empty,
        selection=Selection(tuple(body.include), tuple(body.exclude), hidden=body.hidden),
    )
    return service.ingest(tenant, body.collection, body.source, options).as_dict()


@router.get("")
def list_jobs(service: ServiceOf, tenant: TenantOf) -> dict[str, Any]:
    """The jobs of this process, newest first."""
    return {"jobs": [job.as_dict() for job in service.jobs.all(tenant)]}


@router.get("/{id}")
def show(id: str, service: ServiceOf, tenant: TenantOf) -> dict[str, Any]:
    """One job: status, counts, errors."""
    return _existing(service, tenant, id).as_dict()


@router.post("/{id}/cancel", status_code=202)
def cancel(id: str, service: ServiceOf, tenant: TenantOf) -> dict[str, Any]:
    """Ask a job to end; what it committed stays."""
    job = _existing(service, tenant, id)
    service.jobs.cancel(job)
    return job.as_dict()


@router.get(
    "/{id}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": EVENT}}}},
)
async def events(id: str, service: ServiceOf, tenant: TenantOf) -> StreamingResponse:
    """Server-sent events: the job's state at each change, until it has ended.

    Until then an event has, in place of the lists `skipped` and `errors`, their number `problems`.
    """
    job = _existing(service, tenant, id)
    return StreamingResponse(
        _lines(job), media_type="text/event-stream", headers={"Cache-Control": "no-cache"}
    )


async def _lines(job: Job) -> AsyncIterator[str]:
    """Asynchronous, for a thread each would let a few followers stop the service; ends with its listener."""
    seen, heard = -1, time.monotonic()
    while True:
        if job.changed != seen:
            seen, heard = job.changed, time.monotonic()
            state = job.as_event()
            yield f"data: {json.dumps(state)}\n\n"
            if state["status"] in FINAL:
                return
        elif time.monotonic() - heard >= BEAT:
            heard = time.monotonic()
            yield ": still here\n\n"
        await asyncio.sleep(EVERY)


def _existing(service: Service, tenant: str, job_id: str) -> Job:
    job = service.jobs.get(tenant, job_id)
    if job is None:
        raise ApiError(
            404, "job_not_found", f"no job {job_id!r} in this process; finished ones are kept while it lives"
        )
    return job
