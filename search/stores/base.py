"""The store protocol: one index of one (tenant, collection).

Every implementation runs the same contract tests. What each promises:

* A call that returned was acknowledged: it survives a kill -9 of every process (stores in memory excepted).
* Readers never see a version named in a manifest's `pending` or `replaced`; list and legs are one step.
* `put_manifests` is the only conditional write: each entry is taken or refused by itself.
* Ranked lists are sorted by score, highest first, ties by id, so the same query gives the same list twice.
* BM25 statistics count visible chunks only, so that what was removed leaves no trace in a score.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from embedder.types import Vectors
from search.types import (
    Candidate,
    Filter,
    IndexConfig,
    Leg,
    Manifest,
    ManifestWrite,
    Passage,
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

    def in_flight(self) -> list[Manifest]:
        """Manifests with a pending or replaced version."""
        ...

    def put_chunks(self, passages: Sequence[Passage], vectors: Vectors) -> None:
        """Write chunks with their vectors (same order). Writing the same chunk twice changes nothing.

        Raises:
            DiskFullError: too little space is free; nothing was written.
        """
        ...

    def sweep(self, versions: Sequence[str]) -> int:
        """Remove the chunks of exactly these versions; the number removed."""
        ...

    def search(self, legs: Sequence[Leg], where: Filter | None = None) -> list[list[Candidate]]:
        """One ranked list per leg, of visible chunks that match `where`, in one trip.

        Raises:
            QueryError: a filter compares a key with a value of another type than the operator takes.
        """
        ...

    def fetch(self, ids: Sequence[str]) -> list[Passage]:
        """The chunks that are visible, in the order asked; what is gone is left out."""
        ...

    def chunks_of(self, document_id: str, *, first: int = 0, last: int | None = None) -> list[Passage]:
        """The live version's chunks by ordinal, `first` to `last` inclusive; empty when there is none."""
        ...

    def count(self, where: Filter | None = None) -> int:
        """Visible chunks that match."""
        ...

    def stats(self) -> StoreStats:
        """Counts, and size on disk."""
        ...

    def flush(self) -> None:
        """Make the next open fast; never needed for safety."""
        ...

    def close(self) -> None:
        """Flush and let go; calls after it raise StoreUnavailableError."""
        ...
