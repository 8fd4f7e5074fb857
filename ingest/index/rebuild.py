"""Rebuild an index aside and let it take over: optimising, another model, going back (design, decision 5).

make or resume the next generation -> bring over every document -> catch up with what was written meanwhile
    -> optimise -> catch up -> hold the writers: catch up once more, switch -> writers go on
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass

from latewood.embedder.types import StoppedError
from latewood.ingest.index import commit
from latewood.ingest.index.compare import compare
from latewood.ingest.index.copy import Remake, Transfer
from latewood.search.stores.base import Store
from latewood.search.stores.generations import folder
from latewood.search.stores.generations.base import Home
from latewood.search.stores.generations.switch import SwitchStore
from latewood.search.stores.generations.write_barrier import BusyError
from latewood.search.types import DiskFullError, IndexConfig, StoreDamagedError, StoreUnavailableError

logger = logging.getLogger(__name__)
PATIENCE = 10.0
"""Seconds a switch waits for walks that began before it, and so the most that new ones wait for it."""

ROOM = 1.8
"""Free space a build needs, as a multiple of the generation it replaces: the copy, and its optimising."""

_TRIES = 30
_ROUNDS = 20
_FEW = 64
_LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be built.

    Attributes:
        home: where the collection's generations are.
        purpose: one of those in `search.stores.succession`.
        config: what it is made with; a rollback's is that of the kept generation.
        remake: makes vectors; None copies them.
        compared: hold every document of the copy against the one it was made of before it takes over.
    """

    home: Home
    purpose: str
    config: IndexConfig
    remake: Remake | None = None
    compared: bool = False


@dataclass(frozen=True, slots=True)
class Seams:
    """What a build needs of its surroundings.

    Attributes:
        open_store: opens a generation by its name; `aside` is True until it is about to answer.
        kill: ends a store at once, whatever it is doing; what was acknowledged stays.
        take_over: called in the moment of the switch with the new store and its name: it now answers.
            Must not fail.
        stop: asked now and then in the building thread.
        moved: told the uri of each document that was brought over or removed.
    """

    open_store: Callable[[str, IndexConfig, bool], Store]
    kill: Callable[[Store], object]
    take_over: Callable[[Store, str], object]
    stop: Callable[[], bool] = lambda: False
    moved: Callable[[str], object] = lambda uri: None


def rebuild(live: SwitchStore, target: Target, seams: Seams) -> None:
    """Build the target and let it take over; what answers now answers until then.

    What was stopped or killed goes on where it was when the same is asked for again; a build for something
    else makes way for this one.

    Raises:
        StoppedError: `stop` said so; what was built stays for the next time.
        StoreDamagedError: a document cannot be brought over, or the copy is not what it should be.
        DiskFullError: too little space. An optimised copy is given up, anything else stays to go on with.
        StoreUnavailableError: writers left no moment to switch in, or a store cannot be reached.
    """
    build = _Build(live, target, seams)
    live.watch()
    try:
        with target.home.alone(PATIENCE):
            build.run()
            live.unwatch()
            target.home.settle()
    except DiskFullError:
        build.close()
        if target.purpose == folder.OPTIMISE:
            target.home.abandon()
        raise
    except BaseException:
        build.close()
        raise
    finally:
        live.unwatch()


