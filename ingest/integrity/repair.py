"""Put right what `ingest.verify` found, and look again whether it is.

A document that is not whole is written again: from its record, which holds every word and cut of it; without
one from its file; without that, what is left of it stays and says so. Each step is the commit walk's or may
be repeated, so a repair that was killed goes on with the next one.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from latewood.embedder.types import StoppedError
from latewood.ingest.index import commit, metadata_overrides
from latewood.ingest.index.rewrite import record_of, rewrite, survivors
from latewood.ingest.index.writer import utc
from latewood.ingest.integrity.orphans import best_record, stray_chunks, stray_records
from latewood.ingest.integrity.read_version import chunk_id, fetch_version, tiles
from latewood.ingest.integrity.verify import LOST, Finding, Findings, examine
from latewood.ingest.parsing.parse import PARSER_VERSION
from latewood.ingest.parsing.sandbox.protocol import Unchanged
from latewood.ingest.pipeline import Index, ingest
from latewood.ingest.report import Report
from latewood.ingest.sources.diff import SourceError, path_of
from latewood.ingest.sync import Place, Work, document_from
from latewood.ingest.types import Document, ParseError
from latewood.search.types import DocumentInfo, Failure, Manifest, ManifestWrite, Record


@dataclass(slots=True)
class Verdict:
    """What a verify found, and what a repair made of it.

    Attributes:
        repaired: how many of the findings are put right.
        unrepaired: those that are not, each with the reason.
    """

    findings: Findings
    repaired: int = 0
    unrepaired: list[tuple[Finding, str]] = field(default_factory=list)

    def joined(self, later: Verdict) -> Verdict:
        """This one and that of a later look: all that was found, and what the later one left."""
        known = {one.id for one in self.findings.all()}
        for mine, theirs in zip(self.findings.lists(), later.findings.lists(), strict=True):
            mine += [one for one in theirs if one.id not in known]
        self.findings.documents, self.findings.chunks = later.findings.documents, later.findings.chunks
        return Verdict(self.findings, self.repaired + later.repaired, later.unrepaired)

    def as_dict(self) -> dict[str, object]:
        """The contract's shape, and more."""
        found = self.findings
        return {
            "documents": found.documents,
            "chunks": found.chunks,
            "missing": [one.as_dict() for one in found.missing],
            "orphaned": [one.as_dict() for one in found.orphaned],
            "stale": [one.as_dict() for one in found.stale],
            "damaged_records": [one.as_dict() for one in found.damaged_records],
            "differing": [one.as_dict() for one in found.differing],
            "indexes": [one.as_dict() for one in found.indexes],
            "repaired": self.repaired,
            "unrepaired": [{**one.as_dict(), "message": message} for one, message in self.unrepaired],
        }


def verify(
    index: Index,
    work: Work,
    report: Report,
    *,
    mend: bool = False,
    renew: Callable[[], object] | None = None,
) -> Verdict:
    """Hold an index against itself; with `mend`, put right what differs and look again.

    To be called with `mend` when no other writer can be at work.

    Args:
        index: what to look at.
        work: who parses, who listens, who may stop it.
        report: is kept up to date: `total` and `finished` count documents looked at and findings mended.
        mend: whether to change anything.
        renew: copies everything into an index made anew, for indexes of the engine that do not agree with the
            chunks.

    Raises:
        StoreDamagedError: see `examine`.
    """
    store = index.store
    analyzer = index.analyzer if _analysed_by(index) else None
    if mend:
        commit.recover(store)
    report.total += store.stats().documents

    def looked_at(uri: str) -> None:
        report.finished, report.current = report.finished + 1, uri
        work.progress(report)

    findings = examine(store, looked_at, work.stop, analyzer)
    verdict = Verdict(findings, unrepaired=[(one, _LOST_FOR_GOOD) for one in findings.lost])
    if mend and findings.all() and not work.stop():
        report.total += len(findings.all())
        repair = _Repair(index, work, report)
        repair.run(findings)
        after = examine(store, stop=work.stop, analyzer=analyzer)
        if after.indexes and renew is not None and not work.stop():
            renew()
            after = examine(store, stop=work.stop, analyzer=analyzer)
        if not work.stop():
            _judge(verdict, after, repair.reasons)
    return verdict


