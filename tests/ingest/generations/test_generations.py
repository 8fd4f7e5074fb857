from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from latewood.embedder.types import StoppedError
from latewood.ingest.index import commit, metadata_overrides
from latewood.ingest.integrity import verify
from latewood.search.stores.generations import folder, layout
from latewood.search.stores.memory import MemoryStore
from latewood.search.types import DiskFullError, StoreDamagedError


def names(store):
    return sorted(one.document.title for one in store.list_manifests())


def vectors(store, document):
    return store.read_chunks(document)[1]


def ids(world):
    return [one.id for one in world.live.list_manifests() if one.live]


def test_an_optimised_copy_holds_the_same_and_takes_over(world):
    before, old = world.content(), layout.current(world.home)
    revisions = {one.id: one.revision for one in world.live.list_manifests()}
    rows = {one: vectors(world.live, one) for one in ids(world)}
    world.rebuild()
    assert layout.current(world.home) != old
    assert world.content() == before
    assert {one.id: one.revision for one in world.live.list_manifests()} == revisions
    for one, was in rows.items():
        assert np.allclose(vectors(world.live, one).dense, was.dense, rtol=0, atol=1e-6)
    assert world.strays() == []
    assert not (world.home / "NEXT").exists()


def test_a_copy_is_on_disk_before_it_is_named_current(world, monkeypatch):
    """Uploads are forgotten once the old generation is synced: the new one must survive a power cut, too."""
    happened = []
    put, make_current = MemoryStore.put_manifests, layout.make_current
    monkeypatch.setattr(MemoryStore, "put_manifests", lambda *given: happened.append("write") or put(*given))
    monkeypatch.setattr(MemoryStore, "sync", lambda store: happened.append("sync"))
    monkeypatch.setattr(
        layout, "make_current", lambda *given: happened.append("current") or make_current(*given)
    )
    world.rebuild()
    assert happened.count("current") == 1
    assert happened[happened.index("current") - 1] == "sync"


def test_an_index_is_copied_in_small_readings_that_questions_come_between(world, monkeypatch):
    read, sizes = MemoryStore.read_points, []

    def noted(store, ids):
        sizes.append(len(ids))
        return read(store, ids)

    monkeypatch.setattr("latewood.ingest.index.copy.READ_CHUNKS", 2)
    monkeypatch.setattr(MemoryStore, "read_points", noted)
    before = world.content()
    world.rebuild()
    assert world.content() == before
    assert len(sizes) > 1
    assert max(sizes) == 2


def test_what_was_optimised_away_is_removed_once_nobody_reads_it(world):
    reader, old = world.live.held(), layout.current(world.home)
    world.rebuild()
    assert world.folders() == {old.name, layout.current(world.home).name}
    assert reader.store.stats().documents == 3
    del reader
    assert world.folders() == {layout.current(world.home).name}


def test_a_version_in_flight_is_not_copied(world):
    assert world.live.in_flight() != []
    world.rebuild()
    assert world.live.in_flight() == []
    assert world.live.stats().hidden == 0


def test_what_is_written_meanwhile_is_there_after_the_switch(world, other):
    """Each document that is brought over is a moment for others to write."""
    steps = iter(
        [
            lambda: world.take({"new": "Something new stands here now."}),
            lambda: world.take({"ferry": "The ferry does not leave any more."}),
            lambda: world.remove("seals"),
            lambda: world.take({"seals": "They came back to the sand bank."}),
            lambda: world.remove("tides"),
        ]
    )

    def meanwhile(uri: str) -> None:
        for step in steps:
            step()
            return

    world.rebuild(moved=meanwhile)
    assert next(steps, None) is None
    assert names(world.live) == ["ferry", "log that cannot be read", "new", "seals"]
    assert world.text("ferry") == "The ferry does not leave any more."
    assert world.text("seals") == "They came back to the sand bank."
    assert world.strays() == []
    assert world.live.stats().documents == 3


