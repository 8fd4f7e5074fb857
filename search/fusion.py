"""Fusion: several ranked lists become one. Pure functions; ties are broken by id.

Each function takes `lists`, a ranked list per leg (best first), and `weights` per leg (1 where absent), and
returns every candidate of any list, best first. The contributions in a trace add up to the fused score.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import overload

from latewood.search.ranked_list import RankedList
from latewood.search.types import Candidate, Fused, LegTrace, QueryError

Lists = Mapping[str, Sequence[Candidate]]

DEFAULT_K = 60.0
METHODS = ("rrf", "dbsf", "convex")


@dataclass(frozen=True, slots=True)
class Fusion:
    """How to fuse.

    Attributes:
        method: `rrf`, `dbsf` or `convex`.
        k: of `rrf` only, above 0: how little the first ranks stand out.
        weights: per leg, not negative, finite, at least one above 0; a leg that is absent weighs 1.
        foreign: what the dense leg's weight is multiplied by for a question that is sure to be in no
            language the model knows (`search.foreign`), above 0 to 1; 1 takes every question alike.

    Raises:
        QueryError: an unknown method, or a number out of its range.
    """

    method: str
    k: float = DEFAULT_K
    weights: Mapping[str, float] = field(default_factory=dict)
    foreign: float = 1.0

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
        if not 0 < self.foreign <= 1:
            raise QueryError(
                f"fusion foreign is {self.foreign}; it must be above 0 and at most 1 (mode bm25 leaves the "
                "dense leg out)"
            )

    def for_question(self, *, foreign: bool) -> Fusion:
        """How one question's lists are fused, with `foreign` spent: the dense leg weighs less if it is so."""
        dense = self.weights.get("dense", 1.0)
        weights = {**self.weights, "dense": dense * self.foreign} if foreign else self.weights
        return replace(self, weights=weights, foreign=1.0)


SHIPPED = Fusion("convex", weights={"dense": 0.4, "bm25": 0.6}, foreign=0.25)
"""Where nothing else is asked for or tuned; chosen on development sets (docs/evaluation.md).

The first by words stands above all that only the dense leg found, whatever the scores: a code or a name that
one passage alone has is not outvoted.
"""


class Ranking(Sequence[Fused]):
    """Every candidate of any list by the sum of its contributions, best first, ties by id.

    A trace is made when its place is looked at: a page shows ten of the hundreds that are ranked.
    """

    def __init__(self, lists: Mapping[str, RankedList], parts: Mapping[str, Sequence[float]]) -> None:
        """Rank.

        Args:
            lists: a ranked list per leg.
            parts: what each place of each list adds to its candidate.
        """
        self._lists = lists
        self._parts = parts
        self._ranks: dict[str, dict[str, int]] = {}
        scores: dict[str, float] = {}
        for name, ranked in lists.items():
            if not scores:
                scores = dict(zip(ranked.ids, parts[name], strict=True))
                continue
            for identity, part in zip(ranked.ids, parts[name], strict=True):
                scores[identity] = scores.get(identity, 0.0) + part
        self._scores = scores
        # Sorting keeps the order of equals, so the ids' own order is what is left among equal scores.
        self.ids = sorted(sorted(scores), key=scores.__getitem__, reverse=True)
        """Ids, best first."""

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Fused]:
        return map(self.of, self.ids)

    @overload
    def __getitem__(self, place: int) -> Fused: ...

    @overload
    def __getitem__(self, place: slice) -> list[Fused]: ...

    def __getitem__(self, place: int | slice) -> Fused | list[Fused]:
        if isinstance(place, slice):
            return [self.of(one) for one in self.ids[place]]
        return self.of(self.ids[place])

    def of(self, identity: str) -> Fused:
        """One candidate with its trace.

        Raises:
            KeyError: no list has it.
        """
        legs = {}
        for name, ranked in self._lists.items():
            at = self._places(name).get(identity)
            if at is not None:
                legs[name] = LegTrace(at + 1, ranked.scores[at], self._parts[name][at])
        return Fused(identity, self._scores[identity], legs)

    def _places(self, name: str) -> dict[str, int]:
        if name not in self._ranks:
            ids = self._lists[name].ids
            self._ranks[name] = dict(zip(ids, range(len(ids)), strict=True))
        return self._ranks[name]


