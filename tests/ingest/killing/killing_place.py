"""A folder of files and its index, taken from state to state by owners that may be killed on the way."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from killing_looks import content, dense, look, settled, verified
from killing_nursery import Nursery
from killing_owner import opened
from killing_world import AFTER, BEFORE, CONFIG, EMPTY, MOVED, put, run_sync

from latewood.ingest.index import commit
from latewood.search.stores.base import Store
from latewood.search.stores.memory import MemoryStore


@dataclass(frozen=True)
class Step:
    """From one state of the folder to the next."""

    name: str
    old: Mapping[str, str]
    new: Mapping[str, str]


RING = (
    Step("first", EMPTY, BEFORE),
    Step("change", BEFORE, AFTER),
    Step("back", AFTER, BEFORE),
    Step("clear", BEFORE, EMPTY),
)
"""Each begins with what the one before it left; `first` also makes the index."""


class Told:
    """What an owner says of its progress."""

    def __init__(self, connection: socket.socket) -> None:
        self._lines = connection.makefile()
        connection.close()

    def until(self, word: str) -> int:
        """The number on the first line that begins so; 0 when the owner ended before."""
        for line in self._lines:
            if line.startswith(word):
                return int(line.split()[1])
        return 0

    def messages(self) -> int:
        """How many messages it sent to its worker; 0 if it did not come to its end."""
        with self._lines:
            return self.until("done")


def hold(step: Step, seen: Mapping[str, str]) -> None:
    """Each document is there in its old version or its new one, or rightly not there."""
    for name in {*step.old, *step.new, *seen}:
        assert seen.get(name) in {step.old.get(name), step.new.get(name)}, name
    if MOVED & step.old.keys() and MOVED & step.new.keys():
        assert MOVED & seen.keys(), "renamed: neither the old nor the new one is there"


@dataclass
class Place:
    """A folder `docs` and a data directory `data`."""

    nursery: Nursery
    home: Path
    fresh: dict[str, MemoryStore] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def folder(self) -> Path:
        return self.home / "docs"

    def prepare(self, step: Step) -> None:
        """Give the folder its next state."""
        put(self.folder, step.new)
        if step is RING[0]:
            shutil.rmtree(self.data, ignore_errors=True)

    def start(self, **spec: object) -> tuple[int, Told]:
        """An owner that ingests the folder: its process, and what it tells."""
        ours, theirs = socket.socketpair()
        with theirs:
            whole = {"data": str(self.data), "folder": str(self.folder), **spec}
            process = self.nursery.spawn("owner", [theirs.fileno()], whole)
        return process, Told(ours)

    def pass_through(self, step: Step) -> None:
        """Take the step without a kill."""
        self.prepare(step)
        with opened(self.data) as store:
            run_sync(lambda: store, self.folder)

    def check(self, step: Step) -> None:
        """Open the index as the next owner does, and `hold_and_finish`."""
        with opened(self.data) as store:
            hold_and_finish(store, step, self.folder, self.fresh)


def hold_and_finish(store: Store, step: Step, folder: Path, fresh: dict[str, MemoryStore]) -> None:
    """Hold an index against both states, before and after recovery, then finish and hold it again.

    At the end it says what a fresh one says (made once, kept in `fresh`), and nothing is left over.
    """
    seen = look(store)
    hold(step, seen)
    commit.recover(store)
    assert look(store) == seen
    settled(store)
    run_sync(lambda: store, folder)
    assert look(store) == step.new
    settled(store)
    verified(store)
    exact = fresh.setdefault(step.name, MemoryStore(CONFIG))
    if exact.count() == 0:
        run_sync(lambda: exact, folder)
    assert content(store) == content(exact)
    if step.new:
        np.testing.assert_allclose(dense(store), dense(exact), atol=1e-6)
