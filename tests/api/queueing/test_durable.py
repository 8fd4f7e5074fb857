"""Jobs outlive their process, whichever database keeps them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from latewood.api.http.app import Admin, create_app
from latewood.engine.errors import ApiError
from latewood.engine.jobs import queue
from latewood.engine.jobs.dbos_store import Database
from latewood.engine.library import Service
from latewood.ingest.orders import INGEST, UPLOAD, Order
from latewood.ingest.report import Report
from latewood.ingest.sources.patterns import Selection
from latewood.ingest.sync import SyncOptions
from latewood.ingest.uploads import Upload

OpenService = Callable[..., Service]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "docs"
    root.mkdir()
    for name in "abc":
        (root / f"{name}.txt").write_text(f"Seals rest on skerry {name} in March.")
    return root


def admin(service: Service) -> TestClient:
    return TestClient(Admin(create_app(service)), raise_server_exceptions=False)


def order(http: TestClient, folder: Path, **fields: Any) -> dict[str, Any]:
    answer = http.post("/jobs", json={"source": str(folder), **fields})
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


def until(true: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def hold(service: Service) -> threading.Event:
    """Keep the one runner busy until the event is set."""
    gate, began = threading.Event(), threading.Event()

    def run(job: Any, progress: Any, stop: Callable[[], bool]) -> Report:
        began.set()
        while not stop() and not gate.wait(0.01):
            pass
        return Report()

    service.jobs.submit("default", "held", "x", run)
    began.wait()
    return gate


def hold_queue(service: Service, folder: Path, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Keep a job of the queue busy until the event is set: those after it stay in the database."""
    gate, began = threading.Event(), threading.Event()
    kept = queue.carry_out

    def run(service: Service, order: Order, job: Any, progress: Any, stop: Callable[[], bool]) -> Report:
        if order.collection != "held":
            return kept(service, order, job, progress, stop)
        began.set()
        while not stop() and not gate.wait(0.01):
            pass
        return Report()

    monkeypatch.setattr(queue, "carry_out", run)
    order(admin(service), folder, collection="held")
    assert began.wait(60)
    return gate


