"""Every limit is met at its edge: so much is answered, one more is refused with value, limit and remedy."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from latewood.api.http.app import create_app
from latewood.engine.library import Service
from latewood.engine.settings import Settings

EDGES = {
    "query_characters": 20,
    "limit": 7,
    "filter_depth": 3,
    "filter_conditions": 4,
    "rerank_passages": 3,
    "expand": 2,
    "batch": 3,
    "body_bytes": 600,
    "upload_bytes": 700,
    "file_bytes": 150,
    "metadata_keys": 2,
}
EQ = {"type": "eq", "key": "year", "value": 1}


def deep(levels: int) -> dict[str, Any]:
    where: dict[str, Any] = EQ
    for _ in range(levels - 1):
        where = {"type": "and", "filters": [where]}
    return where


def searching(**fields: Any) -> Callable[[TestClient], Any]:
    return lambda http: http.post("/search", json={"query": "ferry", **fields})


def embedding(texts: int) -> Callable[[TestClient], Any]:
    return lambda http: http.post("/v1/embeddings", json={"input": ["x"] * texts})


def handing_in(keys: int) -> Callable[[TestClient], Any]:
    body = {"text": "A text.", "uri": "upload:keys", "metadata": {f"k{number}": 1 for number in range(keys)}}
    return lambda http: http.post("/documents", json=body)


def sending(size: int) -> Callable[[TestClient], Any]:
    head, kind = b'{"query": "ferry"', {"Content-Type": "application/json"}
    body = head + b" " * (size - len(head) - 1) + b"}"
    return lambda http: http.post("/search", content=body, headers=kind)


def uploading(size: int) -> Callable[[TestClient], Any]:
    """A multipart body of this size; the file in it is an image, which is taken and then skipped."""
    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    body = head + b"x" * (size - len(head) - 9) + b"\r\n--b--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    return lambda http: http.post("/documents", content=body, headers=kind)


Ask = Callable[[TestClient], Any]
CASES: list[tuple[str, Ask, Ask, str]] = [
    ("query_characters", searching(query="x" * 20), searching(query="x" * 21), "21 characters; at most 20"),
    ("limit", searching(limit=7), searching(limit=8), "limit is 8; it must be from 1 to 7"),
    ("limit", searching(limit=3, offset=4), searching(limit=3, offset=5), "offset + limit is 8; at most 7"),
    ("filter_depth", searching(filters=deep(3)), searching(filters=deep(4)), "deeper than 3 levels"),
    (
        "filter_conditions",
        searching(filters={"type": "or", "filters": [EQ] * 4}),
        searching(filters={"type": "or", "filters": [EQ] * 5}),
        "5 conditions; at most 4",
    ),
    (
        "rerank_passages",
        searching(rerank={"top_n": 3}),
        searching(rerank={"top_n": 4}),
        "top_n is 4; it must be from 1 to 3",
    ),
    ("expand", searching(expand={"before": 2}), searching(expand={"before": 3}), "before is 3"),
    ("batch", embedding(3), embedding(4), "4 texts; it must have 1 to 3 (BATCH)"),
    ("body_bytes", sending(600), sending(601), "over 600 bytes"),
    ("upload_bytes", uploading(700), uploading(701), "over 700 bytes"),
    ("metadata_keys", handing_in(2), handing_in(3), "3 metadata keys, the limit is 2 (METADATA_KEYS)"),
]


@pytest.fixture(scope="module")
def http(open_service: Callable[..., Service], hand_in: Any, cross_encoder: str) -> TestClient:
    made = TestClient(create_app(open_service(reranker=cross_encoder, rerank_seconds=60, **EDGES)))
    hand_in(made, "The ferry leaves.", uri="upload:ferry")
    return made


@pytest.mark.parametrize(("name", "within", "beyond", "words"), CASES)
def test_a_limit_is_met_at_its_edge(
    http: TestClient, name: str, within: Ask, beyond: Ask, words: str
) -> None:
    answered = within(http)
    assert answered.status_code in {200, 202}, answered.text
    refused = beyond(http)
    assert refused.status_code in {413, 422}
    assert words in refused.json()["error"]["message"]


@pytest.mark.parametrize(("size", "status"), [(150, "completed"), (151, "failed")])
def test_a_file_is_read_up_to_its_limit(http: TestClient, finish: Any, size: int, status: str) -> None:
    files = {"files": (f"{size}.txt", (b"word " * 40)[:size])}
    job = finish(http, http.post("/documents", files=files).json()["job_id"])
    assert job["status"] == status
    if status == "failed":
        assert "150" in job["error"]["message"]


def test_every_setting_that_limits_something_is_met_here() -> None:
    """By how it is described; requests at a time are met in test_metrics.py and test_connections.py."""
    words = re.compile("most|longest|largest|deepest")
    limits = {name for name, field in Settings.model_fields.items() if words.match(field.description or "")}
    assert {name for name, *_ in CASES} | {"file_bytes"} == set(EDGES)
    assert limits == set(EDGES) | {"concurrency", "key_concurrency"}