@pytest.mark.parametrize("remade", [False, True])
def test_metadata_set_by_hand_meanwhile_is_in_manifest_passages_and_record(world, other, remade):
    ferry = next(one.id for one in world.live.list_manifests() if one.document.title == "ferry")
    done = []

    def meanwhile(uri: str) -> None:
        if not done:
            done.append(metadata_overrides.amend(world.live, ferry, {"team": "deck", "author": None}))

    purpose, remake = (folder.MIGRATE, other.remake()) if remade else (folder.OPTIMISE, None)
    world.rebuild(purpose, remake, moved=meanwhile)
    (manifest,), (record,) = world.live.get_manifests([ferry]), world.live.get_records([ferry])
    wanted = {"pages": [1, 2], "team": "deck"}
    assert manifest.document.metadata == record.manifest.document.metadata == wanted
    assert dict(manifest.amended) == dict(record.manifest.amended) == {"team": "deck", "author": None}
    assert {one.document == manifest.document for one in world.live.chunks_of(ferry)} == {True}
    assert record.manifest.recorded == manifest.recorded
    assert not verify.examine(world.live).all()


def test_a_walk_begun_before_the_switch_ends_before_it(world, monkeypatch):
    """The writer stands between announcing and committing while the switch is asked for."""
    monkeypatch.setattr("latewood.ingest.index.rebuild.PATIENCE", 60.0)
    inside, go_on = threading.Event(), threading.Event()
    info = next(one.document for one in world.live.list_manifests() if one.document.title == "ferry")

    def write() -> None:
        with world.live.writing():
            (attempt,) = commit.begin(world.live, [info])
            inside.set()
            go_on.wait(60)
            commit.abandon(world.live, [attempt])
            assert commit.remove(world.live, [info.id]) == 1

    writer = threading.Thread(target=write)
    writer.start()
    assert inside.wait(60)
    switching = threading.Thread(target=world.rebuild)
    switching.start()
    while not world.live._gate._switching:
        assert switching.is_alive()
    old = layout.current(world.home)
    go_on.set()
    writer.join(60)
    switching.join(60)
    assert layout.current(world.home) != old
    assert "ferry" not in names(world.live)
    assert world.live.in_flight() == []
    assert world.strays() == []


def test_a_switch_that_finds_no_moment_gives_up_and_writers_go_on(world, monkeypatch):
    monkeypatch.setattr("latewood.ingest.index.rebuild.PATIENCE", 0.001)
    monkeypatch.setattr("latewood.ingest.index.rebuild._TRIES", 3)
    old = layout.current(world.home)
    inside, done = threading.Event(), threading.Event()

    def hold() -> None:
        with world.live.writing():
            inside.set()
            done.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    assert inside.wait(60)
    with pytest.raises(StoreDamagedError.__base__, match="did not come to an end"):
        world.rebuild()
    done.set()
    holder.join(60)
    assert layout.current(world.home) == old
    world.take({"ferry": "Still writing."})
    assert folder.planned(world.home) is not None  # to go on with


def test_another_model_answers_with_the_same_texts_under_the_same_ids(world, other):
    before, old = world.content(), layout.current(world.home)
    world.rebuild(folder.MIGRATE, other.remake())
    assert world.content() == before
    assert world.live.config.dimensions == (other.dimension,)
    ferry = world.live.chunks_of(ids(world)[0])
    found = vectors(world.live, ids(world)[0]).dense
    assert np.allclose(found, other.rows([one.chunk.text for one in ferry]), atol=1e-6)
    for one in world.live.list_manifests():
        assert one.live is None or one.recorded == {"context": "0", "dtype": "float32", "chunk_tokens": "8"}
    assert world.kept() == old.name


def test_a_passage_without_a_token_of_the_new_model_shares_its_neighbours_vector(world, other):
    text = "Numbers come first here and last. 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18"
    world.take({"numbers": text})
    key = next(one.id for one in world.live.list_manifests() if one.document.title == "numbers")
    last = world.live.chunks_of(key)[-1].chunk.text
    assert not any(letter.isalpha() for letter in last)
    world.rebuild(folder.MIGRATE, other.remake())
    rows = vectors(world.live, key).dense
    assert np.array_equal(rows[-1], rows[-2])
    assert world.text("numbers") == text


