"""The process that owns the embedded engine: `python -m latewood.search.stores.edge.worker FD`.

The engine holds Python's lock for the whole of every call, so it lives apart from the process that serves.
Requests come over a socket whose end is `FD`, one at a time, as `(method, arguments)`; each gets one reply,
`("ok", value)` or `("error", exception)`. The process ends when that socket closes, so it never outlives its
owner, and until then it keeps every file descriptor it was given, the owner's lock among them.
"""

from __future__ import annotations

import logging
import os
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from latewood.search.stores.edge.disk_space import disk_bytes
from latewood.search.stores.edge.faults import EngineErrors, limited_memory
from latewood.search.stores.edge.index import EdgeIndex
from latewood.search.stores.edge.process import READS, WRITES
from latewood.search.types import SearchError

METHODS = READS | WRITES
_OWNER_CHECK_SECONDS = 5.0

_log = logging.getLogger(__name__)


def main() -> None:
    """Serve one index until the owner closes it or goes away."""
    connection = Connection(int(sys.argv[1]))
    owner = os.getppid()
    index: EdgeIndex | None = None
    try:
        while True:
            method, arguments = _next(connection, owner)
            reply: tuple[str, Any]
            try:
                if method == "open":
                    directory, *rest = arguments
                    with limited_memory(disk_bytes(Path(directory))):
                        index = EdgeIndex(Path(directory), *rest)
                    reply = ("ok", None)
                elif index is None:
                    raise ValueError(f"{method} before open")
                elif method == "close":
                    with EngineErrors("closing the index"):
                        index.close()
                    index = None
                    reply = ("ok", None)
                else:
                    reply = ("ok", _call(index, method, arguments))
            except SearchError as error:
                reply = ("error", error)
            except ValueError as error:
                reply = ("error", ValueError(str(error)))  # the library's own may not travel
            connection.send(reply)
    except (EOFError, ConnectionError):
        # The owner is gone, by intent or not; either way what it was told is already safe.
        if index is not None:
            _leave(index)


def _leave(index: EdgeIndex) -> None:
    """Close for an owner that is gone: there is nobody to tell but the log."""
    try:
        with EngineErrors("closing the index"):
            index.close()
    except SearchError as error:
        _log.warning("%s", error)


def _call(index: EdgeIndex, method: str, arguments: tuple[Any, ...]) -> Any:
    if method not in METHODS:
        raise ValueError(f"the store's worker has no method {method!r}")
    with EngineErrors(method, reading=method in READS):
        return getattr(index, method)(*arguments)


def _next(connection: Connection, owner: int) -> tuple[str, tuple[Any, ...]]:
    """The next request. A child the owner forked may hold its end open, so its death is looked for too."""
    while not connection.poll(_OWNER_CHECK_SECONDS):
        if os.getppid() != owner:
            raise EOFError
    method, arguments = connection.recv()
    return method, arguments


if __name__ == "__main__":
    main()