class _Build:
    """One build under way."""

    def __init__(self, live: SwitchStore, target: Target, seams: Seams) -> None:
        self._live = live
        self._target = target
        self._seams = seams
        self._new: Store | None = None
        self.planned = folder.Next("", target.purpose, "")

    def run(self) -> None:
        """See `rebuild`."""
        new = self._begin()
        self._check_room(new)
        commit.recover(new)
        self._transfer(new).everything()
        self._catch_up(new)
        self._optimise(new)
        new.close()
        new = self._open(aside=False)
        self._catch_up(new)
        if self._target.compared:
            compare(self._live, new, self._seams.stop)
        _check_copy(new)
        self._switch(new)

    def close(self) -> None:
        """Let go of a generation that did not get to answer."""
        if self._new is not None:
            self._new.close()

    def _begin(self) -> Store:
        """Open the generation begun before, if it was for the same and is whole, else a fresh one."""
        home, target = self._target.home, self._target
        planned = home.planned()
        if planned is not None and self._fits(planned):
            self.planned = planned
            try:
                return self._open(aside=True)
            except StoreDamagedError as error:
                if target.purpose == folder.ROLLBACK:
                    raise
                logger.warning("what was begun in %s is built anew: %s", home, error)
        home.abandon()
        self.planned = home.plan(target.purpose, target.config)
        return self._open(aside=True)

    def _fits(self, planned: folder.Next) -> bool:
        home, target = self._target.home, self._target
        return (
            planned.purpose == target.purpose
            and planned.replaces == (home.current() or "")
            and home.config_of(planned.generation) == target.config
        )

    def _open(self, *, aside: bool) -> Store:
        self._new = self._seams.open_store(self.planned.generation, self._target.config, aside)
        return self._new

    def _check_room(self, new: Store) -> None:
        size = max(sum(self._target.config.dimensions) / sum(self._live.config.dimensions), 1.0)
        needed = int(self._live.stats().bytes * ROOM * size) - new.stats().bytes
        free = self._target.home.free_bytes()
        if free is not None and free < needed:
            raise DiskFullError(
                f"{free / 2**20:.0f} MiB are free at {self._target.home}; to {self._target.purpose} this "
                f"index takes {needed / 2**20:.0f} MiB more for a while; free some space and try again"
            )

    def _transfer(self, new: Store) -> Transfer:
        return Transfer(self._live, new, self._target.remake, self._seams.stop, self._seams.moved)

    def _catch_up(self, new: Store) -> None:
        """Bring over what was written meanwhile, until little is left; the rest waits for the switch."""
        for _ in range(_ROUNDS):
            touched = self._live.touched()
            self._transfer(new).documents(touched)
            if len(touched) <= _FEW:
                return

    def _optimise(self, new: Store) -> None:
        """Optimise in a thread of its own, so that this one can end it."""
        with ThreadPoolExecutor(1, "optimise") as threads:
            work = threads.submit(new.optimise)
            while not wait([work], _LOOK_SECONDS).done:
                if self._seams.stop():
                    while not work.done():  # again: the store may just have begun another try
                        self._seams.kill(new)
                        wait([work], _LOOK_SECONDS)
                    raise StoppedError("the optimising was stopped")
            work.result()

    def _switch(self, new: Store) -> None:
        """Let the new generation answer, in a moment in which no walk is under way."""
        for left in range(_TRIES, -1, -1):
            if self._seams.stop():
                raise StoppedError("the work was stopped before the switch")
            try:
                with self._live.switching(PATIENCE):
                    self._transfer(new).documents(self._live.touched())
                    new.sync()  # what survived a power cut in the old generation does in this one
                    self._name_current()
                    self._seams.take_over(new, self.planned.generation)
                    return
            except BusyError:
                if not left:
                    raise
            self._catch_up(new)

    def _name_current(self) -> None:
        home = self._target.home
        try:
            home.switch(self.planned)
        except (OSError, StoreUnavailableError):
            # Once it is named current, the new generation is what everyone opens: there is no way back.
            if home.current() != self.planned.generation:
                raise


def _check_copy(new: Store) -> None:
    """Hold what the new generation counts against what its manifests tell of.

    Raises:
        StoreDamagedError: they differ.
    """
    documents = chunks = 0
    after: str | None = None
    while page := new.list_manifests(after=after):
        documents += sum(one.live is not None for one in page)
        chunks += sum(one.chunks for one in page if one.live is not None)
        after = page[-1].id
    stats = new.stats()
    if (stats.documents, stats.chunks) != (documents, chunks):
        raise StoreDamagedError(
            f"the copy holds {stats.documents} documents and {stats.chunks} passages where its manifests "
            f"tell of {documents} and {chunks}; it does not take over; try again"
        )
