"""Readers and writers that never pause while one generation after the other takes over."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from latewood.ingest.index.reembed import Reembed
from latewood.search.analysis.analyzer import Analyzer
from latewood.search.request import SearchRequest
from latewood.search.searcher import Searcher
from latewood.search.stores.generations import folder, layout


def run(work: list[Callable[[], object]]) -> None:
    """Each in a thread of its own, to its end; the first error of any is raised."""
    with ThreadPoolExecutor(len(work)) as threads:
        for future in [threads.submit(one) for one in work]:
            future.result(240)


@pytest.mark.parametrize(("rounds", "writers"), [(4, 2), pytest.param(60, 4, marks=pytest.mark.soak)])
def test_nothing_is_lost_and_nobody_fails(world, rounds, writers):
    done = threading.Event()
    written: dict[str, str] = {}

    def write(number: int) -> None:
        count = 0
        while not done.is_set():
            name, count = f"w{number}-{count % 5}", count + 1
            if count % 7 == 0 and name in written:
                world.remove(name)
                del written[name]
            else:
                text = f"Text number {count} of writer {number}. It is about ferries."
                world.take({name: text})
                written[name] = text

    def read() -> None:
        while not done.is_set():
            held = world.live.held()
            searcher = Searcher(held.store, world.embedder._vector, Analyzer())
            hits = searcher.search(SearchRequest("a ferry with a van")).hits
            assert hits

    def switch() -> None:
        try:
            for _ in range(rounds):
                world.rebuild()
        finally:
            done.set()

    run([switch, read, *(lambda number=number: write(number) for number in range(writers))])
    for name, text in written.items():
        assert world.text(name) == text
    assert world.live.stats().documents == 3 + len(written)
    assert world.strays() == []
    assert world.folders() == {layout.current(world.home).name}


def test_removals_go_on_through_a_change_of_model_and_back(world, other):
    for number in range(40):
        world.take({f"d{number}": f"Document {number}."})
    back: Any = Reembed(world.embedder, Analyzer(), lambda: False)

    def switch() -> None:
        world.rebuild(folder.MIGRATE, other.remake())
        world.rebuild(folder.ROLLBACK, back)

    def remove() -> None:
        for number in range(0, 40, 2):
            world.remove(f"d{number}")

    run([switch, remove])
    assert world.live.stats().documents == 3 + 20
    assert world.strays() == []
