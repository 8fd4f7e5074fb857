"""`PATCH /documents/{id}`."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from latewood.ingest.types import document_id

KEY = document_id("default", "amended", "upload:note")


def patch(http: TestClient, body: Any, key: str = KEY) -> Any:
    return http.patch(f"/documents/{key}", params={"collection": "amended"}, json=body)


@pytest.fixture
def note(shared_http: TestClient, hand_in: Any) -> TestClient:
    text = "The kettle on the bridge is broken. " * 20
    hand_in(shared_http, text, collection="amended", uri="upload:note", metadata={"team": "deck"})
    return shared_http


def test_metadata_is_changed_and_searches_filter_by_it(note: TestClient) -> None:
    answer = patch(note, {"metadata": {"team": "office", "urgent": True}})
    assert answer.status_code == 200
    assert answer.json()["metadata"] == {"team": "office", "urgent": True}
    where = {"type": "eq", "key": "team", "value": "office"}
    found = note.post(
        "/search", json={"query": "kettle", "collection": "amended", "mode": "bm25", "filters": where}
    ).json()["results"]
    assert found
    assert all(one["metadata"] == {"team": "office", "urgent": True} for one in found)
    assert patch(note, {"metadata": {"urgent": None, "team": "deck"}}).json()["metadata"] == {"team": "deck"}


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({}, "metadata"),
        ({"metadata": {}}, "names no key"),
        ({"metadata": {"a": {"b": 1}}}, "must be a string"),
        ({"metadata": {"": 1}}, "must not be empty"),
        ({"metadata": {"language": 3}}, "language"),
        ({"metadata": {"a": 1}, "title": "x"}, "title"),
        ({"metadata": {f"key {number}": 1 for number in range(65)}}, "the limit is 64"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_the_reason(note: TestClient, body: Any, word: str) -> None:
    answer = patch(note, body)
    assert answer.status_code == 422
    assert word in answer.json()["error"]["message"]


def test_a_document_that_is_not_there_is_a_404(note: TestClient) -> None:
    for key in ("nothing", document_id("default", "amended", "upload:other")):
        answer = patch(note, {"metadata": {"a": 1}}, key)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "document_not_found")
