"""Make a collection's documents of one source equal to what the source holds now.

scan -> diff against manifests -> remove what vanished -> parse what is new or changed -> ingest walk
     -> remove what was renamed
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from time import monotonic
from urllib.parse import unquote

from latewood.ingest.index.writer import modified, utc
from latewood.ingest.moves import partners_together, perhaps_renamed, twins_of
from latewood.ingest.parsing.parse import PARSER_VERSION
from latewood.ingest.parsing.sandbox.pool import ParserPool
from latewood.ingest.parsing.sandbox.protocol import ParsedFile, Unchanged
from latewood.ingest.pipeline import Index, ingest
from latewood.ingest.report import Problem, Report, Share
from latewood.ingest.sources.archives import opened
from latewood.ingest.sources.base import Local, Origin, Remote
from latewood.ingest.sources.diff import Plan, ScannedFile, check_overlap, check_root, diff, limited
from latewood.ingest.sources.dry_run import rehearse
from latewood.ingest.sources.inventory import Known, holdings
from latewood.ingest.sources.path_templates import Template
from latewood.ingest.sources.patterns import EVERYTHING, Selection
from latewood.ingest.sources.remote import RemoteSource
from latewood.ingest.sources.scan import ScanResult
from latewood.ingest.sources.sidecars import annotated, described, look
from latewood.ingest.sources.uris import is_remote
from latewood.ingest.types import Document, ParseError, document_id
from latewood.ingest.vector_reuse import Twins
from latewood.search.types import DiskFullError, DocumentInfo, Failure, FileStamp

_log = logging.getLogger(__name__)

_REMOVED_AT_ONCE = 500
_EMBEDDED = 0.95
"""Part of a document's work that is done once it is embedded."""


@dataclass(frozen=True, slots=True)
class SyncOptions:
    """What an ingest may do beyond its default.

    Attributes:
        only: uris of files to try again, failed or not; everything else of the source stays as it is.
    """

    dry_run: bool = False
    keep_deleted: bool = False
    allow_empty: bool = False
    selection: Selection = EVERYTHING
    only: frozenset[str] | None = None


Progress = Callable[[Report], None]
Stop = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Work:
    """The seams of a running ingest: who parses, who listens, who may stop it, what not to read.

    Attributes:
        templates: rules that make metadata of paths.
        aside: where copies of what is no file of this machine lie until they were parsed.
        file_bytes: the largest file that is fetched.
        roots: folders and uris; a web server in one of them may not redirect to a place outside all of them.
    """

    pool: ParserPool
    progress: Progress
    stop: Stop
    readers: int = 2
    left_out: tuple[str, ...] = ()
    templates: tuple[Template, ...] = ()
    aside: str = ""
    file_bytes: int = 500_000_000
    roots: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Run:
    """One ingest under way."""

    index: Index
    source: str
    options: SyncOptions
    work: Work
    report: Report
    known: Mapping[str, Known]
    origin: Origin
    share: Share

    def embedding(self, documents: Sequence[Document], part: float) -> None:
        """Note how much of a batch is embedded; what is left of a document is its writing."""
        report = self.report
        report.share = self.share.reached((one.uri for one in documents), part * _EMBEDDED)
        self.work.progress(report)

    def finished(self, uri: str) -> None:
        """Count a file of which nothing is left to do."""
        self.report.finished += 1
        self.report.share = self.share.reached([uri], 1.0)

    def known_hash(self, file: ScannedFile) -> str | None:
        """Its hash, for which it need not be parsed again; None when something beside it changed."""
        before = self.known.get(file.uri)
        same = before is not None and before.live and before.beside == file.beside
        return before.content_hash if before is not None and same else None


def sync(open_index: Callable[[], Index], root: str, options: SyncOptions, work: Work) -> Report:
    """Ingest one folder (or file), a path or a remote uri, and return what was done.

    The index is opened (and made, if need be) only once the source was found.

    Raises:
        SourceError: the root is missing, suddenly empty, taken away, or overlaps another source.
        StoreError: the store refused; what was committed before stays.
    """
    with closing(_origin(root, work)) as origin:
        return _sync(open_index, origin, options, work)


