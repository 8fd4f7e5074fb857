"""What one would use without Latewood, side by side: rank_bm25, bm25s, qdrant-client's local mode."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]

from benchmarks.passages import DIMENSION, Passages
from latewood.embedder.types import Floats
from latewood.search.analysis.analyzer import Analyzer
from latewood.search.request import SearchRequest
from latewood.search.searcher import Searcher
from latewood.search.stores.base import Store
from latewood.search.types import Leg

_FEW = 5  # questions of what takes a second each


def resident(pid: int) -> int:
    """Bytes of memory of a process."""
    return int(psutil.Process(pid).memory_info().rss)


def cpu_seconds(pid: int) -> float:
    """Of this process and another, so far: tells more than a clock where others want the cores, too."""
    other = psutil.Process(pid).cpu_times()
    return float(time.process_time() + other.user + other.system)


def bm25(
    passages: Passages, analyzer: Analyzer, store: Store, questions: Sequence[tuple[Floats, str]]
) -> dict[str, Any]:
    """The first ten by BM25 alone, the same words for all."""
    import bm25s
    from rank_bm25 import BM25Okapi

    tokens = [[one.term for one in analyzer.terms(text)] for text in passages.texts]
    okapi = BM25Okapi(tokens)
    quick = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    quick.index(tokens, show_progress=False)

    def ours(words: str) -> object:
        return store.search([Leg("bm25", analyzer.query_vector(words), 10)])

    def okapis(words: str) -> object:
        scores = okapi.get_scores(list(analyzer.query_terms(words)))
        some = np.argpartition(-scores, 10)[:10]
        return some[np.argsort(-scores[some])]

    def quicks(words: str) -> object:
        return quick.retrieve([list(analyzer.query_terms(words))], k=10, show_progress=False)

    words = [words for _, words in questions]
    found = _in_turns({"latewood": ours, "bm25s": quicks, "rank_bm25": okapis}, words[: 10 * _FEW])
    return {**found, "rank_bm25_times": round(found["rank_bm25"] / found["latewood"], 1)}


def local(
    passages: Passages, analyzer: Analyzer, searcher: Searcher, questions: Sequence[tuple[Floats, str]]
) -> dict[str, Any]:
    """Hybrid, ten results: our whole walk beside qdrant-client in local mode, which fuses by RRF itself."""
    from qdrant_client import QdrantClient, models

    client = QdrantClient(":memory:")
    client.create_collection(
        "bench",
        vectors_config={"dense": models.VectorParams(size=DIMENSION, distance=models.Distance.COSINE)},
        sparse_vectors_config={"bm25": models.SparseVectorParams(modifier=models.Modifier.IDF)},
    )
    for first in range(0, passages.count, 1000):
        last = min(first + 1000, passages.count)
        sparse = passages.sparse(analyzer, first, last)
        points = [
            models.PointStruct(
                id=passages.ids[place],
                vector={"dense": passages.vectors[place].tolist(), "bm25": _sparse(sparse[place - first])},
                payload={"text": passages.texts[place]},
            )
            for place in range(first, last)
        ]
        client.upsert("bench", points)
    vectors = {words: vector for vector, words in questions}

    def theirs(words: str) -> object:
        dense, rare = vectors[words].tolist(), _sparse(analyzer.query_vector(words))
        return client.query_points(
            "bench",
            prefetch=[
                models.Prefetch(query=dense, using="dense", limit=200),
                models.Prefetch(query=rare, using="bm25", limit=200),
            ],
            query=models.FusionQuery(fusion=models.Fusion.RRF),
            limit=10,
        )

    def ours(words: str) -> object:
        return searcher.search(SearchRequest(words))

    found = _in_turns({"latewood": ours, "local": theirs}, list(vectors)[:_FEW])
    client.close()
    return {**found, "local_times": round(found["local"] / found["latewood"], 1)}


def _sparse(vector: Any) -> Any:
    from qdrant_client import models

    return models.SparseVector(indices=vector.indices.tolist(), values=vector.values.tolist())


def _in_turns(works: dict[str, Callable[[str], object]], questions: Sequence[str]) -> dict[str, float]:
    """p50 in milliseconds of each, question by question, the first one not counted."""
    took: dict[str, list[float]] = {name: [] for name in works}
    for words in [questions[0], *questions]:
        for name, work in works.items():
            started = time.perf_counter()
            work(words)
            took[name].append(time.perf_counter() - started)
    return {name: round(float(np.median(seconds[1:])) * 1e3, 3) for name, seconds in took.items()}