def embedded(service: Service, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of documents in each batch that is embedded from now on."""
    seen: list[int] = []
    embedder = service.embedder(None)
    kept = type(embedder).embed_documents

    def count(self: Any, documents: Any, stop: Any = lambda: False, progress: Any = None) -> Any:
        seen.append(len(documents))
        return kept(self, documents, stop)

    monkeypatch.setattr(type(embedder), "embed_documents", count)
    return seen


def test_a_job_is_run_and_remembered_by_the_next_process(
    open_durable: OpenService, finish: Any, folder: Path
) -> None:
    service = open_durable()
    job = finish(admin(service), order(admin(service), folder)["id"])
    assert (job["status"], job["counts"]["added"], job["error"]) == ("completed", 3, None)
    service.close()
    again = open_durable(service.data)
    assert admin(again).get(f"/jobs/{job['id']}").json() == job
    assert admin(again).get("/jobs").json()["jobs"] == [job]


def test_a_job_that_waited_is_run_by_the_next_process(
    open_durable: OpenService, finish: Any, folder: Path
) -> None:
    service = open_durable()
    hold(service)
    job = order(admin(service), folder)
    assert job["status"] == "queued"
    service.close()
    again = open_durable(service.data)
    again.desk.start()
    ended = finish(admin(again), job["id"])
    assert (ended["status"], ended["counts"]["added"]) == ("completed", 3)
    assert (ended["id"], ended["created"]) == (job["id"], job["created"])


def test_the_same_order_twice_is_one_job_while_it_waits(
    open_durable: OpenService, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = open_durable()
    gate = hold_queue(service, folder, monkeypatch)
    first = order(admin(service), folder)
    assert order(admin(service), folder)["id"] == first["id"]
    assert order(admin(service), folder, keep_deleted=True)["id"] != first["id"]
    gate.set()


def test_the_same_order_twice_is_one_job_while_it_waits_for_the_one_runner(
    open_durable: OpenService, folder: Path, setting: str
) -> None:
    """The queue gave it out already, and it has not looked at its folder."""
    if setting != "sqlite":
        pytest.skip("there what was given out may run in another process")
    service = open_durable()
    gate = hold(service)
    first = order(admin(service), folder)
    until(lambda: service.jobs.get("default", first["id"]), "the queue gives it out")
    assert order(admin(service), folder)["id"] == first["id"]
    assert order(admin(service), folder, keep_deleted=True)["id"] != first["id"]
    gate.set()


def test_a_new_ingest_is_asked_for_while_one_looks_at_the_folder(
    open_durable: OpenService, finish: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that runs may have passed the file that changed; the second must see it."""
    service = open_durable()
    http = admin(service)
    began, gate = threading.Event(), threading.Event()
    kept = type(service.embedder(None)).embed_documents

    def wait(self: Any, documents: Any, stop: Any = lambda: False, progress: Any = None) -> Any:
        began.set()
        gate.wait(60)
        return kept(self, documents, stop)

    monkeypatch.setattr(type(service.embedder(None)), "embed_documents", wait)
    first = order(http, folder)
    began.wait()
    (folder / "d.txt").write_text("A new page.")
    second = order(http, folder)
    gate.set()
    assert second["id"] != first["id"]
    assert [finish(http, job["id"])["counts"]["added"] for job in (first, second)] == [3, 1]


def test_a_job_that_waits_can_be_cancelled(open_durable: OpenService, finish: Any, folder: Path) -> None:
    service = open_durable()
    gate = hold(service)
    job = order(admin(service), folder)
    assert admin(service).post(f"/jobs/{job['id']}/cancel").status_code == 202
    gate.set()
    ended = finish(admin(service), job["id"])
    assert (ended["status"], ended["error"]["code"]) == ("cancelled", "cancelled")
    service.close()
    again = open_durable(service.data)
    again.desk.start()
    assert admin(again).get(f"/jobs/{job['id']}").json()["status"] == "cancelled"
    assert not again.exists("default", "default")


def test_only_what_failed_is_tried_again(
    open_durable: OpenService, finish: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "bad.pdf").write_bytes(b"%PDF-1.7 garbage")
    service = open_durable()
    http = admin(service)
    first = finish(http, order(http, folder)["id"])
    assert [one["code"] for one in first["errors"]] == ["corrupt"]
    (folder / "a.txt").write_text("Changed, and not asked for.")
    (folder / "b.txt").unlink()
    answer = http.post(f"/jobs/{first['id']}/retry")
    assert answer.status_code == 202, answer.text
    second = finish(http, answer.json()["id"])
    assert second["id"] != first["id"]
    assert [one["uri"] for one in second["errors"]] == [one["uri"] for one in first["errors"]]
    counts = second["counts"]
    assert [counts[name] for name in ("total", "added", "updated", "deleted", "unchanged")] == [1, 0, 0, 0, 0]
    (folder / "bad.pdf").unlink()
    whole = finish(http, order(http, folder)["id"])
    refused = http.post(f"/jobs/{whole['id']}/retry")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "nothing_to_retry")


def test_a_job_that_failed_as_a_whole_is_tried_again_as_a_whole(
    open_durable: OpenService, finish: Any, folder: Path
) -> None:
    service = open_durable()
    http = admin(service)
    away = folder.with_name("away")
    folder.rename(away)
    first = finish(http, order(http, folder)["id"])
    assert (first["status"], first["error"]["code"]) == ("failed", "source_missing")
    away.rename(folder)
    second = finish(http, http.post(f"/jobs/{first['id']}/retry").json()["id"])
    assert (second["status"], second["counts"]["added"]) == ("completed", 3)


def test_a_job_that_runs_is_not_tried_again(open_durable: OpenService, folder: Path) -> None:
    service = open_durable()
    gate = hold(service)
    job = order(admin(service), folder)
    refused = admin(service).post(f"/jobs/{job['id']}/retry")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "job_not_ended")
    gate.set()


def test_an_upload_is_on_disk_and_in_the_queue_before_it_is_acknowledged(
    open_durable: OpenService, finish: Any
) -> None:
    service = open_durable()
    hold(service)
    answer = admin(service).post("/documents", json={"text": "The ferry leaves.", "uri": "upload:ferry"})
    assert answer.status_code == 202
    (spooled,) = service.spool.waiting()
    with closing(Database(service.settings.jobs, service.data)) as database:
        (record,) = database.open()
    assert (record.id, record.order.entry) == (answer.json()["job_id"], spooled.folder.name)
    assert spooled.file.read_text() == "The ferry leaves."
    service.close()
    again = open_durable(service.data)
    again.desk.start()
    assert finish(admin(again), record.id)["counts"]["added"] == 1
    again.settling.settle()
    assert again.spool.waiting() == []
    assert len(admin(again).get("/jobs").json()["jobs"]) == 1


