"""The store protocol: one index of one (tenant, collection).

Every implementation runs the same contract tests. What each promises:

* A call that returned was acknowledged: it survives a kill -9 of every process (stores in memory excepted).
  Once `sync` returned after it, it survives a power cut, too.
* Readers never see a version named in a manifest's `pending` or `replaced`; list and legs are one step.
* `put_manifests` is the only conditional write: each entry is taken or refused by itself.
* Ranked lists are sorted by score, highest first, ties by id, so the same query gives the same list twice.
* BM25 statistics count visible chunks only, so that what was removed leaves no trace in a score.
* Records are a second copy, apart from the points: damage to either leaves the other, and what is lost of the
  records stops neither opening nor answering.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from latewood.embedder.types import Vectors
from latewood.search.facets import Facets
from latewood.search.types import (
    Candidate,
    ChunkKey,
    DocumentInfo,
    Filter,
    IndexConfig,
    Leg,
    Manifest,
    ManifestWrite,
    Passage,
    Record,
    StoreStats,
)


class Store(Protocol):
    """One index. Safe to call from many threads."""

    @property
    def config(self) -> IndexConfig:
        """What the index was made with."""
        ...

    def put_manifests(self, writes: Sequence[ManifestWrite]) -> list[bool]:
        """Write each manifest whose stored revision is the expected one; say which were taken.

        A write whose manifest already stands under its own new revision counts as taken, so that a call may
        be repeated after a lost answer.
        """
        ...

    def get_manifests(self, ids: Sequence[str]) -> list[Manifest]:
        """Those that exist, in the order asked."""
        ...

    def list_manifests(
        self, *, source: str | None = None, after: str | None = None, limit: int = 1000
    ) -> list[Manifest]:
        """A page of manifests in order of document id, those of `source` only when it is given.

        `after` is the last id of the page before.
        """
        ...

    def newest(self, *, after: tuple[str, str] | None = None, limit: int = 100) -> list[tuple[str, str]]:
        """Return a page of (moment of ingestion, document id) of the documents that answer, newest first.

        Ties are in order of id. `after` is the last entry of the page before.

        Raises:
            QueryError: `after` does not begin with an ISO 8601 moment.
        """
        ...

    def in_flight(self) -> list[Manifest]:
        """Manifests with a pending or replaced version, or whose chunks are to be told something."""
        ...

    def abandoned(self) -> list[Manifest]:
        """Those in flight that no other process is at work on: a killed writer's, and this one's own."""
        ...

    def put_chunks(self, passages: Sequence[Passage], vectors: Vectors) -> None:
        """Write chunks with their vectors (same order). Writing the same chunk twice changes nothing.

        Raises:
            DiskFullError: too little space is free; nothing was written.
        """
        ...

    def sweep(self, versions: Sequence[str]) -> int:
        """Remove the chunks, then the records, of exactly these versions; the number of chunks removed."""
        ...

    def remove_chunks(self, ids: Sequence[str]) -> int:
        """Remove these chunks, whatever version they are of (for repair); the number removed."""
        ...

    def put_info(self, document_id: str, version: str, info: DocumentInfo) -> None:
        """Rewrite what this version's chunks and its record say of their document; no vector changes.

        One step for readers: they see the old or the new of all chunks. Scores stay. May be repeated. The
        manifest is the caller's to write.

        Raises:
            DiskFullError: too little space is free; nothing was written.
            ValueError: `info` is of another document, or holds a number the store cannot give back as it was.
        """
        ...

    def put_records(self, records: Sequence[Record]) -> None:
        """Keep what versions were made of, apart from their points; to be called before the commit.

        Writing the same record twice changes nothing; one of the same version is replaced.

        Raises:
            DiskFullError: too little space is free; nothing was written.
            ValueError: metadata with a number the store cannot give back as it was.
        """
        ...

    def get_records(self, ids: Sequence[str]) -> list[Record]:
        """Records of these documents, every version (pending ones too), in the order asked, then by version.

        A record that is damaged is left out with a log line; `list_records` still names it.
        """
        ...

    def list_records(
        self, *, after: tuple[str, str] | None = None, limit: int = 10_000
    ) -> list[tuple[str, str]]:
        """A page of (document id, version) of the records, in order; `after` is the last of the page before.

        What is listed but not given by `get_records` is damaged; writing it again mends it.
        """
        ...

    def search(self, legs: Sequence[Leg], where: Filter | None = None) -> Sequence[Sequence[Candidate]]:
        """One ranked list per leg, of visible chunks that match `where`, in one trip.

        Raises:
            QueryError: a filter compares a key with a value of another type than the operator takes.
        """
        ...

    def fetch(self, ids: Sequence[str]) -> list[Passage]:
        """The chunks that are visible, in the order asked; what is gone is left out."""
        ...

    def locate(self, ids: Sequence[str]) -> list[ChunkKey]:
        """Whose these chunks are, of those that are visible, in the order asked; cheaper than `fetch`."""
        ...

    def chunks_of(self, document_id: str, *, first: int = 0, last: int | None = None) -> list[Passage]:
        """The live version's chunks by ordinal, `first` to `last` inclusive; empty when there is none."""
        ...

    def read_chunks(
        self, document_id: str, *, first: int = 0, limit: int = 256
    ) -> tuple[list[Passage], Vectors]:
        """Up to `limit` of the live version's chunks from ordinal `first`, with their vectors (same order).

        The vectors are as written, dense at the largest stored dimension; an engine may give floats one unit
        in the last place away, and a sparse vector's terms in another order. Missing chunks are left out.
        """
        ...

    def read_points(self, ids: Sequence[str]) -> tuple[list[Passage], Vectors]:
        """The chunks of these ids, visible or not, with their vectors as `read_chunks` gives them.

        In the order asked; what is not there is left out. For a few hundred at a time: it is one step.
        """
        ...

    def unsound(self, ids: Sequence[str]) -> list[str]:
        """Those of these chunks and documents (their manifests) that are not as they were written.

        A chunk that is there and that no search finds is one of them. For a few hundred at a time. A store
        compares what it can: with digests kept apart from the points where it has them, and the parts of a
        point with each other.
        """
        ...

    def list_chunks(
        self, *, after: str | None = None, limit: int = 10_000, where: Filter | None = None
    ) -> list[ChunkKey]:
        """A page of all chunks, visible or not, in order of id; `after` is the last id of the page before.

        With `where`, of the visible ones that match.

        Raises:
            QueryError: `after` is no id; a filter as in `search`.
        """
        ...

    def languages(self) -> list[str]:
        """The languages that chunks are analysed in, visible or not, in order; fast enough for each query."""
        ...

    def count(self, where: Filter | None = None) -> int:
        """Visible chunks that match."""
        ...

    def facets(self, key: str, where: Filter | None = None) -> Facets:
        """Values of a key among the documents that answer and have a visible chunk that matches.

        Raises:
            QueryError: `page`, or a key that is not possible; a filter as in `search`.
        """
        ...

    def stats(self) -> StoreStats:
        """Counts, and size on disk."""
        ...

    def optimise(self) -> None:
        """Build the engine's indexes and clear out what was removed; answers stay the same.

        Slow (minutes at 100,000 chunks), and every other call waits for it: for an index nobody reads yet.
        """
        ...

    def sync(self) -> None:
        """On return everything that was acknowledged before the call survives a power cut.

        Readers do not wait for it, and calls at the same time share one trip to the disk. A server syncs by
        itself, when its own settings say.

        Raises:
            StoreUnavailableError: the disk refused; what was acknowledged lately may not survive.
        """
        ...

    def flush(self) -> None:
        """Do what `sync` does, and make the next open fast."""
        ...

    def close(self) -> None:
        """Flush and let go; calls after it raise StoreUnavailableError."""
        ...
