"""The ranked lists of one corpus, exactly: what the stores give, by matrix products and counted words."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latewood.embedder.types import Floats
from latewood.evaluation.bm25 import Bm25Parameters, Postings, postings
from latewood.evaluation.embedding_cache import Corpus
from latewood.search.analysis.analyzer import Analyzer
from latewood.search.paging import LEG_DEPTH
from latewood.search.stores.vectors import prefix
from latewood.search.types import Candidate

_TOGETHER = 64  # questions whose scores are computed in one product


@dataclass(frozen=True, slots=True)
class LegLists:
    """A ranked list per question, in the order of the questions asked, and mean milliseconds for one."""

    lists: tuple[tuple[Candidate, ...], ...]
    each_ms: float


class Legs:
    """Ranks one corpus for its questions. Ids are the chunks'; ties are broken by them, as the stores do."""

    def __init__(self, corpus: Corpus, questions: Sequence[str], rows: Sequence[int]) -> None:
        """Rank `corpus`.

        Args:
            corpus: what to search.
            questions: as asked.
            rows: of each question in `corpus.queries`.
        """
        self._corpus = corpus
        self._questions = tuple(questions)
        self._vectors = corpus.queries[list(rows)]
        self._ids = [chunk.id for chunk in corpus.chunks]
        # Place of each chunk when sorted by id.
        self._order = np.empty(len(self._ids), dtype=np.int64)
        self._order[sorted(range(len(self._ids)), key=self._ids.__getitem__)] = np.arange(len(self._ids))
        self._postings: dict[str, Postings] = {}

    def dense(self, context: float, dimension: int, depth: int = LEG_DEPTH) -> LegLists:
        """Nearest by cosine, scored in float64 and rounded to float32 as the exact store does."""
        begun = time.perf_counter()
        chunks = self._corpus.vectors(context, dimension).astype(np.float64)
        asked = prefix(self._vectors, dimension).astype(np.float64)
        prepared = time.perf_counter() - begun
        lists: list[tuple[Candidate, ...]] = []
        for first in range(0, len(asked), _TOGETHER):
            scores = (asked[first : first + _TOGETHER] @ chunks.T).astype(np.float32)
            lists += [self._top(row, depth) for row in scores]
        return self._timed(lists, begun + prepared)

    def bm25(self, analyzer: Analyzer, parameters: Bm25Parameters, depth: int = LEG_DEPTH) -> LegLists:
        """BM25 over the terms of chunk and context, as `analyzer` finds them."""
        chunks = self._corpus.chunks
        if analyzer.analysis not in self._postings:
            self._postings[analyzer.analysis] = postings(
                analyzer.counts(one.text, one.context, one.language) for one in chunks
            )
        counted = self._postings[analyzer.analysis]
        languages = {one.language for one in chunks}
        begun = time.perf_counter()
        lists = []
        for question in self._questions:
            scores = counted.scores(analyzer.query_terms(question, languages), parameters)
            lists.append(self._top(scores, depth, scores > 0))
        return self._timed(lists, begun)

    def _timed(self, lists: list[tuple[Candidate, ...]], begun: float) -> LegLists:
        return LegLists(tuple(lists), (time.perf_counter() - begun) * 1e3 / max(1, len(lists)))

    def _top(
        self, scores: Floats, depth: int, found: NDArray[np.bool_] | None = None
    ) -> tuple[Candidate, ...]:
        rows = np.arange(len(scores)) if found is None else np.flatnonzero(found)
        if len(rows) > depth:
            least = np.partition(scores[rows], len(rows) - depth)[len(rows) - depth]
            rows = rows[scores[rows] >= least]
        best = rows[np.lexsort((self._order[rows], -scores[rows]))][:depth]
        return tuple(
            Candidate(self._ids[row], score)
            for row, score in zip(best.tolist(), scores[best].tolist(), strict=True)
        )
