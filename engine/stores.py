"""Where indexes are, by the settings: in folders here, or on a Qdrant server."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING

from latewood.engine.addresses import EMBEDDED
from latewood.engine.errors import ApiError
from latewood.engine.index_plan import asking
from latewood.engine.settings import Settings
from latewood.search.stores.edge.store import EdgeStore
from latewood.search.stores.generations.base import Catalog, FolderCatalog, FolderHome, Home
from latewood.search.stores.server.catalog import ServerCatalog, ServerHome
from latewood.search.stores.server.client import Calls, connect
from latewood.search.stores.server.store import ServerStore

if TYPE_CHECKING:
    from latewood.engine.library import Service
    from latewood.search.stores.base import Store
    from latewood.search.stores.generations.switch import SwitchStore

PATIENCE = 10.0
"""Seconds that a switch to what another process built waits for this one's writers."""

NICE = 19
"""What a worker gives way by while its generation is built; the one that answers is another process."""

_GROUP_TRIES, _GROUP_SECONDS = 5, 0.11

VERSIONS = ("1.19.", "1.20.", "1.21.")
"""Of the server: what qdrant-client 1.20 may talk to, as its makers say."""

LOOK_SECONDS = 1.0
"""How soon a process sees that another one rebuilt a collection on the server, or took it out."""


def catalog_of(settings: Settings, data: Path, store: str | None = None) -> Catalog:
    """The collections of the store that is set, or of another one."""
    store = store or settings.store
    if store == EMBEDDED:
        return FolderCatalog(data)
    options = settings.server(store)
    return ServerCatalog(Calls(connect(options), options))


def is_remote(catalog: Catalog) -> bool:
    """Whether its collections are on a server."""
    return isinstance(catalog, ServerCatalog)


def server_version(catalog: Catalog) -> str:
    """What version the server says it is."""
    if not isinstance(catalog, ServerCatalog):
        raise TypeError("only a server has a version")
    return catalog.version()


def close(catalog: Catalog) -> None:
    """Let go of what a catalog holds."""
    if isinstance(catalog, ServerCatalog):
        catalog.close()


def current(home: Home) -> str:
    """The generation that answers.

    Raises:
        ApiError: 404, the collection is gone.
    """
    found = home.current()
    if found is None:
        raise ApiError(404, "collection_not_found", f"{home} is not there (any more)")
    return found


def folder(home: Home, generation: str) -> Path | None:
    """Of a generation; None on a server."""
    return home.folder(generation) if isinstance(home, FolderHome) else None


def open_remote(home: Home, generation: str, settings: Settings) -> ServerStore:
    """Open a generation on a server; how it is asked is as set now, however it was built."""
    if not isinstance(home, ServerHome):
        raise TypeError(f"{home} is not on a server")
    return home.open(generation, asking(settings))


def kill(store: Store) -> None:
    """End a store at once, whatever it is doing; what was acknowledged stays."""
    if isinstance(store, EdgeStore | ServerStore):
        store.kill()


def be_nice(store: Store) -> None:
    """Have a store's process give way to others, as far as the system lets it.

    On Linux every thread has a niceness of its own, and it counts among the threads of one session only where
    sessions are scheduled as groups (sched(7), autogroup): then the session of the process has one, too.
    """
    if not isinstance(store, EdgeStore):
        return
    process = Path(f"/proc/{store.worker_pid}")
    with contextlib.suppress(OSError):  # it ended, or there is no such folder: then it runs as it is
        for task in list((process / "task").iterdir()):
            os.setpriority(os.PRIO_PROCESS, int(task.name), NICE)
    for _ in range(_GROUP_TRIES):
        try:
            (process / "autogroup").write_text(str(NICE), encoding="ascii")
        except BlockingIOError:  # ten a second are taken of all processes together, unless one is root's
            sleep(_GROUP_SECONDS)
        except OSError:
            return
        else:
            return


def name_of(store: Store) -> str | None:
    """Of the generation that a store holds on a server."""
    return store.name if isinstance(store, ServerStore) else None


def follow(service: Service, key: tuple[str, str], live: SwitchStore) -> bool:
    """Let the generation answer that another process switched to; False when the collection is gone."""
    home = service.catalog.home(*key)
    now = home.current()
    if now is not None and now != name_of(live.held().store):
        with live.switching(PATIENCE):
            store = service.open_generation(home, now, home.config_of(now))
            service.take_over(*key, store, None)
    return now is not None


class Watcher:
    """When to look whether another process changed what answers. Safe to use from many threads."""

    def __init__(self, catalog: Catalog) -> None:
        self._remote = is_remote(catalog)
        self._lock = threading.Lock()
        self._looked: dict[tuple[str, str], float] = {}

    def due(self, tenant: str, collection: str) -> bool:
        """Whether it is time; only the one who is told so needs to look."""
        if not self._remote:
            return False
        now = monotonic()
        with self._lock:
            if now - self._looked.get((tenant, collection), -LOOK_SECONDS) < LOOK_SECONDS:
                return False
            self._looked[tenant, collection] = now
            return True
