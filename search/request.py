"""What one may ask, held against the limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from latewood.search.filters import LIMITS, Limits, check_filter
from latewood.search.fusion import SHIPPED, Fusion
from latewood.search.types import Filter, QueryError

MODES: Mapping[str, tuple[str, ...]] = {"hybrid": ("dense", "bm25"), "dense": ("dense",), "bm25": ("bm25",)}
"""The legs of each mode."""

GROUPINGS = ("document",)


@dataclass(frozen=True, slots=True)
class Expand:
    """How many neighbouring passages of each result come with it, as text before and after it."""

    before: int = 0
    after: int = 0


@dataclass(frozen=True, slots=True)
class Rerank:
    """Have a cross-encoder order the first `top_n` passages of the fused list; the answer is of these alone.

    Attributes:
        model: its name; empty for the one that is set.
    """

    model: str = ""
    top_n: int = 50


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A query.

    Attributes:
        limit, offset: the page of the list to return.
        min_score: per leg, the least raw score a candidate needs there to count in that leg.
        group_by: `document` for each document once, by its best passage; empty for passages.
        highlight: say where each passage has the query's terms, and which sentence has most of them.
    """

    query: str
    limit: int = 10
    offset: int = 0
    mode: str = "hybrid"
    where: Filter | None = None
    fusion: Fusion = SHIPPED
    min_score: Mapping[str, float] = field(default_factory=dict)
    group_by: str = ""
    expand: Expand = Expand()
    rerank: Rerank | None = None
    highlight: bool = False

    @property
    def end(self) -> int:
        """The first place beyond the page."""
        return self.offset + self.limit


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
    _check_page(request, limits)
    if request.mode not in MODES:
        raise QueryError(f"mode {request.mode!r} is not known; one of: {', '.join(MODES)}")
    if request.group_by and request.group_by not in GROUPINGS:
        raise QueryError(f"group_by {request.group_by!r} is not known; one of: {', '.join(GROUPINGS)}")
    _check_expand(request.expand, limits)
    if request.rerank is not None and not 1 <= request.rerank.top_n <= limits.rerank_passages:
        raise QueryError(
            f"rerank top_n is {request.rerank.top_n}; it must be from 1 to {limits.rerank_passages}"
        )
    _check_legs("min_score", request.min_score)
    _check_legs("fusion weights", request.fusion.weights)
    if request.where is not None:
        check_filter(request.where, limits)


def _check_page(request: SearchRequest, limits: Limits) -> None:
    if not 1 <= request.limit <= limits.limit:
        raise QueryError(f"limit is {request.limit}; it must be from 1 to {limits.limit}")
    if request.offset < 0:
        raise QueryError(f"offset is {request.offset}; it must be 0 or more")
    if request.end > limits.limit:
        raise QueryError(
            f"offset + limit is {request.end}; at most {limits.limit} results can be "
            "paged through; narrow the query or filter it"
        )


def _check_expand(expand: Expand, limits: Limits) -> None:
    for name, passages in (("before", expand.before), ("after", expand.after)):
        if not 0 <= passages <= limits.expand:
            raise QueryError(
                f"expand {name} is {passages}; it must be from 0 to {limits.expand} passages; "
                "`GET /documents/{id}` has the whole text"
            )


def _check_legs(what: str, values: Mapping[str, float]) -> None:
    known = MODES["hybrid"]
    for name, value in values.items():
        if name not in known:
            raise QueryError(f"{what} names the leg {name!r}; one of: {', '.join(known)}")
        if not math.isfinite(value):
            raise QueryError(f"{what} of {name!r} is {value}; it must be a finite number")