def fuse(fusion: Fusion, lists: Lists) -> Ranking:
    """Fuse as `fusion` says."""
    if fusion.method == "rrf":
        return rrf(lists, fusion.weights, k=fusion.k)
    return (dbsf if fusion.method == "dbsf" else convex)(lists, fusion.weights)


def ceiling(fusion: Fusion, legs: Sequence[str]) -> float:
    """The score of a candidate that every one of these legs puts first; with `dbsf` it may be passed."""
    total = math.fsum(fusion.weights.get(leg, 1.0) for leg in legs)
    if fusion.method == "rrf":
        return total / (fusion.k + 1)
    return 1.0 if fusion.method == "convex" else total


def alone(name: str, candidates: Sequence[Candidate]) -> Ranking:
    """A single leg's own list: its score is all there is."""
    ranked = RankedList.of(candidates)
    return Ranking({name: ranked}, {name: ranked.scores})


def rrf(lists: Lists, weights: Mapping[str, float], *, k: float = DEFAULT_K) -> Ranking:
    """Reciprocal rank fusion: a candidate's leg adds weight / (k + rank), ranks from one.

    Cormack, Clarke, Büttcher: Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning
    Methods, SIGIR 2009.
    """

    def leg(name: str, scores: Sequence[float]) -> list[float]:
        weight = weights.get(name, 1.0)
        return [weight / (k + rank) for rank in range(1, len(scores) + 1)]

    return _fused(lists, leg)


def dbsf(lists: Lists, weights: Mapping[str, float]) -> Ranking:
    """Distribution-based score fusion: a list's scores, measured between its mean ± 3 standard deviations.

    (score − (mean − 3σ)) / 6σ, times the weight, with the sample's deviation (n − 1). A score beyond three
    deviations, as the first of a BM25 list often is, lies beyond 0…1 and keeps its distance; a list whose
    scores are all equal, and so says nothing about order, counts ½. Mazzeschi: Distribution-Based Score
    Fusion, 2023; as Qdrant has it.
    """

    def leg(name: str, scores: Sequence[float]) -> list[float]:
        weight = weights.get(name, 1.0)
        mean = math.fsum(scores) / max(1, len(scores))
        variance = math.fsum((score - mean) ** 2 for score in scores) / max(1, len(scores) - 1)
        deviation = math.sqrt(variance)
        if deviation == 0 or scores[0] == scores[-1]:
            return [weight * 0.5] * len(scores)
        low = mean - 3 * deviation
        return [weight * (score - low) / (6 * deviation) for score in scores]

    return _fused(lists, leg)


def convex(lists: Lists, weights: Mapping[str, float]) -> Ranking:
    """Convex combination of scores set between the least and the greatest of their list.

    weight / Σ weights × (score − min) / (max − min); a candidate a leg did not return gets nothing from it,
    and a list whose scores are all equal counts 1. Bruch, Gai, Ingber: An Analysis of Fusion Functions for
    Hybrid Retrieval, TOIS 2023.
    """
    total = math.fsum(weights.get(name, 1.0) for name in lists) or 1.0

    def leg(name: str, scores: Sequence[float]) -> list[float]:
        share = weights.get(name, 1.0) / total
        low = min(scores, default=0.0)
        span = max(scores, default=0.0) - low
        if span == 0:
            return [share] * len(scores)
        return [share * (score - low) / span for score in scores]

    return _fused(lists, leg)


def _fused(lists: Lists, leg: Callable[[str, Sequence[float]], list[float]]) -> Ranking:
    ranked = {name: RankedList.of(candidates) for name, candidates in lists.items()}
    return Ranking(ranked, {name: leg(name, one.scores) for name, one in ranked.items()})
