"""Names, aliases and generations on a server."""

from __future__ import annotations

import pytest
from qdrant_client import models
from qdrant_memory import LockedClient

from latewood.search.stores.generations.folder import MIGRATE, OPTIMISE, ROLLBACK
from latewood.search.stores.server.catalog import ServerCatalog
from latewood.search.stores.server.client import Calls
from latewood.search.stores.server.options import ServerOptions
from latewood.search.types import IndexConfig, QueryError, StoreUnavailableError

OTHER = IndexConfig((8,), {"model": "another"})


@pytest.fixture
def engine():
    return LockedClient()


@pytest.fixture
def catalog(engine):
    return ServerCatalog(Calls(engine, ServerOptions("http://memory"), pause=lambda seconds: None))


def collections(engine):
    return sorted(one.name for one in engine.get_collections().collections)


def test_a_collection_is_made_listed_and_taken_out_with_everything(catalog, engine, kit):
    for tenant, collection in [("a", "b"), ("a", "b-c"), ("a-b", "c"), ("a", "b_next")]:
        assert not catalog.exists(tenant, collection)
        catalog.create(tenant, collection, kit.config)
        assert catalog.exists(tenant, collection)
    assert catalog.names() == [("a", "b"), ("a", "b-c"), ("a", "b_next"), ("a-b", "c")]
    assert catalog.names("a-b") == [("a-b", "c")]
    home = catalog.home("a", "b")
    assert home.config_of(home.current()) == kit.config
    with pytest.raises(QueryError, match="is there already"):
        catalog.create("a", "b", kit.config)
    home.plan(MIGRATE, OTHER)
    assert catalog.delete("a", "b")
    assert not catalog.delete("a", "b")
    assert catalog.names() == [("a", "b-c"), ("a", "b_next"), ("a-b", "c")]
    assert len(collections(engine)) == 6
    assert not any(name.startswith("latewood.a.b.") for name in collections(engine))


def test_installations_with_prefixes_of_their_own_do_not_see_each_other(engine, kit):
    other = ServerCatalog(Calls(engine, ServerOptions("http://memory", prefix="second")))
    mine = ServerCatalog(Calls(engine, ServerOptions("http://memory")))
    other.create("a", "b", kit.config)
    assert (mine.names(), other.names()) == ([], [("a", "b")])
    with pytest.raises(QueryError, match=r"name 'A\.b' is not allowed"):
        mine.home("default", "A.b")


@pytest.mark.parametrize("purpose", [MIGRATE, OPTIMISE])
def test_a_switch_is_one_step_and_keeps_what_answered(catalog, engine, kit, purpose):
    catalog.create("t", "c", kit.config)
    home = catalog.home("t", "c")
    first = home.current()
    planned = home.plan(purpose, OTHER)
    assert home.planned() == planned
    assert (planned.replaces, home.current(), home.previous()) == (first, first, None)
    home.switch(planned)
    assert (home.current(), home.planned()) == (planned.generation, None)
    home.settle()
    assert home.previous() == (first if purpose == MIGRATE else None)
    left = [home.current(), *([first] if purpose == MIGRATE else [])]
    assert collections(engine) == sorted([*left, *(f"{name}.records" for name in left)])
    assert catalog.names() == [("t", "c")]


def test_a_rollback_goes_back_and_forth(catalog, kit):
    catalog.create("t", "c", kit.config)
    home = catalog.home("t", "c")
    with pytest.raises(ValueError, match="keeps no generation"):
        home.plan(ROLLBACK, kit.config)
    first = home.current()
    home.switch(home.plan(MIGRATE, OTHER))
    second = home.current()
    for now, kept in [(first, second), (second, first)]:
        home.switch(home.plan(ROLLBACK, home.config_of(now)))
        home.settle()
        assert (home.current(), home.previous()) == (now, kept)


def test_what_is_given_up_goes_and_what_answers_stays(catalog, engine, kit):
    catalog.create("t", "c", kit.config)
    home = catalog.home("t", "c")
    before = collections(engine)
    home.plan(MIGRATE, OTHER)
    home.abandon()
    assert (collections(engine), home.planned()) == (before, None)


def test_a_build_that_another_overtook_does_not_take_over(catalog, kit):
    catalog.create("t", "c", kit.config)
    home = catalog.home("t", "c")
    slow = home.plan(MIGRATE, OTHER)
    home.switch(home.plan(MIGRATE, kit.config))
    answers = home.current()
    with pytest.raises(StoreUnavailableError, match="another process switched"):
        home.switch(slow)
    assert home.current() == answers


def test_a_first_generation_is_built_aside_like_any_other(catalog, kit):
    home = catalog.home("t", "c")
    planned = home.plan(MIGRATE, kit.config)
    assert (planned.replaces, home.current(), catalog.names()) == ("", None, [])
    assert home.planned() == planned
    with home.alone(0):
        home.switch(planned)
    home.settle()
    assert (home.current(), home.previous()) == (planned.generation, None)


def test_two_that_make_a_collection_at_once_make_the_same_one(catalog, engine, kit, monkeypatch):
    second = ServerCatalog(Calls(engine, ServerOptions("http://memory")))
    home = type(catalog.home("t", "c"))
    looked = []
    real = home.current

    def current(self):
        found = real(self)
        if not looked:  # the other one makes it, and writes, just after this one found nothing
            looked.append(found)
            second.create("t", "c", kit.config)
            store = self.open(real(self))
            kit.commit(store, "a", ["oak leaf"])
            store.close()
        return found

    monkeypatch.setattr(home, "current", current)
    catalog.create("t", "c", kit.config)
    store = catalog.home("t", "c").open(catalog.home("t", "c").current())
    assert store.count() == 1
    store.close()
    assert len(collections(engine)) == 2


def test_what_a_killed_delete_left_does_not_come_back(catalog, engine, kit):
    catalog.create("t", "c", kit.config)
    store = catalog.home("t", "c").open(catalog.home("t", "c").current())
    kit.commit(store, "a", ["oak leaf"])
    store.close()
    alias = models.DeleteAlias(alias_name="latewood.t.c")
    engine.update_collection_aliases([models.DeleteAliasOperation(delete_alias=alias)])
    catalog.create("t", "c", kit.config)
    store = catalog.home("t", "c").open(catalog.home("t", "c").current())
    assert (store.count(), store.list_manifests()) == (0, [])
    store.close()
