"""An index goes to another store: from folders to a Qdrant server, from one server to another, and back.

What is written while it is copied is brought over; the copy is held against the original, document by
document, and takes the collection's name there in one step. What answers here goes on answering: from where
is a setting, and changes when the process starts again with it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from time import monotonic

from latewood.embedder.types import StoppedError
from latewood.engine import stores
from latewood.engine.addresses import check_place, masked
from latewood.engine.errors import ApiError
from latewood.engine.library import Service
from latewood.ingest.index.rebuild import PATIENCE, Seams, Target, rebuild
from latewood.ingest.jobs import Job
from latewood.ingest.report import Report
from latewood.search.stores.base import Store
from latewood.search.stores.generations import folder
from latewood.search.stores.generations.base import FolderHome, Home
from latewood.search.types import IndexConfig

logger = logging.getLogger(__name__)
Stop = Callable[[], bool]


def move(service: Service, tenant: str, collection: str, place: str) -> Job:
    """Queue the copying of a collection to another store.

    A collection of that name that is there already is kept, as the one to go back to.

    Raises:
        ApiError: 404, there is no such collection; 422, no store can be called so; 409, it is there already.
        JobError: the process is closing.
    """
    here = service.settings.store
    try:
        check_place(place)
    except ValueError as error:
        raise ApiError(422, "invalid_store", f"store {masked(place)!r:.200} {error}") from error
    if place.rstrip("/") == here.rstrip("/"):
        raise ApiError(409, "same_store", f"the collection is in {place} already; STORE names it")
    if not service.exists(tenant, collection):
        raise ApiError(404, "collection_not_found", f"no collection {collection!r} here")

    def run(job: Job, progress: Callable[[Report], None], stop: Stop) -> Report:
        started = monotonic()
        live = service.open(tenant, collection).store
        report = Report(total=live.stats().documents)

        def moved(uri: str) -> None:
            report.finished, report.current = report.finished + 1, uri
            progress(report)

        there = stores.catalog_of(service.settings, service.data, place)
        try:
            home = there.home(tenant, collection)
            with service.rebuilds.paused(), service.catalog.home(tenant, collection).alone(PATIENCE):
                config = replace(live.config, apart=True)
                counted = _copy(service, home, config, (tenant, collection), (stop, moved))
        except StoppedError:
            if service.jobs.cancelled(job):
                home.abandon()
            return report
        finally:
            stores.close(there)
        report.documents, report.chunks, report.current = *counted, ""
        report.seconds = monotonic() - started
        job.result = {
            "store": place,
            "previous": here,
            "moved": report.finished,
            "documents": report.documents,
            "chunks": report.chunks,
            "seconds": round(report.seconds, 3),
        }
        return report

    return service.jobs.submit(tenant, collection, "", run)


def _copy(
    service: Service,
    home: Home,
    config: IndexConfig,
    key: tuple[str, str],
    watched: tuple[Stop, Callable[[str], None]],
) -> tuple[int, int]:
    """Build the copy and let it take the name there; documents and passages in it."""
    finished: list[Store] = []

    def open_store(generation: str, made_with: IndexConfig, aside: bool) -> Store:
        store = service.open_generation(home, generation, made_with)
        if aside:
            stores.be_nice(store)
        return store

    target = Target(home, folder.MOVE, config, compared=True)
    seams = Seams(open_store, stores.kill, lambda store, generation: finished.append(store), *watched)
    if isinstance(home, FolderHome):
        home.path.mkdir(parents=True, exist_ok=True)
    try:
        rebuild(service.open(*key).store, target, seams)
        stats = finished[0].stats()
        return stats.documents, stats.chunks
    finally:
        for store in finished:
            store.close()
