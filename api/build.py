"""The one place that names concrete classes: settings in, a working service out."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from api.errors import ApiError, job_error
from api.settings import Settings
from embedder.defaults import default_model
from embedder.types import Embedder, EmbedderError, Floats, Task
from evaluation import defaults
from ingest import commit
from ingest.jobs import Job, Jobs
from ingest.parsing.workers import ParserPool
from ingest.pipeline import Index
from ingest.report import Report
from ingest.sources import folder_uri, path_of
from ingest.sync import SyncOptions, Work, sync
from ingest.uploads import Spool, Spooled, take_upload
from search.analyzer import Analyzer
from search.fusion import Fusion
from search.query import Limits
from search.searcher import Searcher
from search.stores import catalog
from search.stores.base import Store
from search.stores.edge import EdgeStore
from search.stores.memory import MemoryStore
from search.types import DiskFullError, IndexConfig, SearchError

logger = logging.getLogger(__name__)
READERS = 2


@dataclass(frozen=True, slots=True)
class Opened:
    """An open index: the store, what answers queries, what ingests."""

    store: Store
    searcher: Searcher
    index: Index


class Service:
    """Everything one owner of a data directory holds. Safe to call from many threads."""

    def __init__(self, settings: Settings, *, lock_fd: int | None = None) -> None:
        self.settings = settings
        self.serving = ""
        self.warm_up_error = ""
        self.data = settings.data.resolve()
        self.analyzer = Analyzer()
        self.spool = Spool(self.data / "uploads")
        self.jobs = Jobs(job_error)
        self._lock_fd = lock_fd
        self._guard = threading.RLock()
        self._model_guard = threading.Lock()
        self._opened: dict[tuple[str, str], Opened] = {}
        self._embedders: dict[str, Embedder] = {}
        self._pool = ParserPool(
            READERS,
            deadline_s=settings.parse_seconds,
            memory_bytes=settings.parse_bytes,
            max_file_bytes=settings.file_bytes,
        )
        self._resume_uploads()

    # models

    def embedder(self, index_model: str | None) -> Embedder:
        """The model that `MODEL` names, loaded once; with `auto`, the index's own."""
        name = self.settings.model
        if name == "auto":
            name = index_model or default_model()
        with self._model_guard:
            if name not in self._embedders:
                from embedder.engine import load_embedder

                settings = self.settings
                self._embedders[name] = load_embedder(
                    name,
                    device=settings.device,
                    dtype=settings.dtype,
                    context=settings.context,
                    window=settings.window,
                )
            return self._embedders[name]

    @property
    def model_loaded(self) -> bool:
        """Whether a model is in memory."""
        return bool(self._embedders)

    def fingerprint(self, embedder: Embedder) -> dict[str, str]:
        """What an index written now agrees on."""
        return {**embedder.fingerprint, "analyzer": self.analyzer.fingerprint}

    def dimensions(self, embedder: Embedder) -> tuple[int, ...]:
        """Stored Matryoshka sizes, largest first.

        Raises:
            ApiError: a size the model was not trained for.
        """
        asked = tuple(sorted(set(self.settings.dimensions), reverse=True)) or (embedder.dimension,)
        allowed = embedder.description.dimensions
        wrong = [size for size in asked if size not in allowed]
        if wrong:
            raise ApiError(
                422,
                "invalid_dimensions",
                f"DIMENSIONS {wrong} are not sizes of {embedder.description.name}: {allowed}",
            )
        return asked

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

    # indexes

    def open(self, tenant: str, collection: str, *, create: bool = False) -> Opened:
        """The index of a collection.

        Raises:
            ApiError: 404, there is none and `create` is not set.
            StoreError: it cannot be opened.
        """
        opened = self._opened.get((tenant, collection))
        if opened is not None:
            return opened
        # Loading a model takes long, and whoever opens anything waits for the guard: so not under it.
        embedder = self.embedder(None) if create and not self.exists(tenant, collection) else None
        with self._guard:
            opened = self._opened.get((tenant, collection))
            if opened is None:
                opened = self._open(tenant, collection, embedder)
                self._opened[tenant, collection] = opened
            return opened

    def exists(self, tenant: str, collection: str) -> bool:
        """Whether a collection is there, without opening or creating anything."""
        return catalog.exists(self.data, tenant, collection)

    def collections(self, tenant: str) -> list[str]:
        """Names of the tenant's collections."""
        return [name for owner, name in catalog.list_collections(self.data, tenant) if owner == tenant]

    def fusion(self, tenant: str, collection: str) -> Fusion:
        """How legs are fused for a question that does not say: as tuned for the collection, else as shipped.

        Raises:
            StoreDamagedError: the file of the collection's defaults cannot be read.
        """
        current = defaults.read(catalog.home_of(self.data, tenant, collection)).now.current
        return Fusion() if current is None else current.configuration.fusion

    def _open(self, tenant: str, collection: str, embedder: Embedder | None) -> Opened:
        """Open a collection; one that is not there is made with `embedder`, if there is one."""
        if not catalog.exists(self.data, tenant, collection):
            if embedder is None:
                message = f"no collection {collection!r} here; `latewood ingest FOLDER` makes one"
                raise ApiError(404, "collection_not_found", message)
            config = IndexConfig(self.dimensions(embedder), self.fingerprint(embedder))
            catalog.create(self.data, tenant, collection, config)
        generation = catalog.path_of(self.data, tenant, collection)
        store = EdgeStore(generation, catalog.read_config(generation), self._lock_fd)
        try:
            recovered = commit.recover(store)
            if recovered:
                logger.info("finished %d documents that a killed process left in flight", recovered)
        except DiskFullError as full:  # nothing is needed to answer; the next write recovers first
            logger.warning("what is in flight in %s/%s is left so for now: %s", tenant, collection, full)
        except BaseException:
            store.close()  # left open, it would refuse every later opening
            raise
        return self._assemble(tenant, collection, store)

    def _assemble(self, tenant: str, collection: str, store: Store) -> Opened:
        config = store.config

        def embedder() -> Embedder:
            found = self.embedder(config.fingerprint.get("model"))
            catalog.check_fingerprint(config, self.fingerprint(found))
            return found

        limits = Limits(
            query_characters=self.settings.query_characters,
            limit=self.settings.limit,
            filter_depth=self.settings.filter_depth,
            filter_conditions=self.settings.filter_conditions,
        )
        searcher = Searcher(store, query_embedder(embedder, config.dimensions[0]), self.analyzer, limits)
        index = Index(tenant, collection, store, embedder, self.analyzer, self.settings.chunk_tokens)
        return Opened(store, searcher, index)

    # jobs

    def ingest(self, tenant: str, collection: str, source: str, options: SyncOptions) -> Job:
        """Queue an ingest of a folder or file, given as a path or a `file:///` uri."""
        catalog.check_names(tenant, collection)

        root = path_of(source) if source.startswith("file:") else source

        def open_index() -> Index:
            if options.dry_run and not self.exists(tenant, collection):
                return self._assemble(tenant, collection, MemoryStore(IndexConfig((1,), {}))).index
            return self._for_writing(tenant, collection)

        def run(job: Job, progress: Callable[[Report], None], stop: Callable[[], bool]) -> Report:
            return sync(
                open_index, root, options, Work(self._pool, progress, stop, READERS, (str(self.data),))
            )

        return self.jobs.submit(tenant, collection, folder_uri(root), run)

    def ingest_upload(self, spooled: Spooled) -> Job:
        """Queue an upload that is already on disk."""
        upload = spooled.upload

        def run(job: Job, progress: Callable[[Report], None], stop: Callable[[], bool]) -> Report:
            try:
                index = self._for_writing(upload.tenant, upload.collection)
                return take_upload(index, self.spool, spooled, Work(self._pool, progress, stop))
            finally:
                if self.jobs.cancelled(job):
                    self.spool.remove(spooled)

        return self.jobs.submit(
            upload.tenant,
            upload.collection,
            upload.uri,
            run,
            on_cancelled=lambda: self.spool.remove(spooled),
        )

    def _for_writing(self, tenant: str, collection: str) -> Index:
        """The index for the one job that runs: what a job before it left in flight is finished first."""
        index = self.open(tenant, collection, create=True).index
        commit.recover(index.store)
        return index

    def _resume_uploads(self) -> None:
        self.spool.clean()
        for spooled in self.spool.waiting():
            self.ingest_upload(spooled)

    # the end

    def yield_ownership(self) -> None:
        """End jobs at a safe point and refuse new ones, so that this process can let go of the data."""
        threading.Thread(target=self.jobs.close, name="yield", daemon=True).start()

    def close(self) -> None:
        """End jobs at a safe point, then let go of stores, models and child processes."""
        self.jobs.close()
        self._pool.close()
        with self._guard:
            for opened in self._opened.values():
                opened.store.close()
            self._opened.clear()
        for embedder in self._embedders.values():
            embedder.close()


def query_embedder(embedder: Callable[[], Embedder], dimension: int) -> Callable[[str], Floats]:
    """A question to its vector: (dimension,) float32 unit, at the index's largest stored size."""

    def embed(query: str) -> Floats:
        vector = embedder().embed_texts([query], Task.QUERY)[0][:dimension]
        return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)

    return embed
