"""A 50 MB text file: read, tiled and committed whole, in one piece of memory that a laptop has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latewood.embedder.types import Floats, Offsets, SpannedText
from latewood.ingest.parsing.sandbox.pool import ParserPool
from latewood.ingest.pipeline import Index
from latewood.ingest.sync import Report, SyncOptions, Work, sync
from latewood.search.analysis.analyzer import Analyzer

SIZE = 50_000_000


class EightLetters:
    """Every eight characters are a token; all vectors are alike, since only the text matters here."""

    def __init__(self, like: Any) -> None:
        self.recorded = like.recorded
        self.dimension = like.dimension

    def token_offsets(self, text: str) -> Offsets:
        starts = np.arange(0, len(text), 8, dtype=np.int64)
        return np.stack([starts, np.minimum(starts + 8, len(text))], axis=1)

    def embed_documents(
        self,
        documents: Sequence[SpannedText],
        stop: Callable[[], bool] = lambda: False,
        progress: Callable[[float], object] | None = None,
    ) -> list[Floats]:
        vector = np.zeros(self.dimension, dtype=np.float32)
        vector[0] = 1
        return [np.tile(vector, (len(document.spans), 1)) for document in documents]


@pytest.mark.slow
def test_a_text_file_of_50_mb_is_found_again_whole(
    index: Index, embedder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = "In hour {} the keeper of the light wrote that all was well upon the water and the glass high.\n"
    text = "".join(line.format(n) for n in range(SIZE // len(line)))
    (tmp_path / "log.txt").write_text(text)
    analyzer = Analyzer()
    vector = analyzer.passage_vector("all was well")
    monkeypatch.setattr(analyzer, "chunk_vector", lambda chunk: vector)
    big = EightLetters(embedder)
    large = Index("default", "default", index.store, lambda: big, analyzer, 2048)
    with ParserPool(1) as pool:
        work = Work(pool, lambda report: None, lambda: False)
        report: Report = sync(lambda: large, str(tmp_path / "log.txt"), SyncOptions(), work)
    assert report.failed == []
    (manifest,) = large.store.list_manifests()
    passages = large.store.chunks_of(manifest.id)
    assert "".join(passage.chunk.text for passage in passages) == text
