"""A small exact index to ingest into: the memory store, and an embedder whose vectors can be foretold."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from latewood.embedder.types import Floats, ModelDescription, Offsets, SpannedText, Task
from latewood.ingest.pipeline import Index
from latewood.search.analysis.analyzer import Analyzer
from latewood.search.stores.memory import MemoryStore
from latewood.search.types import IndexConfig

DIMENSION = 16


class WordEmbedder:
    """Words are tokens; a passage's vector is the normalised sum of one fixed vector per word."""

    description = ModelDescription("words", "1", "mean", 512, (DIMENSION,), "none", "any", 1.0)
    fingerprint: Mapping[str, str] = {"model": "words"}
    recorded: Mapping[str, str] = {"context": "1.0"}
    dimension = DIMENSION

    def __init__(self) -> None:
        self.embedded = 0

    def token_offsets(self, text: str) -> Offsets:
        spans = [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]
        return np.array(spans, dtype=np.int64).reshape(-1, 2)

    def embed_documents(
        self,
        documents: Sequence[SpannedText],
        stop: Callable[[], bool] = lambda: False,
        progress: Callable[[float], object] | None = None,
    ) -> list[Floats]:
        self.embedded += len(documents)
        return [
            np.stack([self._vector(document.text[span.start : span.end]) for span in document.spans])
            for document in documents
        ]

    def embed_texts(self, texts: Sequence[str], task: Task) -> Floats:
        return np.stack([self._vector(text) for text in texts])

    def close(self) -> None:
        """Nothing is held."""

    def _vector(self, text: str) -> Floats:
        total = np.full(DIMENSION, 1e-3, dtype=np.float32)
        for word in re.findall(r"\w+", text.lower()):
            seed = int.from_bytes(word.encode()[:8].ljust(8, b"\0"), "big")
            total += np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)
        return total / np.linalg.norm(total)


@pytest.fixture
def embedder() -> WordEmbedder:
    return WordEmbedder()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(IndexConfig((DIMENSION,), {"model": "words"}))


@pytest.fixture
def index(store: MemoryStore, embedder: WordEmbedder) -> Index:
    return Index("default", "default", store, lambda: embedder, Analyzer(), 32)
