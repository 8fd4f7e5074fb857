"""What others import: typed clients of the HTTP service, and adapters for frameworks over them."""

from latewood.asynchronous import AsyncClient
from latewood.client import Client
from latewood.types import LatewoodError, UnreachableError

__all__ = ["AsyncClient", "Client", "LatewoodError", "UnreachableError"]
