"""The models of one process: loaded once, by name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from latewood.embedder.types import Embedder, EmbedderError, Floats, Reranker, Task
from latewood.engine import permitted, places
from latewood.engine.cancellation import nobody_waits
from latewood.engine.errors import ApiError
from latewood.engine.index_plan import plan_of
from latewood.engine.settings import Settings
from latewood.search.analysis.analyzer import Analyzer
from latewood.search.reranking import TimedReranker
from latewood.search.stores.generations.switch import Held
from latewood.search.types import IndexConfig


class Models:
    """What is loaded, by name. Safe to call from many threads."""

    def __init__(self, settings: Settings) -> None:
        self.loaded: dict[str, Embedder] = {}
        self._settings = settings
        self._guard = threading.Lock()

    def named(self, name: str) -> Embedder:
        """The model of this name, loaded on first use.

        Raises:
            EmbedderError: there is no such model, it cannot be loaded, or it may not serve in this dtype.
        """
        name = places.absolute(name, self._settings.source)
        with self._guard:
            if name not in self.loaded:
                from latewood.embedder.serving.engine import load_embedder

                settings = self._settings
                embedder = load_embedder(
                    name,
                    device=settings.device,
                    dtype=settings.dtype,
                    context=settings.context,
                    window=settings.window,
                    lead=settings.lead,
                    source=settings.source,
                )
                try:
                    permitted.require(settings, embedder.fingerprint)
                except EmbedderError:
                    embedder.close()
                    raise
                self.loaded[name] = embedder
            return self.loaded[name]

    def reranker(self) -> TimedReranker | None:
        """What reranks, loaded with the first question that asks for it; None where none is set."""
        settings = self._settings
        if not settings.reranker:
            return None

        def load() -> Reranker:
            from latewood.embedder.rerank.reranker import load_reranker

            name, source = settings.reranker, settings.source
            return load_reranker(
                name, device=settings.device, dtype=permitted.reranker_dtype(settings), source=source
            )

        name = places.public_name(settings.reranker)
        return TimedReranker(name, load, settings.rerank_seconds, alias=settings.reranker)

    def config(self, embedder: Embedder, analyzer: Analyzer) -> IndexConfig:
        """What an index made now is made with; where its model lies is noted.

        Raises:
            ApiError: `DIMENSIONS` has a size the model was not trained for.
            FingerprintError: `PLAN` has a size that is not stored.
        """
        dimensions = self._dimensions(embedder)
        plan = plan_of(self._settings, dimensions)
        config = IndexConfig(dimensions, fingerprint(embedder, analyzer), plan)
        loaded_by = next((name for name, one in self.loaded.items() if one is embedder), "")
        places.note(self._settings.data, loaded_by, config.fingerprint)
        return config

    def _dimensions(self, embedder: Embedder) -> tuple[int, ...]:
        """Stored Matryoshka sizes, largest first."""
        asked = tuple(sorted(set(self._settings.dimensions), reverse=True)) or (embedder.dimension,)
        allowed = embedder.description.dimensions
        wrong = [size for size in asked if size not in allowed]
        if wrong:
            raise ApiError(
                422,
                "invalid_dimensions",
                f"DIMENSIONS {wrong} are not sizes of {embedder.description.name}: {allowed}",
            )
        return asked

    def close(self) -> None:
        """Let go of all."""
        for embedder in self.loaded.values():
            embedder.close()


def fingerprint(embedder: Embedder, analyzer: Analyzer) -> Mapping[str, str]:
    """What an index and those who use it agree on."""
    return {**embedder.fingerprint, "analyzer": analyzer.fingerprint}


@dataclass(frozen=True, slots=True)
class QueryEmbedder:
    """A question to its vector: (dimension,) float32 unit, at the index's largest stored size.

    A question that nobody waits for any more leaves the model's queue (StoppedError).

    Attributes:
        generation: what the vectors are for; it stays open as long as anyone has this.
    """

    generation: Held
    embedder: Callable[[], Embedder]
    dimension: int

    def __call__(self, query: str) -> Floats:
        """Embed one question."""
        vectors = self.embedder().embed_texts([query], Task.QUERY, nobody_waits())
        vector: Floats = shortened(vectors, self.dimension)[0]
        return vector


def shortened(vectors: Floats, dimension: int) -> Floats:
    """(n, larger) float32 rows to (n, dimension) unit rows: cut, then normalised again (Matryoshka)."""
    cut = vectors[:, :dimension]
    unit: Floats = np.asarray(cut / np.linalg.norm(cut, axis=1, keepdims=True), dtype=np.float32)
    return unit
