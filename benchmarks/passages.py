"""Passages to search: clustered vectors, words as rare and as frequent as in prose, and the exact answers.

The same seed gives the same passages. A question is a passage's vector with noise and four of its words, so
both legs have something to find and neither finds it for nothing.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from latewood.embedder.types import Floats, SparseVector, Vectors
from latewood.search.analysis.analyzer import Analyzer
from latewood.search.fusion import SHIPPED, fuse
from latewood.search.paging import LEG_DEPTH
from latewood.search.stores.base import Store
from latewood.search.types import Candidate, Chunk, DocumentInfo, MetadataValue, Passage

DIMENSION = 384
CHUNKS = 10  # of a document
WORDS = (60, 180)  # of a passage
VOCABULARY = 30_000
_NOISE = 1.1  # of a passage around its cluster's centre, in lengths of the centre
_TOGETHER = 2_000


@dataclass(frozen=True)
class Passages:
    """`count` passages: texts, vectors and metadata, made as they are asked for.

    `share` of a document's metadata is `percent` for one of a hundred documents, `tenth` for one of ten, and
    `number` is 0 to 99, each as often.
    """

    count: int
    seed: int = 0

    @cached_property
    def vectors(self) -> Floats:
        """(count, 384) float32 unit rows around a centre for every two hundred."""
        random = np.random.default_rng(self.seed)
        centres = random.standard_normal((max(2, self.count // 200), DIMENSION)).astype(np.float32)
        rows = centres[random.integers(0, len(centres), self.count)]
        rows = rows + _NOISE * random.standard_normal(rows.shape).astype(np.float32)
        unit: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit

    @cached_property
    def texts(self) -> list[str]:
        """Words drawn by Zipf's law."""
        random = np.random.default_rng(self.seed + 1)
        odds = 1 / np.arange(1, VOCABULARY + 1)
        steps = np.cumsum(odds) / odds.sum()
        lengths = random.integers(*WORDS, self.count)
        drawn = np.searchsorted(steps, random.random(int(lengths.sum())))
        return [" ".join(f"w{word}" for word in row) for row in np.split(drawn, np.cumsum(lengths)[:-1])]

    def questions(self, number: int) -> list[tuple[Floats, str]]:
        """Vectors and words of questions."""
        random = np.random.default_rng(self.seed + 2)
        made = []
        for place in random.integers(0, self.count, number).tolist():
            vector = self.vectors[place] + 0.03 * random.standard_normal(DIMENSION).astype(np.float32)
            words = random.choice(self.texts[place].split(), 4, replace=False)
            made.append(((vector / np.linalg.norm(vector)).astype(np.float32), " ".join(words)))
        return made

    def passage(self, place: int) -> Passage:
        """One of them."""
        document, ordinal = divmod(place, CHUNKS)
        key = str(uuid.uuid5(uuid.NAMESPACE_URL, f"bench {self.seed} {document}"))
        share = "percent" if document % 100 == 0 else "tenth" if document % 10 == 1 else "rest"
        uri = f"file:///bench/{document}.txt"
        told: dict[str, MetadataValue] = {"share": share, "number": document * 37 % 100}
        info = DocumentInfo(key, uri, "file:///bench/", "", "txt", "en", "", "", told)
        text = self.texts[place]
        return Passage(Chunk(key, key, ordinal, 0, len(text), text), info)

    @cached_property
    def ids(self) -> list[str]:
        """Of the passages, in order."""
        return [self.passage(place).chunk.id for place in range(self.count)]

    def sparse(self, analyzer: Analyzer, first: int, last: int) -> tuple[SparseVector, ...]:
        """Their BM25 vectors."""
        return tuple(analyzer.passage_vector(text) for text in self.texts[first:last])

    def write(self, store: Store, analyzer: Analyzer) -> None:
        """All of them."""
        for first in range(0, self.count, _TOGETHER):
            last = min(first + _TOGETHER, self.count)
            vectors = Vectors(self.vectors[first:last], self.sparse(analyzer, first, last))
            store.put_chunks([self.passage(place) for place in range(first, last)], vectors)


class Exact:
    """The right answer: every passage scored in float64, both lists fused as the searcher does."""

    def __init__(self, passages: Passages, analyzer: Analyzer) -> None:
        self._passages = passages
        self._analyzer = analyzer
        sparse = passages.sparse(analyzer, 0, passages.count)
        rows = np.repeat(np.arange(passages.count), [len(one.indices) for one in sparse])
        terms = np.concatenate([one.indices for one in sparse])
        order = np.argsort(terms, kind="stable")
        self._terms, self._starts = np.unique(terms[order], return_index=True)
        self._rows = rows[order]
        self._weights = np.concatenate([one.values for one in sparse])[order].astype(np.float64)

    def top(self, vector: Floats, words: str, limit: int) -> list[str]:
        """Ids of the best, the two exact lists fused as shipped."""
        dense = (self._passages.vectors.astype(np.float64) @ vector).astype(np.float32)
        lists = {"dense": self._best(dense), "bm25": self._best(self.bm25(words))}
        return fuse(SHIPPED, lists).ids[:limit]

    def bm25(self, words: str) -> Floats:
        """(count,) Lucene's scores."""
        query = self._analyzer.query_vector(words)
        total = np.zeros(self._passages.count)
        for term, times in zip(query.indices.tolist(), query.values.tolist(), strict=True):
            at = int(np.searchsorted(self._terms, term))
            if at < len(self._terms) and self._terms[at] == term:
                end = self._starts[at + 1] if at + 1 < len(self._starts) else len(self._rows)
                entries = slice(int(self._starts[at]), int(end))
                rows = self._rows[entries]
                idf = np.log(1 + (self._passages.count - len(rows) + 0.5) / (len(rows) + 0.5))
                total[rows] += times * idf * self._weights[entries]
        return total.astype(np.float32)

    def _best(self, scores: NDArray[np.float32]) -> list[Candidate]:
        ids = self._passages.ids
        depth = min(LEG_DEPTH, len(scores) - 1)
        some = np.argpartition(-scores, depth)[: depth + 50].tolist()
        ranked = sorted(((float(scores[at]), ids[at]) for at in some if scores[at] != 0), key=_by_score)
        return [Candidate(one, score) for score, one in ranked[:LEG_DEPTH]]


def _by_score(scored: tuple[float, str]) -> tuple[float, str]:
    return -scored[0], scored[1]
