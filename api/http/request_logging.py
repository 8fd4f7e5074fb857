"""Logs of a service: one line a request and whatever else is said, each with the request it belongs to.

No line holds text of a document or a question.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from latewood.engine.metrics import Metrics

REQUEST: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request at hand, in its threads too."""

_PLAIN = re.compile(r"[A-Za-z0-9._:/{}+-]+", re.ASCII)

access = logging.getLogger("latewood.request")


class JsonLines(logging.Formatter):
    """A record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request := REQUEST.get():
            told["request_id"] = request
        told |= getattr(record, "fields", {})
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return one_line(json.dumps(told, ensure_ascii=False))


class Lines(logging.Formatter):
    """A record as people read it, the request's id and fields behind it."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the lines of a traceback."""
        fields = {"request_id": REQUEST.get(), **getattr(record, "fields", {})}
        told = "".join(f" {name}={_quoted(value)}" for name, value in fields.items() if value != "")
        when = datetime.fromtimestamp(record.created).astimezone().isoformat(" ", "milliseconds")
        text = f"{when} {record.levelname} {one_line(record.getMessage())}{told}"
        if not record.exc_info:
            return text
        # Indented: a line of an error's own text cannot look like a record.
        trace = self.formatException(record.exc_info).split("\n")
        return "\n".join([text, *(f"    {one_line(line)}" for line in trace)])


def one_line(text: str) -> str:
    """The text with line ends, control characters and other unprintable ones as escapes."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)


def _quoted(value: object) -> str:
    """A field's value; quoted as JSON where it could be taken for something else than one value."""
    text = str(value)
    return text if _PLAIN.fullmatch(text) else one_line(json.dumps(text, ensure_ascii=False))


def configure(form: str) -> None:
    """Log to stderr, as `text` or `json`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else Lines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # would say where it goes, with what is asked there
    logging.getLogger("mcp").setLevel(logging.WARNING)


class Observer:
    """Count and log every request: what was asked of which route, by whom, how it ended, how long it took."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, started = 500, time.perf_counter()

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        token = REQUEST.set(scope["state"]["request_id"])
        self._metrics.in_flight.inc()
        try:
            await self._app(scope, receive, noted)
        finally:
            self._metrics.in_flight.dec()
            self._tell(scope, status, time.perf_counter() - started)
            REQUEST.reset(token)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        state = scope["state"]
        method = scope["method"] if route != "none" else "ANY"
        code = str(state.get("error_code", "internal" if status == 500 else ""))
        self._metrics.request(method, route, status, seconds, code)
        who = state.get("access")
        fields = {
            "method": scope["method"],
            "route": route,
            "status": status,
            "ms": round(seconds * 1e3, 1),
            "code": code,
            "tenant": who.tenant if who is not None and not who.local else "",
            "key": who.key if who is not None else "",
        }
        quiet = route in {"/healthz", "/readyz", "/metrics"} and status < 400
        level = logging.DEBUG if quiet else logging.INFO
        access.log(
            level, "request", extra={"fields": {name: one for name, one in fields.items() if one != ""}}
        )
