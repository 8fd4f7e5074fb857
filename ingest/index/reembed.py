"""New vectors for documents that are in the index: from their stored text, spans and context."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latewood.embedder.encoder.windows import token_spans
from latewood.embedder.types import Embedder, Span, SpannedText, Vectors
from latewood.search.analysis.analyzer import Analyzer
from latewood.search.types import Passage


@dataclass(frozen=True, slots=True)
class Reembed:
    """Implements `ingest.transfer.Remake` with a model.

    Attributes:
        stop: asked while the model works; True ends it by StoppedError.
    """

    embedder: Embedder
    analyzer: Analyzer
    stop: Callable[[], bool]

    @property
    def recorded(self) -> Mapping[str, str]:
        """See `Embedder.recorded`."""
        return self.embedder.recorded

    def vectors(self, documents: Sequence[Sequence[Passage]]) -> list[Vectors]:
        """Of each document's chunks, which tile its text.

        The chunks stay as they were cut for another tokenizer. One that holds no token of this one gets the
        vector of the text it would have been merged into, its neighbour's.

        Raises:
            InputError: a document holds no token at all.
            StoppedError: `stop` said so.
        """
        texts = [_spanned(passages) for passages in documents]
        owners = [self._owners(text) for text in texts]
        merged = [_merged(text, own) for text, own in zip(texts, owners, strict=True)]
        dense = self.embedder.embed_documents(merged, self.stop)
        return [
            Vectors(
                rows[own],
                tuple(self.analyzer.chunk_vector(one.chunk) for one in passages),
            )
            for rows, own, passages in zip(dense, owners, documents, strict=True)
        ]

    def _owners(self, text: SpannedText) -> NDArray[np.int64]:
        """(spans,) int64: for each span the number of the merged span that stands for it."""
        tokens = token_spans(self.embedder.token_offsets(text.text), text.spans, len(text.text))
        full = tokens[:, 1] > tokens[:, 0]
        owners: NDArray[np.int64] = np.maximum(np.cumsum(full) - 1, 0)
        return owners


def _spanned(passages: Sequence[Passage]) -> SpannedText:
    spans, end = [], 0
    for one in passages:
        start, end = end, end + len(one.chunk.text)
        spans.append(Span(start, end))
    leads = tuple(one.chunk.context for one in passages)
    return SpannedText("".join(one.chunk.text for one in passages), tuple(spans), leads)


def _merged(text: SpannedText, owners: NDArray[np.int64]) -> SpannedText:
    """Spans of one owner as one span."""
    firsts = np.flatnonzero(np.diff(owners, prepend=-1))
    starts = [text.spans[first].start for first in firsts]
    ends = [*starts[1:], len(text.text)]
    spans = tuple(Span(start, end) for start, end in zip(starts, ends, strict=True))
    return SpannedText(text.text, spans, tuple(text.leads[first] for first in firsts))
