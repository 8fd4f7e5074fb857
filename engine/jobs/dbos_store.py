"""The database of the queue: where it is, and what may be read of and written to it from any process.

DBOS keeps each job as a workflow: its order is the input, how it ended the output, and how far it is stands
in the workflow's attributes. Everything is JSON, so that whoever can write to the database can hand in data
only. A record says what was asked and told; what is done the manifests say.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from dbos import DBOS, DBOSClient, EnqueueOptions, Serializer
from dbos import error as dbos_error
from sqlalchemy.exc import SQLAlchemyError

from latewood.engine import disk
from latewood.engine.addresses import SQLITE, masked
from latewood.engine.errors import ApiError
from latewood.ingest.orders import Order

NAME = "latewood"
QUEUE = "latewood"
SMALL_QUEUE = "latewood-small"
WORKFLOW = "job"
VERSION = "1"
"""Of what an order looks like: raised when an older program could not carry one out."""

KEPT = 1000
"""Ended jobs that are remembered."""

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}
_ENDED = ("SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
OPEN = ("ENQUEUED", "PENDING", "DELAYED")
_HELD = "DELAYED"
_HOLD_SECONDS = 10 * 365 * 86400.0
_MAX_PRIORITY = 2**31 - 1


def _quieten() -> None:
    """Let DBOS log warnings and errors, through this program's handlers.

    Its own handler writes to stderr, and its first start reports about a hundred migrations there.
    """
    theirs = logging.getLogger("dbos")
    theirs.handlers[:] = [logging.NullHandler()]
    theirs.propagate = True
    theirs.setLevel(logging.WARNING)


logger = logging.getLogger(__name__)


class Json(Serializer):
    """What DBOS keeps, as JSON: its own default would unpickle whatever stands in the database."""

    def serialize(self, data: Any) -> str:
        """To text; an error keeps its words only."""
        if isinstance(data, BaseException):
            data = {"error": f"{type(data).__name__}: {data}"}
        return json.dumps(data)

    def deserialize(cls, serialized_data: str) -> Any:  # noqa: N805 - the base class names it so
        """From text."""
        return json.loads(serialized_data)

    def name(self) -> str:
        """What DBOS notes beside the text."""
        return "latewood_json"


def url_of(setting: str, data: Path) -> str:
    """SQLAlchemy's name of the database that `JOBS` means."""
    if setting == SQLITE:
        return f"sqlite:///{data.resolve() / 'jobs.sqlite'}"
    parts = urlsplit(setting)
    return urlunsplit(parts._replace(scheme="postgresql+psycopg"))


class Record:
    """A job as the database has it."""

    def __init__(self, workflow: Any) -> None:
        self.id = str(workflow.workflow_id)
        self.order = Order.from_dict(workflow.input["args"][0])
        self.status = str(workflow.status)
        self.executor = workflow.executor_id
        self.output: Mapping[str, Any] | None = workflow.output
        self.told: Mapping[str, Any] = (workflow.attributes or {}).get("state") or {}

    @property
    def ended(self) -> bool:
        """Whether nothing will be done for it any more."""
        return self.status in _ENDED

    def place(self) -> tuple[int, float]:
        """Return its place in the order of arrival. Jobs of older versions have only the moment they came."""
        return self.order.number, self.order.born


