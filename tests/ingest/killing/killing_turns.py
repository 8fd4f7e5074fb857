"""Stores in memory seen through something: what stops a walk at a call, what lets writers take turns."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

from latewood.search.stores.memory import MemoryStore
from latewood.search.types import IndexConfig

PATIENCE = 120.0


class Stopped(BaseException):
    """The process is gone: nothing that it would still have done happens."""


class _Seen:
    """A store whose every call passes `_pass` first."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    @property
    def config(self) -> IndexConfig:
        return self._store.config

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._pass(lambda: method(*args, **kwargs))

        return call

    def _pass(self, call: Callable[[], Any]) -> Any:
        raise NotImplementedError


class StoppedAt(_Seen):
    """As one process sees it that is killed before its n-th call."""

    def __init__(self, store: MemoryStore, at: int) -> None:
        super().__init__(store)
        self._left = at

    def _pass(self, call: Callable[[], Any]) -> Any:
        self._left -= 1
        if self._left <= 0:
            raise Stopped
        return call()


class Turns:
    """Several writers on one store; whose call comes next is a seeded choice, so a run can be repeated.

    A call is let through only when every writer waits at one or has ended.
    """

    def __init__(self, store: MemoryStore, seed: int, between: Callable[[], None]) -> None:
        """Take turns at `store`; `between` is called after each call, while nobody is at work."""
        self._store = store
        self._chance = random.Random(seed)
        self._between = between
        self._news = threading.Condition()
        self._waiting: dict[int, threading.Event] = {}
        self._writers: list[Callable[[MemoryStore], None]] = []
        self._left: set[int] = set()
        self._busy: set[int] = set()
        self._errors: list[BaseException] = []
        self.order: list[int] = []

    def writer(self, work: Callable[[Any], None]) -> None:
        """Add a writer; it gets the store as it may use it."""
        self._writers.append(work)

    def run(self) -> None:
        """Let all of them work to their end."""
        self._left = set(range(len(self._writers)))
        self._busy = set(self._left)
        threads = [threading.Thread(target=self._work, args=(number,)) for number in self._left]
        for thread in threads:
            thread.start()
        while (number := self._next()) is not None:
            self.order.append(number)
            self._between()
        for thread in threads:
            thread.join(PATIENCE)
        if self._errors:
            raise self._errors[0]

    def _next(self) -> int | None:
        """Let one call through and wait until it is done and its writer waits again or has ended."""
        with self._news:
            self._settle()
            if not self._left:
                return None
            number = self._chance.choice(sorted(self._waiting))
            self._busy.add(number)
            self._waiting.pop(number).set()
            self._settle()
            return number

    def _settle(self) -> None:
        assert self._news.wait_for(lambda: not self._busy, PATIENCE), f"{self._busy} do not come back"

    def _work(self, number: int) -> None:
        try:
            self._writers[number](_Turn(self._store, lambda: self._wait(number)))  # type: ignore[arg-type]
        except BaseException as error:  # noqa: BLE001 - raised again by `run`
            self._errors.append(error)
        finally:
            with self._news:
                self._left.discard(number)
                self._busy.discard(number)
                self._news.notify_all()

    def _wait(self, number: int) -> None:
        turn = threading.Event()
        with self._news:
            assert number not in self._waiting, "one writer, one call at a time"
            self._waiting[number] = turn
            self._busy.discard(number)
            self._news.notify_all()
        assert turn.wait(PATIENCE)


class _Turn(_Seen):
    def __init__(self, store: MemoryStore, wait: Callable[[], None]) -> None:
        super().__init__(store)
        self._wait = wait

    def _pass(self, call: Callable[[], Any]) -> Any:
        self._wait()
        return call()
