"""`POST /search`: what may be asked and how it is answered."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from latewood.api.http.schemas.documents import Strict, shown, without_nulls
from latewood.search.fusion import SHIPPED, Fusion
from latewood.search.request import MODES
from latewood.search.results import Hit, SearchResult
from latewood.search.types import MetadataValue

MOST = 1e6
"""Of numbers that are multiplied and added up: a float stays finite."""

Weight = Annotated[float, Field(ge=0, le=MOST)]


class FusionBody(Strict):
    """How the legs' lists become one; used as it is given, nothing is added from the defaults."""

    method: Literal["rrf", "dbsf", "convex"] = "convex"
    k: float = Field(60, gt=0, le=MOST, description="rank constant of RRF")
    weights: Annotated[dict[str, Weight], BeforeValidator(without_nulls)] = Field(
        {}, description="per leg: dense, bm25; 1.0 where absent"
    )
    foreign: float = Field(
        1.0,
        gt=0,
        le=1,
        description="what dense's weight is multiplied by for a question that is sure to be in a language "
        "the model does not know",
    )

    @model_validator(mode="after")
    def _k_has_a_method(self) -> FusionBody:
        if "k" in self.model_fields_set and "method" not in self.model_fields_set:
            raise PydanticCustomError(
                "k_alone", "k is of method 'rrf' and no method is named; name the method or leave k out"
            )
        return self


class ExpandBody(Strict):
    """How many neighbouring passages come along, as text `before` and `after` each result."""

    before: int = 0
    after: int = 0


class RerankBody(Strict):
    """Have the reranker order the first `top_n` passages; the answer is of these alone."""

    model: str = Field("", description="the one in RERANKER, which is also meant when this is absent")
    top_n: int = 50


class SearchBody(Strict):
    """A question. Only `query` is required."""

    query: str
    collection: str = "default"
    limit: int = 10
    offset: int = 0
    mode: Literal["hybrid", "dense", "bm25"] = "hybrid"
    filters: dict[str, Any] | None = None
    fusion: FusionBody | None = Field(
        None,
        description="absent: the collection's own, where `latewood tune` promoted one, else convex with "
        f"weights dense {SHIPPED.weights['dense']:g}, bm25 {SHIPPED.weights['bm25']:g}, foreign "
        f"{SHIPPED.foreign:g}",
    )
    rerank: RerankBody | None = None
    group_by: Literal["document"] | None = Field(
        None, description="each document once, by its best passage; absent: passages"
    )
    expand: ExpandBody = ExpandBody()
    highlight: bool = Field(
        False, description="where each passage has the query's words, and which sentence has most of them"
    )
    min_score: Annotated[dict[str, float], BeforeValidator(without_nulls)] = Field(
        {}, description="per leg: leave out candidates scored below"
    )
    explain: bool = False

    model_config = shown(query="What does error E-4071 mean?", limit=5, mode="hybrid", explain=True)


class LegOut(BaseModel):
    """One leg's part: rank from one, raw score, what it added to the fused score."""

    rank: int
    score: float
    contribution: float


class ExplainOut(BaseModel):
    """Why a result stands where it stands; contributions add up to `fused`."""

    legs: dict[str, LegOut]
    fused: float
    rerank: float | None = Field(None, description="the reranker's score; there only when one ran")


class SpanOut(BaseModel):
    """Character offsets into the result's `text`, end exclusive."""

    start: int
    end: int


class ResultOut(BaseModel):
    """A passage to cite. `start`/`end` are character offsets into the document's text, end exclusive."""

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
    metadata: dict[str, MetadataValue]
    highlights: list[SpanOut] | None = Field(
        None, description="where the query's words stand, as the index reads words; there when asked for"
    )
    sentence: SpanOut | None = Field(
        None, description="the sentence with most of them; null when no word of the query stands here"
    )
    before: str | None = Field(None, description="text of the passages before; there when `expand` asks")
    after: str | None = Field(None, description="text of the passages after; there when `expand` asks")
    explain: ExplainOut | None = None


