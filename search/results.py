"""What a question is answered with: passages, why they stand where they stand, and how long it took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from latewood.search.fusion import Fusion
from latewood.search.types import LegTrace, Passage


@dataclass(frozen=True, slots=True)
class Marks:
    """What of a passage answers, as str indices into its text, end exclusive.

    Attributes:
        terms: where the query's terms stand, after analysis; ascending, none overlapping.
        sentence: the one that holds most of them; None where there are none.
    """

    terms: tuple[tuple[int, int], ...]
    sentence: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that answers, its score, and why.

    Attributes:
        score: what the list is sorted by: the reranker's score when one ran, else `fused`.
        fused: the fused score; with one leg, that leg's own.
        legs: what each leg found and added to `fused`.
        rerank: the reranker's score, when one ran.
        before, after: text of the neighbouring passages, when they were asked for.
        marks: what of the passage answers, when that was asked for.
    """

    passage: Passage
    score: float
    fused: float
    legs: Mapping[str, LegTrace]
    rerank: float | None = None
    before: str | None = None
    after: str | None = None
    marks: Marks | None = None


@dataclass(frozen=True, slots=True)
class Reranked:
    """What became of a rerank that was asked for.

    Attributes:
        model: the reranker's name.
        top_n: passages it was given, at most.
        applied: whether the order is the reranker's.
        reason: why it is not; `budget`: it was not done in time.
        seconds: the time it had.
    """

    model: str
    top_n: int
    applied: bool
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds spent: embedding the query, in store and fusion, reranking, and in all."""

    embed: float
    search: float
    rerank: float | None
    total: float


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Hits, best first, how they were found, and how long it took.

    Attributes:
        fusion: how this question's legs were fused; None where there was one leg.
        foreign: the model was sure not to know the question's language.
    """

    hits: tuple[Hit, ...]
    mode: str
    took_ms: Timing
    rerank: Reranked | None = None
    fusion: Fusion | None = None
    foreign: bool = False
