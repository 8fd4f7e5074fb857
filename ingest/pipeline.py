"""The ingest walk, top to bottom: documents in, committed versions out.

Document -> tile into chunks -> embed the whole document -> announce (manifest.pending)
         -> write record and chunks -> commit (manifest.live) -> sweep what was replaced
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from threading import Event
from typing import TypeVar

from latewood.embedder.types import Embedder, StoppedError, Vectors
from latewood.ingest.chunking.prepare import Prepared, batches, prepare
from latewood.ingest.index.writer import Embedded, StoreWriter, Writer
from latewood.ingest.stages import ahead
from latewood.ingest.types import CONFLICT, Document, ParseError
from latewood.ingest.vector_reuse import Reuse, Twins, Wanted
from latewood.search.analysis.analyzer import Analyzer
from latewood.search.stores.base import Store


@dataclass(frozen=True, slots=True)
class Index:
    """One (tenant, collection) ready to be written: where to, and what turns text into vectors.

    `embedder` is called when there is something to embed, so that an ingest without changes loads no model.

    Attributes:
        handed: what writes for a process that does not hold the index; by default the store is written here.
    """

    tenant: str
    collection: str
    store: Store
    embedder: Callable[[], Embedder]
    analyzer: Analyzer
    chunk_tokens: int
    handed: Writer | None = None

    @property
    def writer(self) -> Writer:
        """What changes documents: here, or where they are handed to."""
        return self.handed or StoreWriter(self.store)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one document: its chunks and the tokens embedded for it, or an error."""

    document: Document
    chunks: int = 0
    tokens: int = 0
    error: ParseError | None = None


Embedding = Callable[[Sequence[Document], float], object]
Given = TypeVar("Given", Prepared, Embedded)
Made = TypeVar("Made")


def ingest(
    index: Index,
    documents: Iterable[Document],
    stop: Callable[[], bool] = lambda: False,
    twins: Twins | None = None,
    embedding: Embedding | None = None,
) -> Generator[Outcome]:
    """Take documents into the index, in batches; one outcome for each, in order.

    Three batches are under way at a time: one is read and tiled in the caller's thread, one embedded and one
    written in threads of their own, and at most one waits before each of these; so an outcome comes a few
    batches after its document was taken, and memory does not grow with their number.

    `stop` returning True ends the walk: what is embedded is still written, and its outcomes are given.
    Closing the iterator ends it as well, after the batch that is being written. Either way what was committed
    stays and nothing is half there. An error of `documents` or of the store is raised after the outcomes of
    the batches before it.

    Args:
        index: where to.
        documents: advanced in the caller's thread only.
        stop: asked now and then, in any thread.
        twins: live documents to copy dense rows from; those committed here are added.
        embedding: called now and then, in another thread, with a batch and the part of it that is embedded.
    """
    walk = _Walk(index, stop, twins, embedding)
    embedded = ahead(walk.prepared(documents), walk.embedded, "ingest-embed")
    with closing(ahead(_until_none(embedded), walk.written, "ingest-write")) as outcomes:
        try:
            for batch in outcomes:
                yield from batch
        finally:
            walk.halt()


class _Walk:
    """The stages of one ingest. A document that cannot be indexed becomes its outcome where it fails."""

    def __init__(
        self,
        index: Index,
        stop: Callable[[], bool],
        twins: Twins | None,
        embedding: Embedding | None,
    ) -> None:
        self._embedding = embedding
        self._index = index
        self._stop = stop
        self._twins = twins
        self._halted = Event()

    def halt(self) -> None:
        """Nobody waits any more: end what is being embedded."""
        self._halted.set()

    @cached_property
    def _embedder(self) -> Embedder:
        return self._index.embedder()

    @cached_property
    def _recorded(self) -> Mapping[str, str]:
        return {**self._embedder.recorded, "chunk_tokens": str(self._index.chunk_tokens)}

    @cached_property
    def _reuse(self) -> Reuse:
        return Reuse(self._index.store, self._twins, self._recorded)

    def prepared(self, documents: Iterable[Document]) -> Generator[list[Prepared | Outcome]]:
        """First stage: batches of tiled documents."""
        for batch in batches(documents):
            if self._stop():
                return
            yield [self._prepare(document) for document in batch]

    def embedded(self, batch: Sequence[Prepared | Outcome]) -> list[Embedded | Outcome] | None:
        """Second stage: the batch with its vectors; None once the walk was stopped."""
        try:
            return _each_or_all(batch, self._embed)
        except StoppedError:
            return None

    def written(self, batch: Sequence[Embedded | Outcome]) -> list[Outcome]:
        """Third stage: what became of each document of the batch, in its order."""
        outcomes = _each_or_all(batch, self._write)
        if self._twins is not None:
            for outcome in outcomes:
                if outcome.error is None:
                    self._twins.add(outcome.document.content_hash, outcome.document.id)
        return outcomes

    def _prepare(self, document: Document) -> Prepared | Outcome:
        index = self._index
        try:
            return prepare(document, self._embedder.token_offsets, index.analyzer, index.chunk_tokens)
        except ParseError as error:
            return Outcome(document, error=error)
        except ValueError as error:
            return Outcome(document, error=ParseError("cannot_be_indexed", str(error)))

    def _embed(self, batch: Sequence[Prepared]) -> list[Embedded]:
        wanted = [
            Wanted(one.document.content_hash, one.document.text, one.chunks, one.document.id) for one in batch
        ]
        embedding = self._embedding
        documents = [one.document for one in batch]
        progress = None if embedding is None else lambda part: embedding(documents, part)
        dense = self._reuse.rows(
            self._embedder, wanted, lambda: self._halted.is_set() or self._stop(), progress
        )
        return [
            Embedded(one, Vectors(made.rows, one.sparse), one.tokens if made.embedded else 0)
            for one, made in zip(batch, dense, strict=True)
        ]

    def _write(self, batch: Sequence[Embedded]) -> list[Outcome]:
        won = self._index.writer.write(batch, self._recorded)
        return [_outcome(one, ok) for one, ok in zip(batch, won, strict=True)]


def _until_none(found: Generator[list[Embedded | Outcome] | None]) -> Generator[list[Embedded | Outcome]]:
    with closing(found):
        for batch in found:
            if batch is None:
                return
            yield batch


def _each_or_all(
    batch: Sequence[Given | Outcome], work: Callable[[list[Given]], Sequence[Made]]
) -> list[Made | Outcome]:
    """Work on all that is no outcome yet; when that fails on what one of them holds, on each by itself."""
    left = [one for one in batch if not isinstance(one, Outcome)]
    made: Iterator[Made | Outcome]
    try:
        made = iter(work(left) if left else [])
    except ValueError:
        made = iter([_alone(one, work) for one in left])
    return [one if isinstance(one, Outcome) else next(made) for one in batch]


def _alone(one: Given, work: Callable[[list[Given]], Sequence[Made]]) -> Made | Outcome:
    try:
        return work([one])[0]
    except ValueError as error:
        return Outcome(one.document, error=ParseError("cannot_be_indexed", str(error)))


def _outcome(item: Embedded, won: bool) -> Outcome:
    if won:
        return Outcome(item.document, len(item.prepared.chunks), item.tokens)
    message = "another writer replaced this document at the same time and was first; ingest again"
    return Outcome(item.document, error=ParseError(CONFLICT, message, transient=True))
