"""Killed between any two calls to a store or the catalog, one generation answers, whole, old or new."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from latewood.ingest.index.reembed import Reembed
from latewood.search.analysis.analyzer import Analyzer
from latewood.search.stores.generations import folder, layout


@pytest.fixture
def mortal(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Makes every change of the catalog's files a moment to be killed at, before it and after it."""
    worlds: list[Any] = []

    def step() -> None:
        for world in worlds[-1:]:
            world.process.step()

    def changing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            step()
            done = real(*args, **kwargs)
            step()
            return done

        return call

    for owner, name in (
        (layout, "write_file"),
        (layout, "make_generation"),
        (folder, "_remove_next"),
        (shutil, "rmtree"),
    ):
        monkeypatch.setattr(owner, name, changing(getattr(owner, name)))
    return worlds.append


def check_whole(world, before, purpose) -> None:
    """What a next process finds and ends with."""
    world.start()
    assert world.content() == before
    planned = folder.planned(world.home)
    if planned is not None:
        assert planned.purpose == purpose
        assert planned.replaces == layout.current(world.home).name


def check_done(world, before) -> None:
    assert world.content() == before
    assert world.strays() == []
    assert not (world.home / "NEXT").exists()
    left = {layout.current(world.home).name, world.kept()} - {None}
    assert world.folders() == left


def test_killed_anywhere_while_it_is_optimised(make_world, fill, tmp_path, mortal):
    for limit in itertools.count(1):
        world = fill(make_world(tmp_path / str(limit)))
        before, old = world.content(), layout.current(world.home).name
        mortal(world)
        killed = world.killed_at(limit, world.rebuild)
        check_whole(world, before, folder.OPTIMISE)
        if killed and layout.current(world.home).name == old:
            world.rebuild()
        check_done(world, before)
        if not killed:
            break
    assert limit > 35


def test_killed_anywhere_while_another_model_takes_over_and_back(make_world, fill, tmp_path, mortal, other):
    for limit in itertools.count(1):
        world = fill(make_world(tmp_path / str(limit)))
        before, old = world.content(), layout.current(world.home).name
        mortal(world)
        killed = world.killed_at(limit, partial(world.rebuild, folder.MIGRATE, other.remake()))
        check_whole(world, before, folder.MIGRATE)
        if killed and layout.current(world.home).name == old:
            world.rebuild(folder.MIGRATE, other.remake())
        check_done(world, before)
        assert world.kept() == old
        if not killed:
            break
    back = Reembed(world.embedder, Analyzer(), lambda: False)
    for limit in itertools.count(1):
        current = layout.current(world.home).name
        world.take({"tides": f"High water was late for the {limit}th time."}, other)
        before = world.content()
        killed = world.killed_at(limit, partial(world.rebuild, folder.ROLLBACK, back))
        check_whole(world, before, folder.ROLLBACK)
        if killed and layout.current(world.home).name == current:
            world.rebuild(folder.ROLLBACK, back)
        check_done(world, before)
        assert world.kept() == current
        if not killed:
            break
        world.rebuild(folder.ROLLBACK, other.remake())
    assert limit > 20


def test_killed_twice_and_written_in_between(make_world, fill, tmp_path, mortal):
    for limit in itertools.count(1, 3):
        world = fill(make_world(tmp_path / str(limit)))
        old = layout.current(world.home).name
        mortal(world)
        first = world.killed_at(limit, world.rebuild)
        world.start()
        world.take({"ferry": "The ferry is on strike.", "new": "A new one."})
        world.remove("tides")
        before = world.content()
        if first and layout.current(world.home).name == old:
            world.killed_at(limit, world.rebuild)
            check_whole(world, before, folder.OPTIMISE)
            if layout.current(world.home).name == old:
                world.rebuild()
        check_done(world, before)
        if not first:
            break
