"""`latewood ingest --watch`: an ingest of each source, then one whenever something changed, until stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from latewood.api.cli import render as output
from latewood.api.cli.common import (
    FAILED,
    KNOWN_ERRORS,
    WRONG_USE,
    CommandError,
    as_command_error,
    follow_ingest,
    missing,
)
from latewood.api.owner import OwnerGoneError, with_owner
from latewood.client.client import Client, JobState, LatewoodError, UnreachableError
from latewood.engine.owner.lock import DataError
from latewood.engine.settings import Settings
from latewood.ingest.report import CLOSING
from latewood.ingest.sources.diff import file_uri
from latewood.ingest.sources.uris import is_remote
from latewood.ingest.sources.watch import Listener, Pace, Seams, Watch, identify

CHANGES = ("added", "updated", "deleted")
OWNERLESS_SECONDS = 10.0
"""After so long the next owner is looked for again."""


@dataclass(slots=True)
class Following:
    """A watch through whoever owns the data: the owner's jobs, and what came of them.

    Attributes:
        emit: given what each ingest did, and each trouble (an object with `message`).
        stop: once set, the watch ends.
        busy: an ingest runs.
        counts: over all ingests.
        failing: by source, how many files its last ingest could not read.
    """

    settings: Settings
    tenant: str
    options: dict[str, Any]
    emit: Callable[[dict[str, Any]], None]
    stop: Event = field(default_factory=Event)
    pace: Pace = field(default_factory=Pace)
    busy: bool = False
    ingests: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CHANGES, 0))
    failing: dict[str, int] = field(default_factory=dict)

    def run(self, sources: Sequence[str]) -> None:
        """Follow folders and files until stopped. When there is no owner, this process is it.

        Raises:
            CommandError: a source is missing, or its first ingest failed.
            DataError: the data directory cannot be used.
        """
        for source in filter(is_remote, sources):
            message = f"--watch follows folders of this machine; ingest {source} without it, now and then"
            raise CommandError(WRONG_USE, "wrong_use", message)
        roots = [str(Path(source).absolute()) for source in sources]
        for root in roots:
            if identify(root) is None:
                raise missing(root)
        seams = Seams(self._listen, self._tell, time.monotonic, self.stop.wait, self.stop.is_set)
        watch = Watch(roots, seams, self.pace)
        try:
            while not self.stop.is_set():
                self._with_owner(watch)
        finally:
            watch.close()

    def summary(self) -> str:
        """What was done, in a line."""
        done = ", ".join(f"{count} {name}" for name, count in self.counts.items())
        return f"watched {len(self.failing)} source(s): {self.ingests} ingest(s), {done}"

    def exit_code(self) -> int:
        """0, or 1 when files could not be read."""
        return FAILED if any(self.failing.values()) else 0

    def _with_owner(self, watch: Watch) -> None:
        """Follow for as long as there are owners, one after the other."""

        def work(client: Client) -> None:
            watch.run(lambda root: self._ingest(client, root), lambda: _check(client))

        try:
            with_owner(self.settings, self.tenant, work)
        except DataError as error:
            if not self.ingests:
                raise
            self._tell("", f"{error}; trying again")
            self.stop.wait(OWNERLESS_SECONDS)

    def _ingest(self, client: Client, root: str) -> str:
        body = {"source": file_uri(root), **self.options}
        self.busy = True
        try:
            state = follow_ingest(client, body)
        except KNOWN_ERRORS as error:
            known = _trouble(error)
            if root not in self.failing:
                raise known from error
            self.busy = False
            return str(known)
        self.busy = False
        self._book(root, state)
        return ""

    def _book(self, root: str, state: JobState) -> None:
        self.ingests += 1
        total = output.ingest_total([state])
        for name in self.counts:
            self.counts[name] += total[name]
        self.failing[root] = len(total["failed"])
        self.emit({"source": file_uri(root), **total})

    def _listen(self, folders: Sequence[str]) -> Listener:
        from latewood.ingest.sources.listening import FolderListener

        left_out = [str(self.settings.data)]
        return FolderListener(folders, self.stop, left_out=left_out, hidden=self.options["hidden"])

    def _tell(self, root: str, message: str) -> None:
        place = file_uri(root) if root else ""
        self.emit({"source": place, "message": message})


def _trouble(error: Exception) -> CommandError:
    """What went wrong with one source; what concerns the owner is raised, for the next one to be asked."""
    if isinstance(error, LatewoodError) and error.code == CLOSING:
        raise error
    if isinstance(error, UnreachableError):
        raise error
    return as_command_error(error)


def _check(client: Client) -> None:
    """Hold on to an owner only while it wants to be one.

    Raises:
        OwnerGoneError: it is asked to make room.
        UnreachableError: it is gone.
    """
    if client.call("GET", "/owner")["closing"]:
        raise OwnerGoneError


def follow(
    settings: Settings, tenant: str, sources: Sequence[str], options: dict[str, Any], *, as_json: bool
) -> int:
    """Follow sources until interrupted; the command's exit code.

    Interrupted while it waits, a watch is done; in the middle of an ingest it is interrupted like any other.
    """
    following = Following(settings, tenant, options, lambda event: output.emit(as_json, event, render))
    try:
        following.run(sources)
    except KeyboardInterrupt:
        if following.busy:
            raise
    finally:
        if following.ingests:
            output.say(following.summary())
    return following.exit_code()


def render(event: dict[str, Any]) -> None:
    """For people: what was done, when anything was; trouble on stderr."""
    where = output.place(event["source"])
    if "message" in event:
        output.say(" ".join(filter(None, ["latewood:", where, event["message"]])))
        return
    if not (event["failed"] or any(event[name] for name in CHANGES)):
        return
    done = ", ".join(f"{event[name]} {name}" for name in CHANGES if event[name])
    output.line(f"{time.strftime('%H:%M:%S')} {where}: {done or 'nothing new'}, {event['seconds']:.1f} s")
    for item in event["failed"]:
        output.line(f"  failed  {output.place(item['uri'])}: {item['message']} [{item['code']}]")
