"""Stages of a walk that overlap: each in a thread of its own, in order, with a bounded number waiting."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from types import TracebackType
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


def ahead(
    items: Generator[Given], work: Callable[[Given], Made], name: str, waiting: int = 1
) -> Generator[Made]:
    """Results of `work` for each item, in order; one is worked on in a thread while the next is fetched.

    `items` is advanced only in the thread that reads the results, and no further than `waiting` items beyond
    the one being worked on, so memory stays bounded. An error of `items` is raised after the results of what
    came before it; after an error of `work` nothing that waits is begun. Closing waits for what is being
    worked on, drops what waits, and closes `items`.
    """
    futures: deque[Future[Made]] = deque()
    source = _Kept()
    with closing(items), ThreadPoolExecutor(1, thread_name_prefix=name) as thread:
        try:
            while True:
                with source:
                    futures.append(thread.submit(work, next(items)))
                if source.error is not None:
                    break
                if len(futures) > waiting:
                    yield futures.popleft().result()
            while futures:
                yield futures.popleft().result()
        finally:
            for future in futures:
                future.cancel()
    if not isinstance(source.error, StopIteration):
        raise source.error


class _Kept:
    """Keeps an error, the end of an iterator included, until it is its turn."""

    error: BaseException | None = None

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.error = error
        return isinstance(error, Exception)
