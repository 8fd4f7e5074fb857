"""Where jobs of documents are handed in and asked about, wherever they are kept and run."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from latewood.engine.errors import ApiError
from latewood.engine.jobs.execute import carry_out
from latewood.ingest.jobs import FINAL, Job
from latewood.ingest.orders import INGEST, UPLOAD, Order
from latewood.ingest.report import Report

if TYPE_CHECKING:
    from latewood.engine.jobs.job_state import State
    from latewood.engine.library import Service


class Followed(Protocol):
    """A job that can be followed: `changed` goes up whenever `as_event` has news."""

    @property
    def changed(self) -> int:
        """A number that goes up."""
        ...

    def as_event(self) -> dict[str, object]:
        """What a follower is told."""
        ...


class Desk:
    """Jobs of this process, which end with it. Safe to call from many threads."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._jobs = service.jobs

    def start(self) -> None:
        """Take up what an earlier process left: uploads that were acknowledged."""
        self._service.spool.clean()
        for spooled in self._service.spool.waiting():
            self._service.ingest_upload(spooled)

    def submit(self, order: Order) -> State:
        """Queue an order; its job as it stands.

        Raises:
            JobError: the process is closing.
            ApiError: 503, the queue cannot be reached.
        """
        return self.run_here(order).as_dict()

    def run_here(self, order: Order, job_id: str = "") -> Job:
        """Have this process's one runner carry an order out, after what came before it.

        Raises:
            JobError: the process is closing.
        """
        service = self._service

        def run(job: Job, progress: Callable[[Report], None], stop: Callable[[], bool]) -> Report:
            return carry_out(service, order, job, progress, stop)

        forget = (lambda: service.spool.forget(order.entry)) if order.kind == UPLOAD else None
        return self._jobs.submit(
            order.tenant,
            order.collection,
            order.source,
            run,
            on_cancelled=forget,
            job_id=job_id,
            order=order,
        )

    def show(self, tenant: str, job_id: str) -> State:
        """A job as it stands.

        Raises:
            ApiError: 404, the tenant has none of that id.
        """
        return self._known(tenant, job_id).as_dict()

    def all(self, tenant: str) -> list[State]:
        """The tenant's jobs, newest first."""
        return [job.as_dict() for job in self._jobs.all(tenant)]

    def follow(self, tenant: str, job_id: str) -> Followed:
        """A job to follow.

        Raises:
            ApiError: 404, the tenant has none of that id.
        """
        return self._known(tenant, job_id)

    def cancel(self, tenant: str, job_id: str) -> State:
        """Ask a job to end; what it committed stays.

        Raises:
            ApiError: 404, the tenant has none of that id.
        """
        job = self._known(tenant, job_id)
        self._jobs.cancel(job)
        return job.as_dict()

    def retry(self, tenant: str, job_id: str) -> State:
        """A new job for what failed of one that has ended: its failed files, or all if it did not end well.

        Raises:
            ApiError: 404, the tenant has none of that id; 409, it goes on, or there is nothing to try again.
        """
        return self.submit(again(self._order(tenant, job_id), self.show(tenant, job_id), self._service))

    def busy(self, tenant: str, collection: str) -> str | None:
        """The id of a job of this collection that waits or runs."""
        job = self._jobs.busy(tenant, collection)
        return None if job is None else job.id

    def idle(self) -> bool:
        """Whether no job waits or runs, whoever's it is."""
        return not self._jobs.unfinished()

    def close(self) -> None:
        """Let go; to be called when no job runs here."""

    def _order(self, tenant: str, job_id: str) -> Order | None:
        return self._known(tenant, job_id).order

    def _known(self, tenant: str, job_id: str) -> Job:
        job = self._jobs.get(tenant, job_id)
        if job is None:
            raise no_job(job_id)
        return job


def no_job(job_id: str) -> ApiError:
    """The error for an id that nothing has."""
    return ApiError(404, "job_not_found", f"no job {job_id!r} here; the newest thousand that ended are kept")


def again(order: Order | None, state: State, service: Service) -> Order:
    """What to do for a retry of a job.

    Raises:
        ApiError: 409, see `Desk.retry`.
    """
    if state["status"] not in FINAL:
        raise ApiError(
            409, "job_not_ended", f"job {state['id']!r} is {state['status']}; wait for it, or cancel it"
        )
    failed = frozenset(problem["uri"] for problem in state["errors"])
    if order is None or (state["status"] == "completed" and not failed):
        raise ApiError(
            409, "nothing_to_retry", f"job {state['id']!r} has no failed file; ingest its source again"
        )
    if order.kind == UPLOAD and not service.spool.has(order.entry):
        raise ApiError(
            409,
            "nothing_to_retry",
            f"{order.source!r} could not be read and is not kept; mend it and hand it in again",
        )
    if order.kind == INGEST and failed and state["status"] == "completed":
        order = replace(order, options=replace(order.options, only=failed))
    return replace(order, born=time.time(), number=service.spool.sequence.next())


def fresh_id() -> str:
    """Of a job."""
    return str(uuid.uuid4())
