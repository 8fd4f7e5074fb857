"""Whatever was done to the folders, and ingested or not in between: the index equals a fresh one."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parent / "following"))  # helpers of this file; no test package

from following_looks import same, snapshot
from following_world import CONFIG, SCRIPTS, Edit, Parsing, World, ingest_folder

from latewood.ingest.parsing.sandbox.pool import ParserPool
from latewood.ingest.sources.diff import GRAIN_NS
from latewood.search.stores.base import Store
from latewood.search.stores.edge.store import EdgeStore
from latewood.search.stores.memory import MemoryStore

Opened = Callable[[Path], Store]
# A clock whose ticks are shorter lets stamps be believed within a test; kernels tick every 10 ms or faster.
GRAINS = st.sampled_from([GRAIN_NS, 50_000_000])
SCRATCH = "/dev/shm" if Path("/dev/shm").is_dir() else None


def examples(number: int) -> settings:
    return settings(max_examples=number, suppress_health_check=list(HealthCheck))


def in_memory(folder: Path) -> Store:
    return MemoryStore(CONFIG)


def embedded(folder: Path) -> Store:
    folder.mkdir()
    return EdgeStore(folder, CONFIG, free_space=0)


def follow(script: list[Edit], grain_ns: int, open_store: Opened, parser: Any) -> None:
    """Play a script, ingest what is left, and hold the index against a fresh one; mend and do so again."""
    with (
        tempfile.TemporaryDirectory(dir=SCRATCH) as home,
        patch("latewood.ingest.sources.diff.GRAIN_NS", grain_ns),
    ):
        world = World(Path(home), open_store(Path(home) / "synced"), parser, grain_ns / 1e9 + 0.01)
        for edit in script:
            if edit[0] != "wait" or grain_ns < GRAIN_NS:
                world.apply(edit)
        for mended in (False, True):
            if mended:
                world.mend()
            world.ingest_all()
            fresh = open_store(Path(home) / f"fresh-{mended}")
            for root in world.roots:
                ingest_folder(fresh, root, world.selection, parser)
            same(snapshot(world.store), snapshot(fresh))
            fresh.close()
        world.store.close()


@pytest.fixture(scope="module")
def pool() -> Iterator[ParserPool]:
    with ParserPool(2) as children:
        yield children


@examples(100)
@given(script=SCRIPTS, grain_ns=GRAINS)
def test_an_index_that_followed_any_edits_equals_a_fresh_one(script: list[Edit], grain_ns: int) -> None:
    follow(script, grain_ns, in_memory, Parsing())


@examples(5)
@given(script=SCRIPTS, grain_ns=GRAINS)
def test_so_it_does_with_files_parsed_in_children(
    pool: ParserPool, script: list[Edit], grain_ns: int
) -> None:
    follow(script, grain_ns, in_memory, pool)


@pytest.mark.soak
@examples(2000)
@given(script=SCRIPTS, grain_ns=GRAINS)
def test_so_it_does_with_very_many_edits(script: list[Edit], grain_ns: int) -> None:
    follow(script, grain_ns, in_memory, Parsing())


@pytest.mark.soak
@examples(40)
@given(script=SCRIPTS, grain_ns=GRAINS)
def test_so_it_does_in_the_embedded_store(pool: ParserPool, script: list[Edit], grain_ns: int) -> None:
    follow(script, grain_ns, embedded, pool)
