"""A collection answers as it was tuned, at once and alone, until a question says otherwise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from latewood.engine.library import Service
from latewood.evaluation.configuration import Configuration
from latewood.evaluation.promotions import FILE, promote, rollback
from latewood.evaluation.tune import Decision, Verdict
from latewood.search.fusion import SHIPPED
from latewood.search.stores.generations import layout

TUNED = Configuration(method="convex", weights=(("dense", 0.75), ("bm25", 0.25)))
Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def tuned(shared: Service, shared_admin: TestClient, hand_in: Any) -> Path:
    """The folder of a collection of a few notes; another one holds the same notes."""
    for collection in ("tuned", "plain"):
        for number, animal in enumerate(("seal", "gull", "eider")):
            text = f"Note {number}: a {animal} and a seal near the pier."
            hand_in(shared_admin, text, collection=collection, uri=f"upload:{number}")
    return layout.home_of(shared.data, "default", "tuned")


@pytest.fixture
def ask(shared_http: TestClient, tuned: Path) -> Ask:
    def search(collection: str = "tuned", **body: Any) -> dict[str, Any]:
        answer = shared_http.post(
            "/search", json={"query": "gull pier", "collection": collection, "explain": True, **body}
        )
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    return search


@pytest.fixture
def put(tuned: Path) -> Any:
    """Promotes a configuration; afterwards the shipped defaults hold again."""

    def put_one(configuration: Configuration, *, later: bool = False) -> None:
        proven = Verdict(configuration, Configuration(), 0.03, 0.01, 0.05, True, 100)
        refused = Verdict(Configuration(), Configuration(), 0.0, 0.0, 0.0, False, 100)
        decision = Decision(refused, proven) if later else Decision(proven, None)
        promote(tuned, decision, dataset="notes", metric="ndcg@10")

    yield put_one
    (tuned / FILE).unlink(missing_ok=True)


def contributions(answer: dict[str, Any], leg: str) -> list[float]:
    return [result["explain"]["legs"][leg]["contribution"] for result in answer["results"]]


def test_a_promoted_fusion_answers_the_next_question(ask: Ask, put: Any) -> None:
    assert max(contributions(ask(), "dense")) == pytest.approx(SHIPPED.weights["dense"])
    put(TUNED)
    found = ask()
    assert max(contributions(found, "dense")) == pytest.approx(0.75)
    assert max(contributions(found, "bm25")) == pytest.approx(0.25)


def test_rolling_back_takes_effect_as_soon(ask: Ask, put: Any, tuned: Path) -> None:
    before = ask()["results"]
    put(TUNED)
    put(Configuration(method="dbsf"))
    rollback(tuned)
    assert max(contributions(ask(), "dense")) == pytest.approx(0.75)
    rollback(tuned)
    assert ask()["results"] == before


def test_what_a_question_says_goes_before_the_collections_default(ask: Ask, put: Any) -> None:
    put(TUNED)
    assert max(contributions(ask(fusion={}), "dense")) == pytest.approx(1 / 2)  # weights are 1 where absent
    assert max(contributions(ask(fusion={"method": "rrf", "k": 9}), "dense")) == pytest.approx(1 / 10)
    assert max(contributions(ask(fusion=None), "dense")) == pytest.approx(0.75)


def test_another_collection_is_not_tuned_by_it(ask: Ask, put: Any) -> None:
    put(TUNED)
    assert max(contributions(ask("plain"), "dense")) == pytest.approx(SHIPPED.weights["dense"])


def test_what_needs_another_index_does_not_change_answers(ask: Ask, put: Any) -> None:
    put(Configuration(method="convex", context=1.0), later=True)
    assert max(contributions(ask(), "dense")) == pytest.approx(SHIPPED.weights["dense"])


def test_defaults_that_cannot_be_read_are_one_clear_error_and_only_where_they_are_needed(
    ask: Ask, shared_http: TestClient, tuned: Path
) -> None:
    (tuned / FILE).write_text("{", encoding="utf-8")
    try:
        answer = shared_http.post("/search", json={"query": "gull", "collection": "tuned"})
        assert answer.status_code == 500
        assert answer.json()["error"]["code"] == "index_damaged"
        assert "remove it to answer with the shipped defaults" in answer.json()["error"]["message"]
        assert ask(fusion={})["results"]
        assert ask("plain")["results"]
    finally:
        (tuned / FILE).unlink()


def test_the_schema_says_that_fusion_may_be_left_to_the_collection(shared_http: TestClient) -> None:
    body = shared_http.get("/openapi.json").json()["components"]["schemas"]["SearchBody"]
    assert body["required"] == ["query"]
    fusion = body["properties"]["fusion"]
    assert [one.get("$ref", one.get("type")) for one in fusion["anyOf"]] == [
        "#/components/schemas/FusionBody",
        "null",
    ]
    assert "default" not in fusion or fusion["default"] is None
    assert "latewood tune" in fusion["description"]
