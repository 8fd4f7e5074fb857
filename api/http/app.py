"""The HTTP application: middleware, routes and error mapping around one Service."""

from __future__ import annotations

from functools import partial

from fastapi import Depends, FastAPI
from starlette.middleware.cors import CORSMiddleware

from latewood.api.http.api_keys import KeyStore
from latewood.api.http.authentication import OPEN, Gate
from latewood.api.http.authorization import scope_needed
from latewood.api.http.middleware import Admin, Busy, Limits, RequestId
from latewood.api.http.reference import BEARER, operation_id, with_optional_keys
from latewood.api.http.request_logging import Observer
from latewood.api.http.routes import (
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
from latewood.api.http.strict_json import known_parameters
from latewood.api.http.trusted_hosts import LoopbackOnly, keys_needed
from latewood.api.mcp.http import McpRoute
from latewood.engine import errors
from latewood.engine.library import Service

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
