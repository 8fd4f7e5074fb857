"""A backup is made while the service answers and is written to; what is restored answers the same."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from api import backup
from api.app import Admin, create_app
from api.build import Service
from api.errors import ApiError
from ingest.uploads import Spooled, Upload

OpenService = Callable[..., Service]
QUESTIONS = ("seals in March", "the lighthouse keeper", "ropes and knots")


def admin(service: Service) -> TestClient:
    return TestClient(Admin(create_app(service)), raise_server_exceptions=False)


def answers(http: TestClient, tenant: str = "default") -> list[Any]:
    """Ids, scores and texts of what answers each question in each mode."""
    found = []
    for question in QUESTIONS:
        for mode in ("hybrid", "dense", "bm25"):
            answer = http.post(
                "/search",
                json={"query": question, "mode": mode, "limit": 20},
                headers={"X-Latewood-Tenant": tenant},
            )
            assert answer.status_code == 200, answer.text
            found.append([(one["id"], one["score"], one["text"]) for one in answer.json()["results"]])
    return found


@pytest.fixture
def filled(service: Service, hand_in: Any) -> TestClient:
    http = admin(service)
    for number in range(12):
        text = f"Seals rest on skerry {number} in March. The lighthouse keeper ties knots in ropes. " * 4
        hand_in(http, text, uri=f"upload:note{number}", title=f"note {number}")
    http.delete(f"/documents/{http.get('/documents').json()['documents'][0]['id']}")
    return http


def saved(http: TestClient, folder: Path) -> dict[str, Any]:
    answer = http.post("/backup", json={"folder": str(folder)})
    assert answer.status_code == 200, answer.text
    done: dict[str, Any] = answer.json()
    return done


def hold(service: Service) -> threading.Event:
    """Keep the one runner busy until the event is set."""
    gate, began = threading.Event(), threading.Event()

    def run(job: Any, progress: Any, stop: Callable[[], bool]) -> Any:
        began.set()
        while not stop() and not gate.wait(0.01):
            pass
        return job.report

    service.jobs.submit("default", "default", "x", run)
    began.wait()
    return gate


def code_of(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_what_is_restored_answers_the_same(
    filled: TestClient, open_service: OpenService, tmp_path: Path
) -> None:
    before = answers(filled)
    done = saved(filled, tmp_path / "backup")
    assert [(one["documents"], one["collection"]) for one in done["indexes"]] == [(11, "default")]
    restored = backup.restore(tmp_path / "backup", tmp_path / "again")
    assert (restored["files"], restored["bytes"]) == (done["files"], done["bytes"])
    again = admin(open_service(tmp_path / "again"))
    assert answers(again) == before
    assert again.get("/documents").json() == filled.get("/documents").json()
    verdict = again.post("/verify", json={}).json()["job_id"]
    with again.stream("GET", f"/jobs/{verdict}/events") as events:
        *_, last = [line for line in events.iter_lines() if line]
    result = json.loads(last.removeprefix("data: "))["result"]
    assert result["missing"] == result["orphaned"] == result["stale"] == []


def test_a_backup_is_made_while_documents_are_written_and_questions_answered(
    service: Service, filled: TestClient, open_service: OpenService, finish: Any, tmp_path: Path
) -> None:
    """Every document of it is whole, and nothing that was committed before it began is missing."""
    before = {one["id"] for one in filled.get("/documents").json()["documents"]}
    stop = threading.Event()
    jobs: list[str] = []
    failed: list[str] = []

    def write() -> None:
        number = 0
        while not stop.is_set():
            body = {"text": f"Written meanwhile: number {number}. " * 8, "uri": f"upload:new{number % 20}"}
            jobs.append(filled.post("/documents", json=body).json()["job_id"])
            number += 1
            stop.wait(0.05)

    def ask() -> None:
        while not stop.is_set():
            answer = filled.post("/search", json={"query": "seals", "mode": "bm25"})
            if answer.status_code != 200:
                failed.append(answer.text)

    threads = [threading.Thread(target=write), threading.Thread(target=ask)]
    for thread in threads:
        thread.start()
    try:
        for number in range(3):
            saved(filled, tmp_path / f"backup{number}")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failed == []
    assert {finish(filled, job)["status"] for job in jobs} == {"completed"}
    for number in range(3):
        backup.restore(tmp_path / f"backup{number}", tmp_path / f"again{number}")
        check_whole(open_service(tmp_path / f"again{number}"), before, finish)


def check_whole(service: Service, before: set[str], finish: Any) -> None:
    """Uploads that waited are in the backup too, and run where it is restored: wait for them."""
    http = admin(service)
    documents = http.get("/documents", params={"limit": 1000}).json()["documents"]
    assert before <= {one["id"] for one in documents}
    for one in documents:
        text = http.get(f"/documents/{one['id']}").json()["text"]
        assert text.startswith(("Seals rest", "Written meanwhile"))
    for job in service.desk.all("default"):
        assert finish(http, job["id"])["status"] == "completed"
    assert http.get("/status").json()["in_flight_chunks"] == 0
    service.close()


def test_an_upload_that_waits_is_part_of_it(
    service: Service, filled: TestClient, open_service: OpenService, tmp_path: Path, finish: Any
) -> None:
    gate = hold(service)
    filled.post("/documents", json={"text": "It waits still.", "uri": "upload:waits"})
    saved(filled, tmp_path / "backup")
    gate.set()
    backup.restore(tmp_path / "backup", tmp_path / "again")
    again = open_service(tmp_path / "again")
    (job,) = again.desk.all("default")
    assert finish(admin(again), job["id"])["counts"]["added"] == 1


def test_an_upload_that_is_overtaken_meanwhile_does_not_come_back(
    service: Service,
    filled: TestClient,
    open_service: OpenService,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its copy was made before the index was: there the document is newer, or deleted."""
    service.settling.settle()
    gate = hold(service)
    filled.post("/documents", json={"text": "The first.", "uri": "upload:waits"})
    (waiting,) = service.spool.waiting()
    copied = backup._uploads

    def and_then(*given: Any) -> Any:
        made = copied(*given)
        assert len(made) == 1
        service.spool.remove(waiting)  # as when it is ingested, and as when it is deleted
        return made

    monkeypatch.setattr(backup, "_uploads", and_then)
    saved(filled, tmp_path / "backup")
    gate.set()
    backup.restore(tmp_path / "backup", tmp_path / "again")
    again = open_service(tmp_path / "again")
    assert again.desk.all("default") == []
    assert again.spool.waiting() == []