def _sync(open_index: Callable[[], Index], origin: Origin, options: SyncOptions, work: Work) -> Report:
    started = monotonic()
    found = origin.scan(options)
    index = open_index()
    held = holdings(index.store, origin.names)
    source = origin.source(found, held.sources)
    check_overlap(source, held.sources)
    known = held.mine[source]
    found = annotated(source, opened(source, found, work.pool), work.templates)
    check_root(source, found, known, allow_empty=options.allow_empty)
    plan = diff(source, found, known, parser_version=PARSER_VERSION)
    if options.only is not None:
        found, plan = limited(found, plan, options.only)
    share = Share({file.uri: file.stamp.size for file in (*plan.new, *plan.changed, *plan.check)})
    run = _Run(index, source, options, work, Report(), known, origin, share)
    _book_scan(run, found, plan)
    if options.dry_run:
        rehearse(plan, known, run.report, keep_deleted=options.keep_deleted)
    else:
        _carry_out(run, plan, twins_of(held.others, plan, known), lambda: origin.check(found))
    report = run.report
    stats = index.store.stats()
    report.documents, report.chunks = stats.documents, stats.chunks
    report.seconds = monotonic() - started
    report.current = ""
    report.share = report.share if work.stop() else 1.0
    work.progress(report)
    return report


def _origin(root: str, work: Work) -> Origin:
    if is_remote(root):
        aside = Path(work.aside or tempfile.gettempdir())
        return Remote(RemoteSource(root, aside, work.file_bytes, work.roots))
    return Local(root, work.left_out)


def _book_scan(run: _Run, found: ScanResult, plan: Plan) -> None:
    """Book what the scan says; a file that failed for good and has not changed is named again, not read."""
    report = run.report
    report.skipped += [Problem(*finding) for finding in found.skipped]
    report.failed += [Problem(*finding) for finding in found.failed]
    report.unchanged = len(plan.unchanged)
    report.total = len(plan.new) + len(plan.changed) + len(plan.check)
    for file in plan.failed_before:
        failure = run.known[file.uri].failure
        if failure is not None:
            report.failed.append(Problem(file.uri, failure.code, failure.message))


def _carry_out(run: _Run, plan: Plan, twins: Twins, check_source: Callable[[], None]) -> None:
    """Remove what is gone, then take in what is new; what may only have been renamed is removed last.

    Its vectors can be copied until then. Stopped or killed in between, both are there, whole, until the next
    ingest removes the old one.
    """
    last = perhaps_renamed(plan)
    removed = () if run.options.keep_deleted else plan.removed
    _remove(run, [one.id for one in removed if one.id not in last], check_source)
    run.work.progress(run.report)
    changed = partners_together(plan.changed, run.known)
    _ingest_files(run, [*plan.new, *changed, *plan.check], twins)
    if not run.work.stop():
        _remove(run, [one.id for one in removed if one.id in last], check_source)
    if removed or plan.new or plan.changed or plan.check:
        run.index.store.flush()


def _remove(run: _Run, ids: Sequence[str], check_source: Callable[[], None]) -> None:
    for start in range(0, len(ids), _REMOVED_AT_ONCE):
        check_source()
        run.report.deleted += run.index.writer.remove(ids[start : start + _REMOVED_AT_ONCE])


def _ingest_files(run: _Run, files: Sequence[ScannedFile], twins: Twins) -> None:
    """Parse ahead in child processes while documents are embedded and written here."""
    parsed = _parsed_documents(run, files)
    report = run.report
    with closing(parsed), closing(ingest(run.index, parsed, run.work.stop, twins, run.embedding)) as outcomes:
        for outcome in outcomes:
            document = outcome.document
            before = run.known.get(document.uri)
            if outcome.error is not None:
                _book(run, _File(document.uri, document.stamp, document.content_hash), outcome.error)
            elif before is not None and before.live:
                report.updated += 1
            else:
                report.added += 1
            report.tokens += outcome.tokens
            run.finished(document.uri)
            report.current = document.uri
            run.work.progress(report)


@dataclass(frozen=True, slots=True)
class _File:
    """A file as far as it is known: its uri, how stat saw it, and its hash if it could be read."""

    uri: str
    stamp: FileStamp | None
    content_hash: str = ""


