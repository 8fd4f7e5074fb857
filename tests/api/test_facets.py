"""`GET /facets`, and `highlight` of `POST /search`: over the embedded store."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from latewood.api.http.schemas.search import SearchOut

LETTERS = (
    ("alpha", "The ferries leave at nine. The harbour is cold.", {"year": 2024, "tags": ["pier", "sea"]}),
    ("beta", "A harbour at night.", {"year": 2024, "tags": ["pier"], "draft": True}),
    ("gamma", "Nothing of the sort.", {"year": 2026.0, "draft": False}),
)


@pytest.fixture(scope="module")
def letters(shared_http: TestClient, hand_in: Any) -> str:
    for name, text, metadata in LETTERS:
        hand_in(shared_http, text, collection="letters", uri=f"upload:{name}", metadata=metadata)
    return "letters"


def facets(http: TestClient, **parameters: Any) -> Any:
    return http.get("/facets", params={"collection": "letters", **parameters})


def test_values_come_with_the_number_of_documents(shared_http: TestClient, letters: str) -> None:
    assert facets(shared_http, key="year").json() == {
        "key": "year",
        "documents": 3,
        "values": [{"value": 2024, "documents": 2}, {"value": 2026.0, "documents": 1}],
        "distinct": 2,
    }
    assert facets(shared_http, key="draft").json()["values"] == [
        {"value": False, "documents": 1},
        {"value": True, "documents": 1},
    ]
    assert facets(shared_http, key="tags", limit=1).json() == {
        "key": "tags",
        "documents": 3,
        "values": [{"value": "pier", "documents": 2}],
        "distinct": 2,
    }
    assert facets(shared_http, key="kind").json()["values"] == [{"value": "text", "documents": 3}]
    assert facets(shared_http, key="nothing").json()["values"] == []


def test_facets_count_what_a_filter_leaves(shared_http: TestClient, letters: str) -> None:
    where = {"type": "eq", "key": "year", "value": 2024}
    found = facets(shared_http, key="tags", filters=json.dumps(where)).json()
    assert (found["documents"], found["values"][0]) == (2, {"value": "pier", "documents": 2})
    for one in found["values"]:
        both = {"type": "and", "filters": [where, {"type": "eq", "key": "tags", "value": one["value"]}]}
        body = {"query": "harbour", "collection": letters, "filters": both, "group_by": "document"}
        assert len(shared_http.post("/search", json=body).json()["results"]) == one["documents"]
    nothing = facets(shared_http, key="tags", filters='{"type": "or", "filters": []}').json()
    assert nothing == {"key": "tags", "documents": 0, "values": [], "distinct": 0}


@pytest.mark.parametrize(
    ("parameters", "status", "code"),
    [
        ({}, 422, "invalid_request"),
        ({"key": "page"}, 422, "invalid_query"),
        ({"key": "kind", "filters": "{"}, 400, "invalid_json"),
        ({"key": "kind", "filters": '{"type": "like"}'}, 422, "invalid_query"),
        ({"key": "kind", "filters": '{"type": "eq", "key": "kind", "value": 1}'}, 422, "invalid_query"),
        ({"key": "kind", "limit": 0}, 422, "invalid_request"),
        ({"key": "kind", "limit": 1001}, 422, "invalid_request"),
        ({"key": "kind", "filter": "{}"}, 422, "invalid_request"),
        ({"key": "kind", "collection": "nowhere"}, 404, "collection_not_found"),
    ],
)
def test_what_cannot_be_counted_is_refused(
    shared_http: TestClient, letters: str, parameters: dict[str, Any], status: int, code: str
) -> None:
    answer = facets(shared_http, **parameters)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_highlights_are_where_the_words_stand_and_the_best_sentence(
    shared_http: TestClient, letters: str
) -> None:
    body = {"query": "When does the ferry leave?", "collection": letters, "highlight": True}
    answer = shared_http.post("/search", json=body).json()
    assert SearchOut.model_validate(answer, strict=True).model_dump(exclude_unset=True) == answer
    by_text = {one["text"]: one for one in answer["results"]}
    first = by_text[LETTERS[0][1]]
    marked = [first["text"][one["start"] : one["end"]] for one in first["highlights"]]
    assert marked == ["ferries", "leave"]
    best = first["sentence"]
    assert first["text"][best["start"] : best["end"]] == "The ferries leave at nine."
    assert (by_text[LETTERS[2][1]]["highlights"], by_text[LETTERS[2][1]]["sentence"]) == ([], None)
