"""Whether whoever sent a request still waits: work for nobody is given up."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar

from fastapi import Request
from starlette.types import Message

_GONE: ContextVar[Callable[[], bool]] = ContextVar("gone", default=lambda: False)


def nobody_waits() -> Callable[[], bool]:
    """Says whether whoever sent this request has gone away; to be asked by long work, in any thread."""
    return _GONE.get()


@contextlib.asynccontextmanager
async def watching(request: Request) -> AsyncIterator[Request]:
    """The request, and beside its handling a look-out for the end of its connection."""
    gone, read = threading.Event(), asyncio.Event()

    async def receive() -> Message:
        message = await request.receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            read.set()
        return message

    async def look_out() -> None:
        await read.wait()
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone.set()

    before = _GONE.set(gone.is_set)
    looking = asyncio.create_task(look_out())
    try:
        yield Request(request.scope, receive)
    finally:
        _GONE.reset(before)
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking
