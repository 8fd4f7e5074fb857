"""Who goes away before the answer is not worked for any longer."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.testclient import TestClient

from latewood.api.http.app import create_app
from latewood.embedder.types import Floats, StoppedError, Task
from latewood.engine.library import Service

SECONDS = 60.0


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/search", {"query": "ferry"}),
        ("/v1/embeddings", {"input": "ferry"}),
        ("/v1/embeddings", {"input": "ferry", "late_chunking": True}),
        ("/v1/vector_stores/default/search", {"query": "ferry"}),
    ],
)
def test_work_ends_with_the_connection_of_who_asked(
    service: Service, http: TestClient, hand_in: Any, serve: Any, path: str, body: Any
) -> None:
    hand_in(http, "The ferry leaves.")
    begun, ended = threading.Event(), threading.Event()

    def endless(stop: Callable[[], bool]) -> Any:
        begun.set()
        limit = time.monotonic() + SECONDS
        while not stop():
            if time.monotonic() > limit:
                raise AssertionError("nobody said that the client is gone")
            time.sleep(0.01)
        ended.set()
        raise StoppedError("stopped")

    class Endless:
        description = service.embedder(None).description
        fingerprint = service.embedder(None).fingerprint
        dimension = 16

        def embed_texts(self, texts: Sequence[str], task: Task, stop: Callable[[], bool]) -> Floats:
            return endless(stop)

        def embed_documents(self, documents: Any, stop: Callable[[], bool], context: float) -> list[Floats]:
            return endless(stop)

        def close(self) -> None:
            """Nothing is held."""

    service._embedders["words"] = Endless()
    with serve(create_app(service)) as url:
        with closing(HTTPConnection(urlsplit(url).netloc, timeout=SECONDS)) as asking:
            asking.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            assert begun.wait(SECONDS)
            assert not ended.is_set()
        assert ended.wait(SECONDS)


def test_who_stays_is_answered(shared_http: TestClient, hand_in: Any, serve: Any) -> None:
    hand_in(shared_http, "The ferry leaves.", collection="staying")
    with serve(shared_http.app) as url, httpx.Client(base_url=url) as client:
        for _ in range(3):  # on one connection
            answer = client.post("/search", json={"query": "ferry", "collection": "staying"})
            assert len(answer.json()["results"]) == 1
