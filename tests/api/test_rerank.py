"""`rerank` of `POST /search`: a tiny cross-encoder from a folder, end to end, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from latewood.api.cli.doctor import examine
from latewood.api.http.app import create_app
from latewood.api.http.schemas.search import SearchOut
from latewood.embedder.rerank.reranker import load_reranker
from latewood.engine.library import Service
from latewood.engine.settings import Settings

NOTES = ("The city is one of the states of Germany.", "Berlin is the capital.", "The most populous city.")
QUERY = "capital city of Germany"


@pytest.fixture(scope="module")
def notes(open_service: Callable[..., Service], hand_in: Any, cross_encoder: str) -> Iterator[TestClient]:
    service = open_service(reranker=cross_encoder, rerank_seconds=120.0, rerank_passages=60)
    http = TestClient(create_app(service), raise_server_exceptions=False)
    for number, text in enumerate(NOTES):
        hand_in(http, text, uri=f"upload:{number}", title=f"Note {number}")
    yield http
    service.close()


def ask(http: TestClient, **body: Any) -> Any:
    return http.post("/search", json={"query": QUERY, "explain": True, **body})


def test_passages_stand_in_the_cross_encoders_order(notes: TestClient, cross_encoder: str) -> None:
    answer = ask(notes, rerank={}).json()
    assert SearchOut.model_validate(answer, strict=True).model_dump(exclude_unset=True) == answer
    assert answer["rerank"] == {
        "model": Path(cross_encoder).name,
        "top_n": 50,
        "applied": True,
        "reason": "",
        "seconds": 120.0,
    }
    assert set(answer["took_ms"]) == {"embed", "search", "rerank", "total"}
    results = answer["results"]
    model = load_reranker(cross_encoder, device="cpu")
    texts = [f"{one['title']}\n{one['text']}" for one in results]
    expected = model.score(QUERY, texts)
    model.close()
    assert [one["score"] for one in results] == pytest.approx(expected.tolist(), abs=1e-5)
    assert [one["score"] for one in results] == sorted((one["score"] for one in results), reverse=True)
    fused = {one["id"]: one["score"] for one in ask(notes).json()["results"]}
    for one in results:
        assert one["explain"]["rerank"] == one["score"]
        assert one["explain"]["fused"] == fused[one["id"]]


def test_only_the_first_are_read_and_pages_go_through_them(notes: TestClient, cross_encoder: str) -> None:
    fused = [one["id"] for one in ask(notes).json()["results"]]
    rerank = {"model": cross_encoder, "top_n": 2}
    pages = [ask(notes, rerank=rerank, limit=1, offset=at).json()["results"] for at in range(3)]
    assert [len(page) for page in pages] == [1, 1, 0]
    assert {page[0]["id"] for page in pages[:2]} == set(fused[:2])


@pytest.mark.parametrize(
    ("rerank", "message"),
    [
        ({"top_n": 61}, "rerank top_n is 61; it must be from 1 to 60"),
        ({"top_n": 0}, "rerank top_n is 0"),
        ({"model": "other"}, "'other' is not the one that is set"),
        ({"seconds": 3}, "unknown field seconds; known: model, top_n"),
    ],
)
def test_what_cannot_be_reranked_is_refused(notes: TestClient, rerank: Any, message: str) -> None:
    answer = ask(notes, rerank=rerank)
    assert answer.status_code == 422
    assert message in answer.json()["error"]["message"]


def test_a_question_too_long_for_the_model_is_refused_with_the_remedy(notes: TestClient) -> None:
    answer = ask(notes, query="Germany " * 200, rerank={})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_input")
    assert "search without reranking" in answer.json()["error"]["message"]


def test_where_no_reranker_is_set_none_can_be_asked_for(shared_http: TestClient, hand_in: Any) -> None:
    hand_in(shared_http, "A note.", collection="plain")
    answer = ask(shared_http, collection="plain", rerank={})
    assert answer.status_code == 422
    assert "no reranker is set; name one in RERANKER" in answer.json()["error"]["message"]


def test_weights_that_are_missing_are_named(open_service: Callable[..., Service], hand_in: Any) -> None:
    service = open_service(reranker="acme/nothing", rerank_seconds=120.0)
    http = TestClient(create_app(service), raise_server_exceptions=False)
    hand_in(http, "A note.")
    answer = ask(http, rerank={})
    service.close()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_unavailable")
    assert "acme/nothing" in answer.json()["error"]["message"]


def test_doctor_loads_the_reranker_that_is_set(cross_encoder: str, tmp_path: Path) -> None:
    found = {}
    for name in ("", cross_encoder, "acme/nothing"):
        settings = Settings(data=tmp_path, model="acme/nothing", reranker=name)
        findings = examine(settings, {}, "default", "default")["findings"]
        found[name] = {one["check"]: (one["status"], one["message"]) for one in findings}
    assert "reranker" not in found[""]
    assert found[cross_encoder]["reranker"][0] == "ok"
    status, message = found["acme/nothing"]["reranker"]
    assert status == "error"
    assert "acme/nothing" in message
