"""What every command does around its work: find the owner, follow an ingest, leave with an exit code."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import typer

from latewood.api.cli import render
from latewood.api.http.api_keys import KeysError
from latewood.api.owner import OwnerGoneError, with_owner
from latewood.client.client import Client, JobState, LatewoodError, UnreachableError
from latewood.engine import disk
from latewood.engine.addresses import EMBEDDED, MEMORY
from latewood.engine.owner.lock import DataError
from latewood.engine.settings import Settings, SettingsError, load
from latewood.ingest.report import CLOSING
from latewood.ingest.sources.diff import SourceError, file_uri
from latewood.ingest.sources.uris import is_remote
from latewood.search.stores.generations import layout
from latewood.search.types import QueryError, SearchError

T = TypeVar("T")
FAILED, WRONG_USE, UNREACHABLE, INTERRUPTED = 1, 2, 3, 130
_UNREACHABLE_CODES = frozenset(
    {
        "collection_not_found",
        "index_damaged",
        "model_mismatch",
        "model_unavailable",
        "source_missing",
        "source_unreadable",
        "store_unavailable",
        *disk.CODES,
    }
)


class CommandError(Exception):
    """A command that cannot go on: its exit code, and what a program and a person should know."""

    def __init__(self, exit_code: int, code: str, message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.code = code


KNOWN_ERRORS = (
    CommandError,
    DataError,
    KeysError,
    LatewoodError,
    QueryError,
    SettingsError,
    SourceError,
    UnreachableError,
)


def as_command_error(error: Exception) -> CommandError:
    """Return one of the known errors, or a disk's, with the exit code and the code that it leaves with."""
    if isinstance(error, CommandError):
        return error
    if isinstance(error, LatewoodError):
        exit_code = WRONG_USE if error.status in {400, 422} else FAILED
        exit_code = UNREACHABLE if error.code in _UNREACHABLE_CODES else exit_code
        return CommandError(exit_code, error.code, error.message)
    on_disk = disk.explain(error)
    if on_disk is not None:
        return CommandError(UNREACHABLE, *on_disk)
    if isinstance(error, (DataError, UnreachableError)):
        return CommandError(UNREACHABLE, "unreachable", str(error))
    return CommandError(WRONG_USE, "wrong_use", str(error))


def ingest_all(
    settings: Settings, tenant: str, sources: Sequence[str], options: dict[str, Any]
) -> dict[str, Any]:
    """Ingest each source, whatever becomes of the others; the contract's counts over all of them.

    All are queued before the first is followed.

    Raises:
        CommandError: not one source could be ingested.
    """
    batch = _Batch(options, {}, {}, {})
    for source in sources:
        if is_remote(source):
            batch.queue(source)
        elif os.path.lexists(source):
            batch.queue(file_uri(Path(source).absolute()))
        else:  # before anything is waited for
            batch.failed[file_uri(Path(source).absolute())] = missing(source)
    if batch.left:
        with_owner(settings, tenant, batch.run)
    if not batch.ended:
        raise _all_failed(list(batch.failed.values()))
    return render.ingest_total(
        list(batch.ended.values()),
        [{"uri": uri, "code": error.code, "message": str(error)} for uri, error in batch.failed.items()],
    ) | {"dry_run": bool(options.get("dry_run"))}


def missing(source: str) -> CommandError:
    """Return the error for a source of this machine that is not there."""
    message = f"{source!r} does not exist; give the path of a folder or file"
    return CommandError(UNREACHABLE, "source_missing", message)


@dataclass(slots=True)
class _Batch:
    """Several ingests of one command. Called again with the next owner, it queues what has not ended.

    Attributes:
        left: by uri, the job that is queued for it with this owner; empty before.
        ended: by uri, the last state of its job.
        failed: by uri, why its job failed as a whole, or was not queued.
    """

    options: dict[str, Any]
    left: dict[str, str]
    ended: dict[str, JobState]
    failed: dict[str, CommandError]

    def queue(self, uri: str) -> None:
        """Add a source."""
        self.left[uri] = ""

    def run(self, client: Client) -> None:
        """Queue every source that is left, then follow one after the other; interrupted, cancel what is left.

        Raises:
            OwnerGoneError: the owner closed; ask the next one.
        """
        for uri in list(self.left):
            with self._kept(uri):
                self.left[uri] = client.call("POST", "/jobs", json={"source": uri, **self.options})["id"]
        try:
            for uri, job_id in list(self.left.items()):
                with self._kept(uri):
                    self.ended[uri] = follow_job(client, job_id, render.place(uri))
                self.left.pop(uri, None)
        except KeyboardInterrupt:
            for job_id in list(self.left.values())[1:]:  # the one that was followed is cancelled already
                _cancel(client, job_id)
            raise

    @contextlib.contextmanager
    def _kept(self, uri: str) -> Iterator[None]:
        """Book what fails of one source; what concerns the owner is raised, for the next one to be asked."""
        try:
            yield
        except (OwnerGoneError, UnreachableError):
            raise
        except KNOWN_ERRORS as error:
            if isinstance(error, LatewoodError) and error.code == CLOSING:
                raise
            self.failed[uri] = as_command_error(error)
            self.left.pop(uri, None)


