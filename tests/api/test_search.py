"""`POST /search` over the embedded store: fields, scores, order, pages and filters of the contract."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from latewood.api.http.schemas.search import SearchOut
from latewood.ingest.types import document_id

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
FIELDS = {
    "id",
    "document_id",
    "uri",
    "title",
    "score",
    "text",
    "headings",
    "start",
    "end",
    "page_start",
    "page_end",
    "metadata",
}
ANIMALS = ("seal", "gull", "eider", "otter", "heron", "tern")


@pytest.fixture(scope="session")
def library(shared_admin: TestClient, fast_folder: Path, hand_in: Any, finish: Any) -> str:
    """A collection of a folder (42 notes, a guide with headings, a PDF) and two uploads with metadata."""
    folder = fast_folder / "harbour"
    folder.mkdir()
    for number in range(42):
        animal = ANIMALS[number % len(ANIMALS)]
        (folder / f"note{number:02}.txt").write_text(
            f"Note {number}: a {animal} seen near pier {number % 7}."
        )
    words = "\n\n".join(f"The ferry to island {number} leaves when the tide is high." for number in range(6))
    (folder / "guide.md").write_text(f"# Ferries\n\n## Tides\n\n{words}\n")
    shutil.copy(FIXTURES / "good_3p.pdf", folder / "report.pdf")
    job = shared_admin.post("/jobs", json={"source": str(folder), "collection": "harbour"})
    assert job.status_code == 202
    done = finish(shared_admin, job.json()["id"])
    assert (done["status"], done["counts"]["added"], done["errors"]) == ("completed", 44, [])
    for name, year, draft in (("alpha", 2024, True), ("beta", 2026, False)):
        hand_in(
            shared_admin,
            f"Minutes of the {name} meeting about the pier.",
            collection="harbour",
            uri=f"upload:{name}",
            title=f"Minutes {name}",
            metadata={"year": year, "draft": draft, "tags": ["pier", name], "language": "en", "rate": 0.1},
        )
    return "harbour"


@pytest.fixture
def ask(shared_http: TestClient, library: str) -> Callable[..., dict[str, Any]]:
    def search(query: str = "ferry tide pier seal", **body: Any) -> dict[str, Any]:
        answer = shared_http.post("/search", json={"query": query, "collection": library, **body})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    return search


def ids(answer: dict[str, Any]) -> list[str]:
    return [result["id"] for result in answer["results"]]


def names(answer: dict[str, Any]) -> set[str]:
    return {result["uri"].rsplit("/", 1)[-1] for result in answer["results"]}


def test_an_answer_has_exactly_the_fields_of_the_contract(ask: Any) -> None:
    answer = ask(limit=5)
    assert set(answer) == {"results", "mode", "took_ms", "request_id"}
    assert answer["mode"] == "hybrid"
    assert set(answer["took_ms"]) == {"embed", "search", "total"}
    assert len(answer["results"]) == 5
    assert all(set(result) == FIELDS for result in answer["results"])


def test_explain_is_there_when_it_was_asked_for(ask: Any) -> None:
    results = ask(limit=5, explain=True)["results"]
    assert all(set(result) == FIELDS | {"explain"} for result in results)
    assert all(set(result["explain"]) == {"legs", "fused"} for result in results)
    parts = [part for result in results for part in result["explain"]["legs"].values()]
    assert parts
    assert all(set(part) == {"rank", "score", "contribution"} for part in parts)


def test_a_result_cites_its_document_by_uri_headings_page_and_offsets(
    ask: Any, shared_http: TestClient, library: str
) -> None:
    guide = ask("ferry island tide", limit=1)["results"][0]
    assert guide["uri"].startswith("file:///")
    assert guide["uri"].endswith("/harbour/guide.md")
    assert (guide["title"], guide["headings"]) == ("Ferries", ["Ferries", "Tides"])
    assert guide["page_start"] is None
    path = f"/documents/{guide['document_id']}"
    document = shared_http.get(path, params={"collection": library}).json()
    assert document["text"][guide["start"] : guide["end"]] == guide["text"]
    report = ask(limit=50, filters={"type": "eq", "key": "kind", "value": "pdf"})["results"]
    assert {page for one in report for page in (one["page_start"], one["page_end"])} == {1, 2, 3}


@pytest.mark.parametrize("method", ["rrf", "dbsf", "convex"])
def test_contributions_add_up_to_the_score(ask: Any, method: str) -> None:
    fusion = {"method": method, "weights": {"dense": 2.0, "bm25": 0.5}}
    results = ask(limit=100, explain=True, fusion=fusion)["results"]
    assert any(len(result["explain"]["legs"]) == 2 for result in results)
    for result in results:
        total = sum(part["contribution"] for part in result["explain"]["legs"].values())
        assert total == pytest.approx(result["score"], abs=1e-6)
        assert result["explain"]["fused"] == result["score"]


def test_rrf_is_one_over_k_plus_the_rank_counted_from_one(ask: Any) -> None:
    fusion = {"method": "rrf", "k": 10, "weights": {"bm25": 3.0}}
    results = ask(limit=200, explain=True, fusion=fusion)["results"]
    legs = [result["explain"]["legs"] for result in results]
    for leg, weight in (("dense", 1.0), ("bm25", 3.0)):
        parts = [leg_parts[leg] for leg_parts in legs if leg in leg_parts]
        assert sorted(part["rank"] for part in parts) == list(range(1, len(parts) + 1))
        assert [part["contribution"] for part in parts] == [
            pytest.approx(weight / (10 + part["rank"])) for part in parts
        ]


@pytest.mark.parametrize("mode", ["dense", "bm25"])
def test_with_one_leg_the_score_is_that_legs_own(ask: Any, mode: str) -> None:
    answer = ask(limit=20, mode=mode, explain=True)
    assert answer["mode"] == mode
    for place, result in enumerate(answer["results"], 1):
        (name, part), *others = result["explain"]["legs"].items()
        assert (name, others) == (mode, [])
        assert (part["rank"], part["score"], part["contribution"]) == (
            place,
            result["score"],
            result["score"],
        )


def test_results_are_best_first(ask: Any) -> None:
    scores = [result["score"] for result in ask(limit=100)["results"]]
    assert len(scores) > 40
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("mode", ["hybrid", "dense", "bm25"])
def test_the_same_query_twice_gives_the_same_list(ask: Any, mode: str) -> None:
    """Seven notes a pier differ in nothing but a number: ties, which the engine alone does not settle."""
    first = ids(ask("seen near pier", mode=mode, limit=60))
    assert len(first) > 40
    assert all(ids(ask("seen near pier", mode=mode, limit=60)) == first for _ in range(5))


@pytest.mark.parametrize("mode", ["hybrid", "dense", "bm25"])
def test_pages_neither_repeat_nor_skip(ask: Any, mode: str) -> None:
    whole = ids(ask(mode=mode, limit=49))
    assert len(whole) > 40
    pages = [ids(ask(mode=mode, limit=7, offset=offset)) for offset in range(0, 49, 7)]
    assert [one for page in pages for one in page] == whole
    assert len(set(whole)) == len(whole)


def test_past_the_last_result_there_is_an_empty_page(ask: Any) -> None:
    assert ask(limit=1, offset=999)["results"] == []
    assert len(ask(limit=1000)["results"]) < 1000


def test_an_answer_is_what_the_schema_says(ask: Any) -> None:
    """It is written by hand, not by the schema."""
    for options in ({}, {"explain": True}, {"expand": {"before": 1, "after": 2}}, {"group_by": "document"}):
        answer = ask(limit=3, **options)
        assert SearchOut.model_validate(answer, strict=True).model_dump(exclude_unset=True) == answer


@pytest.mark.parametrize("mode", ["hybrid", "dense", "bm25"])
def test_grouped_by_document_each_stands_once(ask: Any, mode: str) -> None:
    best: dict[str, str] = {}
    for result in ask(mode=mode, limit=1000)["results"]:
        best.setdefault(result["document_id"], result["id"])
    whole = ask(mode=mode, limit=1000, group_by="document")["results"]
    assert {one["document_id"]: one["id"] for one in whole} == best
    if mode != "hybrid":  # one leg is its own list, however deep it is read
        assert [one["document_id"] for one in whole] == list(best)
    pages = [
        ids(ask(mode=mode, limit=5, offset=offset, group_by="document")) for offset in range(0, len(best), 5)
    ]
    assert [one for page in pages for one in page] == [one["id"] for one in whole]


def test_neighbours_join_to_the_documents_text(ask: Any, shared_http: TestClient, library: str) -> None:
    results = ask("ferry island tide", filters=eq("kind", "markdown"), expand={"before": 1, "after": 10})
    assert len(results["results"]) > 2
    for result in results["results"]:
        path = f"/documents/{result['document_id']}"
        text = shared_http.get(path, params={"collection": library}).json()["text"]
        start = result["start"] - len(result["before"])
        joined = result["before"] + result["text"] + result["after"]
        assert text[start:] == joined
        assert bool(result["before"]) == (result["start"] > 0)


def test_more_neighbours_than_allowed_and_unknown_groups_are_refused(
    shared_http: TestClient, library: str
) -> None:
    for body, message in (
        ({"expand": {"before": 11}}, "expand before is 11; it must be from 0 to 10 passages"),
        ({"expand": {"around": 1}}, "unknown field around; known: before, after"),
        ({"group_by": "title"}, "group_by"),
    ):
        answer = shared_http.post("/search", json={"query": "ferry", "collection": library, **body})
        assert answer.status_code == 422
        assert message in answer.json()["error"]["message"]


def eq(key: str, value: Any) -> dict[str, Any]:
    return {"type": "eq", "key": key, "value": value}


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (eq("kind", "markdown"), {"guide.md"}),
        (eq("title", "Minutes beta"), {"upload:beta"}),
        (eq("uri", "upload:alpha"), {"upload:alpha"}),
        (eq("source", "uploads:"), {"upload:alpha", "upload:beta"}),
        (eq("language", "en"), {"upload:alpha", "upload:beta", "guide.md"}),  # its words tell
        (eq("page", 2), {"report.pdf"}),
        ({"type": "gt", "key": "page", "value": 99}, set()),
        (eq("year", 2026), {"upload:beta"}),
        (eq("year", 2026.0), {"upload:beta"}),
        (eq("year", "2026"), set()),
        (eq("draft", True), {"upload:alpha"}),
        (eq("draft", "true"), set()),
        (eq("rate", 0.1), {"upload:alpha", "upload:beta"}),
        (eq("tags", "alpha"), {"upload:alpha"}),
        ({"type": "in", "key": "year", "value": [2024, 1999]}, {"upload:alpha"}),
        ({"type": "in", "key": "year", "value": []}, set()),
        ({"type": "gte", "key": "year", "value": 2025}, {"upload:beta"}),
        ({"type": "lt", "key": "year", "value": 2025}, {"upload:alpha"}),
        ({"type": "lte", "key": "ingested", "value": "2000-01-01"}, set()),
        (
            {"type": "and", "filters": [eq("tags", "pier"), {"type": "ne", "key": "draft", "value": True}]},
            {"upload:beta"},
        ),
        ({"type": "or", "filters": [eq("year", 2026), eq("kind", "markdown")]}, {"upload:beta", "guide.md"}),
        ({"type": "or", "filters": []}, set()),
        (eq("no_such_key", "x"), set()),
    ],
)
def test_a_filter_leaves_what_matches(ask: Any, where: dict[str, Any], expected: set[str]) -> None:
    for mode in ("hybrid", "dense"):
        assert names(ask(filters=where, mode=mode, limit=100)) == expected


@pytest.mark.parametrize(
    "where",
    [
        {"type": "ne", "key": "no_such_key", "value": 1},
        {"type": "nin", "key": "no_such_key", "value": [1]},
        {"type": "gte", "key": "ingested", "value": "2000-01-01T00:00:00Z"},
        {"type": "and", "filters": []},
    ],
)
def test_a_filter_that_everything_matches_changes_nothing(ask: Any, where: dict[str, Any]) -> None:
    assert ids(ask(filters=where, limit=100)) == ids(ask(limit=100))


def test_one_document_can_be_asked_alone(ask: Any) -> None:
    document = ask("ferry island", limit=1)["results"][0]["document_id"]
    found = ask(filters=eq("document_id", document), limit=100)["results"]
    assert found
    assert {result["document_id"] for result in found} == {document}


def test_a_filter_as_large_as_allowed_is_answered(ask: Any) -> None:
    where: dict[str, Any] = {"type": "or", "filters": [eq("year", 2026)] * 64}
    for _ in range(6):
        where = {"type": "and", "filters": [where]}
    assert names(ask(filters=where)) == {"upload:beta"}


def test_metadata_comes_back_as_it_was_given(ask: Any) -> None:
    (found,) = ask(filters=eq("uri", "upload:alpha"))["results"]
    assert found["metadata"] == {"year": 2024, "draft": True, "tags": ["pier", "alpha"], "rate": 0.1}


def test_min_score_leaves_out_what_a_leg_scored_below(ask: Any) -> None:
    scores = [one["score"] for one in ask(mode="bm25", limit=100)["results"]]
    middle = scores[len(scores) // 2]
    kept = [one["score"] for one in ask(mode="bm25", limit=100, min_score={"bm25": middle})["results"]]
    assert kept == [score for score in scores if score >= middle]
    assert 0 < len(kept) < len(scores)


def test_words_that_no_passage_has_find_nothing_by_bm25(ask: Any) -> None:
    assert ask("zeppelin", mode="bm25")["results"] == []
    assert ask("!?", mode="bm25")["results"] == []


def texts(http: TestClient, query: str, mode: str = "hybrid", **where: str) -> list[str]:
    """What `scratch` answers, of one uri if it is given."""
    filters = [eq(key, value) for key, value in where.items()]
    body = {"query": query, "mode": mode, "filters": {"type": "and", "filters": filters}}
    answer = http.post("/search", json={**body, "collection": "scratch"})
    return [result["text"] for result in answer.json()["results"]]


def test_a_deleted_document_stops_answering_at_once(shared_http: TestClient, hand_in: Any) -> None:
    hand_in(shared_http, "The walrus sleeps.", collection="scratch", uri="upload:walrus")
    assert "The walrus sleeps." in texts(shared_http, "walrus")
    path = f"/documents/{document_id('default', 'scratch', 'upload:walrus')}?collection=scratch"
    assert shared_http.delete(path).status_code == 204
    for mode in ("hybrid", "dense", "bm25"):
        assert "The walrus sleeps." not in texts(shared_http, "walrus", mode)
    assert shared_http.get(path).status_code == 404


def test_an_update_replaces_the_document(shared_http: TestClient, hand_in: Any) -> None:
    upload = {"collection": "scratch", "uri": "upload:hours"}
    first = hand_in(shared_http, "The harbour opens at six.", **upload)
    second = hand_in(shared_http, "The harbour opens at nine.", **upload)
    assert (first["counts"]["added"], first["counts"]["updated"]) == (1, 0)
    assert (second["counts"]["added"], second["counts"]["updated"]) == (0, 1)
    assert second["counts"]["documents"] == first["counts"]["documents"]
    for mode in ("hybrid", "dense", "bm25"):
        found = texts(shared_http, "harbour opens", mode, uri="upload:hours")
        assert found == ["The harbour opens at nine."]


def test_collections_and_tenants_see_nothing_of_each_other(
    shared_http: TestClient, shared_admin: TestClient, hand_in: Any, library: str
) -> None:
    hand_in(shared_http, "The other collection's secret.", collection="scratch")
    own = shared_http.post("/search", json={"query": "secret", "collection": library, "mode": "bm25"})
    assert own.json()["results"] == []
    header = {"X-Latewood-Tenant": "someone"}
    foreign = shared_admin.post("/search", json={"query": "secret", "collection": "scratch"}, headers=header)
    assert (foreign.status_code, foreign.json()["error"]["code"]) == (404, "collection_not_found")


def test_a_user_cannot_choose_a_tenant(shared_http: TestClient, library: str) -> None:
    """The header is the owner's socket's; over TCP everyone is the default tenant."""
    header = {"X-Latewood-Tenant": "someone"}
    found = shared_http.post("/search", json={"query": "ferry", "collection": library}, headers=header)
    assert len(found.json()["results"]) == 10
