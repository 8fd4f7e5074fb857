"""Jobs of one process: a queue, one runner, and events that can be followed.

One runner at a time writes, so two ingests never meet on a document; the second waits. "Done" means the
manifest, never a job's record: a job lost with its process loses nothing, the next ingest goes on. Jobs that
outlive their process are kept in a database (`api.queueing`) and run here, or by a worker.
"""

from __future__ import annotations

import logging
import queue
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from ingest.report import CLOSING, Report
from ingest.writing import utc

if TYPE_CHECKING:
    from ingest.orders import Order

FINAL = frozenset({"completed", "failed", "cancelled"})
CLOSED = "the process is closing"
KEPT = 1000
ENOUGH = 10
"""Finished files that say something about the rest; of a short list, a twentieth."""

_COUNTS = tuple(one.name for one in fields(Report) if one.name not in {"skipped", "failed"})
logger = logging.getLogger(__name__)


class JobError(Exception):
    """A job that ended because of one known reason: `code` for programs, the message for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(slots=True)
class Job:
    """One piece of work, most often an ingest: what it is to do, how far it is, and how it ended.

    Attributes:
        status: queued, in_progress, completed, failed or cancelled.
        error: code and message when the job as a whole failed or was cancelled.
        result: what a job other than an ingest found or did, as JSON; set by the job itself before it ends.
        changed: goes up with every change, so that followers know when to look again.
        on_cancelled: called when the job is cancelled on request before it ran.
        born: seconds since 1970, to put jobs in order.
        begun: when it began to run, by the monotonic clock; 0 before.
        order: what it was told to do, where it is a job of documents.
    """

    id: str
    tenant: str
    collection: str
    source: str
    created: str
    status: str = "queued"
    report: Report = field(default_factory=Report)
    error: tuple[str, str] | None = None
    changed: int = 0
    on_cancelled: Callable[[], object] | None = None
    result: Mapping[str, Any] | None = None
    born: float = field(default_factory=time)
    begun: float = 0.0
    order: Order | None = None

    def as_dict(self) -> dict[str, object]:
        """The public shape: status, counts, errors; `result` only where there is one."""
        status = self.status  # read first: what comes with a final status is final too
        report = self.report
        problems = {
            "skipped": [asdict(problem) for problem in list(report.skipped)],
            "errors": [asdict(problem) for problem in list(report.failed)],
        }
        return self._shape(status, report, problems) | (
            {} if self.result is None else {"result": self.result}
        )

    def as_event(self) -> dict[str, object]:
        """What a follower is told: while the job goes on only the number of its problems, at its end all."""
        status = self.status
        if status in FINAL:
            return self.as_dict()
        report = self.report
        return self._shape(status, report, {"problems": len(report.skipped) + len(report.failed)})

    def _shape(self, status: str, report: Report, problems: Mapping[str, object]) -> dict[str, object]:
        error = self.error
        return {
            "id": self.id,
            "collection": self.collection,
            "source": self.source,
            "created": self.created,
            "status": status,
            "counts": {name: getattr(report, name) for name in _COUNTS},
            "seconds_left": self._seconds_left() if status == "in_progress" else None,
            **problems,
            "error": {"code": error[0], "message": error[1]} if error else None,
        }

    def _seconds_left(self) -> float | None:
        """At the pace of the files that are finished; None while they say too little."""
        finished, total = self.report.finished, self.report.total
        if not finished or finished < min(ENOUGH, total / 20):
            return None
        return round((monotonic() - self.begun) / finished * max(total - finished, 0), 1)


Run = Callable[[Job, Callable[[Report], None], Callable[[], bool]], Report]


class Jobs:
    """Queue and runner. Safe to call from many threads."""

    def __init__(self, describe_error: Callable[[Exception], tuple[str, str]]) -> None:
        self._describe_error = describe_error
        self._jobs: dict[str, Job] = {}
        self._queue: queue.SimpleQueue[tuple[Job, Run] | None] = queue.SimpleQueue()
        self._news = threading.Condition()
        self._cancelled: set[str] = set()
        self._closing = False
        self._runner = threading.Thread(target=self._work, name="ingest", daemon=True)
        self._runner.start()

    def submit(
        self,
        tenant: str,
        collection: str,
        source: str,
        run: Run,
        *,
        on_cancelled: Callable[[], object] | None = None,
        job_id: str = "",
        order: Order | None = None,
    ) -> Job:
        """Queue a job.

        `on_cancelled` is called in place of `run` when the job is cancelled on request while it waits; not
        when the process closes. `job_id` is what it is called where it is kept; a fresh one by default.

        Raises:
            JobError: the process is closing.
        """
        born = order.born if order is not None and order.born else time()
        job = Job(job_id or str(uuid.uuid4()), tenant, collection, source, utc(born), born=born, order=order)
        job.on_cancelled = on_cancelled
        with self._news:
            if self._closing:
                raise JobError(CLOSING, "this process is closing; ask again in a moment")
            self._jobs[job.id] = job
            for old in [other.id for other in self._jobs.values() if other.status in FINAL][:-KEPT]:
                del self._jobs[old]
                self._cancelled.discard(old)
            self._queue.put((job, run))  # under the lock: after the end of the queue nobody would take it
        return job

    def get(self, tenant: str, job_id: str) -> Job | None:
        """The tenant's job, if it is known."""
        job = self._jobs.get(job_id)
        return job if job is not None and job.tenant == tenant else None

    def all(self, tenant: str) -> list[Job]:
        """The tenant's jobs, newest first."""
        return [job for job in reversed(list(self._jobs.values())) if job.tenant == tenant]

    def busy(self, tenant: str, collection: str) -> Job | None:
        """A job of this collection that waits or runs."""
        with self._news:
            for job in self._jobs.values():
                if (job.tenant, job.collection) == (tenant, collection) and job.status not in FINAL:
                    return job
        return None

    def unfinished(self) -> int:
        """How many jobs wait or run."""
        with self._news:
            return sum(job.status not in FINAL for job in self._jobs.values())

    @property
    def closing(self) -> bool:
        """Whether new jobs are refused because this process lets go of the data."""
        return self._closing

    def cancelled(self, job: Job) -> bool:
        """Whether it was asked to end."""
        return job.id in self._cancelled

    def cancel(self, job: Job) -> None:
        """Ask a job to end; what it committed stays. One that waits ends at once, one that ended stays so."""
        with self._news:
            if job.status in FINAL:
                return
            waiting = job.status == "queued"
            self._cancelled.add(job.id)
            if waiting:
                self._end(job)
        if waiting and job.on_cancelled is not None:
            job.on_cancelled()

    def events(
        self, job: Job, *, every: float = 0.2, beat: float = 15.0
    ) -> Iterator[dict[str, object] | None]:
        """The job's event now and at each change (at most every `every` seconds) until it is final.

        None when nothing changed for `beat` seconds, so that a caller can keep a connection alive.
        """
        seen = -1
        while True:
            with self._news:
                fresh = self._wait_for_news(job, seen, beat)
                seen = job.changed
                state = job.as_event()
            yield state if fresh else None
            if state["status"] in FINAL:
                return
            threading.Event().wait(every)

    def _wait_for_news(self, job: Job, seen: int, seconds: float) -> bool:
        return self._news.wait_for(lambda: job.changed != seen, timeout=seconds)

    def wait(self, job: Job) -> None:
        """Until it has ended."""
        with self._news:
            self._news.wait_for(lambda: job.status in FINAL)

    def close(self) -> None:
        """Cancel everything with the code `owner_closing` and wait for the runner to end."""
        with self._news:
            if not self._closing:
                self._closing = True
                self._queue.put(None)
            self._news.notify_all()
        self._runner.join()

    def _work(self) -> None:
        while (entry := self._queue.get()) is not None:
            job, run = entry
            if self._claim(job):
                self._run(job, run)

    def _claim(self, job: Job) -> bool:
        """Whether the job is to be run now; one step, so that it is run or cancelled while it waits."""
        with self._news:
            if job.status in FINAL:
                return False
            if self._closing:
                self._end(job)
                return False
            job.begun = monotonic()
            self._set(job, "in_progress")
            return True

    def _run(self, job: Job, run: Run) -> None:
        try:
            job.report = run(job, lambda report: self._note(job, report), lambda: self._stopped(job))
        except BaseException as error:  # the seam: whatever ends a job is its record, and the runner goes on
            job.error = self._explain(error)
            if job.error[0] == "internal":
                logger.exception("job %s failed", job.id)
            else:
                logger.info("job %s failed: %s", job.id, job.error[1])
            self._set(job, "failed")
        else:
            self._end(job)

    def _explain(self, error: BaseException) -> tuple[str, str]:
        if isinstance(error, Exception):
            return self._describe_error(error)
        return "internal", f"the job was ended by {type(error).__name__}; the service's log has the details"

    def _stopped(self, job: Job) -> bool:
        return self._closing or job.id in self._cancelled

    def _end(self, job: Job) -> None:
        if not self._stopped(job):
            self._set(job, "completed")
            return
        cancelled = job.id in self._cancelled
        job.error = ("cancelled", "cancelled on request") if cancelled else (CLOSING, CLOSED)
        self._set(job, "cancelled")

    def _note(self, job: Job, report: Report) -> None:
        with self._news:
            job.report = report
            job.changed += 1
            self._news.notify_all()

    def _set(self, job: Job, status: str) -> None:
        with self._news:
            job.status = status
            job.changed += 1
            self._news.notify_all()
