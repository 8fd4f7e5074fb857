"""`POST /v1/embeddings`: the model of the service, in the shape of OpenAI and Jina, with late chunking."""

from __future__ import annotations

import base64
from collections.abc import Collection, Sequence
from typing import Any

from fastapi import APIRouter, Response
from pydantic_core import to_json

from latewood.api.http.authorization import ServiceOf, TenantOf
from latewood.api.http.schemas.documents import ErrorOut
from latewood.api.http.schemas.openai import EmbeddingsBody, EmbeddingsOut
from latewood.api.http.strict_json import WatchedRoute
from latewood.embedder.types import Embedder, Floats, Span, SpannedText, Task
from latewood.engine import stores
from latewood.engine.cancellation import nobody_waits
from latewood.engine.errors import ApiError
from latewood.engine.library import Service
from latewood.engine.models import shortened

router = APIRouter(
    prefix="/v1", tags=["v1"], responses={"4XX": {"model": ErrorOut}}, route_class=WatchedRoute
)


@router.post("/embeddings", response_model=EmbeddingsOut)
def embeddings(body: EmbeddingsBody, service: ServiceOf, tenant: TenantOf) -> Response:
    """A vector for each input; with `late_chunking` all are read as one document first."""
    texts = [body.input] if isinstance(body.input, str) else body.input
    check_batch("input", texts, service.settings.batch)
    model = served(service, tenant)
    name = model.description.name
    check_model(body.model, name, {name})
    vectors = _embed(model, body, texts)
    tokens = sum(len(model.token_offsets(text)) for text in texts)
    packed = "base64" in {body.encoding_format, body.embedding_type, body.encoding_type}
    answer = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _written(vector, packed=packed)}
            for index, vector in enumerate(vectors)
        ],
        "model": name,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return Response(to_json(answer), media_type="application/json")


def served(service: Service, tenant: str) -> Embedder:
    """The model that embeds where no collection is named: that of the tenant's `default` collection."""
    if service.settings.model == "auto" and service.exists(tenant, "default"):
        home = service.catalog.home(tenant, "default")
        return service.embedder(service.model_of(home.config_of(stores.current(home))))
    return service.embedder(None)


def check_batch(field: str, texts: Sequence[object], most: int) -> None:
    """Hold the number of texts against the limit.

    Raises:
        ApiError: 422, there are none or too many.
    """
    if not 1 <= len(texts) <= most:
        raise ApiError(
            422, "invalid_request", f"{field} has {len(texts)} texts; it must have 1 to {most} (BATCH)"
        )


def check_model(asked: str, name: str, known: Collection[str]) -> None:
    """Refuse another model than the one that is served.

    Args:
        asked: what the request names.
        name: the served model's, for the error.
        known: every name of it.

    Raises:
        ApiError: 404.
    """
    if asked not in {"default", *known}:
        raise ApiError(
            404, "model_not_found", f"model {asked!r:.80} is not served here; name {name!r} or 'default'"
        )


def joined(texts: Sequence[str]) -> SpannedText:
    """One document of the texts as they stand, a space between two only where neither side has one."""
    parts: list[str] = []
    spans: list[Span] = []
    length = 0
    for text in texts:
        if parts and not (parts[-1][-1].isspace() or text[0].isspace()):
            parts.append(" ")
            length += 1
        parts.append(text)
        spans.append(Span(length, length + len(text)))
        length += len(text)
    return SpannedText("".join(parts), tuple(spans))


def _embed(model: Embedder, body: EmbeddingsBody, texts: Sequence[str]) -> Floats:
    size = body.dimensions or model.dimension
    sizes = model.description.dimensions
    if size not in {model.dimension, *sizes}:
        raise ApiError(
            422,
            "invalid_dimensions",
            f"dimensions is {size}; {model.description.name} has {', '.join(map(str, sizes))}",
        )
    blank = next((place for place, text in enumerate(texts) if not text.strip()), None)
    if blank is not None:
        raise ApiError(422, "empty_text", f"input {blank} is blank; give each at least one word")
    if not body.late_chunking:
        vectors = model.embed_texts(texts, Task(body.task), nobody_waits())
    elif Task(body.task) is not Task.PASSAGE:
        raise ApiError(
            422,
            "invalid_request",
            f"late_chunking is of task 'retrieval.passage' only, not of {body.task!r}; leave one of them out",
        )
    else:
        (vectors,) = model.embed_documents([joined(texts)], nobody_waits(), 1.0)
    return shortened(vectors, size)


def _written(vector: Floats, *, packed: bool) -> Any:
    if packed:
        return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
    return vector.tolist()
