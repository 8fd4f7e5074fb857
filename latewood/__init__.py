"""What others import: a typed client of the HTTP service."""

from latewood.client import Client, LatewoodError, UnreachableError

__all__ = ["Client", "LatewoodError", "UnreachableError"]
