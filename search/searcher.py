"""The query walk: words to legs, one trip to the store, fusion, the page asked for."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from embedder.types import Floats
from search.analyzer import Analyzer
from search.fusion import Fusion, fuse
from search.query import LIMITS, Limits, check_filter
from search.stores.base import Store
from search.types import (
    Candidate,
    DenseQuery,
    Filter,
    Fused,
    Hit,
    Leg,
    LegTrace,
    Passage,
    QueryError,
    StoreUnavailableError,
)

MODES: Mapping[str, tuple[str, ...]] = {"hybrid": ("dense", "bm25"), "dense": ("dense",), "bm25": ("bm25",)}
"""The legs of each mode."""

LEG_DEPTH = 200
_ATTEMPTS = 8


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A query.

    Attributes:
        limit, offset: the page of the fused list to return.
        min_score: per leg, the least raw score a candidate needs there to count in that leg.
    """

    query: str
    limit: int = 10
    offset: int = 0
    mode: str = "hybrid"
    where: Filter | None = None
    fusion: Fusion = field(default_factory=Fusion)
    min_score: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds spent: embedding the query, in store and fusion, and in all."""

    embed: float
    search: float
    total: float


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Hits, best first, how they were found, and how long it took."""

    hits: tuple[Hit, ...]
    mode: str
    took_ms: Timing


class Searcher:
    """Answers queries on one index. Safe to call from many threads."""

    def __init__(
        self,
        store: Store,
        embed_query: Callable[[str], Floats],
        analyzer: Analyzer,
        limits: Limits = LIMITS,
    ) -> None:
        """Search `store`.

        Args:
            store: the index.
            embed_query: text to (dim,) float32 unit vector, at the largest stored dimension.
            analyzer: the one the index was made with.
            limits: the most that one query may ask for.
        """
        self._store = store
        self._embed_query = embed_query
        self._analyzer = analyzer
        self._limits = limits

    def search(self, request: SearchRequest) -> SearchResult:
        """Answer one query.

        Raises:
            QueryError: the request cannot be answered as asked.
            StoreUnavailableError: the store cannot be reached, or changed under every attempt.
        """
        check_request(request, self._limits)
        started = time.perf_counter()
        names = MODES[request.mode]
        dense = self._embed_query(request.query) if "dense" in names else None
        embedded = time.perf_counter()
        legs = [self._leg(name, request, dense) for name in names]
        hits = self._hits(request, legs)
        done = time.perf_counter()
        took = Timing((embedded - started) * 1e3, (done - embedded) * 1e3, (done - started) * 1e3)
        return SearchResult(hits, request.mode, took)

    def _leg(self, name: str, request: SearchRequest, dense: Floats | None) -> Leg:
        depth = max(LEG_DEPTH, 4 * (request.offset + request.limit))
        query = (
            self._analyzer.query_vector(request.query)
            if dense is None or name == "bm25"
            else DenseQuery(dense)
        )
        return Leg(name, query, depth, request.min_score.get(name))

    def _hits(self, request: SearchRequest, legs: list[Leg]) -> tuple[Hit, ...]:
        """Rank and fetch as one step: a passage that vanished in between means the ranking is out of date."""
        for _ in range(_ATTEMPTS):
            lists = self._store.search(legs, request.where)
            ranked = _ranked(request, {leg.name: found for leg, found in zip(legs, lists, strict=True)})
            page = ranked[request.offset : request.offset + request.limit]
            passages = self._store.fetch([one.id for one in page]) if page else []
            if len(passages) == len(page):
                return tuple(_hit(passage, one) for passage, one in zip(passages, page, strict=True))
        raise StoreUnavailableError(
            f"the index changed during each of {_ATTEMPTS} attempts to answer; ask again in a moment"
        )


def _ranked(request: SearchRequest, lists: Mapping[str, list[Candidate]]) -> list[Fused]:
    """The fused list; with one leg, that leg's own list and scores."""
    if len(lists) > 1:
        return fuse(request.fusion, lists)
    ((name, candidates),) = lists.items()
    return [
        Fused(one.id, one.score, {name: LegTrace(rank, one.score, one.score)})
        for rank, one in enumerate(candidates, 1)
    ]


def _hit(passage: Passage, fused: Fused) -> Hit:
    return Hit(passage, fused.score, fused.legs)


def check_request(request: SearchRequest, limits: Limits = LIMITS) -> None:
    """Hold a request against the limits.

    Raises:
        QueryError: naming the value, the limit and the remedy.
    """
    length = len(request.query)
    if not request.query.strip():
        raise QueryError("the query is empty; give it at least one word")
    if length > limits.query_characters:
        raise QueryError(
            f"the query has {length} characters; at most {limits.query_characters} are allowed; shorten it"
        )
    if not 1 <= request.limit <= limits.limit:
        raise QueryError(f"limit is {request.limit}; it must be from 1 to {limits.limit}")
    if request.offset < 0:
        raise QueryError(f"offset is {request.offset}; it must be 0 or more")
    if request.offset + request.limit > limits.limit:
        raise QueryError(
            f"offset + limit is {request.offset + request.limit}; at most {limits.limit} results can be "
            "paged through; narrow the query or filter it"
        )
    if request.mode not in MODES:
        raise QueryError(f"mode {request.mode!r} is not known; one of: {', '.join(MODES)}")
    _check_legs("min_score", request.min_score)
    _check_legs("fusion weights", request.fusion.weights)
    if request.where is not None:
        check_filter(request.where, limits)


def _check_legs(what: str, values: Mapping[str, float]) -> None:
    known = MODES["hybrid"]
    for name, value in values.items():
        if name not in known:
            raise QueryError(f"{what} names the leg {name!r}; one of: {', '.join(known)}")
        if not math.isfinite(value):
            raise QueryError(f"{what} of {name!r} is {value}; it must be a finite number")
