"""`/collections`: made empty, taken out whole, and nobody else notices."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from starlette.testclient import TestClient

from latewood.embedder.types import StoppedError
from latewood.engine.library import Service
from latewood.engine.rebuild import Rebuilds
from latewood.ingest.uploads import Upload


def search(http: TestClient, query: str, collection: str) -> Any:
    return http.post("/search", json={"query": query, "collection": collection})


def names(http: TestClient) -> list[str]:
    found: list[str] = http.get("/collections").json()["collections"]
    return found


def test_an_empty_collection_is_made_once_and_can_be_searched(http: TestClient, hand_in: Any) -> None:
    made = http.post("/collections", json={"name": "papers"})
    assert (made.status_code, made.json()) == (201, {"name": "papers"})
    assert names(http) == ["papers"]
    assert search(http, "seal", "papers").json()["results"] == []
    again = http.post("/collections", json={"name": "papers"})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "collection_exists")
    hand_in(http, "A seal.", collection="papers")
    assert len(search(http, "seal", "papers").json()["results"]) == 1


def test_a_collection_that_is_removed_leaves_nothing_and_can_be_made_again(
    http: TestClient, service: Service, hand_in: Any
) -> None:
    hand_in(http, "A seal.", collection="old")
    hand_in(http, "A gull.", collection="kept")
    before = search(http, "gull", "kept").json()["results"]
    assert http.delete("/collections/old").status_code == 204
    assert names(http) == ["kept"]
    gone = search(http, "seal", "old")
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "collection_not_found")
    home = service.data / "indexes" / "default"
    assert [path.name for path in home.iterdir()] == ["kept"]
    assert http.delete("/collections/old").status_code == 404
    hand_in(http, "An otter.", collection="old")
    assert [one["text"] for one in search(http, "seal", "old").json()["results"]] == ["An otter."]
    assert search(http, "gull", "kept").json()["results"] == before


def test_what_could_not_be_read_does_not_bring_a_collection_back(
    http: TestClient, service: Service, hand_in: Any
) -> None:
    hand_in(http, "A seal.", collection="old")
    for collection in ("old", "other"):
        upload = Upload("default", collection, f"upload:{collection}", "a.txt", "", {})
        service.spool.add(upload, lambda path: path.write_bytes(b"A failed one.") and None)
    assert http.delete("/collections/old").status_code == 204
    assert [one.upload.collection for one in service.spool.waiting()] == ["other"]


@pytest.mark.parametrize("status", ["running", "waiting"])
def test_while_a_job_of_it_waits_or_runs_it_stays(
    http: TestClient, service: Service, hand_in: Any, finish: Any, status: str
) -> None:
    hand_in(http, "A seal.", collection="busy")
    hand_in(http, "A gull.", collection="idle")
    running, go = threading.Event(), threading.Event()

    def hold(job: Any, progress: Any, stop: Any) -> Any:
        running.set()
        assert go.wait(60)
        return job.report

    first = service.jobs.submit("default", "busy" if status == "running" else "third", "", hold)
    assert running.wait(60)
    last = service.jobs.submit("default", "busy", "", lambda job, progress, stop: job.report)
    refused = http.delete("/collections/busy")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "collection_busy")
    assert (first if status == "running" else last).id in refused.json()["error"]["message"]
    assert len(search(http, "seal", "busy").json()["results"]) == 1
    assert http.delete("/collections/idle").status_code == 204
    go.set()
    finish(http, last.id)
    assert http.delete("/collections/busy").status_code == 204


def test_an_optimise_in_the_background_makes_room(
    http: TestClient, service: Service, hand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_in(http, "A seal.", collection="old")
    begun, left = threading.Event(), threading.Event()
    built = Rebuilds._rebuild

    def slowly(self: Rebuilds, key: Any, target: Any, stop: Any, moved: Any) -> None:
        begun.set()
        while not stop():
            time.sleep(0.01)
        try:
            built(self, key, target, stop, moved)
        finally:
            left.set()

    monkeypatch.setattr(Rebuilds, "_rebuild", slowly)
    monkeypatch.setattr(Rebuilds, "_due", lambda self, key: True)
    service.rebuilds._begin(("default", "old"))
    assert begun.wait(60)
    assert http.delete("/collections/old").status_code == 204
    assert left.is_set()
    assert names(http) == []


def test_an_optimise_goes_on_when_the_collection_stays_after_all(
    http: TestClient, service: Service, hand_in: Any, finish: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_in(http, "A seal.", collection="old")
    begun, go = threading.Semaphore(0), threading.Event()

    def slowly(self: Rebuilds, key: Any, target: Any, stop: Any, moved: Any) -> None:
        begun.release()
        while not stop() and not go.is_set():
            time.sleep(0.01)
        if stop():
            raise StoppedError

    monkeypatch.setattr(Rebuilds, "_rebuild", slowly)
    monkeypatch.setattr(Rebuilds, "_due", lambda self, key: True)
    service.rebuilds._begin(("default", "old"))
    assert begun.acquire(timeout=60)
    running = threading.Event()

    def hold(job: Any, progress: Any, stop: Any) -> Any:
        running.set()
        assert go.wait(60)
        return job.report

    job = service.jobs.submit("default", "old", "", hold)
    assert running.wait(60)
    assert http.delete("/collections/old").status_code == 409
    assert begun.acquire(timeout=60)
    go.set()
    finish(http, job.id)


def test_searches_under_way_are_answered_or_told_to_ask_again(
    http: TestClient, service: Service, hand_in: Any
) -> None:
    for number in range(3):
        hand_in(http, f"Seal number {number}.", collection="old")
    answers: list[Any] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            answers.append(search(http, "seal", "old"))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    assert http.delete("/collections/old").status_code == 204
    time.sleep(0.1)
    ended.set()
    for thread in threads:
        thread.join()
    codes = [answer.status_code for answer in answers]
    assert set(codes) <= {200, 404, 503}
    assert all(len(answer.json()["results"]) == 3 for answer in answers if answer.status_code == 200)
    assert search(http, "seal", "old").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/collections", {"name": "../up"}),
        ("POST", "/collections", {"name": ""}),
        ("POST", "/collections", {"name": "A"}),
        ("POST", "/collections", {}),
        ("POST", "/collections", {"name": "a", "model": "b"}),
        ("DELETE", "/collections/UP", None),
    ],
)
def test_names_that_are_not_allowed_are_refused(
    shared_http: TestClient, method: str, path: str, body: Any
) -> None:
    assert shared_http.request(method, path, json=body).status_code == 422


def test_a_tenant_removes_its_own_only(http: TestClient, admin: TestClient, hand_in: Any) -> None:
    hand_in(http, "A seal.", collection="papers")
    other = {"X-Latewood-Tenant": "other"}
    assert admin.delete("/collections/papers", headers=other).status_code == 404
    assert admin.post("/collections", json={"name": "papers"}, headers=other).status_code == 201
    assert admin.delete("/collections/papers", headers=other).status_code == 204
    assert len(search(http, "seal", "papers").json()["results"]) == 1
