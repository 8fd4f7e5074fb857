"""What a client cannot do to a service: large or slow heads and bodies, places that are held for nothing."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from latewood.api.http.app import create_app
from latewood.api.http.authorization import Access
from latewood.api.http.middleware import HEAD_BYTES, Busy, Limits
from latewood.engine.library import Service

WAIT = 60
TOO_MUCH = b"a" * (HEAD_BYTES + 5_000)
CHUNKED = (
    b"POST /search HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


class Raw:
    """A connection that sends bytes as they are."""

    def __init__(self, url: str) -> None:
        host, _, port = url.partition("://")[2].partition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=WAIT)

    def send(self, data: bytes) -> Raw:
        self._socket.sendall(data)
        return self

    def answer(self) -> tuple[int, dict[str, Any]]:
        """Status and body of the next answer."""
        text = b""
        while b"\r\n\r\n" not in text:
            text += self._received()
        head, _, body = text.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.I)
        assert length is not None, head
        while len(body) < int(length[1]):
            body += self._received()
        return int(head.split()[1]), json.loads(body)

    def closed(self) -> bool:
        """Wait until the other side closes."""
        try:
            while self._socket.recv(65_536):
                pass
        except ConnectionResetError:
            pass
        return True

    def close(self) -> None:
        self._socket.close()

    def _received(self) -> bytes:
        got = self._socket.recv(65_536)
        assert got, "closed without an answer"
        return got


@pytest.fixture
def connect() -> Iterator[Callable[[str], Raw]]:
    made: list[Raw] = []

    def one(url: str) -> Raw:
        made.append(Raw(url))
        return made[-1]

    yield one
    for raw in made:
        raw.close()


@pytest.fixture(scope="module")
def url(shared: Service, serve: Any) -> Iterator[str]:
    with serve(create_app(shared)) as address:
        yield address


@pytest.fixture(scope="module")
def hasty(open_service: Callable[..., Service], serve: Any) -> Iterator[str]:
    """A service with hardly any patience."""
    with serve(create_app(open_service(body_seconds=0.2, body_bytes=1000)), head_seconds=0.2) as address:
        yield address


# --- heads --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "begin",
    [
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: " + TOO_MUCH,
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"X-A: bbbbbbbbbb\r\n" * 5000,
        b"GET /" + TOO_MUCH,
        TOO_MUCH,
        CHUNKED + b"2;name=" + TOO_MUCH,
        CHUNKED + b"2\r\n{}\r\n0\r\nX-Trailer: " + TOO_MUCH,
        CHUNKED + b"2\r\n{}\r\n0\r\n" + b"X-A: bbbbbbbbbb\r\n" * 5000,
    ],
    ids=["header", "headers", "target", "no request", "chunk extension", "trailer", "trailers"],
)
def test_what_precedes_or_follows_a_body_has_a_limit(connect: Any, url: str, begin: bytes) -> None:
    raw = connect(url).send(begin)
    status, body = raw.answer()
    assert (status, body["error"]["code"]) == (431, "head_too_large")
    assert f"over {HEAD_BYTES} bytes" in body["error"]["message"]
    assert raw.closed()
    assert httpx.get(f"{url}/healthz").status_code == 200


@pytest.mark.parametrize(("size", "status"), [(HEAD_BYTES - 500, 200), (HEAD_BYTES, 431)])
def test_a_whole_head_is_held_to_the_limit_however_it_arrives(
    connect: Any, url: str, size: int, status: int
) -> None:
    raw = connect(url).send(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * size + b"\r\n\r\n")
    assert raw.answer()[0] == status


def test_what_is_no_request_is_refused_in_the_one_shape(connect: Any, url: str) -> None:
    raw = connect(url).send(b"\x16\x03\x01 what a TLS client says\r\n\r\n")
    status, body = raw.answer()
    assert (status, body["error"]["code"]) == (400, "invalid_request")
    assert raw.closed()


@pytest.mark.parametrize("begin", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-"])
def test_a_head_that_does_not_come_is_not_waited_for(connect: Any, hasty: str, begin: bytes) -> None:
    assert connect(hasty).send(begin).closed()


def test_a_connection_that_has_been_answered_may_rest(connect: Any, hasty: str) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    resting = connect(hasty).send(request)
    assert resting.answer()[0] == 200
    assert connect(hasty).closed()  # the time for a head has gone by
    assert resting.send(request).answer()[0] == 200
    assert resting.send(b"GET /").closed()  # its next head has the same time


def test_the_rest_of_a_body_that_was_refused_is_not_waited_for(connect: Any, hasty: str) -> None:
    head = b"POST /search HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    raw = connect(hasty).send(head)
    assert raw.answer()[0] == 413
    assert raw.send(b"x").closed()


# --- bodies -------------------------------------------------------------------------------------------------

HALF = (
    b"POST /search HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{",
    b"POST /documents HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    b"Content-Length: 500\r\n\r\n--b\r\n",
    b"GET /collections HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{",
    CHUNKED + b"1\r\n{\r\n",
)


@pytest.mark.parametrize("half", HALF)
def test_a_body_that_does_not_come_is_a_408(connect: Any, hasty: str, half: bytes) -> None:
    status, body = connect(hasty).send(half).answer()
    assert (status, body["error"]["code"]) == (408, "body_timeout")
    assert "BODY_SECONDS" in body["error"]["message"]


def test_a_body_that_comes_in_time_in_all_is_read_however_slow_its_pieces_are() -> None:
    """The time allowed grows with what has come; waiting is what counts."""

    async def ask() -> list[Message]:
        sent: list[Message] = []
        pieces = iter([(b"x" * 500, True), (b"x" * 500, True), (b"", False)])

        async def receive() -> Message:
            await asyncio.sleep(0.01)
            body, more = next(pieces)
            return {"type": "http.request", "body": body, "more_body": more}

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            while (await receive())["more_body"]:
                time.sleep(0.6)  # a slow reader is not the sender's fault

        limits = Limits(app, 10_000, 10_000, 1.0)
        scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": []}
        await limits(scope, receive, lambda message: asyncio.sleep(0, sent.append(message)))
        return sent

    assert asyncio.run(ask()) == []


def in_flight(url: str) -> float:
    found = re.search(r"^latewood_requests_in_flight (\S+)", httpx.get(f"{url}/metrics").text, re.M)
    assert found is not None
    return float(found[1]) - 1  # but for this one


def test_bodies_that_do_not_come_take_nobodys_place(
    open_service: Callable[..., Service], serve: Any, connect: Any
) -> None:
    with serve(create_app(open_service(concurrency=2, body_seconds=600))) as url:
        waiting = [connect(url).send(half) for half in HALF * 2]
        deadline = time.monotonic() + WAIT
        while in_flight(url) < len(waiting):
            assert time.monotonic() < deadline
        assert httpx.get(f"{url}/collections").status_code == 200
        assert httpx.post(f"{url}/search", json={"query": "x", "collection": "none"}).status_code == 404
        for raw in waiting:
            raw.close()


# --- places -------------------------------------------------------------------------------------------------


class Held:
    """`Busy` around an application that answers when it is let, and what was answered."""

    def __init__(self, **limits: Any) -> None:
        self.go_on = asyncio.Event()
        chosen = {"most": 4, "most_by_key": 2, "body_bytes": 10, "open_paths": ()} | limits
        self._busy = Busy(self._app, **chosen)

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.go_on.wait()
        await send({"type": "http.response.start", "status": 200})

    async def ask(self, key: str, path: str = "/search", body: Receive | None = None) -> int:
        """The status of an answer."""
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def empty() -> Message:
            return {"type": "http.request"}

        headers = [] if body is None else [(b"transfer-encoding", b"chunked")]
        state = {"access": Access("acme", "read", key)}
        scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "state": state}
        await self._busy(scope, body or empty, send)
        return int(sent[0]["status"])


async def held_and(
    held: Held, then: list[tuple[str, str]], *running: tuple[str, str]
) -> tuple[list[int], list[int]]:
    """How requests are answered while others run; and how those are."""
    tasks = [asyncio.create_task(held.ask(*one)) for one in running]
    await asyncio.sleep(0)
    later = [asyncio.create_task(held.ask(*one)) for one in then]
    await asyncio.sleep(0)
    held.go_on.set()
    return await asyncio.gather(*later), await asyncio.gather(*tasks)


def test_one_key_cannot_take_every_place() -> None:
    async def ask() -> None:
        running = [("a", "/search")] * 2
        then = [("a", "/search"), ("b", "/search"), ("b", "/search"), ("c", "/search")]
        assert await held_and(Held(), then, *running) == ([429, 200, 200, 503], [200, 200])

    asyncio.run(ask())


def test_without_keys_there_is_one_limit() -> None:
    async def ask() -> None:
        assert await held_and(Held(), [("", "/search")] * 2, *[("", "/search")] * 3) == (
            [200, 503],
            [200] * 3,
        )

    asyncio.run(ask())


def test_followers_of_jobs_take_no_place_and_have_a_limit_by_key() -> None:
    async def ask() -> None:
        follower = ("a", "/jobs/1/events")
        then = [follower, ("b", "/jobs/1/events"), ("a", "/search")]
        assert await held_and(Held(), then, *[follower] * 4) == ([429, 200, 200], [200] * 4)

    asyncio.run(ask())


def test_bodies_that_arrive_have_one_limit_by_key() -> None:
    async def ask() -> None:
        held = Held()
        stop = asyncio.Event()

        def endless(pieces: int) -> Receive:
            left = [b"x" * 10] * pieces

            async def receive() -> Message:
                if left:
                    return {"type": "http.request", "body": left.pop(), "more_body": True}
                await stop.wait()
                return {"type": "http.request", "body": b"", "more_body": False}

            return receive

        held.go_on.set()
        first = asyncio.create_task(held.ask("a", body=endless(16)))
        await asyncio.sleep(0)
        assert await held.ask("a", body=endless(1)) == 503
        other = asyncio.create_task(held.ask("b", body=endless(1)))
        await asyncio.sleep(0)
        stop.set()
        assert await asyncio.gather(first, other) == [200, 200]
        assert await held.ask("a", body=endless(16)) == 200  # what has arrived is forgotten

    asyncio.run(ask())


def test_whoever_leaves_before_the_body_is_complete_is_not_answered() -> None:
    async def ask() -> None:
        async def receive() -> Message:
            return {"type": "http.disconnect"}

        assert await Held().ask("a", body=receive) == 499

    asyncio.run(ask())
