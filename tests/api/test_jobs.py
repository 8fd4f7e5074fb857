"""`/jobs`: ingest a folder of the service's machine, follow it, end it."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from latewood.api.http.app import create_app
from latewood.api.http.routes.jobs import _lines
from latewood.engine.library import Service
from latewood.ingest.jobs import FINAL, Job
from latewood.ingest.report import Problem, Report

STATE = {
    "id",
    "collection",
    "source",
    "created",
    "status",
    "dry_run",
    "waits_for",
    "counts",
    "seconds_left",
    "skipped",
    "errors",
    "error",
}
COUNTS = {
    "added",
    "updated",
    "unchanged",
    "deleted",
    "documents",
    "chunks",
    "tokens",
    "seconds",
    "total",
    "finished",
    "current",
    "share",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "docs"
    root.mkdir()
    (root / "a.txt").write_text("Seals rest on the skerries in March.")
    (root / "b.txt").write_text("The lighthouse keeper counts the ships.")
    return root


def ingest(http: TestClient, finish: Any, folder: Path, **fields: Any) -> dict[str, Any]:
    answer = http.post("/jobs", json={"source": str(folder), "collection": "folders", **fields})
    assert answer.status_code == 202, answer.text
    done: dict[str, Any] = finish(http, answer.json()["id"])
    return done


def counts(job: dict[str, Any], *names: str) -> tuple[int, ...]:
    return tuple(job["counts"][name] for name in names)


def test_a_folder_is_ingested_and_found(shared_admin: TestClient, finish: Any, folder: Path) -> None:
    job = ingest(shared_admin, finish, folder)
    assert set(job) == STATE
    assert set(job["counts"]) == COUNTS
    assert (job["status"], job["error"], job["collection"]) == ("completed", None, "folders")
    assert job["source"] == f"{folder.as_uri()}/"
    assert counts(job, "added", "total", "finished") == (2, 2, 2)
    where = {"type": "eq", "key": "source", "value": job["source"]}
    body = {"query": "lighthouse", "collection": "folders", "filters": where, "mode": "bm25"}
    (found,) = shared_admin.post("/search", json=body).json()["results"]
    assert (found["uri"], found["title"]) == (f"{folder.as_uri()}/b.txt", "b")


def test_the_collection_follows_the_folder(shared_admin: TestClient, finish: Any, folder: Path) -> None:
    first = ingest(shared_admin, finish, folder)
    assert counts(ingest(shared_admin, finish, folder), "added", "unchanged", "tokens") == (0, 2, 0)
    (folder / "a.txt").write_text("Seals left the skerries in April, all of them.")
    (folder / "b.txt").unlink()
    (folder / "c.txt").write_text("A new page.")
    job = ingest(shared_admin, finish, folder)
    assert counts(job, "added", "updated", "deleted") == (1, 1, 1)
    assert counts(job, "documents") == counts(first, "documents")


def test_a_dry_run_counts_and_changes_nothing(shared_admin: TestClient, finish: Any, folder: Path) -> None:
    job = ingest(shared_admin, finish, folder, dry_run=True, collection="dry")
    assert counts(job, "added", "documents") == (2, 0)
    assert "dry" not in shared_admin.get("/collections").json()["collections"]


def test_removed_files_can_be_kept(shared_admin: TestClient, finish: Any, folder: Path) -> None:
    ingest(shared_admin, finish, folder)
    (folder / "b.txt").unlink()
    assert counts(ingest(shared_admin, finish, folder, keep_deleted=True), "deleted") == (0,)
    assert counts(ingest(shared_admin, finish, folder), "deleted") == (1,)


def test_patterns_and_hidden_files(shared_admin: TestClient, finish: Any, folder: Path) -> None:
    (folder / ".c.txt").write_text("A hidden page.")
    ingest(shared_admin, finish, folder)
    chosen = ingest(shared_admin, finish, folder, include=["*.txt"], exclude=["b*"], hidden=True)
    assert counts(chosen, "added", "unchanged", "deleted") == (1, 1, 1)
    assert counts(ingest(shared_admin, finish, folder), "added", "unchanged", "deleted") == (1, 1, 1)


def test_a_folder_that_is_suddenly_empty_needs_a_word(
    shared_admin: TestClient, finish: Any, folder: Path
) -> None:
    ingest(shared_admin, finish, folder)
    for file in folder.iterdir():
        file.unlink()
    refused = ingest(shared_admin, finish, folder)
    assert (refused["status"], refused["error"]["code"]) == ("failed", "source_empty")
    allowed = ingest(shared_admin, finish, folder, allow_empty=True)
    assert (allowed["status"], *counts(allowed, "deleted")) == ("completed", 2)


def test_a_missing_folder_fails_by_name_and_makes_no_collection(
    shared_admin: TestClient, finish: Any, folder: Path
) -> None:
    job = ingest(shared_admin, finish, folder, source=str(folder / "nowhere"), collection="nowhere")
    assert (job["status"], job["error"]["code"]) == ("failed", "source_missing")
    assert "nowhere" in job["error"]["message"]
    assert "nowhere" not in shared_admin.get("/collections").json()["collections"]


def test_a_bad_file_is_named_and_the_rest_is_taken(
    shared_admin: TestClient, finish: Any, folder: Path
) -> None:
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 garbage")
    (folder / "photo.png").write_bytes(b"\x89PNG")
    job = ingest(shared_admin, finish, folder)
    assert (job["status"], *counts(job, "added")) == ("completed", 2)
    assert [(one["uri"].rsplit("/", 1)[-1], one["code"]) for one in job["errors"]] == [
        ("broken.pdf", "corrupt")
    ]
    assert [one["uri"].rsplit("/", 1)[-1] for one in job["skipped"]] == ["photo.png"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "source: Field required"),
        ({"source": 1}, "source"),
        ({"source": "/tmp", "dry_run": "yes"}, "dry_run"),
        ({"source": "/tmp", "watch": True}, "known: source, collection, dry_run, keep_deleted"),
        ({"source": "/tmp", "collection": "No Name"}, "collection name"),
        ({"source": "/tmp", "exclude": ["a", "./b"]}, "exclude pattern './b' is no pattern"),
        ({"source": "/tmp", "include": "*.md"}, "include"),
        ({"source": "file:etc"}, "not a file:/// uri"),
    ],
)
def test_a_bad_order_is_refused(shared_admin: TestClient, body: dict[str, Any], words: str) -> None:
    answer = shared_admin.post("/jobs", json=body)
    assert answer.status_code == 422
    assert words in answer.json()["error"]["message"]


def held(gate: threading.Event) -> Any:
    """A job that works until it is told to stop or the gate opens."""

    def run(job: Job, progress: Any, stop: Any) -> Report:
        while not stop() and not gate.wait(0.01):
            progress(Report(finished=1))
        return Report()

    return run


def test_a_running_job_can_be_cancelled(service: Service, http: TestClient, finish: Any) -> None:
    job = service.jobs.submit("default", "default", "file:///x/", held(threading.Event()))
    queued = service.jobs.submit("default", "default", "file:///y/", held(threading.Event()))
    assert http.post(f"/jobs/{queued.id}/cancel").status_code == 202
    assert http.post(f"/jobs/{job.id}/cancel").status_code == 202
    for one in (job, queued):
        ended = finish(http, one.id)
        assert (ended["status"], ended["error"]["code"]) == ("cancelled", "cancelled")


def test_the_newest_job_is_listed_first(service: Service, http: TestClient, admin: TestClient) -> None:
    gate = threading.Event()
    jobs = [service.jobs.submit("default", "default", f"file:///{name}/", held(gate)) for name in "abc"]
    foreign = service.jobs.submit("someone", "default", "file:///d/", held(gate))
    listed = [job["id"] for job in http.get("/jobs").json()["jobs"]]
    assert listed == [job.id for job in reversed(jobs)]
    assert http.get(f"/jobs/{foreign.id}").status_code == 404
    theirs = admin.get(f"/jobs/{foreign.id}", headers={"X-Latewood-Tenant": "someone"})
    assert theirs.json()["id"] == foreign.id
    gate.set()


def test_events_tell_every_state_until_the_end(shared_admin: TestClient, folder: Path) -> None:
    body = {"source": str(folder), "collection": "folders"}
    job = shared_admin.post("/jobs", json=body).json()
    with shared_admin.stream("GET", f"/jobs/{job['id']}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-cache"
        lines = [line for line in answer.iter_lines() if line]
    states = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert all(line.startswith(("data: ", ": ")) for line in lines)
    assert [state["status"] in {"completed", "failed", "cancelled"} for state in states].index(True) == (
        len(states) - 1
    )
    assert states[-1] == shared_admin.get(f"/jobs/{job['id']}").json()
    assert counts(states[-1], "added") == (2,)


def test_an_event_before_the_last_counts_problems_and_does_not_list_them(service: Service) -> None:
    gate = threading.Event()
    problem = Problem("file:///x/a.png", "unsupported_kind", "no reader")

    def run(job: Job, progress: Any, stop: Any) -> Report:
        report = Report(skipped=[problem] * 2, failed=[problem])
        progress(report)
        gate.wait(60)
        return report

    job = service.jobs.submit("default", "default", "file:///x/", run)
    states: list[dict[str, Any]] = []

    async def listen() -> None:
        async for line in _lines(job):
            states.append(json.loads(line.removeprefix("data: ")))
            if states[-1].get("problems") == 3:
                gate.set()

    asyncio.run(listen())
    *before, last = states
    assert all(set(state) == STATE - {"skipped", "errors"} | {"problems"} for state in before)
    assert before[-1]["problems"] == 3
    assert set(last) == STATE
    assert (len(last["skipped"]), len(last["errors"])) == (2, 1)


def ask(app: Any, path: str, *, leave: bool = False) -> Any:
    """One request straight to the application: its status and what came; `leave` goes at the first words."""

    async def asked() -> tuple[int, bytes]:
        told: list[Any] = []
        gone = asyncio.Event()
        requests = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> Any:
            if requests:
                return requests.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            told.append(message)
            if leave and message.get("body"):
                gone.set()

        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(b"host", b"127.0.0.1")],
            "server": ("127.0.0.1", 80),
            "client": ("127.0.0.1", 1),
        }
        await app(scope, receive, send)
        return told[0]["status"], b"".join(message.get("body", b"") for message in told)

    return asked()


def test_many_followers_of_a_job_leave_the_service_free(service: Service) -> None:
    app, gate = create_app(service), threading.Event()
    job = service.jobs.submit("default", "default", "file:///x/", held(gate))

    async def many() -> tuple[list[Any], list[Any]]:
        followers = [asyncio.create_task(ask(app, f"/jobs/{job.id}/events")) for _ in range(60)]
        await asyncio.sleep(0.5)
        try:
            others = [
                await asyncio.wait_for(ask(app, path), 20) for path in ("/healthz", "/jobs", "/collections")
            ]
        finally:
            gate.set()
        return others, list(await asyncio.gather(*followers))

    others, followed = asyncio.run(many())
    assert [status for status, _ in others] == [200, 200, 200]
    assert {status for status, _ in followed} == {200}
    assert all(b'"completed"' in body for _, body in followed)


def test_a_follower_that_leaves_is_no_longer_served(service: Service) -> None:
    app, gate = create_app(service), threading.Event()
    job = service.jobs.submit("default", "default", "file:///x/", held(gate))

    async def leave() -> bytes:
        _, body = await asyncio.wait_for(ask(app, f"/jobs/{job.id}/events", leave=True), 20)
        return bytes(body)

    try:
        body = asyncio.run(leave())
        assert job.status not in FINAL
    finally:
        gate.set()
    assert body.startswith(b"data: ")


def test_a_follower_of_a_quiet_job_hears_that_the_service_lives(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latewood.api.http.routes.jobs.EVERY", 0.01)
    monkeypatch.setattr("latewood.api.http.routes.jobs.BEAT", 0.05)
    gate = threading.Event()
    job = service.jobs.submit("default", "default", "file:///x/", lambda *_: Report(added=int(gate.wait(60))))
    heard: list[str] = []

    async def listen() -> None:
        async for line in _lines(job):
            heard.append(line)
            if sum(line.startswith(":") for line in heard) == 2:
                gate.set()

    asyncio.run(listen())
    assert heard.count(": still here\n\n") >= 2
    assert '"completed"' in heard[-1]
