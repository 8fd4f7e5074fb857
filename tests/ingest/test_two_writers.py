"""Two writers on the same documents: one wins whole, the other leaves nothing behind."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "killing"))  # helpers; no test package

from killing_looks import legs
from killing_turns import Turns
from killing_world import CONFIG, index_on

from latewood.ingest.index import commit
from latewood.ingest.pipeline import ingest
from latewood.ingest.types import Document, document_id
from latewood.search.stores.base import Store
from latewood.search.stores.memory import MemoryStore
from latewood.search.types import Comparison, Failure, Manifest

NAMES = ("heron", "gull")


def document(name: str, writer: str, length: int) -> Document:
    uri = f"file:///notes/{name}.txt"
    text = "\n\n".join(
        f"Writer {writer} says of {name} that boat {number} came in at noon and left at one."
        for number in range(length)
    )
    return Document(
        id=document_id("default", "default", uri),
        uri=uri,
        source="file:///notes/",
        title=name,
        kind="txt",
        text=text,
        elements=(),
        content_hash=f"hash of {text}",
        metadata={"writer": writer},
    )


KEYS = {name: document(name, "nobody", 1).id for name in NAMES}
OLD = [document(name, "old", 2) for name in NAMES]
TEXTS = {
    (name, writer): document(name, writer, length).text
    for name in NAMES
    for writer, length in (("old", 2), ("one", 3), ("two", 1), ("three", 4))
}


@dataclass
class Race:
    """A store, what was told to its writers, and what a reader saw between any two of their calls."""

    old: bool
    store: MemoryStore = field(default_factory=lambda: MemoryStore(CONFIG))
    won: dict[str, set[str]] = field(default_factory=lambda: {name: set() for name in NAMES})
    conflicts: list[str] = field(default_factory=list)
    removed: bool = False

    def __post_init__(self) -> None:
        if self.old:
            self.write("old", OLD)(self.store)

    def write(self, writer: str, documents: Sequence[Document]) -> Callable[[Store], None]:
        """A writer of these documents that remembers which it won."""

        def work(store: Store) -> None:
            for outcome in ingest(index_on(store), documents):
                if outcome.error is None:
                    self.won[outcome.document.title].add(writer)
                else:
                    assert (outcome.error.code, outcome.error.transient) == ("conflict", True)
                    self.conflicts.append(outcome.document.title)

        return work

    def remove(self, store: Store) -> None:
        """A writer that takes all of them out."""
        self.removed = True
        commit.remove(store, list(KEYS.values()))

    def look(self) -> dict[str, str | None]:
        """Who wrote what answers: each document one whole version of one writer, or none."""
        seen: dict[str, str | None] = {}
        visible = set()
        for name, key in KEYS.items():
            passages = self.store.chunks_of(key)
            text = "".join(one.chunk.text for one in passages)
            writers = {str(one.document.metadata["writer"]) for one in passages}
            seen[name] = writers.pop() if writers else None
            assert not writers
            assert text == TEXTS.get((name, seen[name]), "")
            assert self.store.count(Comparison("eq", "document_id", key)) == len(passages)
            visible |= {one.chunk.id for one in passages}
        everything, words = self.store.search(legs("boat"))
        assert {one.id for one in everything} == visible >= {one.id for one in words}
        assert self.store.count() == len(visible)
        return seen

    def between(self) -> None:
        """A document that answered goes on answering, unless someone removes it."""
        seen = self.look()
        if self.old and not self.removed:
            assert None not in seen.values()

    def end(self) -> dict[str, str | None]:
        """All are done: one winner each, and nothing is left of the others."""
        seen = self.look()
        live = {one.id: one for one in self.store.list_manifests()}
        for name, writer in seen.items():
            if writer is None:
                assert self.removed
                assert KEYS[name] not in live
            else:
                assert writer in self.won[name]
        assert self.store.in_flight() == []
        assert {key.version for key in self.store.list_chunks()} == {one.live for one in live.values()}
        assert self.store.list_records() == sorted((key, str(one.live)) for key, one in live.items())
        assert self.store.stats().hidden == 0
        return seen


def documents(writer: str, *, turned: bool = False) -> list[Document]:
    length = {"one": 3, "two": 1, "three": 4}[writer]
    return [document(name, writer, length) for name in (NAMES[::-1] if turned else NAMES)]


@pytest.mark.parametrize("old", [True, False], ids=["replacing", "new"])
def test_of_two_walks_on_the_same_documents_one_wins_each_and_the_other_leaves_nothing(old: bool) -> None:
    ends: Counter[str] = Counter()
    for seed in range(100):
        race = Race(old)
        turns = Turns(race.store, seed, race.between)
        turns.writer(race.write("one", documents("one")))
        turns.writer(race.write("two", documents("two", turned=seed % 2 == 1)))
        turns.run()
        seen = race.end()
        ends.update(str(writer) for writer in seen.values())
        ends["conflict"] += len(race.conflicts)
        assert all(len(race.won[name]) + race.conflicts.count(name) == 2 + old for name in NAMES)
    assert min(ends["one"], ends["two"], ends["conflict"]) > 20, ends


def test_a_walk_and_a_removal_at_once_leave_a_whole_document_or_none() -> None:
    ends: Counter[bool] = Counter()
    for seed in range(100):
        race = Race(old=True)
        turns = Turns(race.store, seed, race.between)
        turns.writer(race.write("one", documents("one")))
        turns.writer(race.remove)
        turns.run()
        ends.update(writer is None for writer in race.end().values())
    assert min(ends[True], ends[False]) > 10, ends


def test_three_walks_failures_and_touches_at_once_leave_one_whole_version() -> None:
    failure = Failure("damaged", "it is damaged", "2026-01-31T12:00:00Z", "h", None, "1", False)
    conflicts = 0
    for seed in range(40):
        race = Race(old=True)
        turns = Turns(race.store, seed, race.between)
        for writer in ("one", "two", "three"):
            turns.writer(race.write(writer, documents(writer)))

        def note(store: Store) -> None:
            for manifest in store.get_manifests(list(KEYS.values())):
                commit.note_failure(store, manifest.document, failure)

        turns.writer(note)
        turns.run()
        race.end()
        conflicts += len(race.conflicts)
    assert conflicts > 20


def test_a_walk_over_what_a_dead_one_left_pending_is_not_disturbed_by_it() -> None:
    race = Race(old=True)
    left = Manifest(race.store.get_manifests([KEYS["heron"]])[0].document, "")
    commit.begin(race.store, [left.document])
    race.write("one", documents("one"))(race.store)
    assert race.look() == {"heron": "one", "gull": "one"}
    assert commit.recover(race.store) == 1
    assert race.end() == {"heron": "one", "gull": "one"}


def test_walks_in_threads_without_a_schedule_end_the_same_way() -> None:
    for _ in range(20):
        race = Race(old=True)
        start = threading.Barrier(3)

        def run(writer: str, race: Race = race, start: threading.Barrier = start) -> None:
            start.wait()
            race.write(writer, documents(writer))(race.store)

        with ThreadPoolExecutor(3) as threads:
            assert len(list(threads.map(run, ("one", "two", "three")))) == 3
        race.end()
