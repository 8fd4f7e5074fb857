"""Faults of the embedded engine are sorted into damage, which a repair mends, and what passes."""

from __future__ import annotations

import shutil
import signal
from collections import namedtuple
from pathlib import Path

import pytest

from latewood.search.stores.edge.faults import EngineErrors, WorkerDiedError, given_up
from latewood.search.types import DiskFullError, StoreDamagedError, StoreError, StoreUnavailableError

DECODE = "Service runtime error: Failed to decode value: Failed to decompress LZ4 value: literal is out"


class PanicException(BaseException):
    """As the engine's, which is made anew in each extension module and can be known by its name only."""


@pytest.mark.parametrize("opening", [False, True])
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Exception(DECODE), StoreDamagedError),
        (Exception("Inconsistent storage: a point without a version"), StoreDamagedError),
        (Exception("No appropriate index for faceting: `analysed`"), StoreDamagedError),
        (PanicException("index out of bounds: the len is 3 but the index is 9"), StoreDamagedError),
        (Exception("Service runtime error: IO Error: No space left on device (os error 28)"), DiskFullError),
        (PanicException("called unwrap on: Disk quota exceeded (os error 122)"), DiskFullError),
        (Exception("Service runtime error: Too many open files (os error 24)"), StoreUnavailableError),
        (PanicException("Cannot allocate memory (os error 12)"), StoreUnavailableError),
        (Exception("Can't init WAL: Kind(WouldBlock)"), StoreUnavailableError),
    ],
)
def test_what_the_engine_raises(error: BaseException, kind: type[StoreError], opening: bool) -> None:
    with pytest.raises(StoreError) as raised, EngineErrors("reading", opening=opening):
        raise error
    assert type(raised.value) is kind
    assert ("latewood verify --repair" in str(raised.value)) == (kind is StoreDamagedError)


def test_an_unknown_error_is_damage_only_while_the_index_is_opened() -> None:
    with pytest.raises(StoreUnavailableError), EngineErrors("search"):
        raise Exception("Wrong input: Vector dimension error")
    with pytest.raises(StoreDamagedError), EngineErrors("opening", opening=True):
        raise Exception("Wrong input: Vector dimension error")


def test_a_field_that_is_missing_is_damage_where_stored_data_are_read() -> None:
    with pytest.raises(StoreDamagedError, match="document_id"), EngineErrors("fetch", reading=True):
        raise KeyError("document_id")
    with pytest.raises(KeyError), EngineErrors("put_chunks"):
        raise KeyError("document_id")
    with pytest.raises(ValueError, match="limit"), EngineErrors("search", reading=True):
        raise ValueError("limit")  # of a caller


_Usage = namedtuple("_Usage", "total used free")


@pytest.mark.parametrize("method", ["open", "search"])
@pytest.mark.parametrize(
    ("number", "free", "kind"),
    [
        *((one, 2**40, StoreDamagedError) for one in (signal.SIGABRT, signal.SIGSEGV, signal.SIGILL)),
        *((one, 2**40, StoreUnavailableError) for one in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)),
        (signal.SIGBUS, 2**20, DiskFullError),
        (signal.SIGBUS, 2**40, StoreDamagedError),
    ],
)
def test_a_worker_that_dies_again(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    number: int,
    free: int,
    kind: type[StoreError],
    method: str,
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: _Usage(2**41, 0, free))
    assert type(given_up(WorkerDiedError(-number, method), tmp_path, 2)) is kind


def test_a_worker_without_an_answer_is_damage_only_if_it_computed_while_it_opened(tmp_path: Path) -> None:
    def sorted_as(method: str, busy: float) -> type[StoreError]:
        return type(given_up(WorkerDiedError(-signal.SIGKILL, method, 120.0, busy), tmp_path, 2))

    assert sorted_as("open", 100.0) is StoreDamagedError
    assert sorted_as("open", 0.1) is StoreUnavailableError  # stopped, or waiting for its disk
    assert sorted_as("search", 100.0) is StoreUnavailableError


def test_an_exit_status_passes(tmp_path: Path) -> None:
    assert type(given_up(WorkerDiedError(1, "open"), tmp_path, 2)) is StoreUnavailableError
