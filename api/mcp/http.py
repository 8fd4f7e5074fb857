"""Agents: the Model Context Protocol, over HTTP at `/mcp` and over stdin and stdout by `latewood mcp`.

Three tools that only read. Whatever a key may not see, its tools do not see.
"""

from __future__ import annotations

import threading
from typing import Any, Protocol

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from latewood.api.http import search_request
from latewood.api.http.authorization import check_scope
from latewood.api.http.routes import documents
from latewood.api.http.schemas.search import SearchBody, answer_from
from latewood.engine.library import Service

Body = dict[str, Any]


class Library(Protocol):
    """What the tools read from: each call is one request of the HTTP interface."""

    def search(self, body: Body) -> Body:
        """The answer of `POST /search`."""
        ...

    def document(self, document_id: str, collection: str) -> Body:
        """The answer of `GET /documents/{id}`."""
        ...

    def documents(self, collection: str, cursor: str | None, limit: int) -> Body:
        """The answer of `GET /documents`."""
        ...


class ServiceLibrary:
    """A tenant's collections in this process."""

    def __init__(self, service: Service, tenant: str) -> None:
        self._service = service
        self._tenant = tenant

    def search(self, body: Body) -> Body:
        """See `Library.search`."""
        asked = SearchBody.model_validate(body)
        return answer_from(search_request.answer(self._service, self._tenant, asked), asked, "")

    def document(self, document_id: str, collection: str) -> Body:
        """See `Library.document`."""
        return documents.show(document_id, self._service, self._tenant, collection).model_dump()

    def documents(self, collection: str, cursor: str | None, limit: int) -> Body:
        """See `Library.documents`."""
        found = documents.list_documents(self._service, self._tenant, collection, cursor, limit)
        return found.model_dump()


class McpRoute(Route):
    """`POST /mcp`: each request by itself, with no session to keep."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._guard = threading.Lock()
        self._made: tuple[Any, Any] | None = None
        super().__init__("/mcp", endpoint=self._unused, methods=["POST"], include_in_schema=False)
        self.app = self._answer

    @staticmethod
    def _unused(request: Request) -> Response:
        raise NotImplementedError(f"{request.url.path} is answered by `_answer`")

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = self
        check_scope(scope["state"]["access"], "read")
        server, manager_of = await run_in_threadpool(self._prepared)
        manager = manager_of(
            app=server._lowlevel_server,
            json_response=True,
            stateless=True,
            max_request_body_size=self._service.settings.body_bytes,
        )
        async with manager.run():
            await manager.handle_request(scope, receive, send)

    def _prepared(self) -> tuple[Any, Any]:
        """The tools' server and the class that speaks HTTP for it, made with the first request."""
        with self._guard:
            if self._made is None:
                from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

                from latewood.api.mcp.tools import make_server

                self._made = make_server(self._of), StreamableHTTPSessionManager
            return self._made

    def _of(self, request: Request) -> Library:
        return ServiceLibrary(self._service, request.scope["state"]["access"].tenant)
