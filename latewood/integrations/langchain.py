"""A LangChain retriever over the HTTP service. Needs `langchain-core`, as the extra `langchain` brings it.

retriever = LatewoodRetriever(client=Client("http://127.0.0.1:8000"), limit=5)
documents = retriever.invoke("How long is the warranty?", mode="bm25", limit=3)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables.config import run_in_executor
from pydantic import ConfigDict, Field, model_validator

from latewood.client.async_client import AsyncClient
from latewood.client.client import Client
from latewood.client.protocol import SEARCH_OPTIONS
from latewood.client.types import SearchResponse


class LatewoodRetriever(BaseRetriever):
    """The passages that answer, as LangChain's documents.

    A document's metadata are those of its file and, over them, what a citation needs: `document_id`, `uri`,
    `title`, `headings`, `start`, `end`, `page_start`, `page_end`, `score`; its id is the passage's.

    Attributes:
        client: answers `invoke`; without an `async_client` also `ainvoke`, in a thread.
        async_client: answers `ainvoke`.
        collection, limit: of each search.
        options: other fields of `POST /search`, such as `{"mode": "bm25", "filters": {…}}`.

    Options given to `invoke`, `ainvoke`, `batch` and their like go over these for that call. None leaves the
    retriever's own in force, so that its filters cannot be dropped by accident.

    Raises:
        pydantic.ValidationError: an argument of the constructor that it does not have.
        TypeError: an option that `POST /search` does not have.
        LatewoodError, UnreachableError: as the clients do.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    client: Client | None = None
    async_client: AsyncClient | None = None
    collection: str = "default"
    limit: int = 10
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _reachable(self) -> LatewoodRetriever:
        if self.client is None and self.async_client is None:
            raise ValueError("give a client, an async_client or both")
        return self

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        if self.client is None:
            raise TypeError("this retriever has an async_client only; use ainvoke, or give it a client too")
        return documents_in(self.client.search(query, **self._fields(options)))

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        if self.async_client is None:
            # Not the base class's: it passes no options on.
            sync = run_manager.get_sync()
            return await run_in_executor(
                None, self._get_relevant_documents, query, run_manager=sync, **options
            )
        return documents_in(await self.async_client.search(query, **self._fields(options)))

    def _fields(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a search, those of this call over the retriever's own."""
        unknown = sorted(set(options) - SEARCH_OPTIONS)
        if unknown:
            raise TypeError(
                f"unknown option {', '.join(unknown)}; a search has: {', '.join(sorted(SEARCH_OPTIONS))}"
            )
        given = {name: value for name, value in options.items() if value is not None}
        return {"collection": self.collection, "limit": self.limit, **self.options, **given}


def documents_in(answer: SearchResponse) -> list[Document]:
    """The passages of an answer, best first."""
    cited = ("document_id", "uri", "title", "headings", "start", "end", "page_start", "page_end", "score")
    return [
        Document(
            id=result["id"],
            page_content=result["text"],
            metadata={**result["metadata"], **{name: result[name] for name in cited}},  # type: ignore[literal-required]
        )
        for result in answer["results"]
    ]
