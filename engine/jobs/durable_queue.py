"""The desk of jobs that outlive their process.

With `JOBS=sqlite` they are kept in the data directory and its owner runs them itself. With a PostgreSQL url
they are run by `latewood worker` processes, as many as there are, and the owner only writes them down.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from latewood.engine import disk
from latewood.engine.addresses import SQLITE
from latewood.engine.errors import ApiError
from latewood.engine.jobs.dbos_store import KEPT, OPEN, Database, Record
from latewood.engine.jobs.executor import Executor, InterruptedJob
from latewood.engine.jobs.job_state import Elsewhere, State, blank, state_of
from latewood.engine.jobs.queue import Desk, Followed, fresh_id, no_job
from latewood.ingest.jobs import FINAL, Job, JobError
from latewood.ingest.orders import INGEST, UPLOAD, Order
from latewood.ingest.report import CLOSING

if TYPE_CHECKING:
    from latewood.engine.library import Service

logger = logging.getLogger(__name__)
OWNER = "owner"
"""Who runs the jobs of a data directory: one at a time, by its lock."""

TELL_SECONDS = 1.0
MOST_KEYS = 10_000
"""Sources whose latest job is remembered, before those whose job has ended are forgotten."""


class DurableDesk(Desk):
    """Jobs kept in a database. Safe to call from many threads.

    Nothing is opened before a job is handed in or asked for, so that a command that does neither is quick.
    """

    def __init__(self, service: Service, worker: str = "") -> None:
        """Begin with nothing open.

        Args:
            service: whose jobs; its settings say where they are kept.
            worker: who runs them here; by default the owner of a data directory whose jobs are in it.
        """
        super().__init__(service)
        self._setting = service.settings.jobs
        self._worker = worker or (OWNER if self._setting == SQLITE else "")
        self._shared = self._setting != SQLITE
        self._guard = threading.Lock()
        self._handing_in = threading.Lock()
        self._latest: dict[str, tuple[str, bool]] | None = (
            None  # by key: the last job handed in, and its lane
        )
        self._opened: Database | None = None
        self._executor: Executor | None = None
        self._hands_in = not (self._worker and self._shared)  # else the uploads are the owner's
        if self._hands_in and disk.writable(service.data):
            service.spool.clean()  # now: when the queue is opened, uploads are being handed in

    def start(self) -> None:
        """Open the queue, go on with what an earlier process left in it, and take up its uploads."""
        if self._read_only:
            logger.warning("%s is read-only: its queue rests, and every write is refused", self._service.data)
            return
        database = self._database(work=True)
        if self._hands_in:
            self._take_up_uploads(database)

    def _take_up_uploads(self, database: Database, besides: str = "") -> None:
        """Queue the uploads on disk that the queue does not know, but the one that is being handed in."""
        database.replaced = False
        known = {record.order.entry for record in database.open()} | {besides}
        for spooled in self._service.spool.waiting():
            if spooled.folder.name not in known:
                self._service.ingest_upload(spooled)

    def submit(self, order: Order) -> State:
        """See `Desk.submit`; one that waits to do the same is joined."""
        if self._jobs.closing:
            raise JobError(CLOSING, "this process is closing; ask again in a moment")
        database = self._database(work=True)
        if database.replaced and self._hands_in:
            self._take_up_uploads(database, order.entry)
        with self._handing_in:  # one at a time: what is found open here is the latest when this is written
            if order.kind == INGEST:
                for record in database.open():
                    if not self._begun(record) and record.order.same_work(order):
                        return self._state_of(record)
            job_id = fresh_id()
            database.put(job_id, order, held=self._must_wait(order))
            if self._latest is not None:
                self._latest[order.key] = job_id, order.small
        return self._waiting(blank(job_id, order), order)

    def _must_wait(self, order: Order) -> bool:
        """Return whether a job of the same source is open that the queue does not keep apart from this one.

        One process takes the jobs of a tenant in order, but from each lane; several processes take several.
        """
        if self._latest is None or len(self._latest) > MOST_KEYS:
            found = self._database().open()
            self._latest = {record.order.key: (record.id, record.order.small) for record in found}
        before, small = self._latest.get(order.key, ("", order.small))
        if not before or not (self._shared or small != order.small):
            return False
        return self._database().status(before)[0] in OPEN

    def show(self, tenant: str, job_id: str) -> State:
        """See `Desk.show`."""
        job = self._jobs.get(tenant, job_id)
        return job.as_dict() if job is not None else self._state_of(self._record(tenant, job_id))

    def all(self, tenant: str) -> list[State]:
        """See `Desk.all`."""
        here = {job.id: ((job.number, job.born), job.as_dict()) for job in self._jobs.all(tenant)}
        for record in self._database().all(tenant) if self._in_use() else []:
            if record.id not in here:
                here[record.id] = (record.place(), self._state_of(record))
        newest = sorted(here.values(), key=lambda one: one[0], reverse=True)
        return [state for _, state in newest[:KEPT]]

    def follow(self, tenant: str, job_id: str) -> Followed:
        """See `Desk.follow`."""
        job = self._jobs.get(tenant, job_id)
        if job is not None:
            return job
        self._record(tenant, job_id)
        return Elsewhere(
            self._database(),
            job_id,
            here=lambda: self._jobs.get(tenant, job_id),
            closing=lambda: self._jobs.closing,
            state_of=self._state_of,
        )

    def _state_of(self, record: Record) -> State:
        return self._waiting(state_of(record), record.order)

    def _waiting(self, state: State, order: Order) -> State:
        """Add to the state of a job that waits what it waits for."""
        if state["status"] == "queued":
            state["waits_for"] = self._ahead(order)
        return state

    def _ahead(self, order: Order) -> str:
        if not self._shared:
            return self._jobs.ahead(order.tenant, order.collection, small=order.small)
        running = self._database().running(small=order.small)
        ours = [one.order.source for one in running if one.order.tenant == order.tenant]
        if ours:
            return f"the jobs of {', '.join(ours)}"
        return "a job of another tenant" if running else "a free worker"

    def cancel(self, tenant: str, job_id: str) -> State:
        """See `Desk.cancel`."""
        job = self._jobs.get(tenant, job_id)
        if job is None:
            record = self._record(tenant, job_id)
            if not record.ended:
                self._database().cancel(job_id)
                self._database().release(job_id)
                if record.order.kind == UPLOAD:
                    self._service.spool.forget(record.order.entry)
            job = self._jobs.get(tenant, job_id)  # begun meanwhile
        if job is not None:
            self._jobs.cancel(job)
        return self.show(tenant, job_id)

    def busy(self, tenant: str, collection: str) -> str | None:
        """See `Desk.busy`."""
        here = super().busy(tenant, collection)
        if here is not None or not self._in_use():
            return here
        for record in self._database().open():
            known = self._jobs.get(tenant, record.id)
            ended = known is not None and known.status in FINAL  # and about to be written down
            if not ended and (record.order.tenant, record.order.collection) == (tenant, collection):
                return record.id
        return None

    def idle(self) -> bool:
        """See `Desk.idle`."""
        return super().idle() and not self._database().open()

    def close(self) -> None:
        """See `Desk.close`."""
        with self._guard:
            if self._executor is not None:
                self._executor.close()
            if self._opened is not None:
                self._opened.close()
            self._executor = self._opened = None

    def _database(self, *, work: bool = False) -> Database:
        """The queue, opened when first needed; with `work` this process begins to work on it, if it is to."""
        with self._guard:
            if self._read_only:
                raise ApiError(
                    disk.STATUS[disk.READ_ONLY],
                    disk.READ_ONLY,
                    f"{self._service.data} is read-only, and so is its queue of jobs; make it writable",
                )
            if self._opened is None:
                self._opened = Database(self._setting, self._service.data)
            if work and self._worker and self._executor is None:
                patience = self._service.settings.worker_seconds if self._shared else 0.0
                self._opened.forget_old()
                self._executor = Executor(self._opened, self._worker, self._carry_out, patience)
            return self._opened

    def _begun(self, record: Record) -> bool:
        """Whether a job may have looked at its source already: else it is as good as a new one."""
        if record.status != "PENDING":
            return False
        here = self._jobs.get(record.order.tenant, record.id)
        return self._shared or (here is not None and here.status != "queued")

    @property
    def _read_only(self) -> bool:
        """Whether the queue lies in a folder that cannot be written; SQLite cannot even read it there."""
        return not self._shared and not disk.writable(self._service.data)

    def _in_use(self) -> bool:
        """Whether there can be jobs: without a file of them nothing need be opened to say no."""
        if self._read_only:
            return False
        return self._opened is not None or self._shared or (self._service.data / "jobs.sqlite").exists()

    def _record(self, tenant: str, job_id: str) -> Record:
        record = self._database().get(job_id) if self._in_use() else None
        if record is None or record.order.tenant != tenant:
            raise no_job(job_id)
        return record

    def _order(self, tenant: str, job_id: str) -> Order | None:
        job = self._jobs.get(tenant, job_id)
        return job.order if job is not None else self._record(tenant, job_id).order

    def _carry_out(self, job_id: str, order: Order) -> Mapping[str, Any]:
        """A job of the queue, by this process's one runner; how it ended.

        Raises:
            InterruptedJob: this process closes, or the job is not its own any more.
        """
        database = self._database()  # once: `close` holds the guard while it waits for this to end
        if database.status(job_id)[0] == "CANCELLED":
            raise InterruptedJob
        try:
            job = self.run_here(order, job_id)
        except JobError as error:
            raise InterruptedJob from error
        mine = self._told_of(job) if self._shared else self._waited_for(job)
        if not mine or (job.error is not None and job.error[0] == CLOSING):
            raise InterruptedJob
        _release_after(database, job_id)
        return job.as_dict()

    def _waited_for(self, job: Job) -> bool:
        if self._database().status(job.id)[0] == "CANCELLED":  # before it was known here
            self._jobs.cancel(job)
        self._jobs.wait(job)
        return True

    def _told_of(self, job: Job) -> bool:
        """Write down how far the job is until it ends; whether it stayed this worker's.

        It ends early when it was cancelled, or when this worker was taken for dead and another one has it.
        """
        database, mine, looked = self._database(), True, 0.0
        for state in self._jobs.events(job, every=TELL_SECONDS, beat=TELL_SECONDS):
            final = job.status in FINAL
            try:
                if time.monotonic() - looked >= TELL_SECONDS or final:
                    looked = time.monotonic()
                    status, worker = database.status(job.id)
                    mine = status == "PENDING" and worker == self._worker
                    if not mine:
                        self._jobs.cancel(job)
                if state is not None and (mine or status == "CANCELLED"):
                    database.tell(job.id, state)
            except ApiError as error:
                logger.warning("could not save the progress of job %s, continuing: %s", job.id, error)
        return mine


def _release_after(database: Database, job_id: str) -> None:
    try:
        database.release(job_id)
    except ApiError as error:  # the next heartbeat releases them
        logger.warning("could not release the jobs that wait for job %s: %s", job_id, error)
