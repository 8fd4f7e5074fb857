"""`POST /v1/rerank`: the reranker of the service, in the shape of Jina and Cohere."""

from __future__ import annotations

import uuid

from fastapi import APIRouter

from api.auth import ServiceOf
from api.errors import ApiError
from api.routes.embeddings import check_batch, check_model
from api.routes.strict import WatchedRoute
from api.schemas import ErrorOut
from api.schemas_v1 import RankedOut, RerankAskBody, RerankedOut
from api.waiting import nobody_waits

router = APIRouter(
    prefix="/v1", tags=["v1"], responses={"4XX": {"model": ErrorOut}}, route_class=WatchedRoute
)


@router.post("/rerank", response_model_exclude_none=True)
def rerank(body: RerankAskBody, service: ServiceOf) -> RerankedOut:
    """Documents in the order in which they answer the query; it takes as long as it takes."""
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
    check_model(body.model, reranker.name)
    texts = [document if isinstance(document, str) else document.text for document in body.documents]
    scores = reranker.all_scores(body.query, texts, nobody_waits())
    best = sorted(range(len(texts)), key=lambda place: (-scores[place], place))[: body.top_n]
    return RerankedOut(
        id=str(uuid.uuid4()),
        model=reranker.name,
        results=[
            RankedOut(
                index=place,
                relevance_score=scores[place],
                document={"text": texts[place]} if body.return_documents else None,
            )
            for place in best
        ],
    )