class FusionOut(BaseModel):
    """How the legs were fused for this question."""

    method: str
    k: float | None = Field(None, description="of rrf")
    weights: dict[str, float] = Field(description="as they counted, `foreign` included")
    foreign: bool = Field(description="the model does not know the question's language")


class RerankOut(BaseModel):
    """What became of a rerank; not `applied`: `reason` says why, and the order is the fused one."""

    model: str
    top_n: int
    applied: bool
    reason: Literal["", "budget"] = Field(description="`budget`: it was not done within `seconds`")
    seconds: float


class SearchOut(BaseModel):
    """Results, best first; times in milliseconds."""

    results: list[ResultOut]
    mode: str
    fusion: FusionOut | None = Field(None, description="there in mode hybrid when `explain` asks")
    rerank: RerankOut | None = Field(None, description="there when a rerank was asked for")
    took_ms: dict[str, float] = Field(description="`embed`, `search`, `rerank` when one ran, `total`")
    request_id: str


class FacetOut(BaseModel):
    """A value and the number of documents that have it."""

    value: bool | int | float | str
    documents: int


class FacetsOut(BaseModel):
    """The values of a key, most documents first.

    Attributes:
        documents: all that match, with or without the key.
        distinct: number of values there are, shown or not.
    """

    key: str
    documents: int
    values: list[FacetOut]
    distinct: int


def answer_from(found: SearchResult, body: SearchBody, request_id: str) -> dict[str, Any]:
    """The JSON of a `SearchOut`, not validated: that would take longer than fusing."""
    took = found.took_ms
    answer: dict[str, Any] = {
        "results": [_result(hit, body) for hit in found.hits],
        "mode": found.mode,
    }
    if body.explain and found.fusion is not None:
        answer["fusion"] = _fused_by(found.fusion, foreign=found.foreign)
    if found.rerank is not None:
        answer["rerank"] = asdict(found.rerank)
    stages = {"embed": took.embed, "search": took.search, "rerank": took.rerank, "total": took.total}
    answer["took_ms"] = {stage: spent for stage, spent in stages.items() if spent is not None}
    answer["request_id"] = request_id
    return answer


def _fused_by(fusion: Fusion, *, foreign: bool) -> dict[str, Any]:
    constant = {"k": fusion.k} if fusion.method == "rrf" else {}
    weights = {leg: fusion.weights.get(leg, 1.0) for leg in MODES["hybrid"]}
    return {"method": fusion.method, **constant, "weights": weights, "foreign": foreign}


def _result(hit: Hit, body: SearchBody) -> dict[str, Any]:
    """A hit as the contract shows it; a field that was not asked for is not part of it."""
    chunk, document = hit.passage.chunk, hit.passage.document
    result: dict[str, Any] = {
        "id": chunk.id,
        "document_id": document.id,
        "uri": document.uri,
        "title": document.title,
        "score": hit.score,
        "text": chunk.text,
        "headings": chunk.headings,
        "start": chunk.start,
        "end": chunk.end,
        "page_start": chunk.page_start,
        "page_end": chunk.page_end,
        "metadata": document.metadata,
    }
    if hit.marks is not None:
        result["highlights"] = [{"start": start, "end": end} for start, end in hit.marks.terms]
        best = hit.marks.sentence
        result["sentence"] = None if best is None else {"start": best[0], "end": best[1]}
    if hit.before is not None:
        result |= {"before": hit.before, "after": hit.after}
    if body.explain:
        result["explain"] = _explain(hit)
    return result


def _explain(hit: Hit) -> dict[str, Any]:
    legs = {
        name: {"rank": leg.rank, "score": leg.score, "contribution": leg.contribution}
        for name, leg in hit.legs.items()
    }
    told: dict[str, Any] = {"legs": legs, "fused": hit.fused}
    if hit.rerank is not None:
        told["rerank"] = hit.rerank
    return told
