"""Jobs of one process: two lanes of runners, and events that can be followed.

The main lane runs one job at a time: ingests of folders, large uploads, work on whole collections. The lane
of small jobs runs next to it, so that a sentence never waits for a folder. In both lanes tenants take turns,
and a tenant's own jobs run in the order of their arrival. Two jobs of one source never run at the same time,
and a job that needs a collection for itself (verify, migrate) shares it with no other.

"Done" means the manifest, never a job's record: a job lost with its process loses nothing, the next ingest
resumes its work. Jobs that outlive their process are kept in a database (`api.queueing`) and run here, or by
a worker.
"""

from __future__ import annotations

import itertools
import logging
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from latewood.ingest.index.writer import utc
from latewood.ingest.pace import Pace
from latewood.ingest.report import CLOSING, Report
from latewood.ingest.types import document_id

if TYPE_CHECKING:
    from latewood.ingest.orders import Order

FINAL = frozenset({"completed", "failed", "cancelled"})
CLOSED = "the process is closing"
_UPLOADED = "upload:"  # begins the uris of uploads
KEPT = 1000
SMALL_RUNNERS = 4
"""Small jobs that run at the same time, each of another tenant."""

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
        born: seconds since 1970 when it was given, for people.
        number: its place in the order of arrival.
        begun: when it began to run, by the monotonic clock; 0 before.
        order: its work, where it is a job of documents; any other job needs its collection for itself.
        ahead: returns what a queued job waits for.
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
    number: int = 0
    order: Order | None = None
    ahead: Callable[[], str] | None = None
    pace: Pace = field(default_factory=Pace)

    @property
    def small(self) -> bool:
        """Whether it belongs to the lane of small jobs."""
        return self.order is not None and self.order.small

    @property
    def dry_run(self) -> bool:
        """Whether it only counts what an ingest would do."""
        return self.order is not None and self.order.options.dry_run

    def follows(self, other: Job) -> bool:
        """Return whether it must wait for the end of the other, which came first or runs."""
        if (self.tenant, self.collection) != (other.tenant, other.collection):
            return False
        if self.order is None or other.order is None:
            return True
        return self.order.key == other.order.key

    def conflicts(self, other: Job) -> bool:
        """Return whether it must not begin while the other runs."""
        return self.follows(other) or (self.small and other.small and self.tenant == other.tenant)

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
            "dry_run": self.dry_run,
            "waits_for": self.ahead() if status == "queued" and self.ahead is not None else None,
            "counts": {**{name: getattr(report, name) for name in _COUNTS}, "share": round(report.part, 4)},
            "seconds_left": self._seconds_left() if status == "in_progress" else None,
            **problems,
            "error": {"code": error[0], "message": error[1]} if error else None,
        }

    def _seconds_left(self) -> float | None:
        """Return the estimated time left; None while too little is done to tell."""
        return self.pace.left(monotonic() - self.begun, self.report.part)

    def describe(self) -> str:
        """Return the job in a few words, for those who wait for it."""
        if self.order is None:
            return f"work on collection {self.collection!r}"
        return f"the {'dry run' if self.dry_run else self.order.kind} of {self.source}"

    def logged(self) -> str:
        """Return the job in a few words for log lines, without the name that a caller gave an upload."""
        if self.order is None or not self.source.startswith(_UPLOADED):
            return self.describe()
        key = document_id(self.tenant, self.collection, self.source)
        return f"the {self.order.kind} of document {key} in collection {self.collection!r}"


Run = Callable[[Job, Callable[[Report], None], Callable[[], bool]], Report]


