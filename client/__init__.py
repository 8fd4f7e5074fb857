"""Typed clients of the HTTP service, sync and async."""

from latewood.client.async_client import AsyncClient
from latewood.client.client import Client
from latewood.client.types import LatewoodError, UnreachableError

__all__ = ["AsyncClient", "Client", "LatewoodError", "UnreachableError"]
