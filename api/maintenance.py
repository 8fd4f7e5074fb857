"""What keeps an index whole: verify and repair, as jobs of the service."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from api import mending, stores
from api.build import Service
from api.errors import ApiError
from ingest import repair as repairing
from ingest.jobs import Job
from ingest.pipeline import Index
from ingest.report import Report
from search.stores import catalog
from search.types import StoreDamagedError

logger = logging.getLogger(__name__)


def verify(service: Service, tenant: str, collection: str, *, repair: bool) -> Job:
    """Queue a verify; its outcome is the job's `result`.

    An index that is damaged is opened as it is, for this alone, and as ever once a repair has ended.

    Raises:
        ApiError: 404, there is no such collection.
        JobError: the process is closing.
    """
    if not service.exists(tenant, collection):
        message = f"no collection {collection!r} here; `latewood ingest FOLDER` makes one"
        raise ApiError(404, "collection_not_found", message)

    def run(job: Job, progress: Callable[[Report], None], stop: Callable[[], bool]) -> Report:
        report = Report()
        paused = service.rebuilds.paused()  # what is built meanwhile would be built from what is being mended
        with paused, _index(service, tenant, collection, repair=repair) as (index, ended):
            verdict = repairing.verify(index, service.work(progress, stop), report, mend=repair)
            found = verdict.findings
            report.documents, report.chunks, report.current = found.documents, found.chunks, ""
            job.result = verdict.as_dict()
            if not stop():
                ended(not verdict.unrepaired)
        progress(report)
        return report

    return service.jobs.submit(tenant, collection, "", run)


Ended = Callable[[bool], object]


@contextmanager
def _index(service: Service, tenant: str, collection: str, *, repair: bool) -> Iterator[tuple[Index, Ended]]:
    """The index to verify, damaged or not, and what to call when the work is done (True: and all is well)."""
    try:
        opened = service.open(tenant, collection)
    except StoreDamagedError as error:
        if stores.is_remote(service.catalog):
            raise
        logger.warning("verifying a damaged index: %s", error)
    else:
        yield opened.index, lambda well: None
        return
    if not repair:
        with service.unchecked(tenant, collection) as opened:
            yield opened.index, lambda well: None
        return
    generation = catalog.path_of(service.data, tenant, collection)
    aside = generation / "shard.unreadable"
    with _readable(service, tenant, collection, generation / "shard", aside) as index:
        mending.begin(generation)

        def ended(well: bool) -> None:
            index.store.flush()
            if well and index.store.list_records(limit=1):
                shutil.rmtree(aside, ignore_errors=True)
            mending.end(generation)

        yield index, ended


@contextmanager
def _readable(service: Service, tenant: str, collection: str, shard: Path, aside: Path) -> Iterator[Index]:
    """The unchecked index; where the engine cannot read its files, an empty one to fill from the records.

    The unreadable files stay in `aside` meanwhile.

    Raises:
        StoreDamagedError: they cannot be read, and there are no records either.
    """
    with ExitStack() as stack:
        try:
            opened = stack.enter_context(service.unchecked(tenant, collection))
        except StoreDamagedError as error:
            if aside.exists():
                raise
            logger.warning("%s; it is filled again from the records", error)
            shard.rename(aside)
            opened = stack.enter_context(service.unchecked(tenant, collection))
            if not opened.store.list_records(limit=1):
                stack.close()
                shutil.rmtree(shard)
                aside.rename(shard)
                raise
        yield opened.index