class Database:
    """One queue's database. Safe to call from many threads.

    A file that is damaged is set aside and made anew, as nobody's documents depend on it; `replaced` then is
    true until the uploads on disk are queued again.

    Raises:
        ApiError: 503 `queue_unavailable`, from every call, when the database does not answer.
    """

    def __init__(self, setting: str, data: Path) -> None:
        self.url = url_of(setting, data)
        self.shown = masked(setting if setting != SQLITE else self.url)
        self.replaced = setting == SQLITE and _set_aside_if_damaged(data.resolve() / "jobs.sqlite")
        _quieten()
        with _reached(self.shown):
            DBOS.migrate(self.url)
            self._client = DBOSClient(
                system_database_url=self.url,
                serializer=Json(),
                application_name=NAME,
                retry_connection_errors=False,
            )

    def put(self, job_id: str, order: Order, *, held: bool = False) -> None:
        """Write an order down; on return it survives the loss of every process.

        Each tenant is a partition of the queue: tenants take turns, and a tenant's jobs are taken in the
        order of their numbers. A held order is not taken before `release`.
        """
        options: EnqueueOptions = {
            "workflow_name": WORKFLOW,
            "queue_name": SMALL_QUEUE if order.small else QUEUE,
            "workflow_id": job_id,
            "app_version": VERSION,
            "authenticated_user": order.tenant,
            "queue_partition_key": order.tenant,
            "priority": min(max(order.number, 1), _MAX_PRIORITY),
        }
        if held:
            options["delay_seconds"] = _HOLD_SECONDS
        with _reached(self.shown):
            self._client.enqueue(options, order.as_dict())

    def release(self, ended: str = "") -> None:
        """Let held orders be taken whose source no earlier job works on; `ended` is a job that is over."""
        with _reached(self.shown):
            if not self._client.list_workflows(status=_HELD, name=WORKFLOW, limit=1, load_input=False):
                return
        seen: set[str] = set()
        for record in self.open():
            key = record.order.key
            if record.id == ended:
                continue
            if record.status == _HELD and key not in seen:
                with _reached(self.shown):
                    self._client.set_workflow_delay(record.id, delay_seconds=0)
            seen.add(key)

    def running(self, *, small: bool) -> list[Record]:
        """Return the jobs of a lane that some process runs."""
        queue = SMALL_QUEUE if small else QUEUE
        with _reached(self.shown):
            found = self._client.list_workflows(
                status="PENDING", name=WORKFLOW, queue_name=queue, load_output=False
            )
        return [Record(one) for one in found]

    def get(self, job_id: str) -> Record | None:
        """One job."""
        with _reached(self.shown):
            found = self._client.list_workflows(workflow_ids=[job_id], name=WORKFLOW)
        return next(iter(_readable(found)), None)

    def all(self, tenant: str, limit: int = KEPT) -> list[Record]:
        """The tenant's newest jobs, newest first."""
        with _reached(self.shown):
            found = self._client.list_workflows(user=tenant, name=WORKFLOW, sort_desc=True, limit=limit)
        return sorted(_readable(found), key=Record.place, reverse=True)

    def open(self) -> list[Record]:
        """Every job that has not ended, oldest first."""
        with _reached(self.shown):
            found = self._client.list_workflows(status=list(OPEN), name=WORKFLOW, load_output=False)
        return sorted(_readable(found), key=Record.place)

    def status(self, job_id: str) -> tuple[str, str | None]:
        """The status of a job and who runs it; cheap enough to ask each second."""
        with _reached(self.shown):
            found = self._client.list_workflows(workflow_ids=[job_id], load_input=False, load_output=False)
        return (str(found[0].status), found[0].executor_id) if found else ("CANCELLED", None)

    def cancel(self, job_id: str) -> None:
        """A job that waits never runs; one that runs is stopped by whoever runs it."""
        with _reached(self.shown):
            self._client.cancel_workflow(job_id)

    def tell(self, job_id: str, state: Mapping[str, Any]) -> None:
        """Write down how far a job is, for whoever asks another process."""
        text = json.dumps(state, ensure_ascii=False).encode("utf-8", "replace").decode()
        clean = json.loads(text.replace("\\u0000", "\\ufffd"))  # PostgreSQL's JSON has no NUL
        with _reached(self.shown):
            self._client.update_workflow_attributes(job_id, {"state": clean})

    def forget_old(self) -> None:
        """Keep the latest ended jobs only."""
        with _reached(self.shown):
            if not self._client.list_workflows(
                status=list(_ENDED), offset=KEPT, limit=1, load_input=False, load_output=False
            ):
                return
            found = self._client.list_workflows(status=list(_ENDED), name=WORKFLOW, load_output=False)
            old = sorted(map(Record, found), key=Record.place, reverse=True)[KEPT:]
            if old:
                self._client.delete_workflows([one.id for one in old])

    def close(self) -> None:
        """Let go of the connections."""
        self._client.destroy()


def _readable(workflows: Iterable[Any]) -> list[Record]:
    """Return the jobs whose orders can be read: a damaged one must not hide the others."""
    found = list[Record]()
    for one in workflows:
        try:
            found.append(Record(one))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            logger.warning("job %s of the queue cannot be read and is left out: %r", one.workflow_id, error)
    return found


def _set_aside_if_damaged(path: Path) -> bool:
    """Rename a damaged queue's files; whether there was one."""
    if not path.exists():
        return False
    try:
        with closing(sqlite3.connect(path)) as database:
            found = [str(row[0]) for row in database.execute("PRAGMA quick_check(3)")]
            reason = "" if found == ["ok"] else "; ".join(found)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF not in _DAMAGED:
            return False  # busy or full: opening it for the queue maps that error
        reason = str(error)
    if not reason:
        return False
    aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
    for ending in ("-wal", "-shm", ""):  # a journal that stayed would be played into the new file
        if Path(f"{path}{ending}").exists():
            Path(f"{path}{ending}").rename(f"{aside}{ending}")
    logger.error(
        "the queue %s is damaged (%s); it now lies at %s and an empty one takes its place. Uploads on disk "
        "are queued again. Lost are the list of earlier jobs, and ingests of folders that waited or ran: "
        "ingest these folders again",
        *(path, reason, aside),
    )
    return True


@contextmanager
def _reached(shown: str) -> Iterator[None]:
    """The one seam to the database's errors."""
    try:
        yield
    except dbos_error.DBOSNonExistentWorkflowError as error:
        raise ApiError(404, "job_not_found", f"no such job in {shown}: {error}") from error
    except (SQLAlchemyError, dbos_error.DBOSException, OSError) as error:
        on_disk = disk.explain(error)
        if on_disk is not None:
            raise ApiError(disk.STATUS[on_disk[0]], *on_disk) from error
        raise ApiError(
            503,
            "queue_unavailable",
            f"the queue's database {shown} does not answer ({type(error).__name__}); see that it runs and "
            "that JOBS names it, and ask again",
        ) from error
