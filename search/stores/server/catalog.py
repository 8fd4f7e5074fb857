"""The collections of a Qdrant server, by their names.

    PREFIX.TENANT.COLLECTION                   alias of the generation that answers
    PREFIX.TENANT.COLLECTION.next.PURPOSE.OLD  alias of the one being built, what for and instead of which
    PREFIX.TENANT.COLLECTION.previous          alias of the one that is kept
    PREFIX.TENANT.COLLECTION.GENERATION        a generation: manifests and chunks
    PREFIX.TENANT.COLLECTION.GENERATION.records

No name of a tenant or collection has a dot, so none can be taken for another's. Aliases are changed by one
request in one step, so whatever is killed when, what answers is whole: the old generation or the new one.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from qdrant_client import QdrantClient, models

from latewood.search.index_config import DensePlan
from latewood.search.stores.generations.folder import OPTIMISE, PURPOSES, ROLLBACK, Next
from latewood.search.stores.generations.layout import check_names
from latewood.search.stores.server import schema
from latewood.search.stores.server.client import Calls, PartialAnswerError
from latewood.search.stores.server.manifests import ServerManifests
from latewood.search.stores.server.snapshot import config_from, read_head
from latewood.search.stores.server.store import ServerStore
from latewood.search.types import IndexConfig, QueryError, StoreUnavailableError

_NONE = "none"
_Change = models.CreateAliasOperation | models.DeleteAliasOperation


class ServerCatalog:
    """Every collection of one prefix on one server. Safe to use from many threads."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._prefix = calls.options.prefix

    def names(self, tenant: str | None = None) -> list[tuple[str, str]]:
        """See `Catalog.names`."""
        if tenant is not None:
            check_names(tenant)
        found = []
        for alias in aliases(self._calls):
            parts = alias.split(".")
            if len(parts) == 3 and parts[0] == self._prefix and tenant in (None, parts[1]):
                found.append((parts[1], parts[2]))
        return sorted(found)

    def exists(self, tenant: str, collection: str) -> bool:
        """See `Catalog.exists`."""
        return self.home(tenant, collection).current() is not None

    def create(self, tenant: str, collection: str, config: IndexConfig) -> None:
        """See `Catalog.create`."""
        home = self.home(tenant, collection)
        if home.current() is not None:
            raise QueryError(
                f"collection {collection!r} of tenant {tenant!r} is there already; delete it first"
            )
        # Of the same config the name is the same, so that two who make it at once make the same one.
        name = home.name_of(config)
        if home.is_left_over(name):
            home.remove(name)
        schema.make(self._calls, name, config)
        if home.current() is None:
            change(self._calls, _create(home.alias, name))

    def delete(self, tenant: str, collection: str) -> bool:
        """See `Catalog.delete`."""
        home = self.home(tenant, collection)
        known = home.aliases()
        if known:
            change(self._calls, *(_delete(alias) for alias in known))
        home.tidy()
        return home.alias in known

    def home(self, tenant: str, collection: str) -> ServerHome:
        """See `Catalog.home`."""
        check_names(tenant, collection)
        return ServerHome(self._calls, f"{self._prefix}.{tenant}.{collection}")

    def version(self) -> str:
        """What version the server says it is."""
        return str(self._calls.ask("asking for the version", lambda client: client.info()).version)

    def close(self) -> None:
        """Let go of the connections."""
        self._calls.client.close()


