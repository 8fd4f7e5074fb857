"""HTTP/1.1 connections with limits on the head of a request: 64 KB, and some seconds until it is complete.

uvicorn with h11 limits whatever it has to buffer before it can act on it: request line, headers, the line
that begins a chunk, and trailers. httptools limits none of these, so it is not used. uvicorn has no time
limit for a head; `LimitedConnection` adds one.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from latewood.api.http.middleware import HEAD_BYTES, SECURITY_HEADERS
from latewood.engine import errors

if TYPE_CHECKING:
    _Base = asyncio.Protocol
else:
    _Base = H11Protocol

_REASONS = {
    400: ("invalid_request", "this is not an HTTP/1.1 request"),
    431: ("head_too_large", f"request line and headers are over {HEAD_BYTES} bytes; send less"),
    501: ("invalid_request", "the transfer encoding is not known; send the body as it is, or chunked"),
}


class LimitedConnection(_Base):
    """A connection that is closed when a request's head does not come in time, or its answer is not read."""

    head_seconds = 10.0

    if TYPE_CHECKING:
        conn: h11.Connection
        cycle: Any
        loop: asyncio.AbstractEventLoop
        transport: asyncio.Transport

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Expect a first request."""
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        """Stop the clock once a head is complete; start it for bytes that belong to none."""
        super().data_received(data)
        # What follows a complete answer is the next head, or the rest of a body that was refused.
        answered = self.cycle is not None and self.cycle.response_complete
        if self.conn.their_state is h11.IDLE or answered:
            self._expect()
        else:
            self._unset()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._unset()
        super().connection_lost(exc)

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; `close` alone would wait for ever for an answer that nobody reads."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()  # type: ignore[misc]

    def send_400_response(self, msg: str) -> None:
        """Answer what h11 refused, in the shape of every other error, and close."""
        status = getattr(sys.exc_info()[1], "error_status_hint", 400)
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            code, message = _REASONS.get(status, _REASONS[400])
            body = json.dumps(errors.body(code, message, "")).encode()
            headers = {
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
                "Connection": "close",
                **SECURITY_HEADERS,
            }
            for event in (
                h11.Response(status_code=status, headers=[*headers.items()]),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _expect(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.head_seconds, self.transport.close)

    def _unset(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def limited(head_seconds: float) -> type[asyncio.Protocol]:
    """The protocol class for uvicorn's `http`, with this much time for a head."""
    return type("LimitedConnection", (LimitedConnection,), {"head_seconds": head_seconds})
