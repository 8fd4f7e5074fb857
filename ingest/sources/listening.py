"""Hearing of changes in folders from the operating system, through watchfiles."""

from __future__ import annotations

import os
from collections.abc import Sequence, Set
from pathlib import PurePath
from threading import Event

# Its rust backend, and not `watchfiles.watch`, which begins to listen only when it is first asked.
from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

from latewood.ingest.sources.watch import ListenError, is_below

QUIET_SECONDS = 0.3
"""Changes are collected until none came for so long."""

GATHER_SECONDS = 2.0
"""They are told after so long even if more keep coming."""


class FolderListener:
    """Hears of what is made, changed, moved or removed below folders. Implements `ingest.watch.Listener`.

    For one thread. What the system does not tell of (a network folder changed by another machine, a queue
    that overflowed) is not heard.
    """

    def __init__(
        self, roots: Sequence[str], stop: Event, *, left_out: Sequence[str] = (), hidden: bool = False
    ) -> None:
        """Listen from now on.

        Args:
            roots: folders, by the paths to be told of.
            stop: once set, `wait` returns.
            left_out: folders whose changes are nobody's business, such as the index itself.
            hidden: whether names that begin with a dot count.

        Raises:
            ListenError: the system gives no notice of changes here.
        """
        self._places = {root: os.path.realpath(root) for root in roots}
        self._stop = stop
        self._left_out = [os.path.realpath(path) for path in left_out]
        self._hidden = hidden
        try:
            self._notify = _notify(list(self._places.values()))
        except (WatchfilesRustInternalError, OSError) as error:
            raise _deaf(error) from error

    def wait(self, seconds: float) -> Set[str]:
        """Roots below which something changed; waits for it, and then for quiet.

        Raises:
            ListenError: it will hear nothing any more.
            KeyboardInterrupt: a signal came that means it.
        """
        quiet, gather = int(QUIET_SECONDS * 1000), int(GATHER_SECONDS * 1000)
        try:
            told = self._notify.watch(gather, quiet, max(int(seconds * 1000), 1), self._stop)
        except WatchfilesRustInternalError as error:
            raise _deaf(error) from error
        if told == "signal":
            raise KeyboardInterrupt
        if isinstance(told, str):  # "timeout", "stop"
            return set()
        paths = {path for _, path in told}
        return {
            root for root, place in self._places.items() if any(self._counts(path, place) for path in paths)
        }

    def close(self) -> None:
        """Hear no more."""
        self._notify.close()

    def _counts(self, path: str, place: str) -> bool:
        if not is_below(path, place) or any(is_below(path, folder) for folder in self._left_out):
            return False
        names = PurePath(path).relative_to(place).parts
        return self._hidden or not any(name.startswith(".") for name in names)


def _notify(places: list[str]) -> RustNotify:
    """Listen below these folders; past subfolders that may not be read only if there are any.

    Where the library is told to pass them over, it also says nothing of a limit that was reached.
    """
    debug, polling, delay, below = False, False, 0, True
    try:
        return RustNotify(places, debug, polling, delay, below, False)
    except PermissionError:
        return RustNotify(places, debug, polling, delay, below, True)


def _deaf(error: Exception) -> ListenError:
    return ListenError(
        f"the system does not tell of changes here ({error}); on Linux, raising fs.inotify.max_user_watches "
        "and fs.inotify.max_user_instances most often helps"
    )
