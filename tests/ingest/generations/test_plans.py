"""A rebuild takes over another plan of the dense leg, or shorter vectors, without embedding anything."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latewood.embedder.types import StoppedError
from latewood.ingest.index.rebuild import Target, rebuild
from latewood.search.index_config import DensePlan
from latewood.search.stores.generations import folder, layout
from latewood.search.stores.generations.base import FolderHome
from latewood.search.stores.vectors import prefix


def vectors(world) -> dict[str, np.ndarray]:
    return {
        one.id: world.live.read_chunks(one.id)[1].dense
        for one in world.live.list_manifests()
        if one.live is not None
    }


def test_an_optimised_index_has_the_plan_that_was_asked_for_and_the_same_vectors(
    make_world, fill, tmp_path: Path
):
    world = fill(make_world(tmp_path, real=True))
    before, rows = world.content(), vectors(world)
    for plan in (DensePlan(quantization="int8", m=8), DensePlan(graph=False, on_disk=True)):
        config = replace(world.live.config, plan=plan)
        rebuild(world.live, Target(FolderHome(world.home), folder.OPTIMISE, config), world.seams())
        assert layout.read_config(layout.current(world.home)).plan == plan
        assert world.live.config.plan == plan
        assert world.content() == before
        for key, found in vectors(world).items():
            assert np.allclose(found, rows[key], rtol=0, atol=1e-6)
    world.close()


def test_what_was_begun_for_another_plan_makes_way(world):
    one, other = (replace(world.live.config, plan=DensePlan(m=m)) for m in (8, 32))
    with pytest.raises(StoppedError):
        rebuild(
            world.live,
            Target(FolderHome(world.home), folder.OPTIMISE, one),
            world.seams(stop=lambda: True),
        )
    begun = folder.planned(world.home)
    asked = replace(other, plan=replace(other.plan, ef=999))
    with pytest.raises(StoppedError):
        rebuild(
            world.live,
            Target(FolderHome(world.home), folder.OPTIMISE, asked),
            world.seams(stop=lambda: True),
        )
    assert folder.planned(world.home).generation != begun.generation
    begun = folder.planned(world.home)
    rebuild(world.live, Target(FolderHome(world.home), folder.OPTIMISE, other), world.seams())
    assert layout.current(world.home).name == begun.generation  # only how it is asked differed
    assert layout.read_config(layout.current(world.home)).plan == other.plan


def test_what_was_begun_in_an_older_format_makes_way(world):
    target = Target(FolderHome(world.home), folder.OPTIMISE, world.live.config)
    with pytest.raises(StoppedError):
        rebuild(world.live, target, world.seams(stop=lambda: True))
    begun = folder.planned(world.home).generation
    index = world.home / begun / "index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"format": 2}))
    rebuild(world.live, target, world.seams())
    assert layout.current(world.home).name != begun
    assert layout.read_config(layout.current(world.home)).apart


def test_shorter_vectors_are_cut_from_the_longer_ones_and_the_longer_ones_are_kept(world):
    rows, old = vectors(world), layout.current(world.home)
    size = world.live.config.dimensions[0] // 2
    config = replace(world.live.config, dimensions=(size,))
    rebuild(world.live, Target(FolderHome(world.home), folder.MIGRATE, config), world.seams())
    assert world.live.config == config
    for key, found in vectors(world).items():
        assert np.allclose(found, prefix(rows[key], size), rtol=0, atol=1e-6)
    assert world.kept() == old.name
