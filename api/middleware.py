"""What stands around every route: request ids, security headers, limits of bodies, refusals."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import errors

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class RequestId:
    """Give every request an id (the caller's own if it sent a sane one), echo it, add security headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if 0 < len(given) <= 128 and given.isprintable() else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
            await send(message)

        await self._app(scope, receive, stamped)


class BodyLimit:
    """Refuse bodies over the limit, by their announced length or by what actually arrives."""

    def __init__(self, app: ASGIApp, json_bytes: int, upload_bytes: int) -> None:
        self._app = app
        self._json_bytes = json_bytes
        self._upload_bytes = upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        # Where files are handed in they are written to disk as they come; anything else is held in memory.
        multipart = headers.get("content-type", "").lower().startswith("multipart/")
        multipart = multipart and scope["method"] == "POST" and scope["path"] == "/documents"
        limit, name = (self._upload_bytes, "UPLOAD_BYTES") if multipart else (self._json_bytes, "BODY_BYTES")
        message = f"the body is over {limit} bytes; send less, or raise the setting {name}"
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            await Refusal(413, "too_large", message)(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            part = await receive()
            received += len(part.get("body", b""))
            if received > limit:
                raise errors.ApiError(413, "too_large", message)
            return part

        await self._app(scope, counted, send)


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
        told = errors.body(self._code, self._message, request_id)
        refused = JSONResponse(told, status_code=self._status, headers=self._headers)
        await refused(scope, receive, send)


class Busy:
    """Refuse requests while too many are being answered, so that queues and memory stay bounded."""

    def __init__(self, app: ASGIApp, most: int, open_paths: Collection[str]) -> None:
        self._app = app
        self._most = most
        self._open = open_paths
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection; the owner's socket, open paths and followers of jobs do not count."""
        free = scope["type"] != "http" or scope["path"] in self._open or scope["path"].endswith("/events")
        if free or scope["state"].get("admin"):
            await self._app(scope, receive, send)
            return
        if self._running >= self._most:
            message = f"{self._most} requests are being answered (CONCURRENCY); ask again in a moment"
            await Refusal(503, "busy", message, {"Retry-After": "1"})(scope, receive, send)
            return
        self._running += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._running -= 1


class Admin:
    """Mark requests that came over the owner's own socket: they may do everything, for any tenant."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "http":
            scope.setdefault("state", {})["admin"] = True
        await self._app(scope, receive, send)
