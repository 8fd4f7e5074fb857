"""Typed clients of the HTTP service, sync and async."""

from latewood.client.async_client import AsyncClient
from latewood.client.client import Client
from latewood.client.types import (
    DocumentDetail,
    DocumentSummary,
    Facets,
    JobState,
    LatewoodError,
    Result,
    SearchResponse,
    UnreachableError,
)

__all__ = [
    "AsyncClient",
    "Client",
    "DocumentDetail",
    "DocumentSummary",
    "Facets",
    "JobState",
    "LatewoodError",
    "Result",
    "SearchResponse",
    "UnreachableError",
]
