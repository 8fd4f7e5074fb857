"""The HTTP application: middleware, routes and error mapping around one Service."""

from __future__ import annotations

from functools import partial

from fastapi import Depends, FastAPI
from starlette.middleware.cors import CORSMiddleware

from api import errors
from api.auth import scope_needed
from api.build import Service
from api.doors import LoopbackOnly, keys_needed
from api.gate import OPEN, Gate
from api.keys import KeyStore
from api.logs import Observer
from api.mcp import McpRoute
from api.middleware import Admin, Busy, Limits, RequestId
from api.reference import BEARER, operation_id, with_optional_keys
from api.routes import (
    amend,
    backup,
    collections,
    documents,
    embeddings,
    facets,
    generations,
    health,
    jobs,
    metrics,
    models,
    rerank,
    search,
    vector_stores,
    verify,
    web,
)
from api.routes.strict import known_parameters

__all__ = ["Admin", "LoopbackOnly", "create_app"]

ROUTES = (
    search,
    facets,
    documents,
    amend,
    jobs,
    verify,
    generations,
    backup,
    collections,
    embeddings,
    models,
    rerank,
    vector_stores,
    health,
    metrics,
)


def create_app(service: Service) -> FastAPI:
    """The routes of the contract over one service."""
    app = FastAPI(
        title="Latewood",
        version="0.1.0",
        description="Hybrid search over whole-document embeddings, every score explained.",
        docs_url=None,  # FastAPI's own pages load their scripts from elsewhere
        redoc_url=None,
        generate_unique_id_function=operation_id,
    )
    app.state.service = service
    guards = [Depends(scope_needed), Depends(known_parameters), Depends(BEARER)]
    for module in ROUTES:
        app.include_router(module.router, dependencies=guards)
    app.include_router(web.router)
    app.router.routes.append(McpRoute(service))
    errors.install(app)
    settings = service.settings
    if not keys_needed(settings):
        app.openapi = partial(with_optional_keys, app.openapi)  # type: ignore[method-assign]
    app.add_middleware(
        Busy,
        most=settings.concurrency,
        most_by_key=settings.key_concurrency,
        body_bytes=settings.body_bytes,
        open_paths=OPEN | {"/metrics"},
    )
    app.add_middleware(
        Limits,
        json_bytes=settings.body_bytes,
        upload_bytes=settings.upload_bytes,
        seconds=settings.body_seconds,
    )
    app.add_middleware(Gate, keys=KeyStore(service.data), required=keys_needed(settings), rate=settings.rate)
    app.add_middleware(Observer, metrics=service.metrics)
    app.add_middleware(RequestId)
    if service.settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=service.settings.origins,
            allow_methods=["*"],
            allow_headers=["Authorization", "Content-Type", "X-Request-ID"],
            expose_headers=["X-Request-ID", "Retry-After"],
        )
    return app
