"""A service that is told to stop answers what it was asked before, and refuses what comes after."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from latewood.api.http.app import LoopbackOnly, create_app
from latewood.api.owner import uvicorn_server
from latewood.engine.library import Service


def wait_until_nobody_listens(url: str) -> None:
    for _ in range(3000):
        try:
            httpx.get(f"{url}/healthz", timeout=60)
        except httpx.TransportError:
            return
        time.sleep(0.02)
    raise AssertionError("it goes on listening")


def test_what_is_under_way_is_answered_and_then_it_ends(
    service: Service, http: TestClient, hand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on SIGTERM, which sets the same flag."""
    hand_in(http, "The ferry leaves.")
    begun, go_on = threading.Event(), threading.Event()
    answer: Callable[..., Any] = service.open("default", "default").searcher.search

    def slow(self: Any, request: Any) -> Any:
        begun.set()
        assert go_on.wait(60)
        return answer(request)

    monkeypatch.setattr(type(service.open("default", "default").searcher), "search", slow)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener, ThreadPoolExecutor(2) as threads:
        server = uvicorn_server(LoopbackOnly(create_app(service)))
        running = threads.submit(server.run, [listener])
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        asked = threads.submit(httpx.post, f"{url}/search", json={"query": "ferry"}, timeout=60)
        assert begun.wait(60)
        server.should_exit = True
        wait_until_nobody_listens(url)
        assert not asked.done()
        go_on.set()
        assert asked.result().json()["results"][0]["text"] == "The ferry leaves."
        running.result()
