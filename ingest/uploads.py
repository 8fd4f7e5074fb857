"""Uploads: spooled to disk before they are acknowledged, ingested by a job, removed from the spool after.

A spool entry is a folder that appears by rename, whole or not at all; what a killed process left there is
taken up again by the next one.

An entry's name holds the number of its arrival and its document's id, so that what is taken in or deleted
also ends what arrived before it: an older upload never comes back over a newer one. The number comes from a
durable counter, not from a clock, which may be set back.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import shutil
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic, time
from urllib.parse import unquote

from latewood.ingest.jobs import JobError
from latewood.ingest.parsing.sandbox.protocol import ParsedFile, Unchanged
from latewood.ingest.pipeline import Index, ingest
from latewood.ingest.report import Problem, Report
from latewood.ingest.sequence import Sequence
from latewood.ingest.sync import Place, Work, document_from
from latewood.ingest.types import CONFLICT, Document, ParseError, document_id
from latewood.search.analysis.language_detection import language_of
from latewood.search.stores.base import Store
from latewood.search.stores.durable import make_folder, sync
from latewood.search.types import DocumentInfo, MetadataValue

SOURCE = "uploads:"
TRIES = 3
"""Processes that try an upload which fails for a passing reason, before it is given up."""
RACES = 8
"""How often an upload may find that another writer of its document was first, before it counts as failed."""

SMALL_BYTES = 64 * 2**10
"""Largest upload that goes to the lane of small jobs."""
_PACKED = frozenset({".gz", ".zip"})
"""Kinds whose size does not bound what they hold."""

logger = logging.getLogger(__name__)
SUPERSEDED = "superseded"
_NUMBER = re.compile(r"s(\d{19})-")
"""Begins an entry's name. Entries of older versions begin with a moment in digits, which sorts before."""

_UNNAMED = "text"  # the title that earlier versions gave a text without one
_MARK = ".committed-"
_MARK_SECONDS = 7 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Upload:
    """One file handed in: the name that decides its format, and what the caller states about it.

    Attributes:
        keeps: of `title` and `metadata`, those that the document it replaces hands on.
    """

    tenant: str
    collection: str
    uri: str
    name: str
    title: str
    metadata: Mapping[str, MetadataValue]
    keeps: Collection[str] = ()

    @property
    def document_id(self) -> str:
        """The document it becomes."""
        return document_id(self.tenant, self.collection, self.uri)


@dataclass(frozen=True, slots=True)
class Spooled:
    """An upload on disk."""

    upload: Upload
    folder: Path

    @property
    def file(self) -> Path:
        """The bytes."""
        return self.folder / "content"

    @property
    def number(self) -> int:
        """Return the number of its arrival; 0 for an entry of an older version, which had none."""
        return _number_of(self.folder.name)


def name_in(uri: str) -> str:
    """Return the name in an upload's uri: `upload:notes/faq%2012` -> `faq 12`."""
    name = unquote(uri.removeprefix("upload:"))
    return name.rstrip("/").rpartition("/")[2] or name


