"""What the service answers, as types; and its errors."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict


class LatewoodError(Exception):
    """The service answered with an error.

    Attributes:
        status: HTTP status.
        code: snake_case word for programs.
        message: what, the value, the limit, the remedy.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class UnreachableError(Exception):
    """The service could not be reached, or the connection broke before the whole answer came."""


class LegPart(TypedDict):
    """One leg's part in a result: rank from one, raw score, contribution to the fused score."""

    rank: int
    score: float
    contribution: float


class Explain(TypedDict):
    """Why a result stands where it stands."""

    legs: dict[str, LegPart]
    fused: float
    rerank: NotRequired[float]


class SpanOf(TypedDict):
    """Character offsets into a result's `text`, end exclusive."""

    start: int
    end: int


class Result(TypedDict):
    """A passage: `start` and `end` are character offsets into the document's text, end exclusive."""

    id: str
    document_id: str
    uri: str
    title: str
    score: float
    text: str
    headings: list[str]
    start: int
    end: int
    page_start: int | None
    page_end: int | None
    metadata: dict[str, Any]
    highlights: NotRequired[list[SpanOf]]
    sentence: NotRequired[SpanOf | None]
    before: NotRequired[str]
    after: NotRequired[str]
    explain: NotRequired[Explain]


class FusionUsed(TypedDict):
    """How the legs were fused: `weights` as they counted, `k` with `rrf`.

    `foreign`: the model does not know the question's language, and the dense leg may count less for it.
    """

    method: str
    k: NotRequired[float]
    weights: dict[str, float]
    foreign: bool


class RerankState(TypedDict):
    """What became of a rerank: not `applied`, the order is the fused one, and `reason` says why."""

    model: str
    top_n: int
    applied: bool
    reason: str
    seconds: float


class SearchResponse(TypedDict):
    """Results, best first; times in milliseconds."""

    results: list[Result]
    mode: str
    fusion: NotRequired[FusionUsed]
    rerank: NotRequired[RerankState]
    took_ms: dict[str, float]
    request_id: str


class FacetValue(TypedDict):
    """A value, and the number of documents that a filter `eq` on it leaves."""

    value: str | int | float | bool
    documents: int


class Facets(TypedDict):
    """Values of a key, most documents first; `distinct` counts those that were not asked for, too."""

    key: str
    documents: int
    values: list[FacetValue]
    distinct: int


class DocumentSummary(TypedDict):
    """One document, as lists show it."""

    id: str
    uri: str
    title: str
    chunks: int
    version: str
    metadata: dict[str, Any]


class DocumentDetail(DocumentSummary):
    """One document with its text and what is known of it."""

    source: str
    kind: str
    modified: str
    ingested: str
    notes: list[str]
    failure: dict[str, str] | None
    text: str


class JobState(TypedDict):
    """A job as it stands: status is queued, in_progress, completed, failed or cancelled.

    `dry_run` jobs only count what an ingest would do. `waits_for` says what a queued job waits for.
    `seconds_left` is a guess by the pace so far; None before there is one, and once the job has ended.
    `result` is what a job other than an ingest found or did, once it has ended.
    """

    id: str
    collection: str
    source: str
    created: str
    status: str
    dry_run: bool
    waits_for: str | None
    counts: dict[str, Any]
    seconds_left: float | None
    skipped: list[dict[str, str]]
    errors: list[dict[str, str]]
    error: dict[str, str] | None
    result: NotRequired[dict[str, Any]]
