"""Stages that run ahead: in order, bounded, errors in their turn, nothing left behind."""

from __future__ import annotations

import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from latewood.ingest.stages import ahead

PATIENCE_S = 60.0


class Numbers:
    """A source that remembers how far it was read and whether it was closed."""

    def __init__(self, end: int, error: Exception | None = None) -> None:
        self.read = 0
        self.closed = False
        self.threads: set[int] = set()
        self._end, self._error = end, error

    def __call__(self) -> Generator[int]:
        try:
            for number in range(self._end):
                self.threads.add(threading.get_ident())
                self.read += 1
                yield number
            if self._error is not None:
                raise self._error
        finally:
            self.closed = True


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once the stage waits for its thread to end; what was to be dropped is dropped by then."""
    ending = threading.Event()

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            ending.set()
            super().shutdown(wait, cancel_futures=cancel_futures)

    monkeypatch.setattr("latewood.ingest.stages.ThreadPoolExecutor", Pool)
    return ending


def test_results_come_in_order_and_the_source_is_read_in_the_callers_thread() -> None:
    numbers = Numbers(50)
    worked: set[int] = set()

    def work(number: int) -> int:
        worked.add(threading.get_ident())
        return number * number

    assert list(ahead(numbers(), work, "test")) == [number * number for number in range(50)]
    assert numbers.threads == {threading.get_ident()}
    assert len(worked) == 1
    assert not worked & numbers.threads


@pytest.mark.parametrize("waiting", [1, 3])
def test_the_source_is_read_no_further_than_what_may_wait(waiting: int) -> None:
    numbers, seen = Numbers(50), 0
    with closing(ahead(numbers(), lambda number: number, "test", waiting)) as results:
        for result in results:
            seen += 1
            assert result == seen - 1
            assert numbers.read <= seen + waiting


def test_the_next_item_is_fetched_while_one_is_worked_on() -> None:
    fetched = threading.Event()

    def source() -> Generator[int]:
        yield 0
        fetched.set()
        yield 1

    def work(number: int) -> bool:
        return fetched.wait(PATIENCE_S)

    assert list(ahead(source(), work, "test")) == [True, True]


def test_an_error_of_the_source_comes_after_the_results_before_it() -> None:
    numbers, seen = Numbers(3, OSError("gone")), list[int]()
    with pytest.raises(OSError, match="gone"):
        seen.extend(ahead(numbers(), lambda number: number, "test"))
    results = ahead(Numbers(3, OSError("gone"))(), lambda number: number, "test")
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="gone"):
        next(results)


def test_after_an_error_of_the_work_nothing_that_waits_is_begun_and_the_source_is_closed(
    ending: threading.Event,
) -> None:
    numbers, begun = Numbers(50), list[int]()

    def work(number: int) -> int:
        begun.append(number)
        if number == 2:
            raise ValueError("two")
        if number > 2:  # at most the one that the thread took up before the error was read
            assert ending.wait(PATIENCE_S)
        return number

    results = ahead(numbers(), work, "test", waiting=3)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)
    assert begun[:3] == [0, 1, 2]
    assert len(begun) <= 4
    assert numbers.closed


def test_closing_waits_for_what_is_worked_on_and_drops_what_waits(ending: threading.Event) -> None:
    numbers = Numbers(50)
    entered = threading.Event()
    ended: list[int] = []

    def work(number: int) -> int:
        if number == 1:
            entered.set()
            assert ending.wait(PATIENCE_S)
        ended.append(number)
        return number

    results = ahead(numbers(), work, "test", waiting=3)
    assert next(results) == 0
    assert entered.wait(PATIENCE_S)
    results.close()
    assert ended == [0, 1]
    assert numbers.closed
