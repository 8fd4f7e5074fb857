"""Open generations, each closed when nobody holds it any more."""

from __future__ import annotations

import logging
import queue
import threading
import weakref
from pathlib import Path

from latewood.search.stores.base import Store
from latewood.search.stores.generations import folder
from latewood.search.stores.generations.switch import Held
from latewood.search.types import SearchError

logger = logging.getLogger(__name__)


class Shelf:
    """Hands out leases and closes what comes back, in a thread of its own: closing may take a while."""

    def __init__(self) -> None:
        self._returned: queue.SimpleQueue[tuple[Store, Path | None] | None] = queue.SimpleQueue()
        self._guard = threading.Lock()
        self._held: list[weakref.finalize[..., Held]] = []
        self._thread = threading.Thread(target=self._work, name="shelf", daemon=True)
        self._thread.start()

    def hold(self, store: Store, generation: Path | None) -> Held:
        """A lease on an open store; the store is closed when the last reference to it is gone.

        Args:
            store: an open store.
            generation: its folder, which stays until then; None where there is none.
        """
        if generation is not None:
            folder.use(generation)
        held = Held(store, lambda open_store: self._returned.put((open_store, generation)))
        with self._guard:
            self._held = [*(one for one in self._held if one.alive), held.let_go]
        return held

    def close(self) -> None:
        """Close everything, whoever may still hold it."""
        with self._guard:
            for let_go in self._held:
                let_go()
            self._held.clear()
        self._returned.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (entry := self._returned.get()) is not None:
            store, generation = entry
            try:
                store.close()
            except SearchError:
                logger.exception("closing %s", generation or "a store on the server")
            if generation is not None:
                folder.release(generation)
