"""Middleware around every route: request ids, security headers, limits of size, time and number, refusals."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from latewood.engine import errors

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

HEAD_BYTES = 64 * 1024
"""The largest request line with its headers."""

BODY_RATE = 1000
"""Bytes a second that extend the time for a body."""

ARRIVING = 16
"""Largest JSON bodies that may lie in memory, of one key, before they are complete."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)


class RequestId:
    """Give every request an id (the caller's own if it is a plain word), echo it, add security headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
            await send(message)

        await self._app(scope, receive, stamped)


class Limits:
    """Refuse heads and bodies over the limits of size, and bodies that do not come."""

    def __init__(self, app: ASGIApp, json_bytes: int, upload_bytes: int, seconds: float) -> None:
        self._app = app
        self._json_bytes = json_bytes
        self._upload_bytes = upload_bytes
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        head = len(scope.get("raw_path") or b"") + len(scope["query_string"])
        head += sum(len(name) + len(value) for name, value in scope["headers"])
        if head > HEAD_BYTES:
            message = f"path and headers have {head} bytes; the limit is {HEAD_BYTES}"
            await Refusal(431, "head_too_large", message)(scope, receive, send)
            return
        limit, name = (self._json_bytes, "BODY_BYTES")
        if is_upload(scope):
            limit, name = (self._upload_bytes, "UPLOAD_BYTES")
        message = f"the body is over {limit} bytes; send less, or raise the setting {name}"
        length = Headers(scope=scope).get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            await Refusal(413, "too_large", message)(scope, receive, send)
            return
        # Over the owner's socket this machine's own user sends, who may stop a command for any time.
        timed = receive if scope.get("state", {}).get("admin") else _Timed(receive, self._seconds).receive
        received = 0

        async def counted() -> Message:
            nonlocal received
            part = await timed()
            received += len(part.get("body", b""))
            if received > limit:
                raise errors.ApiError(413, "too_large", message)
            return part

        await self._app(scope, counted, send)


def is_upload(scope: Scope) -> bool:
    """Whether the body is files: those are written to disk as they come, anything else is held in memory."""
    kind = Headers(scope=scope).get("content-type", "").lower()
    return (
        kind.startswith("multipart/")
        and bool(scope["method"] == "POST")
        and bool(scope["path"] == "/documents")
    )


class _Timed:
    """Receives a body that has to come: some seconds of waiting, and more for what has arrived."""

    def __init__(self, receive: Receive, seconds: float) -> None:
        self._receive = receive
        self._seconds = seconds
        self._received = 0
        self._waited = 0.0
        self._complete = False

    async def receive(self) -> Message:
        """The next message of the request.

        Raises:
            ApiError: 408.
        """
        if self._complete:  # what comes now is the end of the connection
            return await self._receive()
        started = time.monotonic()
        allowed = self._seconds + self._received / BODY_RATE - self._waited
        try:
            async with asyncio.timeout(allowed):
                part = await self._receive()
        except TimeoutError as error:
            raise errors.ApiError(
                408,
                "body_timeout",
                f"only {self._received} bytes of the body came within {self._seconds:g} seconds and one more "
                f"for each {BODY_RATE} bytes; send it at once, or raise the setting BODY_SECONDS",
            ) from error
        self._waited += time.monotonic() - started
        self._received += len(part.get("body", b""))
        self._complete = not part.get("more_body", False)
        return part


class Refusal:
    """Answers every request with one error."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self._status = status
        self._code = code
        self._message = message
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        request_id = scope.get("state", {}).get("request_id", "")
        scope.setdefault("state", {})["error_code"] = self._code
        told = errors.body(self._code, self._message, request_id, scope["path"])
        refused = JSONResponse(told, status_code=self._status, headers=self._headers)
        await refused(scope, receive, send)


