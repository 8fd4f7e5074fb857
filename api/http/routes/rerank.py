"""`/v1/rerank`, `/v2/rerank`, `/rerank`: the reranker of the service, in the shape of Jina and Cohere."""

from __future__ import annotations

import uuid

from fastapi import APIRouter

from latewood.api.http.authorization import ServiceOf
from latewood.api.http.routes.embeddings import check_batch, check_model
from latewood.api.http.schemas.documents import ErrorOut
from latewood.api.http.schemas.openai import RankedOut, RerankAskBody, RerankedOut, UsageOut
from latewood.api.http.strict_json import WatchedRoute
from latewood.engine.cancellation import nobody_waits
from latewood.engine.errors import ApiError
from latewood.engine.library import Service

router = APIRouter(tags=["v1"], responses={"4XX": {"model": ErrorOut}}, route_class=WatchedRoute)


@router.post("/v1/rerank", response_model_exclude_none=True)
def rerank(body: RerankAskBody, service: ServiceOf) -> RerankedOut:
    """Order documents by how well they answer the query, as Jina's and Cohere's first version do."""
    return _reranked(service, body, with_text=body.return_documents)


@router.post("/v2/rerank", response_model_exclude_none=True)
def rerank_v2(body: RerankAskBody, service: ServiceOf) -> RerankedOut:
    """Order documents by how well they answer the query, as Cohere's second version does."""
    asked = "return_documents" in body.model_fields_set
    return _reranked(service, body, with_text=asked and body.return_documents)


@router.post("/rerank", response_model_exclude_none=True)
def rerank_bare(body: RerankAskBody, service: ServiceOf) -> RerankedOut:
    """Order documents by how well they answer the query, as vLLM, Infinity and llama.cpp do."""
    return _reranked(service, body, with_text=body.return_documents)


def _reranked(service: Service, body: RerankAskBody, *, with_text: bool) -> RerankedOut:
    """Score every document, however long it takes; one without words comes last."""
    settings = service.settings
    check_batch("documents", body.documents, settings.batch)
    if not body.query.strip() or len(body.query) > settings.query_characters:
        raise ApiError(
            422,
            "invalid_query",
            f"the query has {len(body.query)} characters; it must have at least one word and at most "
            f"{settings.query_characters} characters (QUERY_CHARACTERS)",
        )
    reranker = service.reranker
    if reranker is None:
        raise ApiError(404, "model_not_found", "no reranker is set; name one in RERANKER")
    check_model(body.model, reranker.name, reranker.names)
    texts = [document if isinstance(document, str) else document.text for document in body.documents]
    scores = reranker.all_scores(body.query, texts, nobody_waits())
    best = sorted(range(len(texts)), key=lambda place: (-scores[place], place))[: body.top_n]
    tokens = reranker.count_tokens([body.query, *texts])
    return RerankedOut(
        id=str(uuid.uuid4()),
        model=reranker.name,
        usage=UsageOut(prompt_tokens=tokens, total_tokens=tokens),
        results=[
            RankedOut(
                index=place,
                relevance_score=scores[place],
                document={"text": texts[place]} if with_text else None,
            )
            for place in best
        ],
    )
