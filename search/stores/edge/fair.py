"""A FIFO lock."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class FairLock:
    """Mutual exclusion, first come, first served. A context manager; not reentrant.

    `threading.Lock` goes to whoever comes by at the right moment: a question could wait again and again
    behind a copy that asks page after page. Here it waits for what came before it, once.

    An interrupt (Ctrl-C, in the main thread) while it is waited for or taken leaves it to the others. One
    between two instructions of `__exit__` cannot be caught in Python: the lock then stays taken.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        """Who holds it, and behind it who waits: each a lock that is released when it is its turn."""

    def __enter__(self) -> None:
        """Wait for one's turn."""
        self._take(None)

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Hold the lock, waiting at most so long for it.

        Raises:
            TimeoutError: its turn did not come.
        """
        if not self._take(seconds):
            raise TimeoutError(f"the lock was not free within {seconds:g} s")
        try:
            yield
        finally:
            self.__exit__()

    def _take(self, seconds: float | None) -> bool:
        """Wait for one's turn, without limit where there are no `seconds`; whether it came."""
        turn = threading.Lock()
        turn.acquire()
        taken = False
        try:
            with self._guard:
                self._waiting.append(turn)
                taken = self._waiting[0] is turn
            if not taken:
                taken = turn.acquire() if seconds is None else turn.acquire(timeout=seconds)
        except BaseException:
            self._leave(turn)
            raise
        if not taken:
            self._leave(turn)
        return taken

    def __exit__(self, *_: object) -> None:
        """Hand it to who has waited longest."""
        self._leave(self._waiting[0])

    def _leave(self, turn: threading.Lock) -> None:
        with self._guard:
            if turn not in self._waiting:
                return
            first = self._waiting[0] is turn
            self._waiting.remove(turn)
            if first and self._waiting:
                self._waiting[0].release()
