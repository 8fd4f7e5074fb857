"""What one ingest did, counted as it goes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock

CLOSING = "owner_closing"
"""The code of what ended because its process lets go of the data; the next owner can be asked."""

_PER_FILE = 2_000
"""Bytes that a file counts for besides its size: reading and writing cost something for the smallest one."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that did not become a document, and why, in one word and one sentence."""

    uri: str
    code: str
    message: str


@dataclass(slots=True)
class Report:
    """What one ingest did. `documents` and `chunks` are what the collection holds after it.

    `tokens` were embedded by this ingest; `total` is the number of files it set out to read. `share` is the
    part of the work that is done, from 0 to 1: files count by size, and a document by what is embedded of it.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    skipped: list[Problem] = field(default_factory=list)
    failed: list[Problem] = field(default_factory=list)
    documents: int = 0
    chunks: int = 0
    tokens: int = 0
    seconds: float = 0.0
    total: int = 0
    finished: int = 0
    current: str = ""
    share: float = 0.0

    @property
    def part(self) -> float:
        """Return the part of the work that is done; by the number of its items where nothing weighs them."""
        return self.share or (self.finished / self.total if self.total else 0.0)

    def summary(self) -> str:
        """Return the counts in a line, for the log."""
        return (
            f"{self.added} added, {self.updated} updated, {self.unchanged} unchanged, "
            f"{self.deleted} deleted, {len(self.skipped)} skipped, {len(self.failed)} failed, "
            f"{self.tokens} tokens in {self.seconds:.1f} s"
        )


class Share:
    """The part of an ingest that is done. Safe to call from many threads."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        """Weigh each file, by its uri, by its size in bytes."""
        self._weights = {uri: size + _PER_FILE for uri, size in sizes.items()}
        self._parts: dict[str, float] = {}
        self._total = sum(self._weights.values())
        self._done = 0.0
        self._lock = Lock()

    def reached(self, uris: Iterable[str], part: float) -> float:
        """Note that of each of these files this part is done; return the part of the whole, from 0 to 1."""
        with self._lock:
            for uri in uris:
                before = self._parts.get(uri, 0.0)
                if part > before and uri in self._weights:
                    self._parts[uri] = part
                    self._done += (part - before) * self._weights[uri]
            return min(self._done / self._total, 1.0) if self._total else 1.0
