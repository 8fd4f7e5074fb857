"""Follow folders: an ingest whenever something changed, whatever it was that changed.

What is heard is only ever a reason to look. An ingest compares the whole folder with the index, so events
that are lost, doubled or wrong cost at most time, and a look every few minutes makes up for the lost ones.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Identity = tuple[int, ...]
"""What tells a root from another that came to stand at its path; of a file, also its state."""


class ListenError(Exception):
    """Changes cannot be heard; the message says why and the remedy."""


class Listener(Protocol):
    """Hears of changes below folders, from the moment it was made."""

    def wait(self, seconds: float) -> Set[str]:
        """Roots below which something changed since the last call; waits for it, and then for quiet.

        Raises:
            ListenError: it will hear nothing any more.
        """
        ...

    def close(self) -> None:
        """Hear no more."""
        ...


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds.

    Attributes:
        look: between looks whether the roots still stand where they stood.
        full: between ingests of a root of which nothing was heard.
        unheard: the same while changes cannot be heard.
        again: after an ingest that failed; doubled each time, up to `longest`.
        longest: no pause for an ingest that was slow or failed is longer.
    """

    look: float = 1.0
    full: float = 300.0
    unheard: float = 10.0
    again: float = 5.0
    longest: float = 60.0


def identify(path: str) -> Identity | None:
    """Device and inode of a folder; of a file, which is followed by looking, also size and times."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    if stat.S_ISDIR(status.st_mode):
        return (status.st_dev, status.st_ino)
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def is_folder(identity: Identity | None) -> bool:
    """Whether what `identify` saw is a folder."""
    return identity is not None and len(identity) == 2


def is_below(path: str, folder: str) -> bool:
    """Whether a path is a folder or below it."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


@dataclass(frozen=True, slots=True)
class Seams:
    """What a watch needs of the world.

    Attributes:
        listen: a listener to these folders; raises ListenError.
        identify: what stands at a path now; None when nothing does.
        tell: (root, message): what a person should know; the root is empty when it is about all of them.
        now: seconds that only go up.
        sleep: wait so many seconds, less when it is to end.
        stopped: whether to end.
    """

    listen: Callable[[Sequence[str]], Listener]
    tell: Callable[[str, str], None]
    now: Callable[[], float]
    sleep: Callable[[float], object]
    stopped: Callable[[], bool]
    identify: Callable[[str], Identity | None] = identify


@dataclass(slots=True)
class _Root:
    """A source that is followed."""

    path: str
    identity: Identity | None = None
    missing: bool = False
    due: bool = True
    ingested: float = 0.0
    rest_until: float = 0.0
    failures: int = 0
    trouble: str = ""


Sync = Callable[[str], str]
"""Ingest a root; empty, or what went wrong, to be tried again. What it raises ends `Watch.run`."""


class Watch:
    """Follows roots. What is due stays due when `run` is left by an error, and the next `run` goes on."""

    def __init__(self, roots: Sequence[str], seams: Seams, pace: Pace | None = None) -> None:
        """Listen from now on, so that nothing falls between the first ingest and what comes after.

        Args:
            roots: absolute paths of folders and files.
            seams: the world.
            pace: how often.
        """
        self._seams = seams
        self._pace = pace or Pace()
        self._roots = [_Root(path) for path in dict.fromkeys(roots)]
        self._listener: Listener | None = None
        self._deaf = False
        self._listened = -self._pace.full
        self._look()

    def run(self, sync: Sync, check: Callable[[], None] = lambda: None) -> None:
        """Ingest what is due, wait for changes, and so on until stopped.

        Args:
            sync: see `Sync`.
            check: called about every second; may raise.
        """
        while not self._seams.stopped():
            self._look()
            for root in self._roots:
                if self._is_due(root) and not self._seams.stopped():
                    self._ingest(root, sync)
            check()
            self._wait()

    def close(self) -> None:
        """Listen no more."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _look(self) -> None:
        """Notice roots that went, came back, or are others now; then listen anew."""
        changed = False
        for root in self._roots:
            identity = self._seams.identify(root.path)
            if identity == root.identity and root.missing == (identity is None):
                continue
            changed, root.identity = True, identity
            self._note_presence(root, missing=identity is None)
        deaf_for_long = self._deaf and self._seams.now() - self._listened >= self._pace.full
        if changed or deaf_for_long:
            self._listen()

    def _note_presence(self, root: _Root, *, missing: bool) -> None:
        if missing:
            self._seams.tell(root.path, "is not there; waiting for it, and its documents stay as they are")
        elif root.missing:
            self._seams.tell(root.path, "is there again")
        root.missing = missing
        root.due = True

    def _listen(self) -> None:
        """A listener to all folders that are there; the old one is kept until the new one hears."""
        old, self._listener = self._listener, None
        was_deaf, self._deaf = self._deaf, False
        self._listened = self._seams.now()
        folders = [root.path for root in self._roots if is_folder(root.identity)]
        try:
            self._listener = self._seams.listen(folders) if folders else None
        except ListenError as error:
            self._deaf = True
            if not was_deaf:
                self._tell_deaf(error)
        if old is not None:
            old.close()
        for root in self._roots:
            root.due = True

    def _tell_deaf(self, error: ListenError) -> None:
        self._seams.tell("", f"{error}; looking every {self._pace.unheard:g} seconds instead")

    def _is_due(self, root: _Root) -> bool:
        now = self._seams.now()
        if root.missing or now < root.rest_until:
            return False
        return root.due or now - root.ingested >= (self._pace.unheard if self._deaf else self._pace.full)

    def _ingest(self, root: _Root, sync: Sync) -> None:
        """One ingest, then a rest as long as it took: a folder that always changes leaves time for others."""
        root.due = False
        started = self._seams.now()
        try:
            trouble = sync(root.path)
        except BaseException:
            root.due = True
            raise
        root.ingested = self._seams.now()
        rest = root.ingested - started
        if trouble:
            root.due = True
            rest += self._pace.again * 2 ** min(root.failures, 10)
            if trouble != root.trouble:
                self._seams.tell(root.path, trouble)
        root.failures = root.failures + 1 if trouble else 0
        root.trouble = trouble
        root.rest_until = root.ingested + min(rest, self._pace.longest)

    def _wait(self) -> None:
        now = self._seams.now()
        rests = [root.rest_until - now for root in self._roots if root.due and not root.missing]
        seconds = max(min([self._pace.look, *rests]), 0.0)
        if self._listener is None:
            self._seams.sleep(seconds)
            return
        try:
            heard = self._listener.wait(seconds)
        except ListenError as error:
            self.close()
            self._deaf, self._listened = True, self._seams.now()
            self._tell_deaf(error)
            heard = {root.path for root in self._roots}
        self._mark(heard)

    def _mark(self, heard: Collection[str]) -> None:
        for root in self._roots:
            root.due = root.due or root.path in heard
