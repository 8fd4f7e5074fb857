"""What flows through the index and the query service. Every score: higher is better."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from latewood.embedder.types import Floats, SparseVector
from latewood.search.errors import DiskFullError as DiskFullError
from latewood.search.errors import FingerprintError as FingerprintError
from latewood.search.errors import QueryError as QueryError
from latewood.search.errors import SearchError as SearchError
from latewood.search.errors import StoreDamagedError as StoreDamagedError
from latewood.search.errors import StoreError as StoreError
from latewood.search.errors import StoreReadOnlyError as StoreReadOnlyError
from latewood.search.errors import StoreUnavailableError as StoreUnavailableError
from latewood.search.index_config import IndexConfig as IndexConfig

MetadataValue = str | int | float | bool | list[str] | list[int] | list[float]


@dataclass(frozen=True, slots=True)
class FileStamp:
    """A file as `stat` saw it. Same stamp means unchanged, unless it was touched within the clock's grain.

    Attributes:
        scanned_ns: wall clock when the stamp was taken, nanoseconds.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    scanned_ns: int

    def same_file_state(self, other: FileStamp) -> bool:
        """Whether size, times and inode agree (the moment of the scan does not count)."""
        return (self.size, self.mtime_ns, self.ctime_ns, self.inode) == (
            other.size,
            other.mtime_ns,
            other.ctime_ns,
            other.inode,
        )


@dataclass(frozen=True, slots=True)
class DocumentInfo:
    """What every passage of a document carries for citing and filtering.

    Attributes:
        source: the folder's uri (ending in `/`) or `uploads:`.
        kind: format, e.g. `pdf`.
        modified, ingested: ISO 8601 in UTC, `2026-01-31T12:00:00Z`; modified is empty when unknown.
    """

    id: str
    uri: str
    source: str
    title: str
    kind: str
    language: str
    modified: str
    ingested: str
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage. A document's chunks tile its text: joined in order they give it back whole.

    Attributes:
        version: the attempt (a uuid) that wrote it.
        ordinal: position in the document, from 0.
        start, end: str indices into the document's text, end exclusive; `text[start:end] == chunk.text`.
        context: title, heading path, a table's header: indexed, but not text.
        language: what its words are analysed in (ISO 639-1), as `search.detection.language_of` says of the
            whole document when it is cut; empty when that is not known.
        page_start, page_end: first and last page, from one; None where the format has no pages.
    """

    document_id: str
    version: str
    ordinal: int
    start: int
    end: int
    text: str
    context: str = ""
    headings: tuple[str, ...] = ()
    page_start: int | None = None
    page_end: int | None = None
    language: str = ""

    def __post_init__(self) -> None:
        if self.end - self.start != len(self.text) or not self.text:
            raise ValueError(
                f"chunk [{self.start}, {self.end}) does not fit its text of {len(self.text)} characters"
            )

    @property
    def id(self) -> str:
        """See `chunk_id`."""
        return chunk_id(self.document_id, self.version, self.ordinal)


def chunk_id(document_id: str, version: str, ordinal: int) -> str:
    """A chunk's id: uuid5(document id, version/ordinal)."""
    return str(uuid.uuid5(uuid.UUID(document_id), f"{version}/{ordinal}"))


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk with what its document says of itself; what the store keeps and gives back."""

    chunk: Chunk
    document: DocumentInfo


@dataclass(frozen=True, slots=True)
class ChunkKey:
    """Which chunk of which version a point is; what a check of the index compares."""

    id: str
    document_id: str
    version: str
    ordinal: int


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the newest bytes of a file are not what answers.

    Attributes:
        content_hash: of the bytes that failed; empty when they could not be read.
        stamp: of the file that failed, so that it is tried again when it changes.
        parser: version of the parser that failed, so that a better one tries again.
    """

    code: str
    message: str
    at: str
    content_hash: str
    stamp: FileStamp | None
    parser: str
    transient: bool


