"""The last stage of the ingest walk: embedded documents in, committed versions out."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from latewood.embedder.types import Vectors
from latewood.ingest.chunking.prepare import Prepared
from latewood.ingest.index import commit
from latewood.ingest.types import Document
from latewood.search.stores.base import Store
from latewood.search.stores.generations.switch import one_walk
from latewood.search.types import DocumentInfo, Failure, FileStamp, Passage, Record
from latewood.search.unicode_forms import composed_metadata

WRITE_CHUNKS = 1024


@dataclass(frozen=True, slots=True)
class Embedded:
    """A prepared document whose vectors are made; `tokens` were embedded for it, none if they were copied."""

    prepared: Prepared
    vectors: Vectors
    tokens: int

    @property
    def document(self) -> Document:
        """Whose vectors they are."""
        return self.prepared.document


class Writer(Protocol):
    """What an ingest changes in an index: here, or through the process that holds it."""

    def write(self, batch: Sequence[Embedded], recorded: Mapping[str, str]) -> list[bool]:
        """See `write`."""
        ...

    def remove(self, ids: Sequence[str]) -> int:
        """See `commit.remove`."""
        ...

    def note_failure(self, info: DocumentInfo, failure: Failure) -> None:
        """See `commit.note_failure`."""
        ...

    def note_unchanged(self, document_id: str, stamp: FileStamp, modified: str) -> None:
        """See `commit.note_unchanged`."""
        ...


@dataclass(frozen=True, slots=True)
class StoreWriter:
    """Writes the store itself."""

    store: Store

    def write(self, batch: Sequence[Embedded], recorded: Mapping[str, str]) -> list[bool]:
        """See `write`."""
        return write(self.store, batch, recorded)

    def remove(self, ids: Sequence[str]) -> int:
        """See `commit.remove`."""
        return commit.remove(self.store, ids)

    def note_failure(self, info: DocumentInfo, failure: Failure) -> None:
        """See `commit.note_failure`."""
        commit.note_failure(self.store, info, failure)

    def note_unchanged(self, document_id: str, stamp: FileStamp, modified: str) -> None:
        """See `commit.note_unchanged`."""
        commit.note_unchanged(self.store, document_id, stamp, modified)


class WriteTurns:
    """The turns of those who write to one collection: one write at a time.

    A write that fails half way leaves something in flight, which the next one settles first. Nobody else
    writes meanwhile, so that `commit.recover` never takes a write under way for an abandoned one.
    """

    def __init__(self, lock: threading.RLock) -> None:
        """Take turns under `lock`, which others may hold to write to the collection alone."""
        self._lock = lock
        self._unsettled = False

    def settle(self, store: Store) -> None:
        """Finish what a killed or failed writer left in flight."""
        with self._lock:
            commit.recover(store)
            self._unsettled = False

    @contextmanager
    def turn(self, store: Store) -> Iterator[None]:
        """Hold the turn for one whole write."""
        with self._lock:
            if self._unsettled:
                commit.recover(store)
            self._unsettled = True
            yield
            self._unsettled = False


@dataclass(frozen=True, slots=True)
class OrderedWriter:
    """Writes the store itself, one write at a time with every other writer of these turns."""

    store: Store
    turns: WriteTurns

    def write(self, batch: Sequence[Embedded], recorded: Mapping[str, str]) -> list[bool]:
        """See `write`."""
        with self.turns.turn(self.store):
            return StoreWriter(self.store).write(batch, recorded)

    def remove(self, ids: Sequence[str]) -> int:
        """See `commit.remove`."""
        with self.turns.turn(self.store):
            return StoreWriter(self.store).remove(ids)

    def note_failure(self, info: DocumentInfo, failure: Failure) -> None:
        """See `commit.note_failure`."""
        with self.turns.turn(self.store):
            StoreWriter(self.store).note_failure(info, failure)

    def note_unchanged(self, document_id: str, stamp: FileStamp, modified: str) -> None:
        """See `commit.note_unchanged`."""
        with self.turns.turn(self.store):
            StoreWriter(self.store).note_unchanged(document_id, stamp, modified)


def utc(seconds: float | None = None) -> str:
    """A moment as RFC 3339 in UTC, whole seconds; now when none is given."""
    moment = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return moment.replace(microsecond=0, tzinfo=None).isoformat() + "Z"


def describe(document: Document, language: str = "") -> DocumentInfo:
    """What a document's passages carry for citing and filtering.

    Args:
        document: whose.
        language: what its text is in; its metadata's own word on that counts more.
    """
    metadata = composed_metadata(document.metadata)
    stated = metadata.pop("language", "")
    return DocumentInfo(
        id=document.id,
        uri=document.uri,
        source=document.source,
        title=document.title,
        kind=document.kind,
        language=stated if isinstance(stated, str) and stated else language,
        modified=modified(document.stamp),
        ingested=utc(),
        metadata=metadata,
    )


def modified(stamp: FileStamp | None) -> str:
    """When a file was modified; empty when unknown, or outside the years that can be written."""
    if stamp is None:
        return ""
    try:
        return utc(stamp.mtime_ns / 1e9)
    except (ValueError, OverflowError, OSError):
        return ""


@one_walk
def write(store: Store, batch: Sequence[Embedded], recorded: Mapping[str, str]) -> list[bool]:
    """Announce, write records and chunks, commit; for each document whether it was this one that won."""
    infos = [describe(one.document, one.prepared.chunks[0].language) for one in batch]
    attempts = commit.begin(store, infos)
    try:
        written, records = [], []
        for one, said, attempt in zip(batch, infos, attempts, strict=True):
            info = attempt.told(said)
            chunks = tuple(replace(chunk, version=attempt.version) for chunk in one.prepared.chunks)
            written.append(commit.Written(attempt, info, one.document, len(chunks), recorded))
            records.append(Record(commit.manifest_of(written[-1]), chunks))
        store.put_records(records)
        _write_chunks(store, records, [one.vectors for one in batch])
    except ValueError:  # one of them holds what the store cannot; whatever else fails is left to `recover`
        commit.abandon(store, attempts)
        raise
    return commit.commit(store, written)


def _write_chunks(store: Store, records: Sequence[Record], vectors: Sequence[Vectors]) -> None:
    """Write the chunks of all documents together: a call costs about as much as ten chunks."""
    passages = [Passage(chunk, record.manifest.document) for record in records for chunk in record.chunks]
    joined = Vectors.joined(vectors)
    for start in range(0, len(passages), WRITE_CHUNKS):
        end = start + WRITE_CHUNKS
        part = Vectors(joined.dense[start:end], joined.sparse[start:end])
        store.put_chunks(passages[start:end], part)
