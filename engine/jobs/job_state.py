"""What is told of a job that this process does not run."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from latewood.engine.jobs.dbos_store import Database, Record
from latewood.ingest.index.writer import utc
from latewood.ingest.jobs import CLOSED, FINAL, Job
from latewood.ingest.orders import Order
from latewood.ingest.report import CLOSING

State = dict[str, Any]
LOOK_SECONDS = 0.4
_FATES = {
    "ENQUEUED": "queued",
    "DELAYED": "queued",
    "PENDING": "in_progress",
    "CANCELLED": "cancelled",
}


def state_of(record: Record) -> State:
    """A job's public shape; how it ended is what whoever ran it wrote down."""
    empty = blank(record.id, record.order)
    if record.output is not None:  # of an older version, without the fields that came later
        return {**{name: empty[name] for name in ("dry_run", "waits_for")}, **record.output}
    state = empty | dict(record.told)
    state["status"] = _FATES.get(record.status, "failed")
    if state["status"] == "cancelled":
        state["error"] = {"code": "cancelled", "message": "cancelled on request"}
    elif state["status"] == "failed":
        state["error"] = {
            "code": "given_up",
            "message": "the processes that ran it died again and again, or it could not be begun; "
            "their logs say more; what was committed stays, and a retry goes on there",
        }
    state.setdefault("skipped", [])
    state.setdefault("errors", [])
    return state


def blank(job_id: str, order: Order) -> State:
    """Of a job nobody has begun."""
    return Job(job_id, order.tenant, order.collection, order.source, utc(order.born), order=order).as_dict()


class Elsewhere:
    """A job that waits, or that another process runs, as it can be followed from here."""

    def __init__(
        self,
        database: Database,
        job_id: str,
        here: Callable[[], Job | None],
        closing: Callable[[], bool],
        state_of: Callable[[Record], State],
    ) -> None:
        """Look at it a first time.

        Args:
            database: of the queue.
            job_id: which.
            here: the job, once this process runs it.
            closing: whether this process lets go of the data, and begins no job any more.
            state_of: returns a record's public shape.
        """
        self._database = database
        self._id = job_id
        self._here = here
        self._closing = closing
        self._state_of = state_of
        self._state: State = {}
        self._looked = 0.0
        self.changed = -1
        self.look()

    def look(self) -> None:
        """Ask this process, else the database; it may take a moment."""
        job = self._here()
        if job is not None:
            self._take(job.as_event())
            return
        if monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = monotonic()
        if (record := self._database.get(self._id)) is not None:
            state = self._state_of(record)
            if state["status"] not in FINAL and self._closing():
                # Whoever follows it here asks the next owner, as of a job that runs here: it goes on there.
                state |= {"status": "cancelled", "error": {"code": CLOSING, "message": CLOSED}}
            self._take(_event(state))

    def as_event(self) -> State:
        """What a follower is told: while the job goes on only the number of its problems, at its end all."""
        return self._state

    def _take(self, state: State) -> None:
        if state != self._state:
            self._state = state
            self.changed += 1


def _event(state: State) -> State:
    if state["status"] in FINAL:
        return state
    listed = len(state.pop("skipped")) + len(state.pop("errors"))
    return {**state, "problems": state.get("problems", 0) + listed}
