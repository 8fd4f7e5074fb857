"""What becomes of uploads after their jobs: some are forgotten, some are tried again.

An upload whose document is committed stays in the spool until the commit survives a power cut. One sync
serves all uploads that were committed since the last one, so that many small uploads do not wait for the disk
each. After a power cut in between, the spool still has the upload, and it is ingested once more.

An upload that met a passing failure, such as a full disk, is handed in again while this process lives: first
one of them, as a probe, after a pause that doubles with each failure; once it succeeds, all the others.
"""

from __future__ import annotations

import errno
import logging
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from time import monotonic

from latewood.embedder.types import EmbedderError
from latewood.ingest.uploads import Spool, Spooled
from latewood.search.stores.base import Store
from latewood.search.types import DiskFullError, SearchError, StoreUnavailableError

BATCH = 64
"""So many committed uploads are not kept waiting for more before they are synced."""

BATCH_SECONDS = 1.0
"""How long a committed upload waits for others to be synced with it."""

FIRST_PAUSE = 5.0
LONGEST_PAUSE = 300.0

_PASSING = (DiskFullError, StoreUnavailableError, EmbedderError, OSError)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Failed:
    """An upload that met a passing failure.

    Attributes:
        free: bytes that were free then; None where a lack of space was not the reason.
    """

    spooled: Spooled
    free: int | None


class Settling:
    """Uploads of one process between the end of their job and the end of their entry in the spool.

    Safe to call from many threads.
    """

    def __init__(
        self, spool: Spool, again: Callable[[Spooled], object], *, first_pause: float = FIRST_PAUSE
    ) -> None:
        """Begin with nothing.

        Args:
            spool: where the uploads lie.
            again: hands an upload in once more, as a new job.
            first_pause: seconds before an upload that met a passing failure is tried again.
        """
        self._spool = spool
        self._again = again
        self._first_pause = first_pause
        self._pause = first_pause
        self._due = 0.0
        self._blocked = False
        self._probe = ""
        self._changed = threading.Condition()
        self._committed: list[tuple[Store, Spooled]] = []
        self._failed: dict[str, _Failed] = {}
        self._closing = False
        self._settling = threading.Lock()
        self._thread: threading.Thread | None = None

    def committed(self, store: Store, spooled: Spooled) -> None:
        """Note that an upload's document is committed in `store`: it is forgotten after the next sync."""
        with self._changed:
            self._committed.append((store, spooled))
            self._blocked, self._due = False, 0.0  # what stopped the others has passed
            self._wake()

    def has_committed(self, entry: str) -> bool:
        """Return whether the upload in the spool's folder of this name is committed and not yet forgotten."""
        with self._changed:
            return any(spooled.folder.name == entry for _, spooled in self._committed)

    def failed(self, spooled: Spooled, error: BaseException) -> None:
        """Note that an upload's job failed; it is handed in again later if the failure may pass."""
        if not isinstance(error, _PASSING):
            return
        full = isinstance(error, DiskFullError) or getattr(error, "errno", None) in {
            errno.ENOSPC,
            errno.EDQUOT,
        }
        free = shutil.disk_usage(spooled.folder.parent).free if full else None
        with self._changed:
            entry = spooled.folder.name
            if entry == self._probe:
                self._pause = min(2 * self._pause, LONGEST_PAUSE)
                self._due = monotonic() + self._pause
            elif not self._blocked:
                self._pause = self._first_pause
                self._due = monotonic() + self._pause
            self._blocked = True
            self._failed[entry] = _Failed(spooled, free)
            self._wake()

    def settle(self) -> None:
        """Sync what is committed and forget its uploads; on return all that was noted before is done.

        An upload whose index cannot be synced stays in the spool, for the next process.
        """
        with self._settling:
            with self._changed:
                taken = list(self._committed)
            for store, group in groupby(sorted(taken, key=_by_store), key=lambda one: one[0]):
                waiting = [spooled for _, spooled in group if self._spool.has(spooled.folder.name)]
                try:
                    if waiting:
                        store.sync()
                    for spooled in waiting:
                        self._spool.settle(spooled)
                except (SearchError, OSError) as error:
                    logger.error("%d uploads stay in the spool: %s", len(waiting), error)
            with self._changed:
                self._committed = self._committed[len(taken) :]

    def close(self) -> None:
        """Settle what is left; nothing is handed in again any more."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        self.settle()

    def _wake(self) -> None:
        """Have the thread look; only where `_changed` is held."""
        if self._thread is None and not self._closing:
            self._thread = threading.Thread(target=self._work, name="settling", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._committed or self._failed)
                self._changed.wait_for(lambda: self._closing or len(self._committed) >= BATCH, BATCH_SECONDS)
                if self._closing:
                    return
            self.settle()
            self._try_again()

    def _try_again(self) -> None:
        with self._changed:
            if monotonic() < self._due:
                return
            self._failed = {entry: one for entry, one in self._failed.items() if self._spool.has(entry)}
            ready = sorted(entry for entry, one in self._failed.items() if _may_pass(one))
            if self._blocked:
                ready = ready[:1]
                self._probe = "".join(ready)
            self._due = monotonic() + self._pause
            taken = [self._failed.pop(entry).spooled for entry in ready]
        for spooled in taken:
            logger.info("%s is handed in again after a passing failure", spooled.upload.uri)
            self._again(spooled)


def _by_store(noted: tuple[Store, Spooled]) -> int:
    return id(noted[0])


def _may_pass(failed: _Failed) -> bool:
    """Return whether an upload is worth another try: after a full disk, only with more space than then."""
    return failed.free is None or shutil.disk_usage(failed.spooled.folder.parent).free > failed.free