class Busy:
    """Limit the requests that are answered at a time, in all and by key, so that memory stays bounded.

    A request counts once its body is complete: one that is never sent takes the place of nobody.
    """

    def __init__(
        self, app: ASGIApp, *, most: int, most_by_key: int, body_bytes: int, open_paths: Collection[str]
    ) -> None:
        """Wrap `app`.

        Args:
            app: what answers.
            most: requests at a time.
            most_by_key: of these, requests of one key.
            body_bytes: the largest body that is held in memory.
            open_paths: answered in any case.
        """
        self._app = app
        self._most = most
        self._most_by_key = most_by_key
        self._arriving_bytes = ARRIVING * body_bytes
        self._open = open_paths
        self._running: Counter[str] = Counter()
        self._followers: Counter[str] = Counter()
        self._arriving: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection; the owner's socket and open paths do not count."""
        if scope["type"] != "http" or scope["path"] in self._open or scope["state"].get("admin"):
            await self._app(scope, receive, send)
            return
        key = scope["state"]["access"].key
        try:
            if scope["path"].endswith("/events"):
                with self._follower(key):
                    await self._app(scope, receive, send)
            elif is_upload(scope):
                await self._uploaded(key, scope, receive, send)
            else:
                complete = await self._complete(key, receive) if _has_body(scope) else receive
                with self._slot(key):
                    await self._app(scope, complete, send)
        except errors.ApiError as error:  # of this class: the application answers its own
            retry = {"Retry-After": "1"} if error.status in {429, 503} else None
            await Refusal(error.status, error.code, error.detail, retry)(scope, receive, send)

    async def _uploaded(self, key: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a slot with the last part of the body; what comes before is written to disk by the route."""
        taken = ExitStack()

        async def last_takes_slot() -> Message:
            part = await receive()
            if not part.get("more_body", False) and part["type"] == "http.request":
                taken.enter_context(self._slot(key))
            return part

        with taken:
            await self._app(scope, last_takes_slot, send)

    async def _complete(self, key: str, receive: Receive) -> Receive:
        """Read a body; where it is read again."""
        parts: list[Message] = []
        held = 0
        try:
            while not parts or parts[-1].get("more_body", False):
                parts.append(await receive())
                size = len(parts[-1].get("body", b""))
                held += size
                self._arriving[key] += size
                if self._arriving[key] > self._arriving_bytes:
                    message = f"{ARRIVING} times BODY_BYTES are arriving already; try again in a moment"
                    raise errors.ApiError(503, "busy", message)
        finally:
            _lower(self._arriving, key, held)
        if parts[-1]["type"] == "http.disconnect":
            raise errors.ApiError(499, "client_gone", "the connection ended before the body was complete")
        body = b"".join(part.get("body", b"") for part in parts)
        whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Message:
            return whole.pop() if whole else await receive()

        return again

    @contextmanager
    def _slot(self, key: str) -> Iterator[None]:
        running = self._running.total()
        if running >= self._most:
            message = f"{self._most} requests are being answered (CONCURRENCY); try again in a moment"
            raise errors.ApiError(503, "busy", message)
        if key and self._running[key] >= self._most_by_key:
            message = f"{self._most_by_key} requests of this key are being answered (KEY_CONCURRENCY)"
            raise errors.ApiError(429, "rate_limited", f"{message}; try again in a moment")
        self._running[key] += 1
        try:
            yield
        finally:
            _lower(self._running, key, 1)

    @contextmanager
    def _follower(self, key: str) -> Iterator[None]:
        """Followers wait for events and hold no slot; there may be as many of one key as slots in all."""
        if self._followers[key] >= self._most:
            message = f"{self._most} jobs are being followed with this key (CONCURRENCY); end one of them"
            raise errors.ApiError(429, "rate_limited", message)
        self._followers[key] += 1
        try:
            yield
        finally:
            _lower(self._followers, key, 1)


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def _lower(counter: Counter[str], key: str, by: int) -> None:
    """Subtract, and forget a key that counts nothing."""
    counter[key] -= by
    if not counter[key]:
        del counter[key]


class Admin:
    """Mark requests that came over the owner's own socket: they may do everything, for any tenant."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "http":
            scope.setdefault("state", {})["admin"] = True
        await self._app(scope, receive, send)
