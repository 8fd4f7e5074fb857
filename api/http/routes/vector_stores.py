"""`POST /v1/vector_stores/{collection}/search`: a collection as the `openai` package asks it."""

from __future__ import annotations

from urllib.parse import unquote

from fastapi import APIRouter

from latewood.api.http import search_request
from latewood.api.http.authorization import ServiceOf, TenantOf
from latewood.api.http.schemas.documents import ErrorOut
from latewood.api.http.schemas.openai import ContentOut, StoreHitOut, StoreSearchOut, VectorStoreSearchBody
from latewood.api.http.schemas.search import RerankBody, SearchBody
from latewood.api.http.strict_json import WatchedRoute
from latewood.engine.library import Service
from latewood.search.fusion import ceiling
from latewood.search.request import MODES
from latewood.search.results import Hit
from latewood.search.types import MetadataValue

router = APIRouter(
    prefix="/v1", tags=["v1"], responses={"4XX": {"model": ErrorOut}}, route_class=WatchedRoute
)


@router.post("/vector_stores/{collection}/search")
def search(
    collection: str, body: VectorStoreSearchBody, service: ServiceOf, tenant: TenantOf
) -> StoreSearchOut:
    """Passages that answer, best first; of several questions each passage has its best score."""
    queries = [body.query] if isinstance(body.query, str) else body.query
    best: dict[str, StoreHitOut] = {}
    for query in queries:
        for key, hit in _found(service, tenant, collection, query, body):
            if key not in best or hit.score > best[key].score:
                best[key] = hit
    ranked = sorted(best, key=lambda key: (-best[key].score, key))
    least = body.ranking_options.score_threshold
    hits = [best[key] for key in ranked if best[key].score >= least]
    return StoreSearchOut(search_query=queries, data=hits[: body.max_num_results])


def _found(
    service: Service, tenant: str, collection: str, query: str, body: VectorStoreSearchBody
) -> list[tuple[str, StoreHitOut]]:
    ranked = body.ranking_options.ranker != "none" and service.reranker is not None
    top_n = min(service.settings.rerank_passages, 2 * body.max_num_results)
    asked = SearchBody(
        query=query,
        collection=collection,
        limit=min(body.max_num_results, service.settings.limit),
        filters=body.filters,
        rerank=RerankBody(top_n=top_n) if ranked else None,
    )
    found = search_request.answer(service, tenant, asked)
    top = 1.0 if found.fusion is None else ceiling(found.fusion, MODES[asked.mode])
    return [(hit.passage.chunk.id, _out(hit, top)) for hit in found.hits]


def _out(hit: Hit, top: float) -> StoreHitOut:
    chunk, document = hit.passage.chunk, hit.passage.document
    score = hit.rerank if hit.rerank is not None else hit.fused / top
    place: dict[str, MetadataValue | None] = {
        "uri": document.uri,
        "title": document.title,
        "start": chunk.start,
        "end": chunk.end,
        "page_start": chunk.page_start,
        "page_end": chunk.page_end,
    }
    given = {
        key: ", ".join(map(str, value)) if isinstance(value, list) else value
        for key, value in document.metadata.items()
    }
    return StoreHitOut(
        file_id=document.id,
        filename=unquote(document.uri.rsplit("/", 1)[-1].removeprefix("upload:")),
        score=min(1.0, max(0.0, score)),
        attributes={**given, **{key: value for key, value in place.items() if value is not None}},
        content=[ContentOut(text=chunk.text)],
    )