class Spool:
    """The folder where uploads wait."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.sequence = Sequence(root.parent / "sequence")
        self._counted = False

    def add(self, upload: Upload, write: Callable[[Path], None]) -> Spooled:
        """Keep an upload: `write` puts its bytes into the path it is given. On return it is on disk."""
        make_folder(self._root)
        draft = self._root / f".{uuid.uuid4()}"
        draft.mkdir()
        try:
            write(draft / "content")
            (draft / "upload.json").write_text(json.dumps(asdict(upload)), encoding="utf-8")
            for name in ("content", "upload.json"):
                sync(draft / name)
            sync(draft)
            # Names sort by arrival, so that the later of two uploads of one document is ingested last.
            number = self.sequence.next(above=self._highest())
            final = self._root / f"s{number:019d}-{upload.document_id}-{uuid.uuid4().hex[:8]}"
            draft.rename(final)
            sync(self._root)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        return Spooled(upload, final)

    def waiting(self) -> list[Spooled]:
        """What has not been ingested yet, oldest first; drafts of a killed process are not among them."""
        if not self._root.is_dir():
            return []
        folders = sorted(folder for folder in self._root.iterdir() if not folder.name.startswith("."))
        return [Spooled(upload, folder) for folder in folders if (upload := _read(folder)) is not None]

    def entry(self, name: str) -> Spooled:
        """The upload in the folder of this name.

        Raises:
            JobError: `superseded`, it is not there any more.
        """
        folder = self._root / name
        upload = _read(folder) if self.has(name) else None
        if upload is None:
            raise JobError(
                SUPERSEDED, "a later upload or a removal came first; hand it in again if it is meant"
            )
        return Spooled(upload, folder)

    def has(self, name: str) -> bool:
        """Whether the upload in the folder of this name waits still."""
        return bool(name) and (self._root / name).is_dir()

    def forget(self, name: str) -> bool:
        """Forget the upload in the folder of this name; False when there is none."""
        return bool(name) and self._forget(self._root / name)

    def remove(self, spooled: Spooled) -> bool:
        """Forget an upload that was refused for good: one rename, then the cleaning up.

        False when it was forgotten before.
        """
        return self._forget(spooled.folder)

    def settle(self, spooled: Spooled) -> bool:
        """Forget an upload whose document is committed, but not that it was; False as of `remove`.

        A process that ends before it tells how its job went leaves the job to another, which asks.
        """
        mark = self._mark(spooled.folder.name)
        mark.touch()
        if self._forget(spooled.folder):
            return True
        mark.unlink(missing_ok=True)
        return False

    def was_committed(self, name: str) -> bool:
        """Whether the upload that was in the folder of this name is a document; known for a week."""
        return bool(name) and self._mark(name).exists()

    def _mark(self, name: str) -> Path:
        return self._root / f"{_MARK}{name}"

    def sync(self) -> None:
        """On return every entry that was forgotten before the call stays so, whatever the power does."""
        if self._root.is_dir():
            sync(self._root)

    def remove_all(self, document: str, before: Spooled | None = None) -> None:
        """Forget a document's uploads, oldest first: all, or those that arrived before this one."""
        if not self._root.is_dir():
            return
        for folder in sorted(self._root.glob(f"[0-9s]*-{document}-*")):
            if before is None or folder.name < before.folder.name:
                self._forget(folder)

    def remove_collection(self, tenant: str, collection: str) -> None:
        """Forget everything that was handed in for a collection: a later start would bring it back."""
        for spooled in self.waiting():
            if (spooled.upload.tenant, spooled.upload.collection) == (tenant, collection):
                self._forget(spooled.folder)

    def failed(self, spooled: Spooled) -> int:
        """Count a try that failed for a passing reason; how many there are now.

        Raises:
            FileNotFoundError: the upload was forgotten meanwhile.
        """
        number = 1 + sum(1 for _ in spooled.folder.glob("failed-*"))
        (spooled.folder / f"failed-{number}").touch()
        return number

    def clean(self) -> None:
        """Remove what a killed process left half made or removed: for the owner, before it takes anything."""
        if self._root.is_dir():
            for left in self._root.glob(".*"):
                if left.name.startswith(_MARK) and time() - left.stat().st_mtime < _MARK_SECONDS:
                    continue
                with contextlib.suppress(FileNotFoundError):  # removed meanwhile by who had begun to
                    if left.is_dir() and not left.is_symlink():
                        shutil.rmtree(left)
                    else:
                        left.unlink()

    def _highest(self) -> int:
        """Return the highest number among the entries: a lost counter file must not give one out again."""
        if self._counted:
            return 0
        highest = max((_number_of(entry.name) for entry in self._root.iterdir()), default=0)
        self._counted = True
        return highest

    def _forget(self, folder: Path) -> bool:
        aside = folder.with_name(f".{folder.name}")
        try:
            folder.rename(aside)
        except FileNotFoundError:
            return False
        shutil.rmtree(aside)
        return True


def _number_of(name: str) -> int:
    found = _NUMBER.match(name)
    return int(found[1]) if found else 0


def _read(folder: Path) -> Upload | None:
    """What an entry says of itself; None, and a line in the log, for what is no upload of ours."""
    try:
        fields = json.loads((folder / "upload.json").read_text(encoding="utf-8"))
        return Upload(**{**fields, "keeps": tuple(fields.get("keeps", ()))})
    except (OSError, ValueError, TypeError) as error:
        logger.warning("%s is not a readable upload and is left out: %s", folder, error)
        return None


def is_small(spooled: Spooled) -> bool:
    """Return whether an upload belongs to the lane of small jobs."""
    try:
        size = spooled.file.stat().st_size
    except OSError:  # gone or unreadable: the job finds out at once
        return True
    return size <= SMALL_BYTES and Path(spooled.upload.name).suffix.lower() not in _PACKED


