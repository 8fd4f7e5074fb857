"""The HTTP application: middleware, routes and error mapping around one Service."""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Mapping
from urllib.parse import urlsplit

from fastapi import Depends, FastAPI
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import errors
from api.build import Service
from api.routes import (
    amend,
    collections,
    documents,
    embeddings,
    facets,
    generations,
    health,
    jobs,
    rerank,
    search,
    vector_stores,
    verify,
    web,
)
from api.routes.strict import known_parameters

ROUTES = (
    search,
    facets,
    documents,
    amend,
    jobs,
    verify,
    generations,
    collections,
    embeddings,
    rerank,
    vector_stores,
    health,
)
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}


def create_app(service: Service) -> FastAPI:
    """The routes of the contract over one service."""
    app = FastAPI(
        title="Latewood",
        version="0.1.0",
        description="Hybrid search over whole-document embeddings, every score explained.",
    )
    app.state.service = service
    for module in ROUTES:
        app.include_router(module.router, dependencies=[Depends(known_parameters)])
    app.include_router(web.router)
    errors.install(app)
    app.add_middleware(
        BodyLimit, json_bytes=service.settings.body_bytes, upload_bytes=service.settings.upload_bytes
    )
    app.add_middleware(RequestId)
    return app


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
        multipart = headers.get("content-type", "").lower().startswith("multipart/")
        limit, name = (self._upload_bytes, "UPLOAD_BYTES") if multipart else (self._json_bytes, "BODY_BYTES")
        message = f"the body is over {limit} bytes; send less, or raise the setting {name}"
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            await _Refusal(413, "too_large", message)(scope, receive, send)
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


class _Refusal:
    """Answers every request with one error."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self._status = status
        self._code = code
        self._message = message

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = scope.get("state", {}).get("request_id", "")
        refused = JSONResponse(errors.body(self._code, self._message, request_id), status_code=self._status)
        await refused(scope, receive, send)


class Admin:
    """Mark requests that came over the owner's own socket: they may do everything, for any tenant."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "http":
            scope.setdefault("state", {})["admin"] = True
        await self._app(scope, receive, send)


class LoopbackOnly:
    """Check Host and Origin, so that a web page elsewhere cannot reach a service on this machine."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "http" and (wrong := _foreign(Headers(scope=scope))):
            message = f"{wrong}; use http://127.0.0.1 or http://localhost"
            await RequestId(_Refusal(403, "forbidden_host", message))(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _foreign(headers: Mapping[str, str]) -> str:
    """What is wrong with where a request says it goes to or comes from; empty when nothing is."""
    host = headers.get("host", "")
    if not is_loopback(_hostname(host)):
        return f"the Host header {host!r} does not name this machine"
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != host:
        return f"the Origin header {origin!r} is another site"
    return ""


def is_loopback(name: str) -> bool:
    """Whether an address or name can be reached from this machine only."""
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:  # another name, or none
        return False


def _hostname(host: str) -> str:
    """The name in a Host header, without port and brackets; empty when it is malformed."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
