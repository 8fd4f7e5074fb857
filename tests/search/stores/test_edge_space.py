"""The embedded store on a disk that is really full: a small file system in memory, filled with ballast."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from latewood.ingest.index import commit
from latewood.search.stores.edge import private_copy
from latewood.search.stores.edge.store import EdgeStore
from latewood.search.types import DiskFullError, Manifest, ManifestWrite, Record, StoreReadOnlyError

sys.path.append(str(Path(__file__).parents[2] / "disks"))  # helpers; no test package

from small_disk import SmallDisk, needs_mount, small_disk

MIB = 2**20
FLOOR = 64 * MIB
UNGUARDED = -(2**50)  # as if every estimate were far too small

pytestmark = needs_mount


def index_on(disk: SmallDisk) -> Path:
    return disk.folder / "index"


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    with small_disk(320) as made:
        index_on(made).mkdir()
        yield made


def test_what_every_passage_says_of_its_document_counts_as_often_as_it_is_written(disk, kit):
    """Numbers are written three times into each of 200 passages: 100 MB for what was handed in once."""
    store = EdgeStore(index_on(disk), kit.config, free_space=FLOOR)
    metadata = {f"key{one}": [one + number / 7 for number in range(256)] for one in range(20)}
    heavy = kit.passages(kit.document("heavy", metadata=metadata), "v", ["elm"] * 200)
    with pytest.raises(DiskFullError, match="nothing was written"):
        kit.write(store, heavy)
    kit.commit(store, "light", ["elm"] * 200)
    store.close()


def record_of(store, passages) -> Record:
    (manifest,) = store.get_manifests([passages[0].document.id])
    return Record(manifest, tuple(one.chunk for one in passages))


def assert_all_there(store, kit, written, before) -> None:
    """Documents, their records, and the answers."""
    for passages in written:
        assert store.chunks_of(passages[0].document.id) == passages
        assert store.get_records([passages[0].document.id]) == [record_of(store, passages)]
    assert store.search(kit.legs("oak 3")) == before


def test_a_full_disk_refuses_every_write_answers_and_loses_nothing(disk, kit):
    store = EdgeStore(index_on(disk), kit.config, free_space=FLOOR)
    written = [kit.commit(store, f"d{one}", [f"oak {one} {two}" for two in range(20)]) for one in range(5)]
    records = [record_of(store, passages) for passages in written]
    store.put_records(records)
    before = store.search(kit.legs("oak 3"))
    manifest = records[0].manifest
    told = replace(manifest.document, title="new")
    other = Manifest(kit.document("new"), "r")
    writes = [
        lambda: kit.write(store, kit.passages(other.document, "v", ["elm"])),
        lambda: store.put_manifests([ManifestWrite(other.id, None, other)]),
        lambda: store.put_records(records),
        lambda: store.put_info(manifest.id, manifest.live, told),
        store.optimise,
    ]
    for left in (FLOOR - 1, 0):  # nearly as much as must stay free; nothing at all
        with disk.full_but_for(left):
            worker = store.worker_pid
            for write in writes:
                with pytest.raises(DiskFullError, match=r"MiB are free at .* nothing was written"):
                    write()
                assert_all_there(store, kit, written, before)
            assert store.worker_pid == worker
    for write in writes[:4]:
        write()
    assert store.count() == 101
    with disk.full_but_for(FLOOR // 2):  # removing is how space comes back
        assert store.sweep(["v"]) == 1
        assert store.remove_chunks([written[4][0].chunk.id]) == 1
    kit.write(store, written[4])
    store.close()
    store = EdgeStore(index_on(disk), kit.config, free_space=FLOOR)
    assert [one.document.title for one in store.chunks_of(manifest.id)] == ["new"] * 20
    assert_all_there(store, kit, written[1:], before)
    store.close()


def test_an_index_closed_on_a_full_disk_opens_whole_when_there_is_space(disk, kit):
    store = EdgeStore(index_on(disk), kit.config, free_space=FLOOR)
    written = [kit.commit(store, "a", ["oak 3", "elm"])]
    store.put_records([record_of(store, written[0])])
    before = store.search(kit.legs("oak 3"))
    with disk.full_but_for(0):
        store.close()
    store = EdgeStore(index_on(disk), kit.config, free_space=FLOOR)
    assert_all_there(store, kit, written, before)
    store.close()


def test_no_index_is_made_where_there_is_no_room(disk, kit):
    with disk.full_but_for(FLOOR + 90 * MIB), pytest.raises(DiskFullError, match="must leave 64 MiB free"):
        EdgeStore(index_on(disk), kit.config, free_space=FLOOR)
    assert list(index_on(disk).iterdir()) == []
    EdgeStore(index_on(disk), kit.config, free_space=FLOOR).close()


def test_the_indexes_of_new_metadata_keys_leave_free_what_must_stay_free(disk, kit):
    store = EdgeStore(index_on(disk), kit.config, free_space=FLOOR)
    kit.commit(store, "a", ["oak"])
    (first,) = store.get_manifests([kit.document("a").id])
    many = kit.document("b", metadata={f"key{number}": "word" for number in range(20)})
    with disk.full_but_for(FLOOR + 30 * MIB):  # these take 40
        with pytest.raises(DiskFullError, match="nothing was written"):
            kit.write(store, kit.passages(many, "v", ["elm"]))
        with pytest.raises(DiskFullError, match="nothing was written"):
            store.put_info(first.id, first.live, replace(first.document, metadata=many.metadata))
        kit.write(store, kit.passages(kit.document("c", metadata={"key": "word"}), "v", ["elm"]))
        assert disk.free > FLOOR
    kit.write(store, kit.passages(many, "w", ["elm"]))
    store.close()


@pytest.mark.parametrize(
    "what",
    ["chunks", *(pytest.param(one, marks=pytest.mark.soak) for one in ("manifests", "info", "records"))],
)
def test_a_worker_that_died_of_a_full_disk_leaves_what_was_acknowledged(disk, kit, what):
    store = EdgeStore(index_on(disk), kit.config, free_space=UNGUARDED)
    written = [kit.commit(store, f"d{one}", [f"oak {one}", "elm"]) for one in range(3)]
    if what == "info":  # a key that is new gets an index, which needs as much as is left below
        write_one(store, kit, what, 0)
    worker = store.worker_pid
    with disk.full_but_for(2 * MIB):
        taken, refused = write_until_refused(store, kit, what)
    assert "full" in str(refused)
    # The engine dies of it; the record file is SQLite, which does not.
    assert ("SIGBUS" in str(refused) or worker != store.worker_pid) == (what != "records")
    assert taken > 0
    for passages in written[1:]:
        assert store.chunks_of(passages[0].document.id) == passages
    assert acknowledged(store, kit, what) in (taken, taken + 1)
    store.close()
    store = EdgeStore(index_on(disk), kit.config, free_space=FLOOR)
    assert acknowledged(store, kit, what) in (taken, taken + 1)
    kit.commit(store, "after", ["yew"])
    store.close()


def write_until_refused(store, kit, what) -> tuple[int, DiskFullError]:
    for number in range(10_000):
        try:
            write_one(store, kit, what, number)
        except DiskFullError as error:
            return number, error
    raise AssertionError("the disk never was full")


def write_one(store, kit, what, number) -> None:
    words = f"{number} " + os.urandom(40_000).hex()
    if what == "chunks":
        kit.write(store, kit.passages(kit.document(f"n{number}"), f"n{number}", [words] * 3))
    elif what == "manifests":
        made = [Manifest(kit.document(f"n{number}/{one}"), "r", notes=("x" * 500,)) for one in range(100)]
        store.put_manifests([ManifestWrite(one.id, None, one) for one in made])
    elif what == "info":
        (first,) = store.get_manifests([kit.document("d0").id])
        store.put_info(first.id, first.live, replace(first.document, metadata={"n": number, "w": words}))
    else:
        (passage,) = kit.passages(kit.document(f"n{number}"), "v", [words])
        store.put_records([Record(Manifest(passage.document, "r", live="v", chunks=1), (passage.chunk,))])


def acknowledged(store, kit, what) -> int:
    """How many writes are there, each of them whole."""
    if what == "chunks":
        versions = [one.version for one in store.list_chunks() if one.version.startswith("n")]
        assert {versions.count(one) for one in versions} <= {3}
        return len(set(versions))
    if what == "manifests":
        notes = [one for one in store.list_manifests(limit=100_000) if one.notes]
        assert len(notes) % 100 == 0
        return len(notes) // 100
    if what == "info":
        told = {one.document.metadata["n"] for one in store.chunks_of(kit.document("d0").id)}
        assert len(told) == 1
        return told.pop() + 1
    return len(store.get_records([one for one, _ in store.list_records()]))


def test_a_removal_may_use_the_reserve_that_a_write_must_leave(disk, kit):
    """Removing is how space comes back, so the manifest writes of a removal need only what they take."""
    store = EdgeStore(index_on(disk), kit.config, free_space=FLOOR)
    kit.commit(store, "a", ["oak"])
    kit.commit(store, "b", ["elm"])
    (manifest,) = store.get_manifests([kit.document("b").id])
    with disk.full_but_for(FLOOR // 2):
        assert commit.remove(store, [kit.document("a").id]) == 1
        assert store.get_manifests([kit.document("a").id]) == store.in_flight() == []
        update = replace(manifest, revision="other")
        with pytest.raises(DiskFullError, match="nothing was written"):
            store.put_manifests([ManifestWrite(manifest.id, manifest.revision, update)])
    assert store.count() == 1
    store.close()


def test_an_index_on_a_completely_full_disk_answers_from_a_copy_until_there_is_space(disk, kit):
    store = EdgeStore(index_on(disk), kit.config, free_space=FLOOR)
    written = [kit.commit(store, "a", ["oak 3", "elm"])]
    store.put_records([record_of(store, written[0])])
    before = store.search(kit.legs("oak 3"))
    for killed in (True, False):
        if killed:
            store.kill()
        store.close()
        with disk.full_but_for(0):
            store = EdgeStore(index_on(disk), kit.config, free_space=FLOOR)
            assert_all_there(store, kit, written, before)
            assert copies() != []
            with pytest.raises(DiskFullError, match="the disk is full: 0 MiB are free"):
                kit.write(store, written[0])
            with pytest.raises(DiskFullError, match="flush is refused"):
                store.flush()  # of the index, not of the copy
        store.flush()
        kit.write(store, written[0])
        assert copies() == []
        assert_all_there(store, kit, written, before)
    store.close()


def test_a_read_only_index_answers_from_a_copy_and_refuses_writes(disk, kit):
    store = EdgeStore(index_on(disk), kit.config, free_space=FLOOR)
    written = [kit.commit(store, "a", ["oak 3", "elm"])]
    store.put_records([record_of(store, written[0])])
    before = store.search(kit.legs("oak 3"))
    store.close()
    with disk.read_only():
        held = {path: path.stat().st_mtime_ns for path in index_on(disk).rglob("*")}
        store = EdgeStore(index_on(disk), kit.config, free_space=FLOOR)
        assert_all_there(store, kit, written, before)
        with pytest.raises(StoreReadOnlyError, match="is read-only"):
            kit.write(store, written[0])
        store.close()
        assert {path: path.stat().st_mtime_ns for path in index_on(disk).rglob("*")} == held
    assert copies() == []


def copies() -> list[Path]:
    """Private copies of this machine that a living process of this user may hold."""
    places = [Path(tempfile.gettempdir()), private_copy.MEMORY]
    return [path for place in places for path in place.glob(f"latewood-copy-{os.geteuid()}-*/index")]


def test_no_place_for_a_copy_is_an_error_that_names_the_size_and_the_remedy(disk, kit, monkeypatch):
    EdgeStore(index_on(disk), kit.config, free_space=FLOOR).close()
    monkeypatch.setattr(tempfile, "tempdir", str(index_on(disk)))
    monkeypatch.setattr(private_copy, "MEMORY", index_on(disk))
    with disk.full_but_for(0), pytest.raises(DiskFullError, match=r"takes \d+ MiB, more than .* set TMPDIR"):
        EdgeStore(index_on(disk), kit.config, free_space=FLOOR)
