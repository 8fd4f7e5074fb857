"""Runs the queue's jobs in this process: one of the main lane, and a few small ones next to it.

DBOS knows one executor for each process.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from dbos import DBOS
from sqlalchemy.exc import SQLAlchemyError

from latewood.engine.errors import ApiError
from latewood.engine.jobs.dbos_store import NAME, QUEUE, SMALL_QUEUE, VERSION, WORKFLOW, Database, Json
from latewood.engine.jobs.heartbeats import Beats
from latewood.ingest.jobs import SMALL_RUNNERS
from latewood.ingest.orders import Order

logger = logging.getLogger(__name__)
CarryOut = Callable[[str, Order], Mapping[str, Any]]

POLL_SECONDS = 0.2
DEATHS = 20
"""So often a job is begun again after its process died, before it is given up."""

_RECORD_SECONDS = 5.0
_LOOK_SECONDS = 5.0
_THREADS = 16
_one = threading.Lock()
_running: Executor | None = None


class InterruptedJob(BaseException):
    """The process lets go of a job that is not done: it stays, to be gone on with by the next one.

    Not an Exception: DBOS would write that down as how the job ended.
    """


@DBOS.workflow(name=WORKFLOW, max_recovery_attempts=DEATHS)
def _job(order: dict[str, Any]) -> Any:
    return _carry_out(order)


@DBOS.step(name="carry_out")
def _carry_out(order: dict[str, Any]) -> Any:
    """One step, safe to repeat: what is committed already, the manifests say."""
    executor, job_id = _running, DBOS.workflow_id
    if executor is None or job_id is None:
        raise InterruptedJob
    return executor.carry_out(job_id, Order.from_dict(order))


class Executor:
    """This process's hold on the queue.

    Raises:
        RuntimeError: this process works on a queue already.
    """

    def __init__(self, database: Database, worker: str, carry_out: CarryOut, patience: float) -> None:
        """Begin to work.

        Args:
            database: of the queue.
            worker: who this is: no two living ones are the same, and it comes back with the same one.
            carry_out: does what an order says; returns how it ended, or raises InterruptedJob.
            patience: seconds without a sign after which another worker counts as dead; 0: there are none.
        """
        global _running  # noqa: PLW0603 - DBOS itself is one for each process
        self.worker = worker
        self._database = database
        self._do = carry_out
        self._patience = patience
        # More than can run at a time: of those that ended a moment ago it may not be written down how.
        self._latest: deque[str] = deque(maxlen=4 * (SMALL_RUNNERS + 1))
        self._stop = threading.Event()
        with _one:
            if _running is not None:
                raise RuntimeError("this process works on a queue already; close that service first")
            self._beats = Beats(database.url) if patience else None
            try:
                _launch(database.url, worker)
            except BaseException:
                DBOS.destroy()
                raise
            _running = self
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        if self._beats is not None:
            self._beats.give(worker)
        self._heart.start()

    def carry_out(self, job_id: str, order: Order) -> Mapping[str, Any]:
        """One job, in a thread of DBOS."""
        if self._stop.is_set():
            raise InterruptedJob
        self._latest.append(job_id)
        try:
            return self._do(job_id, order)
        except InterruptedJob:
            self._latest.remove(job_id)
            raise

    def close(self) -> None:
        """Let go; to be called when no job runs. How the last ones ended is written down first."""
        global _running  # noqa: PLW0603
        self._stop.set()
        deadline = time.monotonic() + _RECORD_SECONDS
        for job_id in list(self._latest):
            try:
                while self._database.status(job_id)[0] == "PENDING" and time.monotonic() < deadline:
                    time.sleep(0.01)
            except ApiError as error:
                logger.warning("how job %s ended could not be written down: %s", job_id, error)
        with _one:
            DBOS.destroy()
            _running = None
        self._heart.join()
        if self._beats is not None:
            try:
                self._beats.leave(self.worker)
            except SQLAlchemyError as error:
                logger.warning("the queue was not told that this worker ends: %s", type(error).__name__)
            self._beats.close()

    def _beat(self) -> None:
        while not self._stop.wait(self._patience / 6 or _LOOK_SECONDS):
            try:
                self._look_round()
                self._database.release()  # for what a process that died had to release
            except (SQLAlchemyError, ApiError) as error:
                logger.warning("heartbeat failed: %s", type(error).__name__)

    def _look_round(self) -> None:
        """Give a sign, and put back into the queue what dead workers had."""
        if self._beats is None:
            return
        self._beats.give(self.worker)
        alive = {one.id for one in self._beats.all() if one.silent < self._patience}
        waiting = [record for record in self._database.open() if record.status == "PENDING"]
        dead = sorted({record.executor for record in waiting if record.executor} - alive)
        if dead:
            logger.info("taking over the jobs of %s", ", ".join(dead))
            DBOS._recover_pending_workflows(dead)


def _launch(url: str, worker: str) -> None:
    DBOS(
        config={
            "name": NAME,
            "system_database_url": url,
            "executor_id": worker,
            "application_version": VERSION,
            "log_level": "ERROR",
            "max_executor_threads": _THREADS,
            "serializer": Json(),
            "notification_listener_polling_interval_sec": 0.5,
        }
    )
    DBOS.launch()
    for name, most in ((QUEUE, 1), (SMALL_QUEUE, SMALL_RUNNERS)):
        DBOS.register_queue(
            name, worker_concurrency=most, partition_worker_concurrency=1, polling_interval_sec=POLL_SECONDS
        )
