"""A typed client of the HTTP service. Needs httpx only.

with Client("http://127.0.0.1:8000") as latewood:
    for result in latewood.search("How long is the warranty?")["results"]:
        print(result["uri"], result["text"])
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NotRequired, Self, TypedDict, cast
from urllib.parse import quote

import httpx


class LatewoodError(Exception):
    """The service answered with an error.

    Attributes:
        status: HTTP status.
        code: snake_case word for programs.
        message: what, the value, the limit, the remedy.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class UnreachableError(Exception):
    """The service could not be reached, or the connection broke before the whole answer came."""


class LegPart(TypedDict):
    """One leg's part in a result: rank from one, raw score, contribution to the fused score."""

    rank: int
    score: float
    contribution: float


class Explain(TypedDict):
    """Why a result stands where it stands."""

    legs: dict[str, LegPart]
    fused: float
    rerank: NotRequired[float]


class SpanOf(TypedDict):
    """Character offsets into a result's `text`, end exclusive."""

    start: int
    end: int


class Result(TypedDict):
    """A passage: `start` and `end` are character offsets into the document's text, end exclusive."""

    id: str
    document_id: str
    uri: str
    title: str
    score: float
    text: str
    headings: list[str]
    start: int
    end: int
    page_start: int | None
    page_end: int | None
    metadata: dict[str, Any]
    highlights: NotRequired[list[SpanOf]]
    sentence: NotRequired[SpanOf | None]
    before: NotRequired[str]
    after: NotRequired[str]
    explain: NotRequired[Explain]


class RerankState(TypedDict):
    """What became of a rerank: not `applied`, the order is the fused one, and `reason` says why."""

    model: str
    top_n: int
    applied: bool
    reason: str
    seconds: float


class SearchResponse(TypedDict):
    """Results, best first; times in milliseconds."""

    results: list[Result]
    mode: str
    rerank: NotRequired[RerankState]
    took_ms: dict[str, float]
    request_id: str


class FacetValue(TypedDict):
    """A value, and the number of documents that a filter `eq` on it leaves."""

    value: str | int | float | bool
    documents: int


class Facets(TypedDict):
    """Values of a key, most documents first; `distinct` counts those that were not asked for, too."""

    key: str
    documents: int
    values: list[FacetValue]
    distinct: int


class DocumentSummary(TypedDict):
    """One document, as lists show it."""

    id: str
    uri: str
    title: str
    chunks: int
    version: str
    metadata: dict[str, Any]


class DocumentDetail(DocumentSummary):
    """One document with its text and what is known of it."""

    source: str
    kind: str
    modified: str
    ingested: str
    notes: list[str]
    failure: dict[str, str] | None
    text: str


class JobState(TypedDict):
    """A job as it stands: status is queued, in_progress, completed, failed or cancelled.

    `result` is what a job other than an ingest found or did, once it has ended.
    """

    id: str
    collection: str
    source: str
    created: str
    status: str
    counts: dict[str, Any]
    skipped: list[dict[str, str]]
    errors: list[dict[str, str]]
    error: dict[str, str] | None
    result: NotRequired[dict[str, Any]]


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
            timeout=httpx.Timeout(timeout, connect=5.0),
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
        _raise_for(answer)
        return _object(answer) if answer.content else {}

    def search(self, query: str, **options: Any) -> SearchResponse:
        """`POST /search`; options are its fields: collection, limit, offset, mode, filters, group_by, ….

        The README's table of routes names them all.
        """
        return cast(SearchResponse, self.call("POST", "/search", json={"query": query, **options}))

    def facets(
        self,
        key: str,
        *,
        collection: str = "default",
        filters: Mapping[str, Any] | None = None,
        limit: int = 20,
    ) -> Facets:
        """How many documents have each value of a key, of those that match the filters."""
        params = {"key": key, "collection": collection, "limit": str(limit)}
        if filters is not None:
            params["filters"] = json.dumps(filters)
        return cast(Facets, self.call("GET", "/facets", params=params))

    def documents(self, collection: str = "default") -> Iterator[DocumentSummary]:
        """Every document of a collection, page by page."""
        cursor: str | None = None
        while True:
            params = {"collection": collection, "limit": "1000"} | ({"cursor": cursor} if cursor else {})
            page = self.call("GET", "/documents", params=params)
            yield from page["documents"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def document(self, document_id: str, collection: str = "default") -> DocumentDetail:
        """One document with its text."""
        answer = self.call(
            "GET", f"/documents/{quote(document_id, safe='')}", params={"collection": collection}
        )
        return cast(DocumentDetail, answer)

    def delete(self, document_id: str, collection: str = "default") -> None:
        """Remove one document."""
        self.call("DELETE", f"/documents/{quote(document_id, safe='')}", params={"collection": collection})

    def amend(
        self, document_id: str, metadata: Mapping[str, Any], collection: str = "default"
    ) -> DocumentSummary:
        """Set metadata of one document, without embedding it again; None takes a key out."""
        path = f"/documents/{quote(document_id, safe='')}"
        body = {"metadata": dict(metadata)}
        return cast(DocumentSummary, self.call("PATCH", path, params={"collection": collection}, json=body))

    def add_text(self, text: str, *, collection: str = "default", **fields: Any) -> str:
        """Hand in a text (fields: uri, title, metadata); returns the job's id."""
        body = {"text": text, **fields}
        return str(self.call("POST", "/documents", params={"collection": collection}, json=body)["job_id"])

    def job(self, job_id: str) -> JobState:
        """A job as it stands now."""
        return cast(JobState, self.call("GET", f"/jobs/{quote(job_id, safe='')}"))

    def follow(self, job_id: str) -> Iterator[JobState]:
        """The job's state at each change, until it has ended.

        Only the last state lists `skipped` and `errors`; those before have their number, `problems`.
        """
        try:
            with self._http.stream("GET", f"/jobs/{quote(job_id, safe='')}/events", timeout=60.0) as answer:
                if answer.is_error:
                    answer.read()
                _raise_for(answer)
                for line in answer.iter_lines():
                    if line.startswith("data: "):
                        yield cast(JobState, json.loads(line.removeprefix("data: ")))
        except httpx.TransportError as error:
            raise UnreachableError(f"the connection broke while following job {job_id}: {error}") from error


def _raise_for(answer: httpx.Response) -> None:
    if not answer.is_error:
        return
    try:
        error = answer.json()["error"]
        raise LatewoodError(answer.status_code, error["code"], error["message"])
    except (ValueError, KeyError, TypeError) as strange:
        raise _unexpected(answer) from strange


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError as strange:
        raise _unexpected(answer) from strange
    if not isinstance(found, dict):
        raise _unexpected(answer)
    return found


def _unexpected(answer: httpx.Response) -> LatewoodError:
    message = (
        f"HTTP {answer.status_code} that is not of this service: {answer.text[:200]!r}; "
        "is its address right, is something in between?"
    )
    return LatewoodError(answer.status_code, "unexpected_answer", message)
