"""Write documents again from chunks that were kept: cuts and words stay, vectors are made anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from latewood.embedder.types import Span, SpannedText, Vectors
from latewood.ingest.index import commit
from latewood.ingest.index.writer import WRITE_CHUNKS
from latewood.ingest.pipeline import Index
from latewood.ingest.types import Document
from latewood.search.stores.base import Store
from latewood.search.stores.generations.switch import one_walk
from latewood.search.types import Chunk, Manifest, Passage, Record

BATCH_CHARACTERS = 200_000
BATCH_DOCUMENTS = 32


def text_of(record: Record) -> str:
    """The document's text."""
    return "".join(chunk.text for chunk in record.chunks)


def rewrite(
    index: Index, records: Iterable[Record], stop: Callable[[], bool] = lambda: False
) -> Iterator[tuple[Record, str]]:
    """Write each document again as a new version, through the commit walk; (record, why not) for each.

    What the record says of its document is kept exactly; `recorded` says how it was embedded now. The reason
    is empty for a document that answers again.

    Raises:
        StoppedError: `stop` said True while a batch was embedded; what was committed before stays.
    """
    for batch in _batches(records):
        if stop():
            return
        yield from _take(index, batch, stop)


def _batches(records: Iterable[Record]) -> Iterator[list[Record]]:
    batch: list[Record] = []
    characters = 0
    for record in records:
        size = record.manifest.characters
        if batch and (characters + size > BATCH_CHARACTERS or len(batch) >= BATCH_DOCUMENTS):
            yield batch
            batch, characters = [], 0
        batch.append(record)
        characters += size
    if batch:
        yield batch


def _take(index: Index, batch: Sequence[Record], stop: Callable[[], bool]) -> Iterator[tuple[Record, str]]:
    """Take one batch; a document that cannot be embedded or kept fails alone."""
    try:
        won = _write(index.store, index, batch, _embed(index, batch, stop))
    except ValueError as error:
        if len(batch) == 1:
            yield batch[0], str(error)
            return
        for record in batch:
            yield from _take(index, [record], stop)
        return
    first = "another writer replaced the document at the same time and was first"
    yield from ((record, "" if ok else first) for record, ok in zip(batch, won, strict=True))


def _embed(index: Index, batch: Sequence[Record], stop: Callable[[], bool]) -> list[Vectors]:
    texts = [_spanned(record) for record in batch]
    dense = index.embedder().embed_documents(texts, stop)
    return [
        Vectors(rows, tuple(map(index.analyzer.chunk_vector, record.chunks)))
        for record, rows in zip(batch, dense, strict=True)
    ]


def _spanned(record: Record) -> SpannedText:
    spans = tuple(Span(chunk.start, chunk.end) for chunk in record.chunks)
    return SpannedText(text_of(record), spans, tuple(chunk.context for chunk in record.chunks))


@one_walk
def _write(store: Store, index: Index, batch: Sequence[Record], vectors: Sequence[Vectors]) -> list[bool]:
    """Announce, write, commit."""
    attempts = commit.begin(store, [record.manifest.document for record in batch])
    written: list[commit.Written] = []
    try:
        for old, attempt, rows in zip(batch, attempts, vectors, strict=True):
            new = _versioned(old, attempt.version, _recorded(index, old))
            store.put_records([new])
            for start in range(0, len(new.chunks), WRITE_CHUNKS):
                end = start + WRITE_CHUNKS
                passages = [Passage(chunk, new.manifest.document) for chunk in new.chunks[start:end]]
                store.put_chunks(passages, Vectors(rows.dense[start:end], rows.sparse[start:end]))
            written.append(_committed(new, attempt))
    except ValueError:  # one of them holds what the store cannot; whatever else fails is left to `recover`
        commit.abandon(store, attempts)
        raise
    return commit.commit(store, written)


def _recorded(index: Index, record: Record) -> dict[str, str]:
    """How it is embedded now; the cuts are as old as they were."""
    tokens = record.manifest.recorded.get("chunk_tokens", str(index.chunk_tokens))
    return {**index.embedder().recorded, "chunk_tokens": tokens}


def _versioned(record: Record, version: str, recorded: dict[str, str]) -> Record:
    """The record of the same document as `version`."""
    chunks = tuple(replace(chunk, version=version) for chunk in record.chunks)
    manifest = replace(
        record.manifest,
        revision="",
        live=version,
        pending=(),
        replaced=(),
        recorded=recorded,
        failure=None,
        retelling=False,
    )
    return Record(manifest, chunks)


def _committed(record: Record, attempt: commit.Attempt) -> commit.Written:
    told = record.manifest
    document = Document(
        id=told.id,
        uri=told.document.uri,
        source=told.document.source,
        title=told.document.title,
        kind=told.document.kind,
        text=text_of(record),
        elements=(),
        content_hash=told.content_hash,
        metadata=told.document.metadata,
        stamp=told.stamp,
        notes=told.notes,
        beside=told.beside,
    )
    return commit.Written(attempt, told.document, document, len(record.chunks), told.recorded)


def record_of(manifest: Manifest, chunks: Sequence[Chunk]) -> Record:
    """The record of a live version whose chunks are all there."""
    kept = replace(
        manifest, pending=(), replaced=(), failure=None, chunks=len(chunks), characters=chunks[-1].end
    )
    return Record(kept, tuple(chunks))


def survivors(manifest: Manifest, chunks: Sequence[Chunk], note: str) -> Record:
    """A record of what is left of a version: the chunks joined anew, and a note that says so.

    It has no content hash and no stamp, so that the next ingest takes the file in again.
    """
    joined: list[Chunk] = []
    start = 0
    for ordinal, chunk in enumerate(chunks):
        end = start + len(chunk.text)
        joined.append(replace(chunk, ordinal=ordinal, start=start, end=end))
        start = end
    told = replace(manifest, content_hash="", stamp=None, notes=(*manifest.notes, note))
    return record_of(told, joined)
