"""Verify and repair of an index, as jobs of the service."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from latewood.engine import repair_marker, stores
from latewood.engine.errors import ApiError
from latewood.engine.library import Service
from latewood.ingest.integrity import repair as repairing
from latewood.ingest.integrity.repair import Verdict
from latewood.ingest.jobs import Job
from latewood.ingest.pipeline import Index
from latewood.ingest.report import Report
from latewood.ingest.sync import Work
from latewood.search.stores.edge.records import has_records
from latewood.search.stores.generations import layout
from latewood.search.types import StoreDamagedError

logger = logging.getLogger(__name__)
_ASIDE = "shard.unreadable"


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
        ladder = _Ladder(service, (tenant, collection), service.work(progress, stop), report)
        paused = service.rebuilds.paused()  # what is built meanwhile would be built from what is being mended
        alone = service.write_lock(tenant, collection) if repair else nullcontext()
        with paused, alone:
            verdict = ladder.repaired() if repair else ladder.verified()
        found = verdict.findings
        report.documents, report.chunks, report.current = found.documents, found.chunks, ""
        job.result = verdict.as_dict()
        progress(report)
        return report

    return service.jobs.submit(tenant, collection, "", run)


class _Ladder:
    """A verify or repair of one index, in up to three steps.

    The index is opened as usual; then unchecked, as a damaged one; then filled again from its records. Each
    step is taken when the one before raises StoreDamagedError.
    """

    def __init__(self, service: Service, key: tuple[str, str], work: Work, report: Report) -> None:
        self._service = service
        self._key = key
        self._work = work
        self._report = report

    def verified(self) -> Verdict:
        """Name what differs; nothing is changed.

        Raises:
            StoreDamagedError: the engine cannot read the index at all.
        """
        try:
            return self._verify(self._service.open(*self._key).index)
        except StoreDamagedError as error:
            self._only_here(error)
        with self._service.unchecked(*self._key) as opened:
            return self._verify(opened.index)

    def repaired(self) -> Verdict:
        """Name what differs and put it right.

        Raises:
            StoreDamagedError: the engine cannot read the index, and there are no records.
        """
        try:
            return self._mend_opened()
        except StoreDamagedError as error:
            self._only_here(error)
        try:
            with self._service.unchecked(*self._key) as opened:
                first = self._mend(opened.index)
            return first if self._work.stop() else first.joined(self._mend_opened())
        except StoreDamagedError as error:
            logger.warning("%s; the index is filled again from the records", error)
        with self._filled() as index:
            first = self._mend(index)
        return first if self._work.stop() else first.joined(self._mend_opened())

    def _verify(self, index: Index) -> Verdict:
        return repairing.verify(index, self._work, self._report)

    def _mend_opened(self) -> Verdict:
        """Mend an index that can be opened as usual, where needed by a copy into a fresh generation."""
        index = self._service.open(*self._key).index

        def renew() -> None:
            self._service.rebuilds.renew(*self._key, self._work.stop)

        remote = stores.is_remote(self._service.catalog)
        renewed = None if remote else renew
        return repairing.verify(index, self._work, self._report, mend=True, renew=renewed)

    def _mend(self, index: Index) -> Verdict:
        """Mend an index that nobody else may open meanwhile, nor after a repair that was interrupted."""
        generation = self._generation()
        repair_marker.begin(generation)
        verdict = repairing.verify(index, self._work, self._report, mend=True)
        if not self._work.stop():
            index.store.flush()
            if not verdict.unrepaired and index.store.list_records(limit=1):
                shutil.rmtree(generation / _ASIDE, ignore_errors=True)
            repair_marker.end(generation)
        return verdict

    @contextmanager
    def _filled(self) -> Iterator[Index]:
        """An empty index in place of the one that cannot be read, to be filled from the records.

        The unreadable files stay aside meanwhile, those of the first of several attempts.

        Raises:
            StoreDamagedError: there are no records.
        """
        generation = self._generation()
        shard, aside = generation / "shard", generation / _ASIDE
        with self._service.closed(*self._key):
            if not has_records(generation):
                raise StoreDamagedError(
                    f"the index in {generation} cannot be read, and there are no records to restore it from; "
                    "restore a backup, or remove the collection and ingest its sources again"
                )
            if aside.exists():
                shutil.rmtree(shard, ignore_errors=True)
            elif shard.exists():
                shard.rename(aside)
            repair_marker.begin(generation)
        with self._service.unchecked(*self._key) as opened:
            yield opened.index

    def _generation(self) -> Path:
        return layout.path_of(self._service.data, *self._key)

    def _only_here(self, error: StoreDamagedError) -> None:
        """Log damage to files here; on a server nothing can be done about it.

        Raises:
            StoreDamagedError: the index is on a server.
        """
        if stores.is_remote(self._service.catalog):
            raise error
        logger.warning("verifying a damaged index: %s", error)
