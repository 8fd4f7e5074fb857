"""BM25 by brute force, from the product's own terms: many k1 and b for one analysis of the corpus."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latewood.embedder.types import Floats
from latewood.search.analysis.analyzer import Counts
from latewood.search.analysis.bm25_parameters import AVERAGE_LENGTH, K1, B


@dataclass(frozen=True, slots=True)
class Bm25Parameters:
    """What a term's weight in a passage depends on besides counts; the defaults are the analyser's.

    `average_length` None: the mean of the passages that have words, as it is where an index is built at once.
    """

    k1: float = K1
    b: float = B
    average_length: float | None = AVERAGE_LENGTH


@dataclass(frozen=True, slots=True)
class Postings:
    """Which term stands how often in which passage.

    Attributes:
        vocabulary: term -> number; the passages of term t are entries `starts[t]` to `starts[t + 1]`.
        rows: int64, the passage of each entry.
        counts: float64, how often the term stands there, in title and headings by their weight.
        lengths: float64, (passages,), of each passage in words.
    """

    vocabulary: dict[str, int]
    starts: NDArray[np.int64]
    rows: NDArray[np.int64]
    counts: NDArray[np.float64]
    lengths: NDArray[np.float64]

    def scores(self, asked: Mapping[str, float], parameters: Bm25Parameters) -> Floats:
        """Lucene's BM25 of every passage for a question: (passages,) float32, 0 where no term stands.

        `asked` says how much each term counts in the question.

        Σ count in the question × ln(1 + (N − n + ½) / (n + ½)) × tf (k1 + 1) / (tf + k1 (1 − b + b length /
        average length)); N counts passages with any term. Robertson, Zaragoza: The Probabilistic Relevance
        Framework, 2009.
        """
        passages = int(np.count_nonzero(self.lengths))
        total = np.zeros(len(self.lengths))
        k1, b, average = parameters.k1, parameters.b, parameters.average_length
        if average is None:
            average = float(self.lengths.sum()) / max(1, passages)
        for word, count in sorted(asked.items()):
            term = self.vocabulary.get(word)
            if term is None:
                continue
            entries = slice(int(self.starts[term]), int(self.starts[term + 1]))
            rows, counts = self.rows[entries], self.counts[entries]
            idf = np.log(1 + (passages - len(rows) + 0.5) / (len(rows) + 0.5))
            norm = k1 * (1 - b + b * self.lengths[rows] / average)
            weights = (counts * (k1 + 1) / (counts + norm)).astype(np.float32)  # as the index keeps them
            total[rows] += count * idf * weights
        return total.astype(np.float32)


def postings(passages: Iterable[Counts]) -> Postings:
    """Put the terms of passages together."""
    vocabulary: dict[str, int] = {}
    terms: list[int] = []
    rows: list[int] = []
    counts: list[float] = []
    lengths: list[float] = []
    for row, passage in enumerate(passages):
        lengths.append(passage.length)
        for term, count in passage.terms.items():
            terms.append(vocabulary.setdefault(term, len(vocabulary)))
            rows.append(row)
            counts.append(count)
    order = np.argsort(np.array(terms, dtype=np.int64), kind="stable")
    starts = np.searchsorted(np.array(terms, dtype=np.int64)[order], np.arange(len(vocabulary) + 1))
    return Postings(
        vocabulary,
        starts.astype(np.int64),
        np.array(rows, dtype=np.int64)[order],
        np.array(counts, dtype=np.float64)[order],
        np.array(lengths, dtype=np.float64),
    )
