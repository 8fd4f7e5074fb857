"""The gate between writers and a switch of generations."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from latewood.search.types import StoreUnavailableError


class BusyError(StoreUnavailableError):
    """Writers did not leave a moment to switch in; they go on, and it can be tried again."""


class Gate:
    """Many writers or one switch. A switch waits for walks that began before it; later ones wait for it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._switching = False
        self._mine = threading.local()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """No switch happens while this is held. A thread that holds it may take it again."""
        depth: int = getattr(self._mine, "depth", 0)
        if depth == 0:
            with self._changed:
                self._changed.wait_for(lambda: not self._switching)
                self._inside += 1
        self._mine.depth = depth + 1
        try:
            yield
        finally:
            self._mine.depth = depth
            if depth == 0:
                with self._changed:
                    self._inside -= 1
                    self._changed.notify_all()

    @contextmanager
    def switching(self, patience: float) -> Iterator[None]:
        """Nothing is written while this is held.

        Raises:
            BusyError: a walk did not end within `patience` seconds; writers go on.
        """
        with self._changed:
            if self._switching or getattr(self._mine, "depth", False):
                raise BusyError("another switch, or a walk of this thread, is under way")
            self._switching = True
            try:
                free = self._changed.wait_for(lambda: self._inside == 0, patience)
            except BaseException:
                self._open()
                raise
            if not free:
                self._open()
                raise BusyError(
                    f"writers did not come to an end within {patience:g} s; the switch is tried again later"
                )
        try:
            yield
        finally:
            with self._changed:
                self._open()

    def _open(self) -> None:
        self._switching = False
        self._changed.notify_all()
