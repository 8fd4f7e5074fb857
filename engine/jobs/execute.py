"""Carrying orders out: an ingest of a source, or of one upload, by the one job that runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from latewood.embedder.types import EmbedderError
from latewood.engine.collection import assemble
from latewood.ingest.jobs import Job
from latewood.ingest.orders import UPLOAD, Order
from latewood.ingest.pipeline import Index
from latewood.ingest.report import Report
from latewood.ingest.sources.uris import is_remote, path_of
from latewood.ingest.sync import Work, sync
from latewood.ingest.uploads import take_upload
from latewood.search.stores.generations.switch import Held, SwitchStore
from latewood.search.stores.memory import MemoryStore
from latewood.search.types import IndexConfig, SearchError

if TYPE_CHECKING:
    from latewood.engine.library import Service

Progress = Callable[[Report], None]
Stop = Callable[[], bool]


def carry_out(service: Service, order: Order, job: Job, progress: Progress, stop: Stop) -> Report:
    """Do what an order says; safe to repeat, for what is committed is not done again.

    Raises:
        SourceError, JobError, StoreError: why it could not be done.
    """
    try:
        if order.kind == UPLOAD:
            return _upload(service, order, job, service.work(progress, stop))
        root = order.root if is_remote(order.root) else path_of(order.root)
        return sync(lambda: _index(service, order), root, order.options, service.work(progress, stop))
    finally:
        service.after_writing(order.tenant, order.collection)


def _upload(service: Service, order: Order, job: Job, work: Work) -> Report:
    settling = service.settling
    if service.spool.was_committed(order.entry) or settling.has_committed(order.entry):
        return _committed_before(service, order)
    spooled = service.spool.entry(order.entry)
    try:
        index = service.for_writing(order.tenant, order.collection)
        return take_upload(index, service.spool, spooled, work, settling.committed)
    except (SearchError, EmbedderError, OSError) as error:
        settling.failed(spooled, error)
        raise
    finally:
        if service.jobs.cancelled(job):
            service.spool.remove(spooled)


def _committed_before(service: Service, order: Order) -> Report:
    """Of an upload that is settled; a collection that was removed since is not made again."""
    report = Report(total=1, finished=1, unchanged=1, current=order.source)
    if service.exists(order.tenant, order.collection):
        stats = service.for_writing(order.tenant, order.collection).store.stats()
        report.documents, report.chunks = stats.documents, stats.chunks
    return report


def _index(service: Service, order: Order) -> Index:
    if order.options.dry_run and not service.exists(order.tenant, order.collection):
        empty = Held(MemoryStore(IndexConfig((1,), {})), lambda store: None)
        return assemble(service, order.tenant, order.collection, SwitchStore(empty)).index
    return service.for_writing(order.tenant, order.collection)
