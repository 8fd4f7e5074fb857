"""Choose a configuration by judgements, and prove on queries it was not chosen on that it gains.

The configuration with the best mean of many is good partly by luck, so its own mean flatters it. Here each
query is scored by the configuration that was best on the *other* folds; the mean gain of those scores over
the incumbent is an honest estimate of what choosing this way gains.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latewood.evaluation.configuration import Configuration
from latewood.evaluation.statistics import CONFIDENCE, SAMPLES, Interval, Values, bootstrap_mean

FOLDS = 5
LEAST_QUERIES = 20
"""Fewer say nothing: a percentile interval of a handful of queries excludes zero by luck."""


class TuneError(ValueError):
    """Nothing can be chosen from these scores; the message says why, and what is needed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was chosen, and whether it was proven to be better.

    Attributes:
        chosen: best mean on all queries; the incumbent where nothing beats it.
        gain, low, high: mean held-out gain over the incumbent and its interval, in units of the metric.
        promoted: another configuration was chosen, and the whole interval is above zero.
        queries: how many were judged.
    """

    chosen: Configuration
    incumbent: Configuration
    gain: float
    low: float
    high: float
    promoted: bool
    queries: int


@dataclass(frozen=True, slots=True)
class Decision:
    """Two choices, one after the other.

    Attributes:
        now: among configurations the index can serve as it is; takes effect at once when promoted.
        later: among all, against what serves after `now`; takes effect only in an index built for it. None
            where no configuration needs another index.
    """

    now: Verdict
    later: Verdict | None


def decide(
    scores: Mapping[Configuration, Mapping[str, float]],
    incumbent: Configuration,
    *,
    folds: int = FOLDS,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Decision:
    """Choose among what the index can serve as it is, then among everything.

    Weights that suit one `context` are no proof for another, so what takes effect at once is proven with the
    index-time values that are in use.

    Raises:
        TuneError: see `choose`.
    """
    same = {
        configuration: found
        for configuration, found in scores.items()
        if configuration.index_time == incumbent.index_time
    }
    now = choose(same, incumbent, folds=folds, confidence=confidence, seed=seed)
    if len(same) == len(scores):
        return Decision(now, None)
    serving = now.chosen if now.promoted else incumbent
    rest = {
        configuration: found
        for configuration, found in scores.items()
        if configuration == serving or configuration not in same
    }
    return Decision(now, choose(rest, serving, folds=folds, confidence=confidence, seed=seed))


def choose(
    scores: Mapping[Configuration, Mapping[str, float]],
    incumbent: Configuration,
    *,
    folds: int = FOLDS,
    confidence: float = CONFIDENCE,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Verdict:
    """Choose by k-fold cross-validation over queries; promote only what is proven.

    The interval is the paired bootstrap's over the held-out gains, its arms lengthened by √(1 + k / (k − 1)):
    folds share their training queries, so held-out gains rise and fall together and the plain interval is
    too short. Of configurations that differed by noise alone the plain one promoted 2 to 8 in 100 with five
    folds, up to 13 with ten, where 2.5 were due; this one at most 2 with five. Its low end, which decides,
    lies above the true gain in about 1 of 100; its high end falls short in up to 8 where candidates nearly
    tie. Nadeau, Bengio: Inference for the Generalization Error, Machine Learning 2003; Bengio, Grandvalet: No
    Unbiased Estimator of the Variance of K-Fold Cross-Validation, JMLR 2004.

    Args:
        scores: per configuration, query id to metric; higher is better.
        incumbent: what is in use; one of `scores`.
        folds: from 2 to the number of queries.
        confidence: of the two-sided interval.
        samples: of the bootstrap.
        seed: of the split into folds and of the bootstrap.

    Raises:
        TuneError: the incumbent was not scored, queries differ between configurations or are too few, a score
            is not finite, or `folds` is out of range.
    """
    configurations = [incumbent, *(one for one in scores if one != incumbent)]
    gains = _gains(scores, configurations)
    queries = len(gains)
    if not 2 <= folds <= queries:
        raise TuneError(f"folds is {folds}; it must be from 2 to the number of queries, {queries}")
    held_out = held_out_gains(gains, _folds(queries, folds, seed))
    found = bootstrap_mean(held_out, samples=samples, confidence=confidence, seed=seed)
    found = found.widened(math.sqrt(1 + folds / (folds - 1)))
    chosen = configurations[int(np.argmax(gains.mean(axis=0)))]
    return _verdict(chosen, incumbent, found, queries)


def held_out_gains(gains: Values, fold_of: NDArray[np.int64]) -> Values:
    """Each query's gain by the configuration that gains most on the other folds: (queries,).

    Args:
        gains: (queries, configurations), over the incumbent, which is column 0 and wins ties.
        fold_of: (queries,), from 0 without gaps, at least two folds.
    """
    sums = np.zeros((int(fold_of.max()) + 1, gains.shape[1]))
    np.add.at(sums, fold_of, gains)
    best = np.argmax(sums.sum(axis=0) - sums, axis=1)
    held_out: Values = gains[np.arange(len(gains)), best[fold_of]]
    return held_out


def _gains(
    scores: Mapping[Configuration, Mapping[str, float]], configurations: Sequence[Configuration]
) -> Values:
    """(queries, configurations) over the first one, queries in the order of their ids."""
    incumbent = configurations[0]
    if incumbent not in scores:
        raise TuneError(f"the incumbent ({incumbent.label}) was not scored; score it with the others")
    order = sorted(scores[incumbent])
    if len(order) < LEAST_QUERIES:
        raise TuneError(f"{len(order)} queries are judged; at least {LEAST_QUERIES} are needed to choose by")
    for configuration in configurations:
        if scores[configuration].keys() != scores[incumbent].keys():
            raise TuneError(
                f"{configuration.label} was scored on other queries than {incumbent.label}; "
                "score all on the same ones"
            )
    matrix = np.array([[scores[one][query] for one in configurations] for query in order], dtype=np.float64)
    if not np.isfinite(matrix).all():
        raise TuneError("a score is not a finite number; score every query")
    gains: Values = matrix - matrix[:, :1]
    return gains


def _folds(queries: int, folds: int, seed: int) -> NDArray[np.int64]:
    """Folds of equal size, give or take one, at random."""
    return np.random.default_rng(seed).permutation(np.arange(queries, dtype=np.int64) % folds)


def _verdict(chosen: Configuration, incumbent: Configuration, found: Interval, queries: int) -> Verdict:
    promoted = chosen != incumbent and found.low > 0
    return Verdict(chosen, incumbent, found.mean, found.low, found.high, promoted, queries)
