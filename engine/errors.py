"""Errors as the contract has them: one table from exception to status, code and remedy, one seam to HTTP."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from latewood.embedder.types import EmbedderError, InputError, StoppedError
from latewood.engine import disk
from latewood.ingest.jobs import JobError
from latewood.ingest.sources.diff import SourceError
from latewood.search.types import (
    FingerprintError,
    QueryError,
    StoreDamagedError,
    StoreError,
    StoreUnavailableError,
)

logger = logging.getLogger(__name__)


class ApiError(HTTPException):
    """An error of the service itself. An HTTPException, so that reading a body passes it on as it is."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.code = code

    def __str__(self) -> str:
        return self.detail


_TABLE: tuple[tuple[type[Exception], int, str], ...] = (
    (QueryError, 422, "invalid_query"),
    (InputError, 422, "invalid_input"),
    (FingerprintError, 409, "model_mismatch"),
    (StoreDamagedError, 500, "index_damaged"),
    (StoreUnavailableError, 503, "store_unavailable"),
    (StoreError, 500, "store_failed"),
    (StoppedError, 499, "client_gone"),
    (EmbedderError, 503, "model_unavailable"),
)
_COMPATIBLE = ("/v1/", "/v2/", "/rerank")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_STATUS_CODES = {
    400: "invalid_body",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
}


def describe(error: Exception) -> tuple[int, str, str]:
    """Status, code and message of an exception; 500 `internal` for what nobody foresaw."""
    if isinstance(error, ApiError):
        return error.status, error.code, str(error)
    on_disk = disk.explain(error)
    if on_disk is not None:
        return disk.STATUS[on_disk[0]], *on_disk
    if isinstance(error, (SourceError, JobError)):
        return (503 if isinstance(error, JobError) else 422), error.code, str(error)
    for kind, status, code in _TABLE:
        if isinstance(error, kind):
            return status, code, str(error)
    if isinstance(error, OSError) and error.errno is not None:
        return 500, "io_error", f"{error.strerror}: {error.filename}"
    return 500, "internal", "something went wrong that should not have; the service's log has the details"


def job_error(error: Exception) -> tuple[str, str]:
    """Code and message of what ended a job."""
    _, code, message = describe(error)
    return code, message


def body(code: str, message: str, request_id: str, path: str = "") -> dict[str, Any]:
    """Return the one shape of an error.

    On the paths that clients of Jina's and Cohere's use, the message stands in `detail` once more: they read
    it there.
    """
    shape: dict[str, Any] = {"error": {"code": code, "message": message, "request_id": request_id}}
    return shape | {"detail": message} if path.startswith(_COMPATIBLE) else shape


def answer(
    request: Request, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """An error answer to this request; it carries the id itself, for what no middleware sees any more."""
    request_id = getattr(request.state, "request_id", "")
    request.state.error_code = code
    retry = {"Retry-After": "1"} if status == 503 else {}
    return JSONResponse(
        body(code, message, request_id, request.url.path),
        status_code=status,
        headers={**(headers or {}), **retry, "X-Request-ID": request_id},
    )


def install(app: FastAPI) -> None:
    """Map every exception of this application at one seam."""

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return answer(request, 422, "invalid_request", "; ".join(_explain(part) for part in error.errors()))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        code = _STATUS_CODES.get(error.status_code, "http_error")
        message = f"{error.detail}: {request.method} {request.url.path}"
        headers = {**(error.headers or {})}
        if error.status_code == 405:
            headers["Allow"] = ", ".join(_methods_of(request))
        return answer(request, error.status_code, code, message, headers)

    async def known(request: Request, error: Exception) -> JSONResponse:
        status, code, message = describe(error)
        if code == "internal":
            logger.error("the request failed", exc_info=error, extra=_of(request))
        elif status >= 500:
            logger.info("%s", message, extra=_of(request))
        return answer(request, status, code, message)

    kinds = (ApiError, SourceError, JobError, *(row[0] for row in _TABLE), OSError, sqlite3.Error, Exception)
    for kind in kinds:
        app.add_exception_handler(kind, known)


def _methods_of(request: Request) -> list[str]:
    """Return the methods of a path; the router itself names those of the first route only."""
    routes = request.app.router.routes
    return [
        method
        for method in _METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]


def _of(request: Request) -> dict[str, Any]:
    """What a log record says of its request, where no middleware does any more."""
    return {"fields": {"request_id": getattr(request.state, "request_id", "")}}


def _explain(part: Any) -> str:
    where = ".".join(str(step) for step in part["loc"] if step != "body")
    if part["type"] == "metadata":
        return str(part["msg"])
    if part["type"] == "unknown_field":
        return f"{where}: {part['msg']}" if where else str(part["msg"])
    if not where:
        return "the body must be a JSON object, sent with `Content-Type: application/json`"
    value = part.get("input")
    shown = f" (got {value!r:.80})" if isinstance(value, (str, int, float)) else ""
    return f"{where}: {part['msg']}{shown}"