def _parsed_documents(run: _Run, files: Sequence[ScannedFile]) -> Generator[Document]:
    """Documents in order of completion; at most a few parsed files wait at a time."""
    left = iter(files)
    waiting: dict[Future[ParsedFile | Unchanged], ScannedFile] = {}
    work = run.work

    def submit(threads: ThreadPoolExecutor) -> None:
        file = next(left, None)
        if file is not None:
            known = run.known_hash(file)
            waiting[threads.submit(_parse, run, file, known)] = file

    with ThreadPoolExecutor(work.readers, "parse") as threads:
        try:
            for _ in range(work.readers * 4):
                submit(threads)
            while waiting and not work.stop():
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    file = waiting.pop(future)
                    document = _settle(run, file, future)
                    submit(threads)
                    if document is not None:
                        yield document
                    else:
                        run.finished(file.uri)
                        work.progress(run.report)
        finally:
            threads.shutdown(wait=True, cancel_futures=True)


def _parse(run: _Run, file: ScannedFile, known: str | None) -> ParsedFile | Unchanged:
    """Parse a file where it lies, or its copy: then what was listed of it is its state, not the copy's."""
    with run.origin.at(file) as path:
        answer = run.work.pool.parse(path, known, member=file.member)
    return replace(answer, stamp=file.stamp) if file.kept else answer


def _settle(run: _Run, file: ScannedFile, future: Future[ParsedFile | Unchanged]) -> Document | None:
    """Turn one parser answer into a document, or book why there is none."""
    key = document_id(run.index.tenant, run.index.collection, file.uri)
    try:
        answer = future.result()
    except ParseError as error:
        _book(run, _File(file.uri, file.stamp), error)
        return None
    if isinstance(answer, Unchanged):
        try:
            run.index.writer.note_unchanged(key, answer.stamp, modified(answer.stamp))
        except (
            DiskFullError
        ) as error:  # the note saves a look at the file; an ingest that removes must go through
            _log.warning("%s is unchanged, but not noted as such: %s", file.uri, error)
        run.report.unchanged += 1
        return None
    document = document_from(answer, Place(key, file.uri, run.source))
    try:
        return described(document, look(run.source, file, run.work.templates))
    except ParseError as error:
        _book(run, _File(file.uri, file.stamp, document.content_hash), error)
        return None


def _book(run: _Run, file: _File, error: ParseError) -> None:
    """Book a file that gave no document.

    What is not meant to be read leaves the collection, as a fresh ingest would leave it out; what could not
    be read keeps its old version and is flagged. What vanished since the scan is left to the next scan,
    which tells a removed file from a folder that was taken away.
    """
    problem = Problem(file.uri, error.code, error.message)
    key = document_id(run.index.tenant, run.index.collection, file.uri)
    if error.code == "vanished":
        run.report.skipped.append(problem)
        return
    if error.skipped:
        if not run.options.keep_deleted:
            run.report.deleted += run.index.writer.remove([key])
        run.report.skipped.append(problem)
        return
    name = PurePosixPath(unquote(file.uri, errors="replace")).name
    info = DocumentInfo(key, file.uri, run.source, name, "", "", "", utc())
    failure = Failure(
        code=error.code,
        message=error.message,
        at=utc(),
        content_hash=file.content_hash,
        stamp=file.stamp,
        parser=PARSER_VERSION,
        transient=error.transient,
    )
    run.index.writer.note_failure(info, failure)
    run.report.failed.append(problem)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a parsed file belongs: its id, uri and source."""

    id: str
    uri: str
    source: str


def document_from(answer: ParsedFile, place: Place, *, keep_stamp: bool = True) -> Document:
    """Give a parsed file its place in a collection."""
    parsed = answer.parsed
    return Document(
        id=place.id,
        uri=place.uri,
        source=place.source,
        title=parsed.title,
        kind=parsed.kind,
        text=parsed.text,
        elements=parsed.elements,
        content_hash=answer.content_hash,
        metadata=parsed.metadata,
        stamp=answer.stamp if keep_stamp else None,
        notes=parsed.notes,
    )
