"""Rebuilds of a service's indexes: optimising in the background, another model and back as jobs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING

from latewood.embedder.types import StoppedError
from latewood.engine import places, stores
from latewood.engine.errors import ApiError
from latewood.engine.index_plan import plan_of, rebuilt
from latewood.engine.models import fingerprint
from latewood.ingest.index.rebuild import Seams, Target, rebuild
from latewood.ingest.index.reembed import Reembed
from latewood.ingest.jobs import Job, JobError
from latewood.ingest.report import Report
from latewood.search.stores.base import Store
from latewood.search.stores.generations import folder as succession
from latewood.search.stores.generations import layout
from latewood.search.stores.generations.base import Home
from latewood.search.types import IndexConfig, SearchError

if TYPE_CHECKING:
    from latewood.engine.library import Service

logger = logging.getLogger(__name__)
_COUNT = "unoptimised"
_LOOK_S = 0.02
_GIVES_WAY = frozenset({succession.OPTIMISE, succession.MOVE})
Stop = Callable[[], bool]
Key = tuple[str, str]


class Rebuilds:
    """Builds one generation at a time. Safe to call from many threads."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._one = threading.Lock()
        self._guard = threading.Lock()
        self._counting = threading.Lock()
        self._closing = False
        self._jobs_waiting = 0
        self._building: Key | None = None
        self._dropped: set[Key] = set()
        self._threads = ThreadPoolExecutor(1, "optimise")
        self._queued: set[Key] = set()
        self._interrupted: set[Key] = set()
        self._put_off: dict[Key, int] = {}

    # in the background

    def after_writing(self, tenant: str, collection: str) -> None:
        """Count what a job wrote, and begin to optimise when it is time."""
        key = (tenant, collection)
        opened = self._service.opened(tenant, collection)
        if opened is None or stores.is_remote(self._service.catalog):  # a server does by itself
            return
        try:
            with self._counting:  # two lanes of jobs may end at the same time
                written = opened.store.take_written()
                generation = self._generation(key)
                if written:
                    _note(generation, self._unoptimised(key, written))
            if self._due(key):
                self._begin(key)
        except (SearchError, OSError) as error:
            logger.warning("%s/%s is not optimised for now: %s", tenant, collection, error)

    def resume(self) -> None:
        """Go on with what an earlier process began: for a process that stays."""
        for key in self._service.catalog.names():
            try:
                planned = self._home(key).planned()
                if planned is not None and planned.purpose == succession.OPTIMISE:
                    self._begin(key)
                elif planned is not None and planned.purpose != succession.MOVE:
                    logger.info("going on to %s %s/%s", planned.purpose, *key)
                    config = self._home(key).config_of(planned.generation)
                    back = planned.purpose == succession.ROLLBACK
                    self.migrate(*key, None if back else self._service.model_of(config))
            except (SearchError, ApiError, JobError) as error:
                logger.warning("%s/%s is not gone on with: %s", *key, error)

    def _due(self, key: Key) -> bool:
        """Whether to optimise now: begun before, or enough was written; never while a migration is begun."""
        planned = self._home(key).planned()
        if planned is not None and planned.purpose != succession.MOVE:
            return planned.purpose == succession.OPTIMISE
        after = self._service.settings.optimise_after
        return bool(after) and self._unoptimised(key) >= max(after, self._put_off.get(key, 0))

    def _begin(self, key: Key) -> None:
        with self._guard:
            if not self._closing and key not in self._queued:
                self._queued.add(key)
                self._threads.submit(self._in_background, key).add_done_callback(_tell)

    def _in_background(self, key: Key) -> None:
        with self._one:
            with self._guard:
                self._queued.discard(key)
                if key in self._dropped or not self._service.exists(*key):
                    return
                self._building = key
            count = 0
            try:
                count = self._unoptimised(key)
                if self._due(key):
                    started = monotonic()
                    target = Target(self._home(key), succession.OPTIMISE, self._planned_config(key))
                    self._rebuild(key, target, self._give_way, lambda uri: None)
                    logger.info("optimised %s/%s in %.1f s", *key, monotonic() - started)
            except StoppedError:
                self._interrupted.add(key)
            except (SearchError, OSError) as error:
                logger.warning("optimising %s/%s failed: %s", *key, error)
                self._put_off[key] = count + self._service.settings.optimise_after
            finally:
                self._building = None

    def _unoptimised(self, key: Key, written: int = 0) -> int:
        """Chunks written since the index was optimised, `written` ones just now; all where nothing tells."""
        try:
            return int((self._generation(key) / _COUNT).read_text(encoding="ascii")) + written
        except (FileNotFoundError, ValueError):
            return self._service.open(*key).store.stats().chunks

    def _give_way(self) -> bool:
        return self._closing or self._jobs_waiting > 0 or self._building in self._dropped

    @contextmanager
    def dropping(self, tenant: str, collection: str) -> Iterator[None]:
        """Nothing is built of a collection until this is left; what was under way stops, for it is to go.

        Other collections' rebuilds go on; so does this one's, if the collection stays after all.
        """
        key = (tenant, collection)
        with self._guard:
            self._dropped.add(key)
        try:
            while self._building == key:
                sleep(_LOOK_S)
            yield
        finally:
            with self._guard:
                self._dropped.discard(key)
            stopped = key in self._interrupted
            self._interrupted.discard(key)
            if not self._service.exists(*key):
                self._put_off.pop(key, None)
            elif stopped:
                self._begin(key)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing is built in the background until this is left; what was under way stops and waits."""
        with self._guard:
            self._jobs_waiting += 1
        try:
            with self._one:
                yield
        finally:
            with self._guard:
                self._jobs_waiting -= 1
                again = self._interrupted if not self._jobs_waiting else set()
                self._interrupted = self._interrupted - again
            for key in again:
                self._begin(key)

    # as jobs

    def optimise(self, tenant: str, collection: str) -> Job:
        """Queue what happens in the background by itself.

        Raises:
            ApiError: 404, there is no such collection; 409, a server has it just as it is set.
            FingerprintError: the plan that is set does not fit the vectors.
            JobError: the process is closing.
        """
        key = (tenant, collection)
        if stores.is_remote(self._service.catalog) and self._planned_config(key) == self._live_config(key):
            message = "a Qdrant server optimises its collections by itself; there is nothing to do here"
            raise ApiError(409, "server_optimises", message)

        return self._submit(key, lambda stop: self._target_alike(key))

    def renew(self, tenant: str, collection: str, stop: Stop) -> None:
        """Copy an embedded index into a fresh generation, which has its indexes made anew; while `paused`.

        Raises:
            ApiError: 409, a migration of this collection is begun.
            StoreError, StoppedError: as `rebuild`.
        """
        key = (tenant, collection)
        self._rebuild(key, self._target_alike(key), stop, lambda uri: None)

    def _target_alike(self, key: Key) -> Target:
        planned = self._home(key).planned()
        if planned is not None and planned.purpose not in _GIVES_WAY:
            raise ApiError(
                409, "migration_begun", "a migration of this collection is begun; run it to its end first"
            )
        return Target(self._home(key), succession.OPTIMISE, self._planned_config(key))

    def migrate(self, tenant: str, collection: str, model: str | None) -> Job:
        """Queue the change to another model; None goes back to the one before.

        Raises:
            ApiError: 404, there is no such collection; 409, `MODEL` is set to something else, or there is
                nothing to go back to.
            JobError: the process is closing.
        """
        key = (tenant, collection)
        if not self._service.exists(*key):
            raise ApiError(404, "collection_not_found", f"no collection {collection!r} here")
        if model is None:
            self._check_setting(self._service.model_of(self._home(key).config_of(self._kept(key))))
            return self._submit(key, lambda stop: self._target_back(key, stop))
        model = places.absolute(model, self._service.settings.source)
        self._check_setting(model)
        return self._submit(key, lambda stop: self._target(key, model, stop))

    def _target(self, key: Key, model: str, stop: Stop) -> Target | None:
        """Another model; the kept generation where it has it, nothing where the index has it."""
        embedder = self._service.model(model)
        config, live = self._service.config(embedder), self._live_config(key)
        if config.same_vectors(live):
            return None
        remake = Reembed(embedder, self._service.analyzer, stop)
        kept = self._home(key).previous()
        kept_config = None if kept is None else self._home(key).config_of(kept)
        if kept_config is not None and kept_config.same_vectors(config):
            return Target(self._home(key), succession.ROLLBACK, kept_config, remake)
        shorter = config.fingerprint == live.fingerprint and config.dimensions[0] <= live.dimensions[0]
        return Target(self._home(key), succession.MIGRATE, config, None if shorter else remake)

    def _target_back(self, key: Key, stop: Stop) -> Target:
        config = self._home(key).config_of(self._kept(key))
        embedder = self._service.model(self._service.model_of(config))
        layout.check_fingerprint(config, fingerprint(embedder, self._service.analyzer))
        remake = Reembed(embedder, self._service.analyzer, stop)
        return Target(self._home(key), succession.ROLLBACK, config, remake)

    def _kept(self, key: Key) -> str:
        kept = self._home(key).previous()
        if kept is None:
            raise ApiError(
                409,
                "nothing_kept",
                f"collection {key[1]!r} keeps no index of another model to go back to; "
                "`latewood migrate --model M` makes one",
            )
        return kept

    def _check_setting(self, model: str) -> None:
        """The service answers with the model that `MODEL` names, so it must not name another one."""
        setting = places.absolute(self._service.settings.model, self._service.settings.source)
        if setting not in {"auto", model}:
            raise ApiError(
                409,
                "model_mismatch",
                f"MODEL is set to {setting}, so an index of {model} would not be answered from; "
                f"set MODEL to auto (an index's own model answers then) or to {model}, and try again",
            )

    def _submit(self, key: Key, make: Callable[[Stop], Target | None]) -> Job:
        service = self._service
        if not service.exists(*key):
            raise ApiError(404, "collection_not_found", f"no collection {key[1]!r} here")

        def run(job: Job, progress: Callable[[Report], None], stop: Stop) -> Report:
            started = monotonic()
            live = service.open(*key).store
            report, before = Report(total=live.stats().documents), live.config

            def moved(uri: str) -> None:
                report.finished, report.current = report.finished + 1, uri
                progress(report)

            with self.paused():
                target = make(stop)
                try:
                    if target is not None:
                        self._rebuild(key, target, stop, moved)
                except StoppedError:
                    if service.jobs.cancelled(job):
                        (target.home if target else self._home(key)).abandon()
                    return report
            stats = live.stats()
            report.documents, report.chunks, report.current = stats.documents, stats.chunks, ""
            report.seconds = monotonic() - started
            job.result = rebuilt(live, before, report)
            return report

        return service.jobs.submit(*key, "", run)

    # both

    def _rebuild(self, key: Key, target: Target, stop: Stop, moved: Callable[[str], object]) -> None:
        service = self._service

        def open_store(generation: str, config: IndexConfig, aside: bool) -> Store:
            folder = stores.folder(target.home, generation)
            if not aside and folder is not None:
                _note(folder, 0)
            store = service.open_generation(target.home, generation, config)
            if aside:
                stores.be_nice(store)
            return store

        def take_over(store: Store, generation: str) -> None:
            service.take_over(*key, store, stores.folder(target.home, generation))

        rebuild(service.open(*key).store, target, Seams(open_store, stores.kill, take_over, stop, moved))

    def close(self) -> None:
        """Stop what is built in the background; it stays to go on with."""
        with self._guard:
            self._closing = True
        self._threads.shutdown(wait=True, cancel_futures=True)

    @property
    def at_work(self) -> bool:
        """Whether something is being rebuilt."""
        return self._one.locked()

    def _home(self, key: Key) -> Home:
        return self._service.catalog.home(*key)

    def _generation(self, key: Key) -> Path:
        """The folder of the generation that answers, of an embedded index."""
        return layout.path_of(self._service.data, *key)

    def _live_config(self, key: Key) -> IndexConfig:
        return self._service.open(*key).store.config

    def _planned_config(self, key: Key) -> IndexConfig:
        """The same vectors, kept and searched as is set now, in the format of this program."""
        live = self._live_config(key)
        return replace(live, plan=plan_of(self._service.settings, live.dimensions), apart=True)


def _tell(work: Future[None]) -> None:
    """Log what nobody foresaw; what was foreseen is handled where it happens."""
    error = None if work.cancelled() else work.exception()
    if error is not None:
        logger.error("optimising in the background failed", exc_info=error)


def _note(generation: Path, chunks: int) -> None:
    layout.write_file(generation / _COUNT, f"{chunks}\n")
