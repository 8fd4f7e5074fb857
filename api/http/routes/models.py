"""`GET /v1/models`: the models of the service, in the shape of OpenAI."""

from __future__ import annotations

from fastapi import APIRouter

from latewood.api.http.authorization import ServiceOf, TenantOf
from latewood.api.http.routes.embeddings import served
from latewood.api.http.schemas.documents import ErrorOut
from latewood.api.http.schemas.openai import ModelOut, ModelsOut
from latewood.api.http.strict_json import StrictRoute
from latewood.engine.errors import ApiError
from latewood.engine.library import Service

router = APIRouter(prefix="/v1", tags=["v1"], responses={"4XX": {"model": ErrorOut}}, route_class=StrictRoute)


@router.get("/models")
def list_models(service: ServiceOf, tenant: TenantOf) -> ModelsOut:
    """List the model that embeds and, where one is set, the one that reranks."""
    return ModelsOut(data=_models(service, tenant))


@router.get("/models/{model:path}")
def show_model(model: str, service: ServiceOf, tenant: TenantOf) -> ModelOut:
    """Show one model."""
    models = _models(service, tenant)
    for one in models:
        if one.id == model:
            return one
    names = ", ".join(repr(one.id) for one in models)
    raise ApiError(404, "model_not_found", f"model {model!r:.80} is not served here; there are {names}")


def _models(service: Service, tenant: str) -> list[ModelOut]:
    names = [served(service, tenant).description.name]
    if service.reranker is not None:
        names.append(service.reranker.name)
    return [ModelOut(id=name) for name in names]
