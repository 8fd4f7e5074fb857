"""The one place that names concrete classes: settings in, a working service out."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import time
from typing import Any

from latewood.embedder.defaults import default_model
from latewood.embedder.types import Embedder, EmbedderError
from latewood.engine import disk, places, repair_marker, stores
from latewood.engine.addresses import MEMORY
from latewood.engine.collection import Opened, assemble
from latewood.engine.errors import ApiError, job_error
from latewood.engine.index_plan import asking
from latewood.engine.jobs.queue import Desk
from latewood.engine.leases import Shelf
from latewood.engine.metrics import Metrics
from latewood.engine.models import Models
from latewood.engine.rebuild import Rebuilds
from latewood.engine.settings import Settings
from latewood.evaluation import promotions
from latewood.ingest.index import commit
from latewood.ingest.index.writer import OrderedWriter, WriteTurns
from latewood.ingest.jobs import JobError, Jobs
from latewood.ingest.orders import INGEST, UPLOAD, Order
from latewood.ingest.parsing.sandbox.pool import ParserPool
from latewood.ingest.pipeline import Index
from latewood.ingest.report import Report
from latewood.ingest.settling import Settling
from latewood.ingest.sources.path_templates import read_templates
from latewood.ingest.sources.remote import check_uri
from latewood.ingest.sources.uris import folder_uri, is_remote, path_of, uri_of
from latewood.ingest.sync import SyncOptions, Work
from latewood.ingest.uploads import Spool, Spooled, is_small
from latewood.search.analysis.analyzer import Analyzer
from latewood.search.fusion import SHIPPED, Fusion
from latewood.search.stores.base import Store
from latewood.search.stores.edge.store import EdgeStore
from latewood.search.stores.generations import layout
from latewood.search.stores.generations.base import FolderHome, Home
from latewood.search.stores.generations.switch import Held, SwitchStore
from latewood.search.stores.generations.write_barrier import BusyError
from latewood.search.types import (
    DiskFullError,
    IndexConfig,
    SearchError,
    StoreReadOnlyError,
    StoreUnavailableError,
)

State = dict[str, Any]
logger = logging.getLogger(__name__)
READERS = 2


class Service:
    """Everything one owner of a data directory holds. Safe to call from many threads."""

    def __init__(self, settings: Settings, *, lock_fd: int | None = None) -> None:
        self.settings = settings
        self.serving = ""
        self.warm_up_error = ""
        self.data = settings.data.resolve()
        self.catalog = stores.catalog_of(settings, self.data)
        self.watcher = stores.Watcher(self.catalog)
        self.analyzer = Analyzer(settings.language, k1=settings.k1, b=settings.b)
        self.spool = Spool(self.data / "uploads")
        self.settling = Settling(self.spool, self._ingest_again)
        self.jobs = Jobs(job_error, self.spool.sequence.next_in_process)
        self._lock_fd = lock_fd
        self._guard = threading.RLock()
        self._shelf = Shelf()
        self._models = Models(settings)
        self._embedders = self._models.loaded
        self.reranker = self._models.reranker()
        self.rebuilds = Rebuilds(self)
        self.metrics = Metrics()
        self._opened: dict[tuple[str, str], Opened] = {}
        self._unchecked: set[tuple[str, str]] = set()
        self._write_locks: dict[tuple[str, str], threading.RLock] = {}
        self._write_turns: dict[tuple[str, str], WriteTurns] = {}
        self._pool = ParserPool(
            READERS + 1,  # a folder keeps two busy: one is left for small uploads
            deadline_s=settings.parse_seconds,
            memory_bytes=settings.parse_bytes,
            max_file_bytes=settings.file_bytes,
        )
        self.desk = self._desk()
        if settings.jobs == MEMORY:
            self.desk.start()

    # models

    def embedder(self, index_model: str | None) -> Embedder:
        """The model that `MODEL` names, loaded once; with `auto`, the index's own."""
        name = self.settings.model
        if name == "auto":
            name = index_model or default_model()
        return self.model(name)

    def model(self, name: str) -> Embedder:
        """The model of this name, loaded once."""
        return self._models.named(name)

    def model_of(self, config: IndexConfig) -> str:
        """What to load for an index: the folder its model was given by, or its name."""
        return places.model_of(self.data, config.fingerprint)

    @property
    def loaded(self) -> list[Embedder]:
        """The models that are in memory."""
        return list(self._embedders.values())

    def config(self, embedder: Embedder) -> IndexConfig:
        """What an index made now with this model is made with.

        Raises:
            ApiError, FingerprintError: `DIMENSIONS` has a size the model was not trained for, or `PLAN` one
                that is not stored.
        """
        return self._models.config(embedder, self.analyzer)

    def warm_up(self, tenant: str = "default", collection: str = "default") -> None:
        """Load the model and open the default index before the first question needs them."""
        try:
            if self.exists(tenant, collection):
                self.open(tenant, collection).index.embedder()
            else:
                self.embedder(None)
        except (SearchError, EmbedderError, ApiError) as error:
            self.warm_up_error = str(error)
            logger.error("not ready: %s", error)
        else:
            self.rebuilds.resume()

    # indexes

    def open(self, tenant: str, collection: str, *, create: bool = False) -> Opened:
        """The index of a collection.

        Raises:
            ApiError: 404, there is none and `create` is not set.
            StoreError: it cannot be opened.
        """
        opened = self._opened.get((tenant, collection))
        if opened is not None:
            if not self.watcher.due(tenant, collection):
                return opened
            self._refresh((tenant, collection))
        # Loading a model takes long, and whoever opens anything waits for the guard: so not under it.
        embedder = self.embedder(None) if create and not self.exists(tenant, collection) else None
        with self._guard:
            opened = self._opened.get((tenant, collection))
            if opened is None:
                opened = self._open(tenant, collection, embedder)
                self._opened[tenant, collection] = opened
            return opened

    def _refresh(self, key: tuple[str, str]) -> None:
        """Follow what another process did to a collection on the server: rebuilt it, or took it out."""
        with self._guard:
            opened = None if self.rebuilds.at_work else self._opened.get(key)
            if opened is not None and not stores.follow(self, key, opened.store):
                self._opened.pop(key).store.close()

    @contextmanager
    def closed(self, tenant: str, collection: str) -> Iterator[None]:
        """Close a damaged index, and refuse to open it meanwhile.

        Raises:
            StoreUnavailableError: it is being verified or repaired already.
        """
        key = (tenant, collection)
        with self._guard:  # whoever is opening it now has come to an end, and whoever comes later is refused
            if key in self._unchecked:
                raise StoreUnavailableError(
                    f"the index of {collection!r} is in use; verify again in a moment"
                )
            self._unchecked.add(key)
            opened = self._opened.pop(key, None)
        try:
            if opened is not None:
                opened.store.held().store.close()
                opened.store.close()
            yield
        finally:
            with self._guard:
                self._unchecked.discard(key)

    @contextmanager
    def unchecked(self, tenant: str, collection: str) -> Iterator[Opened]:
        """A damaged index, for what verifies and repairs it; nobody else opens it meanwhile.

        Raises:
            StoreUnavailableError: it is being verified or repaired already.
            StoreDamagedError: the engine cannot read it at all.
        """
        with self.closed(tenant, collection):
            generation = layout.path_of(self.data, tenant, collection)
            store = EdgeStore(generation, layout.read_config(generation), self._lock_fd, unchecked=True)
            try:
                yield assemble(self, tenant, collection, SwitchStore(Held(store, lambda _: None)))
            finally:
                store.close()

    def write_lock(self, tenant: str, collection: str) -> threading.RLock:
        """The lock of a collection that a worker's writes and a repair hold, one at a time."""
        with self._guard:
            return self._write_locks.setdefault((tenant, collection), threading.RLock())

    def work(self, progress: Callable[[Report], None], stop: Callable[[], bool]) -> Work:
        """The seams of a job that reads files."""
        templates = read_templates(self.settings.metadata_from_path)
        aside = str(self.data / "cache" / "fetched")
        limit = self.settings.file_bytes
        return Work(
            self._pool,
            progress,
            stop,
            READERS,
            (str(self.data),),
            templates,
            aside,
            limit,
            self.settings.roots,
        )

    def opened(self, tenant: str, collection: str) -> Opened | None:
        """The index, if it is open."""
        return self._opened.get((tenant, collection))

    def all_opened(self) -> dict[tuple[str, str], Opened]:
        """Every open index, by tenant and collection."""
        return dict(self._opened)

    def exists(self, tenant: str, collection: str) -> bool:
        """Whether a collection is there, without opening or creating anything."""
        return self.catalog.exists(tenant, collection)

    def collections(self, tenant: str) -> list[str]:
        """Names of the tenant's collections."""
        return [name for owner, name in self.catalog.names(tenant) if owner == tenant]

    def fusion(self, tenant: str, collection: str) -> Fusion:
        """How legs are fused for a question that does not say: as tuned for the collection, else as shipped.

        Raises:
            StoreDamagedError: the file of the collection's defaults cannot be read.
        """
        current = promotions.read(layout.home_of(self.data, tenant, collection)).now.current
        return SHIPPED if current is None else current.configuration.fusion

    def _open(self, tenant: str, collection: str, embedder: Embedder | None) -> Opened:
        """Open a collection; one that is not there is made with `embedder`, if there is one."""
        if not self.exists(tenant, collection):
            if embedder is None:
                message = f"no collection {collection!r} here; `latewood ingest FOLDER` makes one"
                raise ApiError(404, "collection_not_found", message)
            self.catalog.create(tenant, collection, self.config(embedder))
        if (tenant, collection) in self._unchecked:
            raise StoreUnavailableError(
                f"the index of {collection!r} is damaged and being verified; ask later"
            )
        home = self.catalog.home(tenant, collection)
        if isinstance(home, FolderHome):
            repair_marker.check(layout.path_of(self.data, tenant, collection))
            self._settle(home)
        generation = stores.current(home)
        store = self.open_generation(home, generation, home.config_of(generation))
        try:
            recovered = commit.recover(store)
            if recovered:
                logger.info("finished %d documents that a killed process left in flight", recovered)
        except (
            DiskFullError,
            StoreReadOnlyError,
            BusyError,
        ) as full:  # not needed to answer; the next write recovers first
            logger.warning("what is in flight in %s/%s is left so for now: %s", tenant, collection, full)
        except BaseException:
            store.close()  # left open, it would refuse every later opening
            raise
        held = self._shelf.hold(store, stores.folder(home, generation))
        return assemble(self, tenant, collection, SwitchStore(held))

    @staticmethod
    def _settle(home: FolderHome) -> None:
        """Finish a switch that a killed process left; a disk without space leaves it for later."""
        if not disk.writable(home.path):
            return
        try:
            home.settle()
        except OSError as error:
            if disk.explain(error) is None:
                raise
            logger.warning("a switch of generations in %s is not tidied up: %s", home.path, error)

    def open_generation(self, home: Home, generation: str, config: IndexConfig) -> Store:
        """Open one of a collection's generations."""
        folder = stores.folder(home, generation)
        if folder is None:
            return stores.open_remote(home, generation, self.settings)
        return self.open_store(folder, config)

    def open_store(self, generation: Path, config: IndexConfig) -> Store:
        """Open a generation's folder; how it is asked is as set now, however it was built."""
        return EdgeStore(
            generation,
            config.asked_by(asking(self.settings)),
            self._lock_fd,
            question_seconds=self.settings.question_seconds,
        )

    def take_over(self, tenant: str, collection: str, store: Store, folder: Path | None) -> None:
        """Let another generation answer from now on; only while its `SwitchStore` is `switching`."""
        live = self._opened[tenant, collection].store
        live.switch_to(self._shelf.hold(store, folder))
        self._opened[tenant, collection] = assemble(self, tenant, collection, live)

    @contextmanager
    def taken_out(self, tenant: str, collection: str) -> Iterator[None]:
        """Nobody has the index open, and whoever wants to open it waits until this is left.

        Raises:
            ApiError: 409, a job of this collection waits or runs, or it is being verified.
        """
        key = (tenant, collection)
        with self._guard:
            opened = self._opened.pop(key, None)  # from here on who asks for it waits for the guard
            job = self.desk.busy(tenant, collection)
            if job is not None or key in self._unchecked:
                if opened is not None:
                    self._opened[key] = opened
                doing = f"job {job} of" if job is not None else "a verify of"
                raise ApiError(
                    409,
                    "collection_busy",
                    f"{doing} {collection!r} is not done; wait for it or cancel it, and ask again",
                )
            if opened is not None:
                opened.store.held().store.close()
                opened.store.close()
            yield

    # jobs

    def ingest(self, tenant: str, collection: str, source: str, options: SyncOptions) -> State:
        """Queue an ingest of a folder or file, given as a path or a uri; the job as it stands."""
        layout.check_names(tenant, collection)
        if is_remote(source):
            name = at = check_uri(source)
        else:
            root = path_of(source) if source.startswith("file:") else source
            name = folder_uri(root)
            at = uri_of(str(Path(root).absolute()))
        number = self.spool.sequence.next()
        return self.desk.submit(
            Order(INGEST, tenant, collection, name, at, options, born=time(), number=number)
        )

    def ingest_upload(self, spooled: Spooled) -> State:
        """Queue an upload that is already on disk; the job as it stands."""
        upload = spooled.upload
        return self.desk.submit(
            Order(
                UPLOAD,
                upload.tenant,
                upload.collection,
                upload.uri,
                entry=spooled.folder.name,
                born=time(),
                number=spooled.number,
                small=is_small(spooled),
            )
        )

    def _ingest_again(self, spooled: Spooled) -> None:
        """Queue an upload that met a passing failure once more."""
        try:
            self.ingest_upload(spooled)
        except (JobError, ApiError) as error:  # it stays in the spool
            logger.warning("%s waits for the next process: %s", spooled.upload.uri, error)

    def for_writing(self, tenant: str, collection: str) -> Index:
        """Return the index for a job that writes documents; other jobs may write to it at the same time.

        What a job before it left in flight is finished first.
        """
        index = self.open(tenant, collection, create=True).index
        lock = self.write_lock(tenant, collection)
        with self._guard:
            turns = self._write_turns.setdefault((tenant, collection), WriteTurns(lock))
        turns.settle(index.store)
        return replace(index, handed=OrderedWriter(index.store, turns))

    def after_writing(self, tenant: str, collection: str) -> None:
        """A job has written: count it, and optimise when it is time."""
        self.rebuilds.after_writing(tenant, collection)

    def _desk(self) -> Desk:
        if self.settings.jobs == MEMORY:
            return Desk(self)
        from latewood.engine.jobs.durable_queue import DurableDesk  # only for who keeps jobs in a database

        return DurableDesk(self)

    # the end

    def yield_ownership(self) -> None:
        """End jobs at a safe point and refuse new ones, so that this process can let go of the data."""
        threading.Thread(target=self.jobs.close, name="yield", daemon=True).start()

    def close(self) -> None:
        """End jobs at a safe point, then let go of stores, models and child processes."""
        self.rebuilds.close()
        self.jobs.close()
        self.desk.close()
        self.settling.close()
        self._pool.close()
        with self._guard:
            self._opened.clear()
            self._shelf.close()
            stores.close(self.catalog)
        if self.reranker is not None:
            self.reranker.close()
        self._models.close()
