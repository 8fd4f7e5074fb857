"""The first stage of the ingest walk: documents in batches, cut into chunks, with their sparse vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from latewood.embedder.types import Offsets, SparseVector
from latewood.ingest.chunking.chunker import tile
from latewood.ingest.types import Document
from latewood.search.analysis.analyzer import Analyzer
from latewood.search.types import Chunk

BATCH_CHARACTERS = 200_000
BATCH_DOCUMENTS = 32
_UNVERSIONED = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document cut into chunks (of no version yet), their sparse vectors, and how many tokens they have."""

    document: Document
    chunks: tuple[Chunk, ...]
    sparse: tuple[SparseVector, ...]
    tokens: int


def batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
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


def prepare(
    document: Document, token_offsets: Callable[[str], Offsets], analyzer: Analyzer, max_tokens: int
) -> Prepared:
    """Tile a document and count its words.

    Raises:
        ParseError: `no_tokens`, see `tile`.
        ValueError: `max_tokens` is too small.
    """
    counted = _Counted(token_offsets)
    chunks = tile(document, version=_UNVERSIONED, token_offsets=counted, max_tokens=max_tokens)
    sparse = tuple(analyzer.chunk_vector(chunk) for chunk in chunks)
    return Prepared(document, tuple(chunks), sparse, counted.tokens(chunks))


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
