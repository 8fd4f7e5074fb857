"""What one ingest did, counted as it goes."""

from __future__ import annotations

from dataclasses import dataclass, field

CLOSING = "owner_closing"
"""The code of what ended because its process lets go of the data; the next owner can be asked."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that did not become a document, and why, in one word and one sentence."""

    uri: str
    code: str
    message: str


@dataclass(slots=True)
class Report:
    """What one ingest did. `documents` and `chunks` are what the collection holds after it.

    `tokens` were embedded by this ingest; `total` is the number of files it set out to read.
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
