"""The OpenAPI schema at `/openapi.json`: names of operations, and the key they need."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer

BEARER = HTTPBearer(
    scheme_name="key",
    description="A key of `latewood keys create`. On loopback none is needed.",
    auto_error=False,  # the gate has checked the key before a route is chosen
)

_NAMES = {
    ("POST", "/search"): "search",
    ("GET", "/facets"): "list_facets",
    ("GET", "/documents"): "list_documents",
    ("POST", "/documents"): "add_documents",
    ("GET", "/documents/{id}"): "get_document",
    ("PATCH", "/documents/{id}"): "update_document",
    ("DELETE", "/documents/{id}"): "delete_document",
    ("GET", "/jobs"): "list_jobs",
    ("POST", "/jobs"): "start_ingest",
    ("GET", "/jobs/{id}"): "get_job",
    ("GET", "/jobs/{id}/events"): "follow_job",
    ("POST", "/jobs/{id}/cancel"): "cancel_job",
    ("POST", "/jobs/{id}/retry"): "retry_job",
    ("GET", "/collections"): "list_collections",
    ("POST", "/collections"): "create_collection",
    ("DELETE", "/collections/{name}"): "delete_collection",
    ("POST", "/verify"): "start_verify",
    ("POST", "/backup"): "create_backup",
    ("POST", "/v1/embeddings"): "create_embeddings",
    ("POST", "/v1/rerank"): "rerank",
    ("POST", "/v2/rerank"): "rerank_v2",
    ("POST", "/rerank"): "rerank_documents",
    ("GET", "/v1/models"): "list_models",
    ("GET", "/v1/models/{model:path}"): "get_model",
    ("POST", "/v1/vector_stores/{collection}/search"): "search_vector_store",
    ("GET", "/healthz"): "check_health",
    ("GET", "/readyz"): "check_ready",
    ("GET", "/metrics"): "get_metrics",
    ("GET", "/status"): "get_status",
}
_VERBS = {"GET": "get", "POST": "create", "PUT": "replace", "PATCH": "update", "DELETE": "delete"}


def with_optional_keys(schema_of: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the schema of a service that answers without a key, too: each operation states so."""
    schema = schema_of()
    for operations in schema["paths"].values():
        for operation in operations.values():
            if {} not in operation.get("security", [{}]):
                operation["security"] = [*operation["security"], {}]
    return schema


def operation_id(route: APIRoute) -> str:
    """Return the name of a route's operation, after which generated clients name their methods."""
    method = min(route.methods or {"GET"})
    words = re.findall(r"[A-Za-z0-9]+", re.sub(r"\{[^}]*\}", "", route.path))
    return _NAMES.get((method, route.path), "_".join([_VERBS.get(method, method.lower()), *words]))