def _analysed_by(index: Index) -> bool:
    """Whether the index's terms are those of the analyser in use."""
    made = index.store.config.fingerprint.get("analyzer")
    return made == index.analyzer.fingerprint


_LOST_FOR_GOOD = (
    "passages of it were lost, and neither a record nor its file is there; ingest its source again, "
    "hand it in again, or delete it"
)


def _judge(verdict: Verdict, after: Findings, reasons: dict[str, str]) -> None:
    """Hold what was found against what is left."""
    before = verdict.findings
    left = {one.id: one for one in after.all()}
    gone = {one.id: one for one in before.all() if one.id in reasons and one.id not in left}
    verdict.unrepaired = [
        (one, reasons.get(key, _LOST_FOR_GOOD if one.code == LOST else "it differs still; verify again"))
        for key, one in {**left, **gone}.items()
    ]
    verdict.repaired = sum(one.id not in left and one.id not in gone for one in before.all())
    before.documents, before.chunks = after.documents, after.chunks


class _Repair:
    """One repair under way; `reasons` tells by document id why it could not be put right."""

    def __init__(self, index: Index, work: Work, report: Report) -> None:
        self._index = index
        self._store = index.store
        self._work = work
        self._report = report
        self.reasons: dict[str, str] = {}

    def run(self, findings: Findings) -> None:
        """Write again what is not whole, then clear away what belongs to nothing, then mend the records."""
        recordless: list[Finding] = []
        try:
            self._rewrite(self._records([*findings.missing, *findings.lost], recordless))
            self._from_sources([*recordless, *findings.orphaned])
        except StoppedError:
            return
        if self._work.stop():
            return
        for finding in recordless:
            self._keep_remains(finding)
        self._clear_strays()
        for finding in (*findings.damaged_records, *findings.differing):
            self._mend_record(finding)
            self._done(finding.uri)
        self._store.flush()

    def _done(self, uri: str) -> None:
        self._report.finished, self._report.current = self._report.finished + 1, uri
        self._work.progress(self._report)

    def _manifest(self, document: str) -> Manifest | None:
        found = self._store.get_manifests([document])
        return found[0] if found else None

    # from records

    def _records(self, findings: Sequence[Finding], recordless: list[Finding]) -> Iterator[Record]:
        """Records of documents to write again; those without one are put into `recordless`."""
        for finding in findings:
            manifest = self._manifest(finding.id)
            record = self._record(finding.id, manifest)
            if record is None:
                recordless.append(finding)
            elif manifest is None and self._adopt(record):
                self._done(finding.uri)
            elif finding.code != LOST:
                yield record
            else:
                recordless.append(finding)  # its record tells of what is left only

    def _record(self, document: str, manifest: Manifest | None) -> Record | None:
        if manifest is None:
            return best_record(self._store, document)
        kept = self._store.get_records([document])
        whole = next((one for one in kept if one.version == manifest.live), None)
        return whole or self._from_chunks(manifest)

    def _from_chunks(self, manifest: Manifest) -> Record | None:
        """What a record would say, where every chunk is there and only vectors or the record are not."""
        chunks = [passage.chunk for passage in fetch_version(self._store, manifest)]
        whole = len(chunks) == manifest.chunks and chunks and tiles(chunks, manifest.characters)
        return record_of(manifest, chunks) if whole else None

    def _adopt(self, record: Record) -> bool:
        """Write only the manifest again, where every chunk is as recorded."""
        passages = fetch_version(self._store, record.manifest)
        if tuple(passage.chunk for passage in passages) != record.chunks:
            return False
        manifest = replace(record.manifest, revision=str(uuid.uuid4()), failure=None)
        return self._store.put_manifests([ManifestWrite(manifest.id, None, manifest)])[0]

    def _rewrite(self, records: Iterator[Record]) -> None:
        for record, reason in rewrite(self._index, records, self._work.stop):
            if reason:
                self.reasons[record.document_id] = reason
            else:
                self._store.sweep([record.version])  # of a lost manifest: no commit knew to replace it
                if record.manifest.amended:
                    metadata_overrides.amend(self._store, record.document_id, record.manifest.amended)
            self._done(record.manifest.document.uri)

    # from files

    def _from_sources(self, findings: Sequence[Finding]) -> None:
        for outcome in ingest(self._index, self._parsed(findings), self._work.stop):
            if outcome.error is not None:
                self.reasons[outcome.document.id] = outcome.error.message
            else:
                self.reasons.pop(outcome.document.id, None)
            self._done(outcome.document.uri)

    def _parsed(self, findings: Sequence[Finding]) -> Iterator[Document]:
        """The documents whose files are there and can be read."""
        for finding in findings:
            info = self._info(finding)
            path = None if info is None else _file_of(info.uri)
            if info is None or path is None:
                continue
            try:
                answer = self._work.pool.parse(path)
            except ParseError as error:
                self.reasons[finding.id] = f"its file cannot be read: {error.message}"
                continue
            if isinstance(answer, Unchanged):
                raise TypeError("a parser that was given no hash cannot find a file unchanged")
            document = document_from(answer, Place(info.id, info.uri, info.source))
            manifest = self._manifest(info.id)
            same = manifest is not None and manifest.content_hash == answer.content_hash
            yield _described_as(document, manifest) if manifest is not None and same else document

    def _info(self, finding: Finding) -> DocumentInfo | None:
        """What the manifest says of a document, or else one of its chunks."""
        manifest = self._manifest(finding.id)
        if manifest is not None:
            return manifest.document
        ids = [chunk_id(finding.id, finding.version, ordinal) for ordinal in finding.ordinals]
        passages = self._store.fetch(ids)
        return passages[0].document if passages else None

    # what is left

    def _keep_remains(self, finding: Finding) -> None:
        """Keep what is left of a document as one that answers whole, and flag it; not if it was written."""
        manifest = self._manifest(finding.id)
        if manifest is None or (manifest.live or "") != finding.version:
            return
        passages = fetch_version(self._store, manifest)
        message = (
            f"{manifest.chunks - len(passages)} of {manifest.chunks} passages were lost; {_LOST_FOR_GOOD}"
        )
        if finding.code != LOST and not self._write_remains(manifest, message):
            commit.remove(self._store, [manifest.id])
        if manifest.failure is None or manifest.failure.code != LOST:
            failure = Failure(LOST, message, utc(), "", None, PARSER_VERSION, transient=True)
            commit.note_failure(self._store, manifest.document, failure)
        self.reasons.setdefault(manifest.id, manifest.failure.message if manifest.failure else message)
        self._done(finding.uri)

    def _write_remains(self, manifest: Manifest, message: str) -> bool:
        passages = fetch_version(self._store, manifest)
        if not "".join(passage.chunk.text for passage in passages).strip():
            return False
        left = survivors(manifest, [passage.chunk for passage in passages], f"{LOST}: {message}")
        return all(not reason for _, reason in rewrite(self._index, [left]))

    def _clear_strays(self) -> None:
        """Remove chunks and records of nothing; what belongs to a document still to be written stays."""
        for strays in stray_chunks(self._store):
            self._store.remove_chunks([stray.key.id for stray in strays if stray.code != "manifest_lost"])
        for record in stray_records(self._store):
            if not record.lost:
                self._store.sweep([record.version])
            elif best_record(self._store, record.document_id) is None:
                self._store.sweep([record.version])
                self.reasons[record.document_id] = "its manifest is gone and its record cannot be read"

    def _mend_record(self, finding: Finding) -> None:
        """Make chunks and record say of their document what its manifest says."""
        manifest = self._manifest(finding.id)
        if manifest is None or manifest.live is None:
            return
        if finding.code == "info_differs":
            self._store.put_info(manifest.id, manifest.live, manifest.document)
        record = self._from_chunks(manifest)
        if record is not None:
            self._store.put_records([record])
            after = self._manifest(finding.id)
            if after is None or manifest.live not in (after.live, *after.hidden):
                self._store.sweep([manifest.live])  # the document was removed meanwhile


def _file_of(uri: str) -> str | None:
    """The path of a file that is there; None for an upload, or a file that is gone."""
    try:
        path = path_of(uri)
    except SourceError:
        return None
    return path if Path(path).is_file() else None


def _described_as(document: Document, manifest: Manifest) -> Document:
    """The same bytes parsed again, with the title and metadata that they were given besides."""
    info = manifest.document
    language = {"language": info.language} if info.language else {}
    told = {**info.metadata, **language}
    return replace(document, title=info.title, metadata=told, beside=manifest.beside)
