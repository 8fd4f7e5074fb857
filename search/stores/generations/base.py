"""Where a collection's generations are kept: the steps of a switch, for folders and for a server alike."""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol

from latewood.search.stores.generations import folder as succession
from latewood.search.stores.generations import layout
from latewood.search.stores.generations.folder import Next
from latewood.search.types import IndexConfig


class Home(Protocol):
    """One collection's generations: one answers, one may be being built, one may be kept to go back to.

    What is killed between any two steps is finished, or cleaned up, by `settle`.
    """

    def current(self) -> str | None:
        """The generation that answers; None when there is none yet."""
        ...

    def planned(self) -> Next | None:
        """What is being built."""
        ...

    def previous(self) -> str | None:
        """The generation that is kept."""
        ...

    def config_of(self, generation: str) -> IndexConfig:
        """What a generation was made with."""
        ...

    def plan(self, purpose: str, config: IndexConfig) -> Next:
        """Note that a generation is to be built; for all but a rollback an empty one is made.

        Raises:
            ValueError: a rollback without a generation to go back to.
        """
        ...

    def switch(self, to: Next) -> None:
        """Let the generation answer that was built: the one step that counts."""
        ...

    def abandon(self) -> None:
        """Give up what is being built and remove what was made for it."""
        ...

    def settle(self) -> None:
        """Finish a switch, or clean up after a build that can no more be finished."""
        ...

    def alone(self, patience: float) -> AbstractContextManager[None]:
        """No other process writes to the generation that answers until this is left.

        Raises:
            BusyError: others write, and did not end within `patience` seconds.
        """
        ...

    def free_bytes(self) -> int | None:
        """Bytes free where generations are made; None when that cannot be known."""
        ...


class FolderHome:
    """Generations in folders of one directory, whose owner's lock the caller holds; see `succession`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def folder(self, generation: str) -> Path:
        """Of a generation."""
        return self.path / generation

    def current(self) -> str | None:
        """See `Home.current`."""
        return layout.current(self.path).name if (self.path / "CURRENT").exists() else None

    def planned(self) -> Next | None:
        """See `Home.planned`."""
        return succession.planned(self.path)

    def previous(self) -> str | None:
        """See `Home.previous`."""
        kept = succession.previous(self.path)
        return None if kept is None else kept.name

    def config_of(self, generation: str) -> IndexConfig:
        """See `Home.config_of`."""
        return layout.read_config(self.path / generation)

    def plan(self, purpose: str, config: IndexConfig) -> Next:
        """See `Home.plan`."""
        return succession.plan(self.path, purpose, config)

    def switch(self, to: Next) -> None:
        """See `Home.switch`."""
        succession.switch(self.path, to)

    def abandon(self) -> None:
        """See `Home.abandon`."""
        succession.abandon(self.path)

    def settle(self) -> None:
        """See `Home.settle`."""
        succession.settle(self.path)

    def alone(self, patience: float) -> AbstractContextManager[None]:
        """See `Home.alone`: the lock keeps other processes out."""
        return nullcontext()

    def free_bytes(self) -> int | None:
        """See `Home.free_bytes`."""
        return shutil.disk_usage(self.path).free


class Catalog(Protocol):
    """The collections of one place."""

    def names(self, tenant: str | None = None) -> list[tuple[str, str]]:
        """(tenant, collection) of every index, of one tenant when it is given, in order."""
        ...

    def exists(self, tenant: str, collection: str) -> bool:
        """Whether there is such an index."""
        ...

    def create(self, tenant: str, collection: str, config: IndexConfig) -> None:
        """Make an empty index.

        Raises:
            QueryError: a name that is not allowed, or an index of that name is there.
        """
        ...

    def delete(self, tenant: str, collection: str) -> bool:
        """Remove a collection with all its generations; whether there was one."""
        ...

    def home(self, tenant: str, collection: str) -> Home:
        """Where its generations are."""
        ...


class FolderCatalog:
    """The embedded indexes under a data directory; see `catalog`."""

    def __init__(self, data: Path) -> None:
        self._data = data

    def names(self, tenant: str | None = None) -> list[tuple[str, str]]:
        """See `Catalog.names`."""
        return layout.list_collections(self._data, tenant)

    def exists(self, tenant: str, collection: str) -> bool:
        """See `Catalog.exists`."""
        return layout.exists(self._data, tenant, collection)

    def create(self, tenant: str, collection: str, config: IndexConfig) -> None:
        """See `Catalog.create`."""
        layout.create(self._data, tenant, collection, config)

    def delete(self, tenant: str, collection: str) -> bool:
        """See `Catalog.delete`."""
        return succession.delete(self._data, tenant, collection)

    def home(self, tenant: str, collection: str) -> FolderHome:
        """See `Catalog.home`."""
        return FolderHome(layout.home_of(self._data, tenant, collection))
