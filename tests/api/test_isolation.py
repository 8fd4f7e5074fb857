"""Whatever happens to one tenant or collection, another's texts, counts, ids and scores stay as they were."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

WATCHED = ("default", "watched")
OTHERS = [("default", "other"), ("rival", "watched"), ("rival", "other")]
WORDS = "seal gull eider otter heron tern pier tide".split()  # noqa: SIM905
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join)
OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(OTHERS),
        st.sampled_from(["put", "put", "remove", "amend", "optimise", "drop", "make", "search"]),
        st.sampled_from(["a", "b"]),
        TEXTS,
    ),
    min_size=2,
    max_size=6,
)


class Place:
    """One tenant's collection, seen over the owner's socket."""

    def __init__(self, http: TestClient, place: tuple[str, str]) -> None:
        self._http = http
        tenant, self._collection = place
        self._headers = {"X-Latewood-Tenant": tenant}

    def call(self, method: str, path: str, **options: Any) -> Any:
        return self._http.request(method, path, headers=self._headers, **options)

    def _in(self, method: str, path: str, **options: Any) -> Any:
        return self.call(method, path, params={"collection": self._collection}, **options)

    def _done(self, answer: Any) -> None:
        if answer.status_code == 202:
            job = answer.json().get("job_id")
            for _ in range(6000):
                if self.call("GET", f"/jobs/{job}").json()["status"] in {"completed", "failed", "cancelled"}:
                    return
                time.sleep(0.01)
            raise AssertionError("the job did not end")

    def apply(self, operation: str, name: str, text: str) -> None:
        """Do it, whether or not there is anything to do it to."""
        if operation == "put":
            body = {"text": text, "uri": f"upload:{name}", "title": text[:9], "metadata": {"word": text[:4]}}
            self._done(self._in("POST", "/documents", json=body))
        elif operation in {"remove", "amend"}:
            found = self._in("GET", "/documents").json().get("documents", [])
            for document in [one for one in found if one["uri"] == f"upload:{name}"]:
                path = f"/documents/{document['id']}"
                if operation == "remove":
                    assert self._in("DELETE", path).status_code == 204
                else:
                    assert self._in("PATCH", path, json={"metadata": {"word": text}}).status_code == 200
        elif operation == "optimise":
            self._done(self.call("POST", "/optimise", json={"collection": self._collection}))
        elif operation == "drop":
            assert self.call("DELETE", f"/collections/{self._collection}").status_code in {204, 404}
        elif operation == "make":
            made = self.call("POST", "/collections", json={"name": self._collection})
            assert made.status_code in {201, 409}
        else:
            self.search(text, "hybrid")

    def search(self, query: str, mode: str) -> Any:
        body = {"query": query, "collection": self._collection, "mode": mode, "limit": 50, "explain": True}
        answer = self.call("POST", "/search", json=body).json()
        return answer.get("results", answer.get("error", {}).get("code"))

    def seen(self) -> Any:
        """Everything that can be seen of it."""
        status = self._in("GET", "/status").json()
        del status["bytes"]
        return {
            "status": status,
            "documents": self._in("GET", "/documents").json(),
            "facets": self.call(
                "GET", "/facets", params={"collection": self._collection, "key": "word"}
            ).json(),
            "answers": {
                (query, mode): self.search(query, mode)
                for query in ("seal pier", "tern")
                for mode in ("hybrid", "dense", "bm25")
            },
        }


@pytest.fixture(scope="module")
def places(shared_admin: TestClient) -> dict[tuple[str, str], Place]:
    made = {place: Place(shared_admin, place) for place in (WATCHED, *OTHERS)}
    for number in range(6):
        made[WATCHED].apply("put", f"w{number}", " ".join(WORDS[number:] + WORDS[:number] * 2))
    return made


def check(places: dict[tuple[str, str], Place], operations: Any) -> None:
    before = places[WATCHED].seen()
    assert before["status"]["documents"] == 6
    assert len(before["answers"]["seal pier", "hybrid"]) == 6
    for place, operation, name, text in operations:
        places[place].apply(operation, name, text)
        assert places[WATCHED].seen() == before, (place, operation)


QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=5, deadline=None, suppress_health_check=QUIET)
@given(operations=OPERATIONS)
def test_no_operation_on_one_changes_another(places: Any, operations: Any) -> None:
    check(places, operations)


@pytest.mark.soak
@settings(max_examples=100, deadline=None, suppress_health_check=QUIET)
@given(operations=OPERATIONS)
def test_no_long_sequence_of_operations_on_one_changes_another(places: Any, operations: Any) -> None:
    check(places, operations)


def test_equal_documents_of_two_tenants_have_different_ids_and_equal_scores(places: Any) -> None:
    """The same text scores the same in an index of its own, however full the others are."""
    rival = places["rival", "watched"]
    rival.apply("drop", "", "")
    for number in range(6):
        rival.apply("put", f"w{number}", " ".join(WORDS[number:] + WORDS[:number] * 2))
    own, others = (place.search("seal pier", "bm25") for place in (places[WATCHED], rival))
    assert [(one["text"], one["score"]) for one in own] == [(one["text"], one["score"]) for one in others]
    assert not {one["id"] for one in own} & {one["id"] for one in others}