def test_going_back_embeds_only_what_changed_since(world, other):
    rows = {one: vectors(world.live, one).dense for one in ids(world)}
    world.rebuild(folder.MIGRATE, other.remake())
    world.take({"ferry": "The ferry sails to the island now.", "new": "A new one."}, other)
    world.remove("tides")
    after, migrated = world.content(), layout.current(world.home)
    back = type(world.embedder)()
    from latewood.ingest.index.reembed import Reembed
    from latewood.search.analysis.analyzer import Analyzer

    world.rebuild(folder.ROLLBACK, Reembed(back, Analyzer(), lambda: False))
    assert world.live.config == world.config
    assert world.content() == after
    assert back.embedded == 2
    seals = next(one for one in world.live.list_manifests() if one.document.title == "seals")
    assert np.allclose(vectors(world.live, seals.id).dense, rows[seals.id], rtol=0, atol=1e-6)
    assert world.kept() == migrated.name


def test_optimising_keeps_the_generation_of_the_other_model(world, other):
    old = layout.current(world.home).name
    world.rebuild(folder.MIGRATE, other.remake())
    world.rebuild()
    assert world.kept() == old
    assert world.folders() == {old, layout.current(world.home).name}


def test_what_was_stopped_goes_on_without_doing_it_again(world, other):
    before, moved = world.content(), []

    def stop() -> bool:
        return len(moved) > 0

    with pytest.raises(StoppedError):
        world.rebuild(folder.MIGRATE, other.remake(), moved=moved.append, stop=stop)
    assert world.content() == before
    done = len(other.texts)
    world.start()
    world.rebuild(folder.MIGRATE, other.remake())
    assert world.content() == before
    assert len(other.texts) == 3
    assert done <= 3


def test_a_build_for_something_else_makes_way(world, other):
    with pytest.raises(StoppedError):
        world.rebuild(folder.MIGRATE, other.remake(), stop=lambda: True)
    begun = folder.planned(world.home).generation
    world.rebuild()
    assert begun not in world.folders()
    assert world.live.config == world.config


def test_a_begun_copy_that_is_damaged_is_made_anew(world):
    with pytest.raises(StoppedError):
        world.rebuild(stop=lambda: True)
    begun = folder.planned(world.home).generation

    def open_store(generation, config, aside):
        if generation == begun:
            raise StoreDamagedError("half of it is gone")
        return world.open_store(generation, config, aside)

    before = world.content()
    world.rebuild(open_store=open_store)
    assert world.content() == before
    assert begun not in world.folders()


def test_a_document_that_lacks_passages_stops_the_build_and_says_what_to_do(world):
    ferry = next(one for one in world.live.list_manifests() if one.document.title == "ferry")
    world.live.remove_chunks([world.live.chunks_of(ferry.id)[0].chunk.id])
    old = layout.current(world.home)
    with pytest.raises(StoreDamagedError, match=r"ferry.*lack passages.*latewood verify --repair"):
        world.rebuild()
    assert layout.current(world.home) == old


def test_a_copy_that_lost_something_does_not_take_over(world):
    old = layout.current(world.home)

    def open_store(generation, config, aside):
        store = world.open_store(generation, config, aside)
        if not aside:  # after optimising
            lost = store.list_chunks(limit=1)
            store.remove_chunks([one.id for one in lost])
        return store

    with pytest.raises(StoreDamagedError, match="does not take over"):
        world.rebuild(open_store=open_store)
    assert layout.current(world.home) == old


def test_too_little_room_is_found_before_anything_is_copied(world, monkeypatch):

    kind = type(world.disk[layout.current(world.home)])
    was = kind.stats
    monkeypatch.setattr(kind, "stats", lambda store: replace(was(store), bytes=2**60))
    with pytest.raises(DiskFullError, match="to optimise this index takes"):
        world.rebuild()
    assert folder.planned(world.home) is None
    assert world.folders() == {layout.current(world.home).name}
