"""An explicit null is an absent field, an empty filter none; what a replaced text is not given stays."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from latewood.ingest.types import document_id

NAME = "nulls"


@pytest.fixture(scope="module")
def pumps(shared_http: TestClient, hand_in: Any) -> TestClient:
    hand_in(shared_http, "The pump is blue.", collection=NAME, uri="upload:pump", title="Pump")
    return shared_http


def shown(http: TestClient, uri: str) -> dict[str, Any]:
    key = document_id("default", NAME, uri)
    found: dict[str, Any] = http.get(f"/documents/{key}", params={"collection": NAME}).json()
    return found


SEARCH = [
    *("limit", "offset", "mode", "filters", "fusion", "rerank", "group_by", "expand", "highlight"),
    *("min_score", "explain"),
]


@pytest.mark.parametrize("field", SEARCH)
def test_null_in_a_search_is_the_default(pumps: TestClient, field: str) -> None:
    body = {"query": "pump", "collection": NAME}
    plain = pumps.post("/search", json=body).json()["results"]
    answer = pumps.post("/search", json={**body, field: None})
    assert (answer.status_code, answer.json()["results"]) == (200, plain)


def test_null_below_a_field_is_absent_too(pumps: TestClient) -> None:
    body = {
        "query": "pump",
        "collection": NAME,
        "fusion": {"method": "rrf", "k": None, "weights": None},
        "min_score": {"dense": None},
        "expand": {"before": None, "after": 1},
    }
    assert pumps.post("/search", json=body).status_code == 200


def test_an_empty_filter_is_none(pumps: TestClient) -> None:
    assert pumps.post("/search", json={"query": "pump", "collection": NAME, "filters": {}}).json()["results"]
    facets = pumps.get("/facets", params={"collection": NAME, "key": "kind", "filters": "{}"})
    assert facets.json()["documents"] == 1


def test_a_required_field_is_not_null(pumps: TestClient) -> None:
    assert pumps.post("/search", json={"query": None}).status_code == 422


@pytest.mark.parametrize("field", ["filters", "max_num_results", "ranking_options", "rewrite_query"])
def test_null_in_a_vector_store_search_is_the_default(pumps: TestClient, field: str) -> None:
    answer = pumps.post(f"/v1/vector_stores/{NAME}/search", json={"query": "pump", field: None})
    assert (answer.status_code, len(answer.json()["data"])) == (200, 1)


@pytest.mark.parametrize("field", ["task", "late_chunking", "normalized", "truncate", "model", "dimensions"])
def test_null_in_embeddings_is_the_default(pumps: TestClient, field: str) -> None:
    assert pumps.post("/v1/embeddings", json={"input": "pump", field: None}).status_code == 200


def test_an_empty_query_parameter_is_absent(pumps: TestClient) -> None:
    assert pumps.get(f"/documents?collection={NAME}&cursor=&limit=").status_code == 200


def test_null_leaves_a_key_of_metadata_out_and_takes_one_away(pumps: TestClient, hand_in: Any) -> None:
    given = {"author": None, "team": "deck"}
    hand_in(pumps, "A kettle.", collection=NAME, uri="upload:kettle", metadata=given)
    assert shown(pumps, "upload:kettle")["metadata"] == {"team": "deck"}
    key = document_id("default", NAME, "upload:kettle")
    body = {"metadata": {"team": None}}
    assert pumps.patch(f"/documents/{key}", params={"collection": NAME}, json=body).json()["metadata"] == {}


def test_a_text_without_a_title_is_named_after_its_uri(pumps: TestClient, hand_in: Any) -> None:
    hand_in(pumps, "The lamp is out.", collection=NAME, uri="upload:notes/faq%2012")
    assert shown(pumps, "upload:notes/faq%2012")["title"] == "faq 12"
    found = pumps.post("/search", json={"query": "text", "collection": NAME, "mode": "bm25"}).json()[
        "results"
    ]
    assert found == []


def test_a_replaced_text_keeps_what_is_not_given(pumps: TestClient, hand_in: Any) -> None:
    uri, first = "upload:stove", {"team": "galley"}
    hand_in(pumps, "The stove is cold.", collection=NAME, uri=uri, title="Stove", metadata=first)
    hand_in(pumps, "The stove is warm.", collection=NAME, uri=uri)
    kept = shown(pumps, uri)
    assert (kept["text"], kept["title"], kept["metadata"]) == ("The stove is warm.", "Stove", first)
    hand_in(pumps, "The stove is hot.", collection=NAME, uri=uri, title="Oven", metadata={})
    assert (shown(pumps, uri)["title"], shown(pumps, uri)["metadata"]) == ("Oven", {})


def test_normal_forms_of_an_uploads_name_are_one_document(pumps: TestClient, hand_in: Any) -> None:
    for uri in ("upload:Zo%C3%AB", "upload:Zoe%CC%88"):
        hand_in(pumps, "A letter.", collection=NAME, uri=uri)
    listed = pumps.get("/documents", params={"collection": NAME}).json()["documents"]
    assert [one["uri"] for one in listed if one["uri"].startswith("upload:Zo")] == ["upload:Zo%C3%AB"]
    where = {"type": "eq", "key": "uri", "value": "upload:Zoe\u0308"}
    found = pumps.post("/search", json={"query": "letter", "collection": NAME, "filters": where}).json()
    assert len(found["results"]) == 1


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/documents", "GET, POST"),
        ("POST", "/documents/x", "GET, PATCH, DELETE"),
        ("DELETE", "/search", "POST"),
    ],
)
def test_405_names_every_method_of_the_path(pumps: TestClient, method: str, path: str, allowed: str) -> None:
    answer = pumps.request(method, path)
    assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)


def test_an_uploaded_archive_is_skipped_with_the_way_out(pumps: TestClient, finish: Any) -> None:
    files = [("files", ("notes.zip", b"PK\x05\x06" + bytes(18), "application/zip"))]
    job = pumps.post("/documents", params={"collection": NAME}, files=files).json()["job_id"]
    (skipped,) = finish(pumps, job)["skipped"]
    assert "unpack it into such a folder" in skipped["message"]
