"""BM25 by brute force, from the product's own words: many k1 and b for one analysis of the corpus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.types import Floats
from search.analyzer import AVERAGE_LENGTH


@dataclass(frozen=True, slots=True)
class Bm25Parameters:
    """What a term's weight in a passage depends on besides counts; the defaults are the analyser's.

    `average_length` None: the mean of the passages that have words, as it is where an index is built at once.
    """

    k1: float = 1.2
    b: float = 0.75
    average_length: float | None = AVERAGE_LENGTH


@dataclass(frozen=True, slots=True)
class Postings:
    """Which term stands how often in which passage.

    Attributes:
        vocabulary: term -> number; the passages of term t are entries `starts[t]` to `starts[t + 1]`.
        rows: int64, the passage of each entry.
        counts: float64, how often the term stands there.
        lengths: float64, (passages,), words of each passage.
    """

    vocabulary: dict[str, int]
    starts: NDArray[np.int64]
    rows: NDArray[np.int64]
    counts: NDArray[np.float64]
    lengths: NDArray[np.float64]

    def scores(self, words: Sequence[str], parameters: Bm25Parameters) -> Floats:
        """Lucene's BM25 of every passage for a question's words: (passages,) float32, 0 where none stands.

        Σ count in the question × ln(1 + (N − n + ½) / (n + ½)) × tf (k1 + 1) / (tf + k1 (1 − b + b length /
        average length)); N counts passages with any word. Robertson, Zaragoza: The Probabilistic Relevance
        Framework, 2009.
        """
        passages = int(np.count_nonzero(self.lengths))
        total = np.zeros(len(self.lengths))
        k1, b, average = parameters.k1, parameters.b, parameters.average_length
        if average is None:
            average = float(self.lengths.sum()) / max(1, passages)
        for word, asked in sorted(Counter(words).items()):
            term = self.vocabulary.get(word)
            if term is None:
                continue
            entries = slice(int(self.starts[term]), int(self.starts[term + 1]))
            rows, counts = self.rows[entries], self.counts[entries]
            idf = np.log(1 + (passages - len(rows) + 0.5) / (len(rows) + 0.5))
            norm = k1 * (1 - b + b * self.lengths[rows] / average)
            weights = (counts * (k1 + 1) / (counts + norm)).astype(np.float32)  # as the index keeps them
            total[rows] += asked * idf * weights
        return total.astype(np.float32)


def postings(passages: Iterable[Sequence[str]]) -> Postings:
    """Count the words of passages."""
    vocabulary: dict[str, int] = {}
    terms: list[int] = []
    rows: list[int] = []
    counts: list[int] = []
    lengths: list[int] = []
    for row, words in enumerate(passages):
        lengths.append(len(words))
        for word, count in Counter(words).items():
            terms.append(vocabulary.setdefault(word, len(vocabulary)))
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
