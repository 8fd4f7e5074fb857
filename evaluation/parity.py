"""Does a model rank as well in another dtype: the vectors, the lists and the scores, question by question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from latewood.embedder.types import Floats
from latewood.evaluation.configuration import Configuration
from latewood.evaluation.dataset_files import EvaluationError
from latewood.evaluation.statistics import Interval, paired_bootstrap
from latewood.evaluation.workbench import Workbench

METRIC = "ndcg@10"
DEPTH = 10
_SEED = 0


@dataclass(frozen=True, slots=True)
class Criterion:
    """What must hold for ranking in another dtype to count as equal.

    Attributes:
        cosine: of a vector to the same in float32: the mean, of passages and of questions, is at least this.
        drop: nDCG@10 may fall by this much; the low end of the paired interval counts, not the mean.
        overlap: mean share of the ten best passages that both lists have, at least.
    """

    cosine: float = 0.999
    drop: float = 0.01
    overlap: float = 0.9

    def __post_init__(self) -> None:
        for name in ("cosine", "drop", "overlap"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise EvaluationError(f"{name} {value} is not between 0 and 1")


@dataclass(frozen=True, slots=True)
class Measured:
    """A judged set in one dtype.

    Attributes:
        passages, queries: (n, dim) float32 unit rows, in the set's order.
        scores: nDCG@10 by question.
        found: ids of the ten best passages by question.
    """

    passages: Floats
    queries: Floats
    scores: Mapping[str, float]
    found: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Cosine:
    """Of vectors to the same ones in float32."""

    mean: float
    least: float


@dataclass(frozen=True, slots=True)
class Parity:
    """How one dtype compares with float32 on a judged set.

    Attributes:
        score: mean nDCG@10 in float32; `gain` is what the other has more, with its 95 % interval.
        overlap: mean share of the ten best passages that both have.
    """

    passages: Cosine
    queries: Cosine
    score: float
    gain: Interval
    overlap: float
    questions: int

    def failures(self, criterion: Criterion) -> list[str]:
        """What does not hold, in words; nothing when all does."""
        failed = [
            f"the mean cosine of {name} is {cosine.mean:.5f}, below {criterion.cosine}"
            for name, cosine in (("passages", self.passages), ("questions", self.queries))
            if cosine.mean < criterion.cosine
        ]
        if self.gain.low < -criterion.drop:
            failed.append(
                f"{METRIC} may have fallen by {-self.gain.low:.4f} (low end of the 95 % interval), "
                f"more than {criterion.drop}"
            )
        if self.overlap < criterion.overlap:
            failed.append(
                f"{self.overlap:.3f} of the ten best passages are the same, below {criterion.overlap}"
            )
        return failed

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "cosine": {
                "passages": {"mean": self.passages.mean, "least": self.passages.least},
                "questions": {"mean": self.queries.mean, "least": self.queries.least},
            },
            METRIC: {
                "float32": self.score,
                "delta": self.gain.mean,
                "interval": [self.gain.low, self.gain.high],
            },
            "overlap@10": self.overlap,
            "questions": self.questions,
        }


def measure(bench: Workbench, configuration: Configuration) -> Measured:
    """Rank a judged set by vectors alone: that is where a dtype can matter."""
    corpus, whole = bench.corpus(configuration), bench.complete(configuration)
    if whole.context is None or whole.dimensions is None:
        raise EvaluationError(f"mode {whole.mode!r} has no vectors to compare; use dense")
    run, _ = bench.run(configuration)
    return Measured(
        corpus.vectors(whole.context, whole.dimensions),
        corpus.queries,
        bench.row(configuration).per_query[METRIC],
        {query: tuple(one.id for one in found[:DEPTH]) for query, found in run.items()},
    )


def compare(reference: Measured, other: Measured) -> Parity:
    """Hold what was measured in another dtype against float32.

    Raises:
        EvaluationError: the two are not of the same passages and questions, or there are none.
        StatisticsError: fewer than two questions.
    """
    sizes = [(one.passages.shape, one.queries.shape, sorted(one.scores)) for one in (reference, other)]
    if sizes[0] != sizes[1] or not len(reference.passages):
        raise EvaluationError("the two are not of the same passages and questions; measure both anew")
    return Parity(
        _cosine(reference.passages, other.passages),
        _cosine(reference.queries, other.queries),
        fmean(reference.scores.values()),
        paired_bootstrap(other.scores, reference.scores, seed=_SEED),
        fmean(_shared(found, other.found[query]) for query, found in reference.found.items()),
        len(reference.scores),
    )


def _cosine(ours: Floats, theirs: Floats) -> Cosine:
    cosines = np.einsum("nd,nd->n", ours, theirs, dtype=np.float64)
    return Cosine(float(cosines.mean()), float(cosines.min()))


def _shared(one: tuple[str, ...], other: tuple[str, ...]) -> float:
    """Share of the longer list that both have; two empty ones are the same."""
    longest = max(len(one), len(other))
    return len(set(one) & set(other)) / longest if longest else 1.0