@dataclass(frozen=True, slots=True)
class Manifest:
    """One per document; writing it is the commit (design, decision 1).

    Attributes:
        live: the version that answers; None while there is none.
        pending: versions being written; not visible.
        replaced: versions no longer live whose chunks are being swept; not visible.
        revision: a fresh uuid at each write; a write names the revision it read and is refused if another
            came between.
        chunks, characters: of the live version.
        recorded: how it was embedded: dtype, device, window, context, chunk tokens.
        beside: what path and sidecar said of the document, as a checksum; empty when they said nothing.
        amended: metadata set by hand over what the file says; None for a key that was taken out.
        retelling: `amended` was changed and the live version's chunks are not told yet.
    """

    document: DocumentInfo
    revision: str
    content_hash: str = ""
    stamp: FileStamp | None = None
    live: str | None = None
    pending: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    chunks: int = 0
    characters: int = 0
    recorded: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    failure: Failure | None = None
    beside: str = ""
    amended: Mapping[str, MetadataValue | None] = field(default_factory=dict)
    retelling: bool = False

    @property
    def id(self) -> str:
        """The document's id."""
        return self.document.id

    @property
    def hidden(self) -> tuple[str, ...]:
        """Versions that no reader may see."""
        return self.pending + self.replaced

    @property
    def in_flight(self) -> bool:
        """Whether a writer is, or was, at work on it."""
        return bool(self.hidden) or self.retelling


@dataclass(frozen=True, slots=True)
class ManifestWrite:
    """Write `manifest` if the stored revision is still `expected` (None: if there is no manifest).

    `manifest` None removes it.
    """

    document_id: str
    expected: str | None
    manifest: Manifest | None


@dataclass(frozen=True, slots=True)
class Record:
    """Everything needed to write a version again without its original file; kept apart from its points.

    Attributes:
        manifest: as it is once committed: `live` is the version.
        chunks: all of that version, in order; their texts joined are the document's text.

    Raises:
        ValueError: the chunks are not those that the manifest tells of.
    """

    manifest: Manifest
    chunks: tuple[Chunk, ...]

    def __post_init__(self) -> None:
        live, chunks = self.manifest.live, self.chunks
        if live is None or len(chunks) != self.manifest.chunks:
            raise ValueError(
                f"a record of {self.manifest.id} has {len(chunks)} chunks for a manifest with live version "
                f"{live} of {self.manifest.chunks} chunks; a record tells of one whole, committed version"
            )
        for ordinal, one in enumerate(chunks):
            if (one.document_id, one.version, one.ordinal) != (self.manifest.id, live, ordinal):
                raise ValueError(
                    f"chunk {one.ordinal} of version {one.version} of {one.document_id} is not chunk "
                    f"{ordinal} of version {live} of {self.manifest.id}"
                )

    @property
    def document_id(self) -> str:
        """Whose version it is."""
        return self.manifest.id

    @property
    def version(self) -> str:
        """The version it tells of."""
        return str(self.manifest.live)


@dataclass(frozen=True, slots=True)
class Comparison:
    """`key OP value`; OP one of eq ne gt gte lt lte in nin."""

    op: str
    key: str
    value: MetadataValue


@dataclass(frozen=True, slots=True)
class Group:
    """All (`and`) or any (`or`) of the filters; an empty `or` matches nothing, an empty `and` everything."""

    op: str
    filters: tuple[Filter, ...]


Filter = Comparison | Group


@dataclass(frozen=True, slots=True)
class DenseQuery:
    """Nearest by cosine. `vector`: (dim,) float32 unit, at the largest stored dimension."""

    vector: Floats


@dataclass(frozen=True, slots=True)
class Leg:
    """One ranked list to ask the store for.

    Attributes:
        name: `dense` or `bm25`; the key in traces.
        query: what to rank by.
        limit: depth of the list.
        threshold: leave out candidates whose score is below it.
    """

    name: str
    query: DenseQuery | SparseVector
    limit: int
    threshold: float | None = None


class Candidate(NamedTuple):
    """One entry of a leg's list: a chunk's id and its raw score in that leg.

    A tuple, for hundreds are made with every question and half of them are never looked at.
    """

    id: str
    score: float


@dataclass(frozen=True, slots=True)
class LegTrace:
    """A leg's part in a hit: rank from one, raw score, and what it added to the fused score."""

    rank: int
    score: float
    contribution: float


@dataclass(frozen=True, slots=True)
class Fused:
    """A fused candidate; the contributions of its legs add up to `score` (within 1e-6)."""

    id: str
    score: float
    legs: Mapping[str, LegTrace]


@dataclass(frozen=True, slots=True)
class StoreStats:
    """Counts as a reader sees them, and what lies underneath.

    Attributes:
        documents: manifests with a live version.
        chunks: visible chunks.
        hidden: chunks no reader sees (being written or swept).
        bytes: size on disk, 0 for stores in memory.
    """

    documents: int
    chunks: int
    hidden: int
    bytes: int