def test_an_upload_that_is_taken_in_before_it_is_copied_fails_no_backup(
    service: Service, filled: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was seen to wait, and is gone when its folder is read."""
    gone = Spooled(
        Upload("default", "default", "upload:gone", "a.txt", "", {}), service.data / "uploads" / "1-gone"
    )
    monkeypatch.setattr(service.spool, "waiting", lambda: [gone])
    saved(filled, tmp_path / "backup")
    assert not (tmp_path / "backup" / "files" / "uploads").exists()


def test_a_collection_that_is_deleted_meanwhile_is_left_out(
    service: Service, filled: TestClient, hand_in: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_in(filled, "Seals of the other.", collection="other")
    names = list(backup.catalog.list_collections(service.data))
    assert len(names) == 2
    monkeypatch.setattr(backup.catalog, "list_collections", lambda _: names)
    assert filled.delete("/collections/other").status_code == 204
    done = saved(filled, tmp_path / "backup")
    assert [one["collection"] for one in done["indexes"]] == ["default"]
    backup.restore(tmp_path / "backup", tmp_path / "again")


def test_two_backups_into_one_folder_do_not_spoil_each_other(
    service: Service, filled: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "_check_target", lambda *_: None)  # both had looked
    saved(filled, tmp_path / "backup")
    assert code_of(filled.post("/backup", json={"folder": str(tmp_path / "backup")})) == (
        409,
        "target_not_empty",
    )
    backup.restore(tmp_path / "backup", tmp_path / "again")


def test_every_tenant_and_collection_is_in_it(
    service: Service, hand_in: Any, open_service: OpenService, tmp_path: Path
) -> None:
    http = admin(service)
    hand_in(http, "Seals of one.", collection="one")
    hand_in(http, "Seals of two.", collection="two")
    done = saved(http, tmp_path / "backup")
    assert [one["collection"] for one in done["indexes"]] == ["one", "two"]
    backup.restore(tmp_path / "backup", tmp_path / "again")
    assert open_service(tmp_path / "again").collections("default") == ["one", "two"]


def test_what_belongs_to_a_moment_is_left_out(service: Service, filled: TestClient, tmp_path: Path) -> None:
    (service.data / "owner.lock").write_text("1\n")
    (service.data / "jobs.sqlite").write_bytes(b"x")
    (service.data / "cache").mkdir()
    (service.data / "cache" / "big").write_bytes(b"x")
    (service.data / "keys.json").write_text("{}")
    saved(filled, tmp_path / "backup")
    kept = {path.relative_to(tmp_path / "backup" / "files").parts[0] for path in _files(tmp_path / "backup")}
    assert kept == {"indexes", "keys.json"}


def _files(folder: Path) -> list[Path]:
    return [path for path in (folder / "files").rglob("*") if path.is_file()]


def test_a_folder_that_is_not_empty_is_refused(service: Service, filled: TestClient, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter").write_text("mine")
    refused = filled.post("/backup", json={"folder": str(tmp_path / "full")})
    assert code_of(refused) == (409, "target_not_empty")
    inside = filled.post("/backup", json={"folder": str(service.data / "backup")})
    assert code_of(inside) == (422, "invalid_target")
    assert code_of(filled.post("/backup", json={"folder": "here"})) == (422, "invalid_target")
    saved(filled, tmp_path / "backup")
    with pytest.raises(ApiError, match="is not empty") as error:
        backup.restore(tmp_path / "backup", tmp_path / "full")
    assert error.value.code == "target_not_empty"
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["letter"]


@pytest.mark.parametrize("harm", ["flipped", "cut", "missing", "unlisted", "outside", "newer"])
def test_a_damaged_backup_is_not_restored(filled: TestClient, tmp_path: Path, harm: str) -> None:
    folder = tmp_path / "backup"
    saved(filled, folder)
    victim = max(_files(folder), key=lambda path: path.stat().st_size)
    listed = json.loads((folder / "backup.json").read_text())
    if harm == "flipped":
        content = bytearray(victim.read_bytes())
        content[len(content) // 2] ^= 1
        victim.write_bytes(content)
    elif harm == "cut":
        victim.write_bytes(victim.read_bytes()[:-1])
    elif harm == "missing":
        victim.unlink()
    elif harm == "unlisted":
        (folder / "backup.json").unlink()
    elif harm == "outside":
        listed["files"][0]["path"] = "../outside"
        (folder / "backup.json").write_text(json.dumps(listed))
    else:
        listed["format"] = 99
        (folder / "backup.json").write_text(json.dumps(listed))
    with pytest.raises(ApiError) as error:
        backup.restore(folder, tmp_path / "again")
    assert error.value.code == ("backup_not_found" if harm == "unlisted" else "backup_damaged")
    if harm in {"flipped", "cut", "missing"}:
        assert victim.name in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["backup"]


def test_too_little_space_is_said_before_anything_is_copied(
    filled: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(filled, tmp_path / "backup")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(backup.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    assert code_of(filled.post("/backup", json={"folder": str(tmp_path / "b")})) == (507, "disk_full")
    with pytest.raises(ApiError, match="MiB free"):
        backup.restore(tmp_path / "backup", tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_only_the_owners_socket_may_ask_for_one(http: TestClient, tmp_path: Path) -> None:
    assert code_of(http.post("/backup", json={"folder": str(tmp_path / "b")})) == (403, "admin_only")
    assert not (tmp_path / "b").exists()
