"""Fusion: several ranked lists become one. Pure functions; ties are broken by id.

Each function takes `lists`, a ranked list per leg (best first), and `weights` per leg (1 where absent), and
returns every candidate of any list, best first. The contributions in a trace add up to the fused score.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from search.types import Candidate, Fused, LegTrace, QueryError

Lists = Mapping[str, Sequence[Candidate]]
_Contribution = Callable[[int, float], float]

DEFAULT_K = 60.0
METHODS = ("rrf", "dbsf", "convex")


@dataclass(frozen=True, slots=True)
class Fusion:
    """How to fuse.

    Attributes:
        method: `rrf`, `dbsf` or `convex`.
        k: of `rrf` only, above 0: how little the first ranks stand out.
        weights: per leg, not negative, finite, at least one above 0; a leg that is absent weighs 1.

    Raises:
        QueryError: an unknown method, or a number out of its range.
    """

    method: str = "rrf"
    k: float = DEFAULT_K
    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise QueryError(f"fusion method {self.method!r} is not known; one of: {', '.join(METHODS)}")
        if not (math.isfinite(self.k) and self.k > 0):
            raise QueryError(f"fusion k is {self.k}; it must be a number above 0 (usual: {DEFAULT_K:g})")
        for leg, weight in self.weights.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise QueryError(f"fusion weight of {leg!r} is {weight}; it must be a finite number from 0")
        if self.weights and not any(weight > 0 for weight in self.weights.values()):
            raise QueryError("every fusion weight is 0; give at least one leg a weight above 0")


def fuse(fusion: Fusion, lists: Lists) -> list[Fused]:
    """Fuse as `fusion` says."""
    if fusion.method == "rrf":
        return rrf(lists, fusion.weights, k=fusion.k)
    return (dbsf if fusion.method == "dbsf" else convex)(lists, fusion.weights)


def rrf(lists: Lists, weights: Mapping[str, float], *, k: float = DEFAULT_K) -> list[Fused]:
    """Reciprocal rank fusion: a candidate's leg adds weight / (k + rank), ranks from one.

    Cormack, Clarke, Büttcher: Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning
    Methods, SIGIR 2009.
    """

    def leg(name: str) -> _Contribution:
        weight = weights.get(name, 1.0)
        return lambda rank, _score: weight / (k + rank)

    return _fused(lists, {name: leg(name) for name in lists})


def dbsf(lists: Lists, weights: Mapping[str, float]) -> list[Fused]:
    """Distribution-based score fusion: scores are set between mean ± 3 standard deviations of their list.

    (score − (mean − 3σ)) / 6σ, cut to 0…1, times the weight; a list whose scores are all equal, and so says
    nothing about order, counts ½. Mazzeschi: Distribution-Based Score Fusion, 2023.
    """

    def leg(name: str, candidates: Sequence[Candidate]) -> _Contribution:
        weight = weights.get(name, 1.0)
        mean = math.fsum(candidate.score for candidate in candidates) / max(1, len(candidates))
        variance = math.fsum((candidate.score - mean) ** 2 for candidate in candidates)
        deviation = math.sqrt(variance / max(1, len(candidates) - 1))
        if deviation == 0 or candidates[0].score == candidates[-1].score:
            return lambda _rank, _score: weight * 0.5
        low = mean - 3 * deviation
        return lambda _rank, score: weight * min(1.0, max(0.0, (score - low) / (6 * deviation)))

    return _fused(lists, {name: leg(name, candidates) for name, candidates in lists.items()})


def convex(lists: Lists, weights: Mapping[str, float]) -> list[Fused]:
    """Convex combination of scores set between the least and the greatest of their list.

    weight / Σ weights × (score − min) / (max − min); a candidate a leg did not return gets nothing from it,
    and a list whose scores are all equal counts 1. Bruch, Gai, Ingber: An Analysis of Fusion Functions for
    Hybrid Retrieval, TOIS 2023.
    """
    total = math.fsum(weights.get(name, 1.0) for name in lists) or 1.0

    def leg(name: str, candidates: Sequence[Candidate]) -> _Contribution:
        share = weights.get(name, 1.0) / total
        low = min((candidate.score for candidate in candidates), default=0.0)
        span = max((candidate.score for candidate in candidates), default=0.0) - low
        if span == 0:
            return lambda _rank, _score: share
        return lambda _rank, score: share * (score - low) / span

    return _fused(lists, {name: leg(name, candidates) for name, candidates in lists.items()})


def _fused(lists: Lists, contributions: Mapping[str, _Contribution]) -> list[Fused]:
    scores: dict[str, float] = {}
    traces: dict[str, dict[str, LegTrace]] = {}
    for name, candidates in lists.items():
        contribution = contributions[name]
        for rank, candidate in enumerate(candidates, 1):
            part = contribution(rank, candidate.score)
            scores[candidate.id] = scores.get(candidate.id, 0.0) + part
            traces.setdefault(candidate.id, {})[name] = LegTrace(rank, candidate.score, part)
    fused = [Fused(identity, scores[identity], legs) for identity, legs in traces.items()]
    return sorted(fused, key=lambda one: (-one.score, one.id))