def test_an_upload_nobody_wrote_down_is_taken_up_at_the_next_start(
    open_durable: OpenService, finish: Any, setting: str
) -> None:
    """The process was killed between the spool and the queue."""
    if setting != "sqlite":
        pytest.skip("there it is the owner who takes it up, and a worker who runs it: see the killed workers")
    service = open_durable()
    upload = Upload("default", "default", "upload:ferry", "ferry.txt", "", {})
    service.spool.add(upload, lambda path: path.write_text("The ferry leaves.") and None)
    service.desk.start()
    (job,) = service.desk.all("default")
    assert finish(admin(service), job["id"])["counts"]["added"] == 1


def test_a_cancelled_upload_is_forgotten(open_durable: OpenService) -> None:
    service = open_durable()
    gate = hold(service)
    job = admin(service).post("/documents", json={"text": "The ferry leaves."}).json()["job_id"]
    admin(service).post(f"/jobs/{job}/cancel")
    assert service.spool.waiting() == []
    gate.set()


def test_jobs_are_their_tenants_own_and_the_newest_comes_first(
    open_durable: OpenService, folder: Path
) -> None:
    service = open_durable()
    gate = hold(service)
    http = admin(service)
    made = [order(http, folder, collection=f"number{number}")["id"] for number in range(3)]
    theirs = http.post(
        "/jobs", json={"source": str(folder)}, headers={"X-Latewood-Tenant": "someone"}
    ).json()["id"]
    listed = [job["id"] for job in http.get("/jobs").json()["jobs"] if job["collection"] != "held"]
    assert listed == made[::-1]
    assert http.get(f"/jobs/{theirs}").status_code == 404
    assert http.post(f"/jobs/{theirs}/cancel").status_code == 404
    gate.set()


def test_a_job_is_followed_from_the_queue_to_its_end(
    open_durable: OpenService, folder: Path, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = open_durable()
    gate = hold_queue(service, folder, monkeypatch)
    job = order(admin(service), folder)
    lines = []
    with (
        serve(Admin(create_app(service))) as url,
        httpx.stream("GET", f"{url}/jobs/{job['id']}/events", timeout=60) as answer,
    ):
        for line in answer.iter_lines():
            if line.startswith("data: "):
                lines.append(line)
                gate.set()
    assert '"queued"' in lines[0]
    assert '"completed"' in lines[-1]


def test_a_collection_with_a_job_in_the_queue_is_not_taken_out(
    open_durable: OpenService, finish: Any, folder: Path
) -> None:
    service = open_durable()
    http = admin(service)
    finish(http, order(http, folder)["id"])
    gate = hold(service)
    job = order(http, folder, keep_deleted=True)
    assert http.delete("/collections/default").status_code == 409
    gate.set()
    finish(http, job["id"])
    assert http.delete("/collections/default").status_code == 204


def test_old_jobs_are_forgotten(
    open_durable: OpenService, finish: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latewood.engine.jobs.dbos_store.KEPT", 2)
    service = open_durable()
    http = admin(service)
    for number in range(4):
        finish(http, order(http, folder, collection=f"number{number}")["id"])
    service.close()
    again = open_durable(service.data)
    again.desk.start()
    with closing(Database(again.settings.jobs, again.data)) as database:
        assert len(database.all("default", limit=10)) == 2


def test_an_order_is_read_back_as_it_was_written() -> None:
    options = SyncOptions(
        dry_run=True,
        selection=Selection(("*.md",), ("drafts/",), hidden=True),
        only=frozenset({"file:///b", "file:///a"}),
    )
    given = Order(INGEST, "t", "c", "file:///docs/", "file:///docs", options, born=12.5)
    assert Order.from_dict(given.as_dict()) == given
    upload = Order(UPLOAD, "t", "c", "upload:a", entry="0001-x")
    assert Order.from_dict(upload.as_dict()) == upload
    assert not given.same_work(upload)


def test_a_database_that_does_not_answer_is_said_without_its_password(
    open_service: Callable[..., Service], folder: Path
) -> None:
    service = open_service(jobs="postgresql://me:kept-secret@127.0.0.1:1/queue")
    answer = admin(service).post("/jobs", json={"source": str(folder)})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "queue_unavailable")
    assert answer.headers["Retry-After"] == "1"
    assert "kept-secret" not in answer.text
    assert "127.0.0.1:1" in answer.text
    with pytest.raises(ApiError):
        service.desk.all("default")
