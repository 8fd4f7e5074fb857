"""The embedded store's way to the disk: the engine's journal, synced from outside, once for many callers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from latewood.embedder.types import SparseVector, Vectors
from latewood.search.stores import durable
from latewood.search.stores.edge import store as edge
from latewood.search.stores.edge.store import EdgeStore
from latewood.search.types import Chunk, DocumentInfo, IndexConfig, Passage, StoreUnavailableError

WORD = "kittiwakexyzzy"
DOCUMENT = "11111111-1111-4111-8111-111111111111"
VERSION = "22222222-2222-4222-8222-222222222222"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EdgeStore]:
    opened = EdgeStore(tmp_path, IndexConfig((4,), {"model": "m"}), free_space=0)
    yield opened
    opened.close()


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders whose files were synced."""
    folders: list[Path] = []

    def sync_files(folder: Path) -> None:
        folders.append(folder)
        durable.sync_files(folder)

    monkeypatch.setattr(edge, "sync_files", sync_files)
    return folders


def put(store: EdgeStore, number: int = 0) -> None:
    info = DocumentInfo(DOCUMENT, "upload:a", "uploads:", "A", "text", "en", "", "", {})
    chunk = Chunk(DOCUMENT, VERSION, number, 0, len(WORD), WORD)
    sparse = SparseVector(np.array([1], np.uint32), np.array([1.0], np.float32))
    store.put_chunks([Passage(chunk, info)], Vectors(np.eye(1, 4, dtype=np.float32), (sparse,)))


def test_what_is_acknowledged_is_in_the_files_that_are_synced(
    store: EdgeStore, synced: list[Path], tmp_path: Path
) -> None:
    """A fact of the engine that `sync` relies on: see also the test of a power cut."""
    put(store)
    store.sync()
    (folder,) = synced
    assert folder == tmp_path / "shard" / "wal"
    assert any(WORD.encode() in path.read_bytes() for path in folder.iterdir())


def test_only_what_was_written_since_is_synced(store: EdgeStore, synced: list[Path]) -> None:
    store.sync()  # what an earlier process wrote may not be on the disk
    store.sync()
    store.count()
    store.sync()
    assert len(synced) == 1
    put(store)
    store.sync()
    store.sync()
    assert len(synced) == 2


def test_callers_at_the_same_time_share_a_sync(store: EdgeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on, count = threading.Event(), threading.Event(), []

    def slow(folder: Path) -> None:
        count.append(folder)
        begun.set()
        assert go_on.wait(60)

    monkeypatch.setattr(edge, "sync_files", slow)
    first = threading.Thread(target=store.sync)
    first.start()
    assert begun.wait(60)
    put(store)  # after the first one began: it needs another
    others = [threading.Thread(target=store.sync) for _ in range(8)]
    for thread in others:
        thread.start()
    go_on.set()
    for thread in [first, *others]:
        thread.join()
    assert len(count) == 2


def test_a_disk_that_failed_once_is_not_believed_again(
    store: EdgeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(folder: Path) -> None:
        raise OSError(5, "Input/output error")

    put(store)
    with monkeypatch.context() as patched:
        patched.setattr(edge, "sync_files", broken)
        with pytest.raises(StoreUnavailableError, match="Input/output error"):
            store.sync()
    with pytest.raises(StoreUnavailableError, match="may not survive a power cut"):
        store.sync()


def test_a_closed_store_cannot_be_synced(tmp_path: Path) -> None:
    closed = EdgeStore(tmp_path, IndexConfig((4,), {"model": "m"}), free_space=0)
    closed.close()
    with pytest.raises(StoreUnavailableError, match="closed"):
        closed.sync()


def test_a_file_that_is_renamed_meanwhile_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "open-1").touch()
    sync, seen = durable.sync, list[str]()

    def renamed_first(path: Path) -> None:
        if not seen:
            seen.append("renamed")
            path.rename(tmp_path / "closed-1")
        sync(path)
        seen.append(path.name)

    monkeypatch.setattr(durable, "sync", renamed_first)
    durable.sync_files(tmp_path)
    assert seen == ["renamed", "closed-1", tmp_path.name]


def test_folders_are_made_with_those_above_them(tmp_path: Path) -> None:
    durable.make_folder(tmp_path / "a" / "b" / "c")
    durable.make_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()
