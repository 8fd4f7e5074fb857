"""Holds what an index keeps against itself: manifests, chunks, records; and names every difference.

Three walks, page by page, so that memory follows the number of findings and not the size of the index: over
the manifests (is all there that they tell of), over the records (does each have its manifest), over the
chunks (does a manifest name each). A writer may be at work meanwhile: a manifest's revision tells whether it
changed while it was looked at; for what no manifest names see `ingest.strays`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from latewood.ingest.integrity import index_checks as indexes
from latewood.ingest.integrity.orphans import best_record, stray_chunks, stray_records
from latewood.ingest.integrity.read_version import fetch_version, read_version, tiles
from latewood.search.analysis.analyzer import Analyzer
from latewood.search.stores.base import Store
from latewood.search.types import Manifest, Passage, Record, StoreDamagedError

LOST = "passages_lost"
"""Marks a document of which passages were lost for good, until it is taken in again."""

PAGE_POINTS = 256
PAGE = 2_000  # keys and manifests read at a time
_BATCH_CHUNKS = 2_000
_BATCH_CHARACTERS = 4_000_000
_LOOKS = 8
_SHOWN = 20

Stop = Callable[[], bool]
Progress = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Finding:
    """One document, or one version of it, whose parts do not agree.

    Attributes:
        code: one snake_case word; see `Findings` for those of each list.
        uri: of the document; empty where nothing that is left names it.
        version: the version it is about.
        chunks: how many chunks are concerned.
        of: how many there should be; 0 where nothing says.
        ordinals: the first 20 of the chunks concerned.
    """

    code: str
    id: str
    uri: str
    version: str
    chunks: int = 0
    of: int = 0
    ordinals: tuple[int, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """As JSON."""
        return {
            "code": self.code,
            "id": self.id,
            "uri": self.uri,
            "version": self.version,
            "chunks": self.chunks,
            "of": self.of,
            "ordinals": list(self.ordinals),
        }


@dataclass(slots=True)
class Findings:
    """Every difference found, by what is to be done about it.

    Attributes:
        missing: a document does not answer whole: `chunks_missing`, `no_chunks`, `chunks_damaged` (they are
            not the text that was written), `vectors_damaged`, `manifest_lost` (its record is there).
        orphaned: chunks of a document that neither a manifest nor a record names: `no_manifest`.
        stale: chunks of a version neither live nor in flight (`version_gone`), or that the live version does
            not have (`not_of_version`).
        damaged_records: `record_missing` (or damaged), `record_differs` from its manifest, `record_stale`
            (its version is gone), `record_unreadable` (and the document has no manifest).
        differing: `info_differs`, chunks that say something else of their document than its manifest.
        indexes: indexes of the engine that do not agree with the chunks: see `ingest.indexes.Difference`;
            their `id` begins with `index:`.
        lost: documents with passages lost for good, from an earlier repair: `passages_lost`.
    """

    documents: int = 0
    chunks: int = 0
    missing: list[Finding] = field(default_factory=list)
    orphaned: list[Finding] = field(default_factory=list)
    stale: list[Finding] = field(default_factory=list)
    damaged_records: list[Finding] = field(default_factory=list)
    differing: list[Finding] = field(default_factory=list)
    lost: list[Finding] = field(default_factory=list)
    indexes: list[Finding] = field(default_factory=list)

    def lists(self) -> list[list[Finding]]:
        """Each list, in the order they are to be mended in."""
        return [
            self.missing,
            self.lost,
            self.orphaned,
            self.stale,
            self.damaged_records,
            self.differing,
            self.indexes,
        ]

    def all(self) -> list[Finding]:
        """All of them, in the order they are to be mended in."""
        return [one for some in self.lists() for one in some]

    def add(self, found: Iterable[Finding]) -> None:
        """Put findings of documents into their lists."""
        for one in found:
            self._list_of(one.code).append(one)

    def _list_of(self, code: str) -> list[Finding]:
        if code.startswith("record_"):
            return self.damaged_records
        lists = {"info_differs": self.differing, LOST: self.lost, "no_manifest": self.orphaned}
        return lists.get(code, self.stale if code in {"version_gone", "not_of_version"} else self.missing)


def examine(
    store: Store,
    progress: Progress = lambda uri: None,
    stop: Stop = lambda: False,
    analyzer: Analyzer | None = None,
) -> Findings:
    """Find every difference; nothing is changed. What `stop` interrupts is incomplete.

    Args:
        store: an index, which others may read and write meanwhile.
        progress: told the uri of each document that was looked at.
        stop: asked between pages; True ends the walk.
        analyzer: that of the index, to compare stored terms with; without it, digests alone are compared.

    Raises:
        StoreDamagedError: manifests or chunks cannot be read; an index that was opened unchecked leaves them
            out instead.
    """
    findings = Findings()
    for manifests in _manifest_batches(store):
        if stop():
            return findings
        _check_manifests(store, manifests)
        findings.add(_document_findings(store, manifests, analyzer))
        for manifest in manifests:
            progress(manifest.document.uri)
    findings.add(_record_findings(store, stop))
    findings.add(_chunk_findings(store, stop))
    if not findings.all():  # what is missing is missing in them, too
        findings.indexes += [
            Finding(one.code, f"index:{one.name}", "", "", one.chunks, one.of)
            for one in indexes.differences(store, stop)
        ]
    stats = store.stats()
    findings.documents, findings.chunks = stats.documents, stats.chunks
    return findings


def _check_manifests(store: Store, manifests: Sequence[Manifest]) -> None:
    ids = [manifest.id for manifest in manifests]
    unsound = [
        key
        for start in range(0, len(ids), PAGE_POINTS)
        for key in store.unsound(ids[start : start + PAGE_POINTS])
    ]
    if unsound:
        raise StoreDamagedError(
            f"the manifests of {len(unsound)} document(s) are damaged, for example {unsound[0]}; "
            "run `latewood verify --repair`"
        )


def _record_findings(store: Store, stop: Stop) -> Iterator[Finding]:
    named = ""
    for stray in stray_records(store, stop):
        document = stray.document_id
        if not stray.lost:
            manifest = store.get_manifests([document])
            uri = manifest[0].document.uri if manifest else ""
            yield Finding("record_stale", document, uri, stray.version)
            continue
        record = best_record(store, document)
        if record is None:
            yield Finding("record_unreadable", document, "", stray.version)
        elif document != named:  # once, however many versions are kept
            named = document
            present = len(fetch_version(store, record.manifest))
            of = record.manifest.chunks
            uri = record.manifest.document.uri
            yield Finding("manifest_lost", document, uri, record.version, of - present, of)


def _chunk_findings(store: Store, stop: Stop) -> Iterator[Finding]:
    """One finding for all stray chunks of a version."""
    counted: dict[tuple[str, str, str], Finding] = {}
    for strays in stray_chunks(store, stop):
        for stray in strays:
            key = stray.key
            if stray.code == "manifest_lost":
                continue  # the record's finding tells of it
            place = (key.document_id, key.version, stray.code)
            if place not in counted:
                passage = store.fetch([key.id])
                uri = passage[0].document.uri if passage else ""
                counted[place] = Finding(stray.code, key.document_id, uri, key.version)
            one = counted[place]
            shown = (*one.ordinals, key.ordinal)[:_SHOWN]
            counted[place] = replace(one, chunks=one.chunks + 1, ordinals=tuple(sorted(shown)))
    yield from counted.values()


# --- what manifests tell of ---------------------------------------------------------------------------------


def all_manifests(store: Store) -> Iterator[list[Manifest]]:
    """Pages of all manifests, in order of document id."""
    after: str | None = None
    while page := store.list_manifests(after=after, limit=PAGE):
        yield page
        after = page[-1].id


def _manifest_batches(store: Store) -> Iterator[list[Manifest]]:
    """Manifests in groups whose texts together are small enough to hold."""
    batch: list[Manifest] = []
    chunks = characters = 0
    for page in all_manifests(store):
        for manifest in page:
            chunks, characters = chunks + manifest.chunks, characters + manifest.characters
            if batch and (chunks > _BATCH_CHUNKS or characters > _BATCH_CHARACTERS or len(batch) == PAGE):
                yield batch
                batch, chunks, characters = [], manifest.chunks, manifest.characters
            batch.append(manifest)
    if batch:
        yield batch


def _document_findings(
    store: Store, manifests: Sequence[Manifest], analyzer: Analyzer | None
) -> list[Finding]:
    """Findings of a look during which the manifest stood; one that always changes is being written."""
    found = _look_at(store, manifests, analyzer)
    for _ in range(_LOOKS):
        if not found:
            return []
        before = {manifest.id: manifest for manifest in store.get_manifests(list(found))}
        found = _look_at(store, list(before.values()), analyzer)
        after = {manifest.id: manifest.revision for manifest in store.get_manifests(list(found))}
        if all(after.get(key) == before[key].revision for key in found):
            break
    return [
        one for key, several in found.items() if after.get(key) == before[key].revision for one in several
    ]


def _look_at(
    store: Store, manifests: Sequence[Manifest], analyzer: Analyzer | None
) -> dict[str, list[Finding]]:
    """What is wrong with each document; those that are right are left out."""
    live = [manifest.id for manifest in manifests if manifest.live is not None]
    records = {(one.document_id, one.version): one for one in store.get_records(live)}
    found: dict[str, list[Finding]] = {}
    for manifest in manifests:
        several = _losses(manifest)
        if manifest.live is not None:
            several += _compare(store, manifest, records.get((manifest.id, manifest.live)), analyzer)
        if several:
            found[manifest.id] = several
    return found


def _losses(manifest: Manifest) -> list[Finding]:
    lost = manifest.failure is not None and manifest.failure.code == LOST
    lost = lost or any(note.startswith(LOST) for note in manifest.notes)
    return [_finding(LOST, manifest)] if lost else []


def _compare(
    store: Store, manifest: Manifest, record: Record | None, analyzer: Analyzer | None
) -> list[Finding]:
    passages, unsound = read_version(store, manifest, analyzer)
    broken = _broken(manifest, passages, record)
    if broken is not None:
        return [broken]
    found = []
    if unsound:
        found.append(_finding("vectors_damaged", manifest, unsound))
    strange = [one.chunk.ordinal for one in passages if one.document != manifest.document]
    if manifest.retelling:  # metadata being set by hand: whoever does it, or the next owner, finishes it
        return found
    if strange:
        found.append(_finding("info_differs", manifest, strange))
    if record is None:
        found.append(_finding("record_missing", manifest))
    elif not _tells_of(record, manifest):
        found.append(_finding("record_differs", manifest))
    return found


def _broken(manifest: Manifest, passages: Sequence[Passage], record: Record | None) -> Finding | None:
    """Why the text of a live version is not whole; None when it is."""
    here = {passage.chunk.ordinal for passage in passages}
    lacking = [ordinal for ordinal in range(manifest.chunks) if ordinal not in here]
    if lacking or not passages:
        return _finding("chunks_missing" if passages else "no_chunks", manifest, lacking)
    chunks = tuple(passage.chunk for passage in passages)
    recorded = chunks if record is None else record.chunks  # a record has a checksum, a point has none
    if chunks == recorded and tiles(chunks, manifest.characters):
        return None
    strange = [one.ordinal for one, kept in zip(chunks, recorded, strict=False) if one != kept]
    return _finding("chunks_damaged", manifest, strange or range(manifest.chunks))


def _tells_of(record: Record, manifest: Manifest) -> bool:
    told = record.manifest
    return (told.document, told.content_hash, dict(told.amended)) == (
        manifest.document,
        manifest.content_hash,
        dict(manifest.amended),
    )


def _finding(code: str, manifest: Manifest, ordinals: Sequence[int] = ()) -> Finding:
    shown = tuple(ordinals[:_SHOWN])
    version, uri = manifest.live or "", manifest.document.uri
    return Finding(code, manifest.id, uri, version, len(ordinals), manifest.chunks, shown)
