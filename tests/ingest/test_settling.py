"""Uploads after their jobs: one sync for many, forgotten after it, another try after a passing failure."""

from __future__ import annotations

import queue
import shutil
import threading
from collections import namedtuple
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from latewood.embedder.types import EmbedderError
from latewood.ingest.settling import BATCH, Settling
from latewood.ingest.uploads import Spool, Spooled, Upload
from latewood.search.types import DiskFullError, FingerprintError, StoreUnavailableError

Usage = namedtuple("Usage", "total used free")


class Store:
    """A store that can only be synced: each sync waits for its turn, and notes what the spool holds."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self.held: list[list[str]] = []
        self.error: Exception | None = None

    def sync(self) -> None:
        self.held.append(uris(self._spool))
        if self.error is not None:
            raise self.error


def uris(spool: Spool) -> list[str]:
    return [one.upload.uri for one in spool.waiting()]


def keep(spool: Spool, name: str) -> Spooled:
    upload = Upload("default", "default", name, f"{name}.txt", "", {})
    return spool.add(upload, lambda path: path.write_text("The ferry leaves.") and None)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "uploads")


@pytest.fixture
def again() -> queue.SimpleQueue[str]:
    """Uris of the uploads that are handed in again, as they come."""
    return queue.SimpleQueue()


@pytest.fixture
def settling(spool: Spool, again: queue.SimpleQueue[str]) -> Iterator[Settling]:
    made = Settling(spool, lambda spooled: again.put(spooled.upload.uri), first_pause=0.0)
    with closing(made):
        yield made


def test_many_uploads_share_one_sync_and_are_forgotten_after_it(spool: Spool, settling: Settling) -> None:
    store: Any = Store(spool)
    names = [str(number) for number in range(BATCH // 2)]
    kept = [keep(spool, name) for name in names]
    with settling._settling:  # the thread waits, as for a slow disk
        for spooled in kept:
            settling.committed(store, spooled)
            assert settling.has_committed(spooled.folder.name)
    settling.settle()
    assert len(store.held) <= 2
    assert store.held[0] == names
    assert spool.waiting() == []
    assert all(spool.was_committed(one.folder.name) for one in kept)
    assert not settling.has_committed(kept[0].folder.name)


def test_nobody_has_to_ask_for_it(spool: Spool, settling: Settling) -> None:
    synced = threading.Event()
    store: Any = Store(spool)
    store.sync = synced.set
    settling.committed(store, keep(spool, "ferry"))
    assert synced.wait(60)


def test_an_upload_whose_commit_cannot_be_synced_stays(spool: Spool, settling: Settling) -> None:
    broken: Any = Store(spool)
    broken.error = StoreUnavailableError("the disk refused")
    whole: Any = Store(spool)
    settling.committed(broken, keep(spool, "ferry"))
    settling.committed(whole, keep(spool, "seals"))
    settling.settle()
    assert uris(spool) == ["ferry"]


def test_an_upload_that_was_removed_meanwhile_needs_no_sync(spool: Spool, settling: Settling) -> None:
    store: Any = Store(spool)
    spooled = keep(spool, "ferry")
    with settling._settling:
        settling.committed(store, spooled)
        spool.remove(spooled)
    settling.settle()
    assert store.held == []
    assert not spool.was_committed(spooled.folder.name)


def test_closing_settles_what_is_left(spool: Spool) -> None:
    settling = Settling(spool, lambda spooled: None)
    store: Any = Store(spool)
    settling.committed(store, keep(spool, "ferry"))
    settling.close()
    assert spool.waiting() == []


@pytest.mark.parametrize(
    "error",
    [
        StoreUnavailableError("the server is down"),
        EmbedderError("the model is out of memory"),
        OSError(5, "Input/output error"),
    ],
)
def test_after_a_passing_failure_one_is_tried_and_then_the_others(
    spool: Spool, settling: Settling, again: queue.SimpleQueue[str], error: Exception
) -> None:
    kept = [keep(spool, name) for name in "abc"]
    with settling._settling:
        for spooled in kept:
            settling.failed(spooled, error)
    assert again.get(timeout=60) == "a"
    store: Any = Store(spool)
    settling.committed(store, kept[0])
    assert sorted(again.get(timeout=60) for _ in "bc") == ["b", "c"]


def test_a_probe_that_fails_again_is_tried_later(
    spool: Spool, settling: Settling, again: queue.SimpleQueue[str]
) -> None:
    kept = keep(spool, "a")
    for _ in range(3):
        settling.failed(kept, StoreUnavailableError("the server is down"))
        assert again.get(timeout=60) == "a"


def test_after_a_full_disk_nothing_is_tried_before_space_is_back(
    spool: Spool, settling: Settling, again: queue.SimpleQueue[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [10]
    looked = threading.Semaphore(0)

    def usage(path: object) -> Usage:
        looked.release()
        return Usage(100, 100 - free[0], free[0])

    monkeypatch.setattr(shutil, "disk_usage", usage)
    settling.failed(keep(spool, "a"), DiskFullError("10 bytes are free"))
    for _ in range(3):  # once at the failure, then by the thread
        assert looked.acquire(timeout=60)
    assert again.empty()
    free[0] = 11
    assert again.get(timeout=60) == "a"


def test_what_will_not_pass_is_not_tried_again(
    spool: Spool, settling: Settling, again: queue.SimpleQueue[str]
) -> None:
    settling.failed(keep(spool, "model"), FingerprintError("the index was made with another model"))
    gone = keep(spool, "gone")
    with settling._settling:
        settling.failed(gone, StoreUnavailableError("the server is down"))
        spool.remove(gone)
    settling.failed(keep(spool, "waits"), StoreUnavailableError("the server is down"))
    assert again.get(timeout=60) == "waits"
