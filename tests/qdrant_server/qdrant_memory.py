"""The client's own in-memory engine, made safe for many threads: what stands for a Qdrant server in tests."""

from __future__ import annotations

import threading
import warnings
from typing import Any

from qdrant_client import QdrantClient


class LockedClient:
    """One call at a time, as one step: the in-memory engine has no lock of its own."""

    def __init__(self) -> None:
        self.client = QdrantClient(":memory:")
        self.lock = threading.RLock()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)
        if not callable(method):
            return method

        def locked(*args: Any, **kwargs: Any) -> Any:
            with self.lock, warnings.catch_warnings():
                # It has no payload indexes and does not estimate, and says so.
                warnings.simplefilter("ignore", UserWarning)
                return method(*args, **kwargs)

        return locked
