"""A process killed with -9 while it rebuilds an index of the embedded engine; the next one goes on."""

from __future__ import annotations

import itertools
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from latewood.search.stores.generations import layout

VICTIM = Path(__file__).with_name("victim.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """In memory where the machine has room: making an index waits for the disk a dozen times."""
    memory = Path("/dev/shm")
    if memory.is_dir() and shutil.disk_usage(memory).free > 4 * 2**30:
        with tempfile.TemporaryDirectory(dir=memory, prefix="latewood-killed-") as found:
            yield Path(found)
    else:
        yield tmp_path_factory.mktemp("killed")


@pytest.fixture
def real(make_world: Callable[..., Any], fill: Callable[..., Any], folder: Path) -> Callable[[str], Any]:
    """A world over the engine, with what it says; each one the same."""
    template = folder / "template"
    if not template.exists():
        made = fill(make_world(template, real=True))
        made.close()

    def copy(name: str) -> Path:
        data = folder / name
        shutil.copytree(template, data)
        return data

    return copy


def check_goes_on(make_world: Callable[..., Any], data: Path, before: dict[str, Any]) -> None:
    world = make_world(data, real=True)
    try:
        assert world.content() == before
        if (world.home / "NEXT").exists() or not world.optimised():
            world.rebuild()
        assert world.content() == before
        assert world.strays() == []
        assert not (world.home / "NEXT").exists()
    finally:
        world.close()
    assert world.folders() == {layout.current(world.home).name}


def say(make_world: Callable[..., Any], data: Path) -> dict[str, Any]:
    world = make_world(data, real=True)
    try:
        found: dict[str, Any] = world.content()
        return found
    finally:
        world.close()


def victim(data: Path, limit: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(VICTIM), str(data), str(limit)])


@pytest.mark.parametrize("limits", [(6, 14), pytest.param(None, marks=pytest.mark.soak)])
def test_a_killed_process_leaves_a_whole_index_and_the_next_one_goes_on(
    make_world, real, limits: tuple[int, ...] | None
) -> None:
    before = say(make_world, real(f"before-{limits}"))
    for limit in limits or itertools.count(1):
        data = real(f"at-{limit}-{limits}")
        ended = victim(data, limit).wait(120)
        check_goes_on(make_world, data, before)
        shutil.rmtree(data)
        if ended == 0:
            assert limits is None
            assert limit > 20
            break
        assert ended == -signal.SIGKILL


@pytest.mark.soak
def test_killed_at_any_moment(make_world, real) -> None:
    before = say(make_world, real("before-moments"))
    moments = random.Random(7)
    for number in range(40):
        data = real(f"moment-{number}")
        process = victim(data, 10**9)
        try:
            process.wait(moments.uniform(0.5, 6.0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        check_goes_on(make_world, data, before)
        shutil.rmtree(data)
