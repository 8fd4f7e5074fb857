"""`/jobs`: ingest a folder of the service's machine, follow it, end it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from latewood.api.http.allowed_sources import check_source
from latewood.api.http.authorization import ServiceOf, TenantOf, is_admin
from latewood.api.http.schemas.documents import ErrorOut, JobBody
from latewood.api.http.strict_json import StrictRoute
from latewood.engine.jobs.queue import Followed
from latewood.ingest.jobs import FINAL
from latewood.ingest.sources.patterns import Selection
from latewood.ingest.sync import SyncOptions

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


@router.post("", status_code=202)
def start(request: Request, body: JobBody, service: ServiceOf, tenant: TenantOf) -> dict[str, Any]:
    """Queue an ingest of a folder or file: over the owner's socket any, over TCP one in `ROOTS`."""
    if not is_admin(request):
        check_source(service.settings.roots, body.source)
    options = SyncOptions(
        dry_run=body.dry_run,
        keep_deleted=body.keep_deleted,
        allow_empty=body.allow_empty,
        selection=Selection(tuple(body.include), tuple(body.exclude), hidden=body.hidden),
    )
    return service.ingest(tenant, body.collection, body.source, options)


@router.get("")
def list_jobs(service: ServiceOf, tenant: TenantOf) -> dict[str, Any]:
    """The jobs, newest first."""
    return {"jobs": service.desk.all(tenant)}


@router.get("/{id}")
def show(id: str, service: ServiceOf, tenant: TenantOf) -> dict[str, Any]:
    """One job: status, counts, errors."""
    return service.desk.show(tenant, id)


@router.post("/{id}/cancel", status_code=202)
def cancel(id: str, service: ServiceOf, tenant: TenantOf) -> dict[str, Any]:
    """Ask a job to end; what it committed stays."""
    return service.desk.cancel(tenant, id)


@router.post("/{id}/retry", status_code=202)
def retry(id: str, service: ServiceOf, tenant: TenantOf) -> dict[str, Any]:
    """A new job for the failed files of one that has ended; for all of it, if it failed or was cancelled."""
    return service.desk.retry(tenant, id)


@router.get(
    "/{id}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": EVENT}}}},
)
async def events(id: str, service: ServiceOf, tenant: TenantOf) -> StreamingResponse:
    """Server-sent events: the job's state at each change, until it has ended.

    Until then an event has, in place of the lists `skipped` and `errors`, their number `problems`.
    """
    followed = await run_in_threadpool(service.desk.follow, tenant, id)
    return StreamingResponse(
        _lines(followed), media_type="text/event-stream", headers={"Cache-Control": "no-cache"}
    )


async def _lines(job: Followed) -> AsyncIterator[str]:
    """Asynchronous, for a thread each would let a few followers stop the service; ends with its listener."""
    seen, heard = -1, time.monotonic()
    while True:
        look = getattr(job, "look", None)
        if look is not None:
            await run_in_threadpool(look)
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
