"""The ingest walk, top to bottom: documents in, committed versions out.

Document -> tile into chunks -> embed the whole document -> announce (manifest.pending)
         -> write chunks -> commit (manifest.live) -> sweep what was replaced
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from embedder.types import Embedder, Offsets, Span, SpannedText, StoppedError, Vectors
from ingest import commit
from ingest.chunking import tile
from ingest.types import Document, ParseError
from search.analyzer import Analyzer
from search.stores.base import Store
from search.types import Chunk, DocumentInfo, FileStamp, Passage

BATCH_CHARACTERS = 200_000
BATCH_DOCUMENTS = 32
WRITE_CHUNKS = 1024
_UNVERSIONED = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class Index:
    """One (tenant, collection) ready to be written: where to, and what turns text into vectors.

    `embedder` is called when there is something to embed, so that an ingest without changes loads no model.
    """

    tenant: str
    collection: str
    store: Store
    embedder: Callable[[], Embedder]
    analyzer: Analyzer
    chunk_tokens: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one document: `chunks` and `tokens` when it was committed, else an error."""

    document: Document
    chunks: int = 0
    tokens: int = 0
    error: ParseError | None = None


@dataclass(frozen=True, slots=True)
class _Tiled:
    document: Document
    chunks: tuple[Chunk, ...]
    tokens: int


def utc(seconds: float | None = None) -> str:
    """A moment as RFC 3339 in UTC, whole seconds; now when none is given."""
    moment = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return moment.replace(microsecond=0, tzinfo=None).isoformat() + "Z"


def describe(document: Document) -> DocumentInfo:
    """What a document's passages carry for citing and filtering."""
    modified = _when(document.stamp)
    metadata = dict(document.metadata)
    language = metadata.pop("language", "")
    return DocumentInfo(
        id=document.id,
        uri=document.uri,
        source=document.source,
        title=document.title,
        kind=document.kind,
        language=language if isinstance(language, str) else "",
        modified=modified,
        ingested=utc(),
        metadata=metadata,
    )


def _when(stamp: FileStamp | None) -> str:
    """When a file was modified; empty when unknown, or outside the years that can be written."""
    if stamp is None:
        return ""
    try:
        return utc(stamp.mtime_ns / 1e9)
    except (ValueError, OverflowError, OSError):
        return ""


def ingest(
    index: Index, documents: Iterable[Document], stop: Callable[[], bool] = lambda: False
) -> Iterator[Outcome]:
    """Take documents into the index, in batches; one outcome for each, in order.

    Closing the iterator, or `stop` returning True, ends the walk between two batches: what was committed
    stays, nothing is half there.
    """
    for batch in _batches(documents):
        if stop():
            return
        try:
            yield from _take(index, batch, stop)
        except StoppedError:
            return


def _take(index: Index, batch: Sequence[Document], stop: Callable[[], bool]) -> list[Outcome]:
    """Take one batch in. A document that cannot be indexed fails alone; the others are taken without it."""
    embedder = index.embedder()
    try:
        tiled, failed = _tile_all(batch, embedder, index.chunk_tokens)
        if not tiled:
            return failed
        return failed + _write(index, tiled, _embed(index, embedder, tiled, stop), embedder.recorded)
    except ValueError as error:
        if len(batch) > 1:
            return [outcome for document in batch for outcome in _take(index, [document], stop)]
        return [Outcome(batch[0], error=ParseError("cannot_be_indexed", str(error)))]


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Group documents so that short ones share forward passes and a long one goes alone."""
    batch: list[Document] = []
    characters = 0
    for document in documents:
        if batch and (characters + len(document.text) > BATCH_CHARACTERS or len(batch) >= BATCH_DOCUMENTS):
            yield batch
            batch, characters = [], 0
        batch.append(document)
        characters += len(document.text)
    if batch:
        yield batch


def _tile_all(
    batch: Sequence[Document], embedder: Embedder, max_tokens: int
) -> tuple[list[_Tiled], list[Outcome]]:
    tiled: list[_Tiled] = []
    failed: list[Outcome] = []
    for document in batch:
        counted = _Counted(embedder.token_offsets)
        try:
            chunks = tile(document, version=_UNVERSIONED, token_offsets=counted, max_tokens=max_tokens)
        except ParseError as error:
            failed.append(Outcome(document, error=error))
        else:
            tiled.append(_Tiled(document, tuple(chunks), counted.tokens(chunks)))
    return tiled, failed


class _Counted:
    """Pass token offsets through, remembering how many tokens each text had (tiling asks for every chunk)."""

    def __init__(self, token_offsets: Callable[[str], Offsets]) -> None:
        self._token_offsets = token_offsets
        self._counts: dict[str, int] = {}

    def __call__(self, text: str) -> Offsets:
        offsets = self._token_offsets(text)
        self._counts[text] = len(offsets)
        return offsets

    def tokens(self, chunks: Sequence[Chunk]) -> int:
        """Tokens of these chunks together."""
        texts = (chunk.text for chunk in chunks)
        return sum(self._counts[text] if text in self._counts else len(self(text)) for text in texts)


def _embed(
    index: Index, embedder: Embedder, tiled: Sequence[_Tiled], stop: Callable[[], bool]
) -> list[Vectors]:
    texts = [
        SpannedText(item.document.text, tuple(Span(chunk.start, chunk.end) for chunk in item.chunks))
        for item in tiled
    ]
    dense = embedder.embed_documents(texts, stop)
    return [
        Vectors(
            rows, tuple(index.analyzer.passage_vector(chunk.text, chunk.context) for chunk in item.chunks)
        )
        for item, rows in zip(tiled, dense, strict=True)
    ]


def _write(
    index: Index, tiled: Sequence[_Tiled], vectors: Sequence[Vectors], recorded: Mapping[str, str]
) -> list[Outcome]:
    infos = [describe(item.document) for item in tiled]
    attempts = commit.begin(index.store, infos)
    how = {**recorded, "chunk_tokens": str(index.chunk_tokens)}
    written: list[commit.Written] = []
    try:
        for item, info, attempt, rows in zip(tiled, infos, attempts, vectors, strict=True):
            _write_chunks(
                index.store, [replace(chunk, version=attempt.version) for chunk in item.chunks], info, rows
            )
            written.append(commit.Written(attempt, info, item.document, len(item.chunks), how))
    except ValueError:  # one of them holds what the store cannot; whatever else fails is left to `recover`
        commit.abandon(index.store, attempts)
        raise
    won = commit.commit(index.store, written)
    return [_outcome(item, ok) for item, ok in zip(tiled, won, strict=True)]


def _write_chunks(store: Store, chunks: Sequence[Chunk], info: DocumentInfo, rows: Vectors) -> None:
    for start in range(0, len(chunks), WRITE_CHUNKS):
        end = min(start + WRITE_CHUNKS, len(chunks))
        passages = [Passage(chunk, info) for chunk in chunks[start:end]]
        store.put_chunks(passages, Vectors(rows.dense[start:end], rows.sparse[start:end]))


def _outcome(item: _Tiled, won: bool) -> Outcome:
    if won:
        return Outcome(item.document, len(item.chunks), item.tokens)
    message = "another writer replaced this document at the same time and was first; ingest again"
    return Outcome(item.document, error=ParseError("conflict", message, transient=True))