def take_upload(
    index: Index,
    spool: Spool,
    spooled: Spooled,
    work: Work,
    committed: Callable[[Store, Spooled], object],
) -> Report:
    """Ingest one upload that waits, and decide what becomes of its entry in the spool.

    What arrived before it goes when its document is committed. The entry itself is then left to `committed`:
    it must stay until the commit survives a power cut. An entry that can never be read goes at once. It stays
    for the next process when this one closes, and after a passing error, `TRIES` times at most.

    Raises:
        JobError: the file could not be taken in (its error's own code), or `superseded`: a later upload or a
            removal of the document came first.
    """
    if not spooled.folder.is_dir():
        raise JobError(SUPERSEDED, _superseded(spooled))
    document = spooled.upload.document_id
    report, errors = _ingest_again(index, spooled, work)
    if report.added or report.updated:
        spool.remove_all(document, before=spooled)
        if not spool.has(spooled.folder.name):  # removed while it was ingested
            discard(index, [document])
            raise JobError(SUPERSEDED, _superseded(spooled))
        committed(index.store, spooled)
    if not errors or (errors[0].transient and work.stop()):
        return report
    _settle(spool, spooled, errors[0])
    if errors[0].skipped:
        return report
    work.progress(report)
    raise JobError(errors[0].code, errors[0].message)


def _ingest_again(index: Index, spooled: Spooled, work: Work) -> tuple[Report, list[ParseError]]:
    """Ingest, and again where another writer was first: this one arrived too, and the last one stands."""
    for _ in range(RACES):
        errors = list[ParseError]()
        report = ingest_upload(index, spooled, work, errors.append)
        if not errors or errors[0].code != CONFLICT or work.stop() or not spooled.folder.is_dir():
            break
    return report, errors


def _settle(spool: Spool, spooled: Spooled, error: ParseError) -> None:
    if not error.transient:
        spool.remove(spooled)
        return
    try:
        tries = spool.failed(spooled)
    except FileNotFoundError as gone:
        raise JobError(SUPERSEDED, _superseded(spooled)) from gone
    if tries >= TRIES:
        logger.warning("%s is given up after %d tries: %s", spooled.upload.uri, tries, error.message)
        spool.remove(spooled)


def _superseded(spooled: Spooled) -> str:
    return (
        f"a later upload or a removal of {spooled.upload.uri!r} came first; hand it in again if it is meant"
    )


def ingest_upload(
    index: Index, spooled: Spooled, work: Work, on_error: Callable[[ParseError], object] = lambda error: None
) -> Report:
    """Parse, embed and commit one upload; `on_error` is told why it became no document."""
    started = monotonic()
    upload = spooled.upload
    report = Report(total=1, current=upload.uri)
    key = document_id(index.tenant, index.collection, upload.uri)
    before = [one.document for one in index.store.get_manifests([key]) if one.live is not None]
    try:
        answer = _parse(spooled, work)
    except ParseError as error:
        problem = Problem(upload.uri, error.code, error.message)
        (report.skipped if error.skipped else report.failed).append(problem)
        report.finished, report.share = 1, 1.0
        on_error(error)
        return report
    if isinstance(answer, Unchanged):
        raise TypeError("a parser that was given no hash cannot find a file unchanged")
    document = document_from(answer, Place(key, upload.uri, SOURCE), keep_stamp=False)
    document = _with_stated(index, document, upload, before[0] if before else None)

    def embedding(documents: Iterable[Document], part: float) -> None:
        report.share = part
        work.progress(report)

    for outcome in ingest(index, [document], work.stop, embedding=embedding):
        if outcome.error is not None:
            report.failed.append(Problem(upload.uri, outcome.error.code, outcome.error.message))
            on_error(outcome.error)
            continue
        report.added, report.updated = int(not before), int(bool(before))
        report.tokens = outcome.tokens
    stats = index.store.stats()
    report.documents, report.chunks = stats.documents, stats.chunks
    report.finished, report.share, report.seconds = 1, 1.0, monotonic() - started
    work.progress(report)
    return report


def _with_stated(index: Index, document: Document, upload: Upload, before: DocumentInfo | None) -> Document:
    """Return a document with the title and metadata of its upload, or kept from the one it replaces."""
    title, metadata = upload.title, {**document.metadata, **upload.metadata}
    if before is not None and "title" in upload.keeps and before.title != _UNNAMED:
        title = title or before.title
    if before is not None and "metadata" in upload.keeps:
        metadata |= before.metadata
        text = "".join(passage.chunk.text for passage in index.store.chunks_of(document.id))
        if before.language != language_of(text):  # stated, not detected
            metadata["language"] = before.language
    return replace(document, title=title or document.title, metadata=metadata)


def _parse(spooled: Spooled, work: Work) -> ParsedFile | Unchanged:
    """Parse, a second time after a passing error: a deadline or a want of memory may pass in a moment."""
    path, name = str(spooled.file), spooled.upload.name
    try:
        return work.pool.parse(path, None, name=name)
    except ParseError as error:
        if not error.transient or work.stop():
            raise
        logger.info("%s is parsed again: %s", spooled.upload.uri, error.message)
    return work.pool.parse(path, None, name=name)


def discard(index: Index, ids: list[str]) -> int:
    """Delete documents of any source; the number that answered before."""
    return index.writer.remove(ids)
