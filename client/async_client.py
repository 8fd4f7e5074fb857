"""The client for programs that wait with `await`.

async with AsyncClient("http://127.0.0.1:8000") as latewood:
    answer = await latewood.search("How long is the warranty?")
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import httpx

from latewood.client import protocol
from latewood.client.types import (
    DocumentDetail,
    DocumentSummary,
    Facets,
    JobState,
    SearchResponse,
    UnreachableError,
)


class AsyncClient:
    """Talks to one service over TCP. Close it, or use it in an `async with`.

    Methods, fields and errors are those of `latewood.Client`.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 120.0,
    ) -> None:
        auth = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.AsyncClient(
            base_url=base_url,
            headers={**auth, **(headers or {})},
            timeout=httpx.Timeout(timeout, connect=protocol.CONNECT_SECONDS),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    async def call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """Send one request and return the JSON object of the answer."""
        try:
            answer = await self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise UnreachableError(f"no answer to {method} {path}: {error}") from error
        return protocol.read(answer)

    async def search(self, query: str, **options: Any) -> SearchResponse:
        """See `Client.search`."""
        return cast(SearchResponse, await self._send(protocol.search(query, options)))

    async def facets(
        self,
        key: str,
        *,
        collection: str = "default",
        filters: Mapping[str, Any] | None = None,
        limit: int = 20,
    ) -> Facets:
        """See `Client.facets`."""
        return cast(Facets, await self._send(protocol.facets(key, collection, filters, limit)))

    async def documents(self, collection: str = "default") -> AsyncIterator[DocumentSummary]:
        """See `Client.documents`."""
        cursor: str | None = None
        while True:
            page = await self._send(protocol.documents(collection, cursor))
            for found in page["documents"]:
                yield found
            cursor = page["next_cursor"]
            if cursor is None:
                return

    async def document(self, document_id: str, collection: str = "default") -> DocumentDetail:
        """See `Client.document`."""
        return cast(DocumentDetail, await self._send(protocol.document("GET", document_id, collection)))

    async def delete(self, document_id: str, collection: str = "default") -> None:
        """See `Client.delete`."""
        await self._send(protocol.document("DELETE", document_id, collection))

    async def amend(
        self, document_id: str, metadata: Mapping[str, Any], collection: str = "default"
    ) -> DocumentSummary:
        """See `Client.amend`."""
        body = {"metadata": dict(metadata)}
        asked = protocol.document("PATCH", document_id, collection, json=body)
        return cast(DocumentSummary, await self._send(asked))

    async def add_text(self, text: str, *, collection: str = "default", **fields: Any) -> str:
        """See `Client.add_text`."""
        return str((await self._send(protocol.add_text(text, collection, fields)))["job_id"])

    async def add_files(
        self,
        paths: Sequence[str | Path],
        *,
        collection: str = "default",
        metadata: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """See `Client.add_files`."""
        with ExitStack() as opened:
            answer = await self._send(protocol.add_files(paths, collection, metadata, opened))
            return list(answer["job_ids"])

    async def job(self, job_id: str) -> JobState:
        """See `Client.job`."""
        return cast(JobState, await self._send(protocol.job(job_id)))

    async def jobs(self) -> list[JobState]:
        """See `Client.jobs`."""
        return cast(list[JobState], (await self._send(protocol.jobs()))["jobs"])

    async def cancel(self, job_id: str) -> JobState:
        """See `Client.cancel`."""
        return cast(JobState, await self._send(protocol.job(job_id, "/cancel", "POST")))

    async def retry(self, job_id: str) -> JobState:
        """See `Client.retry`."""
        return cast(JobState, await self._send(protocol.job(job_id, "/retry", "POST")))

    async def follow(self, job_id: str) -> AsyncIterator[JobState]:
        """See `Client.follow`."""
        asked = protocol.job(job_id, "/events")
        try:
            async with self._http.stream(asked.method, asked.path, timeout=protocol.EVENTS_SECONDS) as answer:
                if answer.is_error:
                    await answer.aread()
                protocol.raise_for(answer)
                async for line in answer.aiter_lines():
                    if (state := protocol.state_in(line)) is not None:
                        yield state
        except httpx.TransportError as error:
            raise UnreachableError(f"the connection broke while following job {job_id}: {error}") from error

    async def _send(self, asked: protocol.Call) -> dict[str, Any]:
        return await self.call(asked.method, asked.path, **asked.options)