def _all_failed(errors: Sequence[CommandError]) -> CommandError:
    codes = {error.exit_code for error in errors}
    message = "; ".join(dict.fromkeys(str(error) for error in errors))
    return CommandError(codes.pop() if len(codes) == 1 else FAILED, errors[0].code, message)


def follow_ingest(client: Client, body: dict[str, Any]) -> JobState:
    """Queue an ingest and follow it to its end.

    Raises:
        OwnerGoneError: the owner let go of the data; ask the next one.
        CommandError: the ingest as a whole failed.
    """
    return follow_job(client, client.call("POST", "/jobs", json=body)["id"], render.place(body["source"]))


def follow_job(client: Client, job_id: str, title: str) -> JobState:
    """Follow a job to its end, with its progress under `title`; interrupted, it is cancelled.

    Raises:
        OwnerGoneError: the owner let go of the data; ask the next one.
        CommandError: the job as a whole failed.
    """
    state: JobState | None = None
    try:
        with render.progress(title) as show_state:
            for state in client.follow(job_id):
                show_state(state)
    except KeyboardInterrupt:
        _cancel(client, job_id)
        raise
    if state is None or (state["error"] and state["error"]["code"] == CLOSING):
        raise OwnerGoneError
    if state["status"] != "completed":
        error = state["error"] or {"code": "failed", "message": "the job failed"}
        exit_code = UNREACHABLE if error["code"] in _UNREACHABLE_CODES else FAILED
        raise CommandError(exit_code, error["code"], error["message"])
    return state


def _cancel(client: Client, job_id: str) -> None:
    with contextlib.suppress(UnreachableError, LatewoodError):  # gone or ended: nothing left to cancel
        client.call("POST", f"/jobs/{job_id}/cancel")


@dataclass(slots=True)
class Deletion:
    """Deletes documents; called again with the next owner it goes on, and knows its own deletions.

    Attributes:
        gone: for each id that was answered: whether this deleted it, or it was not there.
    """

    ids: Sequence[str]
    collection: str
    gone: dict[str, bool] = field(default_factory=dict)
    _in_doubt: str | None = None  # asked for, and the owner went without an answer

    def __call__(self, client: Client) -> None:
        """Ask for each id that has no answer yet."""
        for key in self.ids:
            if key not in self.gone:
                self.gone[key] = self._delete(client, key)

    def _delete(self, client: Client, key: str) -> bool:
        try:
            client.delete(key, self.collection)
        except UnreachableError:
            self._in_doubt = key
            raise
        except LatewoodError as error:
            if error.code != "document_not_found":
                raise
            return key == self._in_doubt
        return True


def ask(data: Path | None, tenant: str, collection: str, work: Callable[[Client], T]) -> T:
    """Ask the owner about a collection that must exist; nothing is created where there is none."""
    settings = load(data=data)
    layout.check_names(tenant, collection)
    existing_data(settings)
    # What is on a server the owner knows, and says.
    if settings.store == EMBEDDED and not layout.exists(settings.data, tenant, collection):
        message = f"no collection {collection!r} in {settings.data}; `latewood ingest FOLDER` makes one"
        raise CommandError(UNREACHABLE, "collection_not_found", message)
    return with_owner(settings, tenant, work)


def existing_data(settings: Settings) -> None:
    """Refuse to go on where there is no data directory; none is made, but where the index is on a server."""
    if settings.store == EMBEDDED and not settings.data.is_dir():
        message = (
            f"no data in {settings.data}; `latewood ingest FOLDER` makes it, "
            "--data or LATEWOOD_DATA name another place"
        )
        raise CommandError(UNREACHABLE, "data_not_found", message)


@contextlib.contextmanager
def without_data(settings: Settings) -> Iterator[Settings]:
    """Settings for a dry run: where there is no data directory yet, a temporary one takes its place."""
    if settings.data.exists():
        yield settings
        return
    with tempfile.TemporaryDirectory(prefix="latewood-dry-run-") as folder:
        yield settings.model_copy(update={"data": Path(folder), "jobs": MEMORY})


def json_option(name: str, text: str) -> Any:
    """Read an option that is JSON."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise CommandError(WRONG_USE, "invalid_json", f"{name} is not JSON: {error}") from error


def by_leg(name: str, text: str) -> dict[str, float]:
    """Read an option that is numbers by leg: `dense=0.4,bm25=0.6`; the service knows the legs and limits."""
    try:
        pairs = [part.partition("=") for part in text.split(",") if part.strip()]
        return {leg.strip(): float(number) for leg, _, number in pairs}
    except ValueError as error:
        message = f"{name} {text!r} must be legs and numbers such as dense=0.4,bm25=0.6"
        raise CommandError(WRONG_USE, "wrong_use", message) from error


def finish(as_json: bool, run: Callable[[], int]) -> NoReturn:
    """Run a command and leave with its exit code; every known error becomes one line or one object."""
    try:
        code = run()
    except (*KNOWN_ERRORS, SearchError, OSError, sqlite3.Error) as error:
        if not isinstance(error, KNOWN_ERRORS) and disk.explain(error) is None:
            raise
        known = as_command_error(error)
        code = render.fail(as_json, known.exit_code, known.code, str(known))
    except KeyboardInterrupt:
        code = render.fail(
            as_json,
            INTERRUPTED,
            "interrupted",
            "interrupted; what was committed stays, run it again",
        )
    raise typer.Exit(code)
