"""What is sent for each call and how the answer is read: for both clients, whoever waits."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import httpx

from latewood.client.types import JobState, LatewoodError

CONNECT_SECONDS = 5.0
EVENTS_SECONDS = 60.0
"""Without a line from a job for so long, its connection is broken: it sends one every 15 s at least."""


SEARCH_OPTIONS = frozenset(
    [
        *("collection", "mode", "limit", "offset", "filters", "fusion", "min_score", "rerank", "group_by"),
        *("expand", "highlight", "explain"),
    ]
)
"""Fields of `POST /search` but `query`."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request."""

    method: str
    path: str
    options: Mapping[str, Any] = field(default_factory=dict)


def search(query: str, options: Mapping[str, Any]) -> Call:
    """`POST /search`."""
    return Call("POST", "/search", {"json": {"query": query, **options}})


def facets(key: str, collection: str, filters: Mapping[str, Any] | None, limit: int) -> Call:
    """`GET /facets`."""
    params = {"key": key, "collection": collection, "limit": str(limit)}
    if filters is not None:
        params["filters"] = json.dumps(filters)
    return Call("GET", "/facets", {"params": params})


def documents(collection: str, cursor: str | None) -> Call:
    """`GET /documents`, a page as large as there are."""
    params = {"collection": collection, "limit": "1000"} | ({"cursor": cursor} if cursor else {})
    return Call("GET", "/documents", {"params": params})


def document(method: str, document_id: str, collection: str, **options: Any) -> Call:
    """A request about one document."""
    path = f"/documents/{quote(document_id, safe='')}"
    return Call(method, path, {"params": {"collection": collection}, **options})


def add_text(text: str, collection: str, fields: Mapping[str, Any]) -> Call:
    """`POST /documents` with a text."""
    body = {"text": text, **fields}
    return Call("POST", "/documents", {"params": {"collection": collection}, "json": body})


def add_files(
    paths: Sequence[str | Path], collection: str, metadata: Mapping[str, Any] | None, opened: ExitStack
) -> Call:
    """`POST /documents` with files, which stay open until `opened` is closed."""
    streams = [opened.enter_context(Path(path).open("rb")) for path in paths]  # noqa: SIM115 - `opened` closes
    files = [("files", (Path(path).name, stream)) for path, stream in zip(paths, streams, strict=True)]
    data = {} if metadata is None else {"metadata": json.dumps(metadata)}
    return Call("POST", "/documents", {"params": {"collection": collection}, "files": files, "data": data})


def job(job_id: str, what: str = "", method: str = "GET") -> Call:
    """`GET /jobs/{id}`, or its events; `POST` with `/cancel` or `/retry`."""
    return Call(method, f"/jobs/{quote(job_id, safe='')}{what}")


def jobs() -> Call:
    """`GET /jobs`."""
    return Call("GET", "/jobs")


def state_in(line: str) -> JobState | None:
    """The job's state in a line of its events, if it holds one."""
    if not line.startswith("data: "):
        return None
    return cast(JobState, json.loads(line.removeprefix("data: ")))


def read(answer: httpx.Response) -> dict[str, Any]:
    """The JSON object of an answer.

    Raises:
        LatewoodError: it is an error, or nothing that the service says.
    """
    raise_for(answer)
    return _object(answer) if answer.content else {}


def raise_for(answer: httpx.Response) -> None:
    """Raise the error that an answer is, if it is one."""
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
