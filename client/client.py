"""A typed client of the HTTP service. Needs httpx only.

with Client("http://127.0.0.1:8000") as latewood:
    for result in latewood.search("How long is the warranty?")["results"]:
        print(result["uri"], result["text"])
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import httpx

from latewood.client import protocol
from latewood.client.types import (
    DocumentDetail,
    DocumentSummary,
    Explain,
    Facets,
    FacetValue,
    FusionUsed,
    JobState,
    LatewoodError,
    LegPart,
    RerankState,
    Result,
    SearchResponse,
    SpanOf,
    UnreachableError,
)

__all__ = [
    "Client",
    "DocumentDetail",
    "DocumentSummary",
    "Explain",
    "FacetValue",
    "Facets",
    "FusionUsed",
    "JobState",
    "LatewoodError",
    "LegPart",
    "RerankState",
    "Result",
    "SearchResponse",
    "SpanOf",
    "UnreachableError",
]


class Client:
    """Talks to one service, over TCP or the owner's Unix socket. Close it, or use it in a `with`.

    Every method raises LatewoodError for an error answer and UnreachableError where none came.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        socket: Path | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 120.0,
    ) -> None:
        auth = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        transport = httpx.HTTPTransport(uds=str(socket)) if socket else None
        self._http = httpx.Client(
            base_url="http://localhost" if socket else base_url,
            headers={**auth, **(headers or {})},
            timeout=httpx.Timeout(timeout, connect=protocol.CONNECT_SECONDS),
            transport=transport,
            trust_env=socket is None,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """Send one request and return the JSON object of the answer."""
        try:
            answer = self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise UnreachableError(f"no answer to {method} {path}: {error}") from error
        return protocol.read(answer)

    def search(self, query: str, **options: Any) -> SearchResponse:
        """`POST /search`; options are its fields: collection, limit, offset, mode, filters, group_by, ….

        The README's table of routes names them all.
        """
        return cast(SearchResponse, self._send(protocol.search(query, options)))

    def facets(
        self,
        key: str,
        *,
        collection: str = "default",
        filters: Mapping[str, Any] | None = None,
        limit: int = 20,
    ) -> Facets:
        """How many documents have each value of a key, of those that match the filters."""
        return cast(Facets, self._send(protocol.facets(key, collection, filters, limit)))

    def documents(self, collection: str = "default") -> Iterator[DocumentSummary]:
        """Every document of a collection, page by page."""
        cursor: str | None = None
        while True:
            page = self._send(protocol.documents(collection, cursor))
            yield from page["documents"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def document(self, document_id: str, collection: str = "default") -> DocumentDetail:
        """One document with its text."""
        return cast(DocumentDetail, self._send(protocol.document("GET", document_id, collection)))

    def delete(self, document_id: str, collection: str = "default") -> None:
        """Remove one document."""
        self._send(protocol.document("DELETE", document_id, collection))

    def amend(
        self, document_id: str, metadata: Mapping[str, Any], collection: str = "default"
    ) -> DocumentSummary:
        """Set metadata of one document, without embedding it again; None takes a key out."""
        body = {"metadata": dict(metadata)}
        return cast(
            DocumentSummary, self._send(protocol.document("PATCH", document_id, collection, json=body))
        )

    def add_text(self, text: str, *, collection: str = "default", **fields: Any) -> str:
        """Hand in a text (fields: uri, title, metadata); returns the job's id."""
        return str(self._send(protocol.add_text(text, collection, fields))["job_id"])

    def add_files(
        self,
        paths: Sequence[str | Path],
        *,
        collection: str = "default",
        metadata: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """Hand in files, each to become a document with this metadata; returns the jobs' ids in order."""
        with ExitStack() as opened:
            return list(self._send(protocol.add_files(paths, collection, metadata, opened))["job_ids"])

    def job(self, job_id: str) -> JobState:
        """A job as it stands now."""
        return cast(JobState, self._send(protocol.job(job_id)))

    def jobs(self) -> list[JobState]:
        """The jobs, newest first."""
        return cast(list[JobState], self._send(protocol.jobs())["jobs"])

    def cancel(self, job_id: str) -> JobState:
        """Ask a job to end; what it committed stays."""
        return cast(JobState, self._send(protocol.job(job_id, "/cancel", "POST")))

    def retry(self, job_id: str) -> JobState:
        """A new job for the failed files of one that has ended, or for all of it if it did not end well."""
        return cast(JobState, self._send(protocol.job(job_id, "/retry", "POST")))

    def follow(self, job_id: str) -> Iterator[JobState]:
        """The job's state at each change, until it has ended.

        Only the last state lists `skipped` and `errors`; those before have their number, `problems`.
        """
        asked = protocol.job(job_id, "/events")
        try:
            with self._http.stream(asked.method, asked.path, timeout=protocol.EVENTS_SECONDS) as answer:
                if answer.is_error:
                    answer.read()
                protocol.raise_for(answer)
                for line in answer.iter_lines():
                    if (state := protocol.state_in(line)) is not None:
                        yield state
        except httpx.TransportError as error:
            raise UnreachableError(f"the connection broke while following job {job_id}: {error}") from error

    def _send(self, asked: protocol.Call) -> dict[str, Any]:
        return self.call(asked.method, asked.path, **asked.options)