class ServerHome:
    """One collection's generations, told apart by their aliases. See `Home`."""

    def __init__(self, calls: Calls, alias: str) -> None:
        self._calls = calls
        self.alias = alias

    def __str__(self) -> str:
        return f"{self.alias} on the Qdrant server"

    def open(self, generation: str, asked: DensePlan | None = None) -> ServerStore:
        """Open a generation's store; `asked` as it takes it."""
        return ServerStore(self._calls, generation, asked)

    def current(self) -> str | None:
        """See `Home.current`."""
        return self.aliases().get(self.alias)

    def planned(self) -> Next | None:
        """See `Home.planned`."""
        for alias, name in self.aliases().items():
            found = self._next(alias, name)
            if found is not None:
                return found
        return None

    def _next(self, alias: str, name: str) -> Next | None:
        start = f"{self.alias}.next."
        purpose, _, replaces = alias.removeprefix(start).partition(".")
        if not alias.startswith(start) or purpose not in PURPOSES:
            return None
        return Next(name, purpose, "" if replaces == _NONE else f"{self.alias}.{replaces}")

    def previous(self) -> str | None:
        """See `Home.previous`."""
        return self.aliases().get(f"{self.alias}.previous")

    def config_of(self, generation: str) -> IndexConfig:
        """See `Home.config_of`."""
        return config_from(generation, read_head(self._calls, generation))

    def plan(self, purpose: str, config: IndexConfig) -> Next:
        """See `Home.plan`."""
        known = self.aliases()
        now, kept = known.get(self.alias, ""), known.get(f"{self.alias}.previous")
        if purpose == ROLLBACK and kept is None:
            raise ValueError(f"{self} keeps no generation to go back to")
        name = kept if purpose == ROLLBACK and kept is not None else self.make(config)
        replaced = now.removeprefix(f"{self.alias}.") or _NONE
        change(self._calls, _create(f"{self.alias}.next.{purpose}.{replaced}", name))
        return Next(name, purpose, now)

    def switch(self, to: Next) -> None:
        """See `Home.switch`; what is kept is settled in the same step.

        Raises:
            StoreUnavailableError: another generation answers than the one it was built to replace.
        """
        known = self.aliases()
        if known.get(self.alias, "") != to.replaces:
            raise StoreUnavailableError(
                f"another process switched {self} meanwhile; what was built is given up, try again"
            )
        store = self.open(to.generation)
        store.open_up()  # it may have been replaced by another a moment ago
        store.close()
        changes: list[_Change] = [_delete(alias) for alias in known if alias != self.alias]
        if to.replaces:
            changes.append(_delete(self.alias))
        changes.append(_create(self.alias, to.generation))
        kept = known.get(f"{self.alias}.previous") if to.purpose == OPTIMISE else to.replaces
        if kept:
            changes.append(_create(f"{self.alias}.previous", kept))
        change(self._calls, *changes)

    def abandon(self) -> None:
        """See `Home.abandon`."""
        building = [alias for alias in self.aliases() if alias.startswith(f"{self.alias}.next.")]
        if building:
            change(self._calls, *(_delete(alias) for alias in building))
        self.tidy()

    def settle(self) -> None:
        """See `Home.settle`: a switch has no second step here; for who rebuilds, and keeps others out."""
        self.tidy()

    @contextmanager
    def alone(self, patience: float) -> Iterator[None]:
        """See `Home.alone`."""
        now = self.current()
        if now is None:
            yield
            return
        store = self.open(now)
        try:
            with store.alone(patience, keep=lambda: self.current() != now):
                yield
        finally:
            store.close()

    def free_bytes(self) -> int | None:
        """See `Home.free_bytes`: the server does not say."""
        return None

    def name_of(self, config: IndexConfig) -> str:
        """What the first generation of a collection made with this is called."""
        told = replace(config, fingerprint=dict(sorted(config.fingerprint.items())))
        return f"{self.alias}.{hashlib.blake2b(repr(told).encode(), digest_size=6).hexdigest()}"

    def is_left_over(self, name: str) -> bool:
        """Whether a generation is what a delete that was killed left: full, and nobody's.

        Its maker names it before anything is written: so what holds documents and has no name has no maker.
        """
        if not self._calls.ask(f"opening {name}", lambda client: client.collection_exists(name)):
            return False
        full = ServerManifests(self._calls, name).page(None, None, 1)
        return bool(full) and self.current() is None

    def remove(self, name: str) -> None:
        """Remove a generation."""
        self._remove(name)
        self._remove(schema.records_name(name))

    def make(self, config: IndexConfig) -> str:
        """Make an empty generation; nothing names it yet."""
        name = f"{self.alias}.{uuid.uuid4().hex[:12]}"
        schema.make(self._calls, name, config)
        return name

    def aliases(self) -> dict[str, str]:
        """The aliases of this collection, and what each names."""
        own = f"{self.alias}."
        return {
            alias: name
            for alias, name in aliases(self._calls).items()
            if alias == self.alias or alias.startswith(own)
        }

    def tidy(self) -> None:
        """Remove the generations that no alias names."""
        needed = set(self.aliases().values())
        found = self._calls.ask("listing collections", lambda client: client.get_collections())
        for one in found.collections:
            generation = one.name.removesuffix(".records")
            if generation.rpartition(".")[0] == self.alias and generation not in needed:
                self._remove(one.name)

    def _remove(self, name: str) -> None:
        self._calls.ask(f"removing {name}", lambda client: client.delete_collection(name))


def aliases(calls: Calls) -> Mapping[str, str]:
    """Every alias on the server, and the collection it names."""
    found = calls.ask("reading the aliases", lambda client: client.get_aliases())
    return {one.alias_name: one.collection_name for one in found.aliases}


def change(calls: Calls, *changes: _Change) -> None:
    """Change aliases in one step."""

    def ask(client: QdrantClient) -> None:
        if not client.update_collection_aliases(list(changes)):
            raise PartialAnswerError("did not change the aliases")

    calls.ask("changing aliases", ask)


def _create(alias: str, name: str) -> models.CreateAliasOperation:
    return models.CreateAliasOperation(
        create_alias=models.CreateAlias(collection_name=name, alias_name=alias)
    )


def _delete(alias: str) -> models.DeleteAliasOperation:
    return models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))
