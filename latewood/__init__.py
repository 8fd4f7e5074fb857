"""Latewood: retrieval for chatbots that must be right.

A name is imported at its first use, so that `import latewood` stays light. The store's worker process and the
command line import this package at each start.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latewood.client.async_client import AsyncClient
    from latewood.client.client import Client
    from latewood.client.types import LatewoodError, UnreachableError

__all__ = ["AsyncClient", "Client", "LatewoodError", "UnreachableError"]

_HOMES = {
    "AsyncClient": "latewood.client.async_client",
    "Client": "latewood.client.client",
    "LatewoodError": "latewood.client.types",
    "UnreachableError": "latewood.client.types",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module 'latewood' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)
