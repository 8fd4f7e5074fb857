"""The tools that agents get, over whatever library they may read. Loads `mcp`: import it late."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import BeforeValidator, Field

from latewood.api.mcp.http import Body, Library
from latewood.client.client import LatewoodError
from latewood.engine.errors import ApiError, describe

CHARACTERS = 20_000
"""Of a document's text in one answer, unless more are asked for."""

INSTRUCTIONS = (
    "Passages and documents of a Latewood index. Search first; cite a passage by its title, uri and pages. "
    "Read on in a document with get_document and the passage's document_id."
)

Asking = Context[Any, Any]


def _when_null(default: Any) -> BeforeValidator:
    """Return a validator that reads an explicit null as an absent argument: agents write both."""
    return BeforeValidator(lambda value: default if value is None else value)


Name = Annotated[str, _when_null("default"), Field(description="the collection")]
Mode = Annotated[Literal["hybrid", "dense", "bm25"], _when_null("hybrid")]


def make_server(library: Callable[[Any], Library]) -> MCPServer[Any]:
    """A server with the tools search, get_document and list_documents.

    Args:
        library: from the HTTP request that a call came with, None where it came over stdin, to what it may
            read.
    """
    server: MCPServer[Any] = MCPServer("latewood", instructions=INSTRUCTIONS, log_level="WARNING")
    tools = _Tools(library)
    reads = ToolAnnotations(read_only_hint=True, open_world_hint=False)
    for tool, what in (
        (tools.search, "Find the passages that answer a question, best first, each with where it stands."),
        (tools.get_document, "Read a document's text, or a part of it, with its title, uri and metadata."),
        (tools.list_documents, "List the documents of a collection, a page at a time."),
    ):
        server.add_tool(tool, description=what, annotations=reads)
    return server


class _Tools:
    """What each tool does; its parameters are what an agent may say."""

    def __init__(self, library: Callable[[Any], Library]) -> None:
        self._library = library

    def search(
        self,
        context: Asking,
        query: Annotated[str, Field(description="a question, or words to find")],
        collection: Name = "default",
        limit: Annotated[int, _when_null(8), Field(ge=1, le=50, description="how many passages")] = 8,
        mode: Mode = "hybrid",
        filters: Annotated[
            Body | None, Field(description='e.g. {"type": "eq", "key": "kind", "value": "pdf"}')
        ] = None,
    ) -> Body:
        body = {"query": query, "collection": collection, "limit": limit, "mode": mode, "filters": filters}
        return self._asked(context, lambda library: _passages(library.search(body)))

    def get_document(
        self,
        context: Asking,
        document_id: str,
        collection: Name = "default",
        start: Annotated[int, _when_null(0), Field(ge=0, description="first character")] = 0,
        characters: Annotated[
            int, _when_null(CHARACTERS), Field(ge=1, le=200_000, description="most of the text")
        ] = CHARACTERS,
    ) -> Body:
        return self._asked(
            context, lambda library: _part(library.document(document_id, collection), start, characters)
        )

    def list_documents(
        self,
        context: Asking,
        collection: Name = "default",
        limit: Annotated[int, _when_null(50), Field(ge=1, le=1000)] = 50,
        cursor: Annotated[str | None, Field(description="next_cursor of the page before")] = None,
    ) -> Body:
        return self._asked(context, lambda library: library.documents(collection, cursor, limit))

    def _asked(self, context: Asking, work: Callable[[Library], Body]) -> Body:
        try:
            return work(self._library(context.request_context.request))
        except Exception as error:  # the seam: every refusal is told to the agent in its own words
            raise ToolError(_told(error)) from error


def _told(error: Exception) -> str:
    if isinstance(error, LatewoodError):
        return f"{error.message} [{error.code}]"
    if isinstance(error, ApiError):
        return f"{error.detail} [{error.code}]"
    _, code, message = describe(error)
    return f"{message} [{code}]"


def _passages(answer: Body) -> Body:
    """What an agent needs of an answer: the passages, and where each stands."""
    kept = ("title", "uri", "text", "headings", "page_start", "page_end", "start", "end")
    return {
        "results": [
            {"document_id": one["document_id"], "score": one["score"]}
            | {name: one[name] for name in kept if one[name] not in (None, [], "")}
            for one in answer["results"]
        ]
    }


def _part(document: Body, start: int, characters: int) -> Body:
    text = document["text"]
    end = min(len(text), start + characters)
    told = {name: document[name] for name in ("id", "uri", "title", "kind", "metadata", "modified")}
    return {**told, "characters": len(text), "start": start, "end": end, "text": text[start:end]}