class Jobs:
    """Queue and runners. Safe to call from many threads."""

    def __init__(
        self,
        describe_error: Callable[[Exception], tuple[str, str]],
        number: Callable[[], int] | None = None,
    ) -> None:
        """Start the runners.

        Args:
            describe_error: returns the code and the message of an error.
            number: returns the next number in the order of arrival, for a job whose order has none.
        """
        self._describe_error = describe_error
        self._number = number or itertools.count(1).__next__
        self._jobs: dict[str, Job] = {}
        self._waiting: dict[str, tuple[Job, Run]] = {}  # in the order of arrival
        self._running: dict[str, Job] = {}
        self._turns: dict[tuple[bool, str], int] = {}  # by lane and tenant: its latest turn
        self._turn = 0
        self._lock = threading.RLock()
        self._news = threading.Condition(self._lock)  # for those who follow a job
        self._work_news = threading.Condition(self._lock)  # for runners: not woken by every progress
        self._cancelled: set[str] = set()
        self._closing = False
        lanes = {"ingest": False, **{f"small-{number}": True for number in range(SMALL_RUNNERS)}}
        self._runners = [
            threading.Thread(target=self._work, args=[small], name=name, daemon=True)
            for name, small in lanes.items()
        ]
        for runner in self._runners:
            runner.start()

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
        job.number = self._number() if order is None else order.number
        job.on_cancelled = on_cancelled
        job.ahead = lambda: self.ahead(tenant, collection, small=job.small)
        with self._news:
            if self._closing:
                raise JobError(CLOSING, "this process is closing; ask again in a moment")
            self._jobs[job.id] = job
            for old in [other.id for other in self._jobs.values() if other.status in FINAL][:-KEPT]:
                del self._jobs[old]
                self._cancelled.discard(old)
            self._waiting[job.id] = job, run
            self._work_news.notify_all()
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

    def ahead(self, tenant: str, collection: str, *, small: bool) -> str:
        """Return what a queued job waits for, in a few words; work of other tenants is not named."""
        with self._news:
            running = list(self._running.values())
        ours = [job for job in running if job.tenant == tenant]
        near = [job for job in ours if job.small == small or job.collection == collection]
        if near:
            job = max(near, key=lambda one: one.small == small)
            report = job.report
            done = f" ({report.finished:,} of {report.total:,} files)" if report.total > 1 else ""
            return job.describe() + done
        return "a job of another tenant" if any(job.small == small for job in running) else "a free runner"

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
        """Cancel everything with the code `owner_closing` and wait for the runners to end."""
        with self._news:
            self._closing = True
            for job, _ in self._waiting.values():
                if job.status not in FINAL:
                    self._end(job)
            self._waiting.clear()
            self._work_news.notify_all()
        for runner in self._runners:
            runner.join()

    def _work(self, small: bool) -> None:
        while (taken := self._take(small)) is not None:
            job, run = taken
            try:
                self._run(job, run)
            finally:
                with self._news:
                    del self._running[job.id]
                    self._work_news.notify_all()

    def _take(self, small: bool) -> tuple[Job, Run] | None:
        """Wait for the lane's next job and begin it; None once the queue is closed.

        One step under the lock, so that a job is run, or cancelled while it waits.
        """
        with self._news:
            while not self._closing:
                job = self._next(small)
                if job is not None:
                    self._turn += 1
                    self._turns[small, job.tenant] = self._turn
                    self._running[job.id] = job
                    job.begun = monotonic()
                    self._set(job, "in_progress")
                    return self._waiting.pop(job.id)
                self._work_news.wait()
        return None

    def _next(self, small: bool) -> Job | None:
        """Return the job whose turn it is: the first that may run, of the tenant served longest ago."""
        for ended in [key for key, (job, _) in self._waiting.items() if job.status in FINAL]:
            del self._waiting[ended]
        main_is_free = not any(not job.small for job in self._running.values())
        first: dict[str, Job] = {}
        passed: dict[tuple[str, str], list[Job]] = {}  # earlier jobs of a collection that must run before
        for job, _ in self._waiting.values():
            before = passed.setdefault((job.tenant, job.collection), [])
            if job.small == small and job.tenant not in first:
                waits = any(job.conflicts(one) for one in self._running.values())
                if not waits and not any(map(job.follows, before)):
                    first[job.tenant] = job
            # Work on a whole collection waits for small jobs only once its own lane is free.
            if job.order is not None or main_is_free:
                before.append(job)
        return min(first.values(), key=lambda job: self._turns.get((small, job.tenant), 0), default=None)

    def _run(self, job: Job, run: Run) -> None:
        if not job.small:
            logger.info("job %s begins: %s", job.id, job.logged())
        try:
            job.report = run(job, lambda report: self._note(job, report), lambda: self._stopped(job))
        except BaseException as error:  # the seam: the cause is recorded, and the runner takes the next job
            job.error = self._explain(error)
            logger.error(
                "job %s failed: %s: %s [%s]",
                job.id,
                job.logged(),
                job.error[1],
                job.error[0],
                exc_info=error if job.error[0] == "internal" else None,
            )
            self._set(job, "failed")
        else:
            self._end(job)
            level = logging.WARNING if job.report.failed else logging.INFO
            logger.log(level, "job %s %s: %s: %s", job.id, job.status, job.logged(), job.report.summary())

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
