"""A backup is made while the service answers and is written to; what is restored answers the same."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from latewood.api.http.api_keys import KeyStore
from latewood.api.http.api_keys import Wish as KeyWish
from latewood.api.http.app import Admin, create_app
from latewood.engine.backup import backup
from latewood.engine.backup import restore as restoring
from latewood.engine.backup.restore import restore
from latewood.engine.errors import ApiError
from latewood.engine.library import Service
from latewood.engine.owner.lock import try_lock
from latewood.ingest.uploads import Spool, Spooled, Upload
from latewood.search.types import DiskFullError

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


def hold(service: Service, collection: str = "default") -> threading.Event:
    """Keep the main lane, and uploads to this collection, busy until the event is set."""
    gate, began = threading.Event(), threading.Event()

    def run(job: Any, progress: Any, stop: Callable[[], bool]) -> Any:
        began.set()
        while not stop() and not gate.wait(0.01):
            pass
        return job.report

    service.jobs.submit("default", collection, "x", run)
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
    restored = restore(tmp_path / "backup", tmp_path / "again")
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
        restore(tmp_path / f"backup{number}", tmp_path / f"again{number}")
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
    restore(tmp_path / "backup", tmp_path / "again")
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
    restore(tmp_path / "backup", tmp_path / "again")
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
    assert not any(path.startswith("uploads/") for path in listed(tmp_path / "backup"))


def test_a_collection_that_is_deleted_meanwhile_is_left_out(
    service: Service, filled: TestClient, hand_in: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_in(filled, "Seals of the other.", collection="other")
    names = list(backup.layout.list_collections(service.data))
    assert len(names) == 2
    monkeypatch.setattr(backup.layout, "list_collections", lambda _: names)
    assert filled.delete("/collections/other").status_code == 204
    done = saved(filled, tmp_path / "backup")
    assert [one["collection"] for one in done["indexes"]] == ["default"]
    restore(tmp_path / "backup", tmp_path / "again")


def test_two_backups_into_one_folder_at_once_do_not_spoil_each_other(
    service: Service, filled: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = []
    copied = backup._copy_all

    def and_another(*given: Any) -> Any:
        answers.append(filled.post("/backup", json={"folder": str(tmp_path / "backup")}))
        return copied(*given)

    monkeypatch.setattr(backup, "_copy_all", and_another)
    saved(filled, tmp_path / "backup")
    assert [code_of(answer) for answer in answers] == [(409, "target_busy")]
    restore(tmp_path / "backup", tmp_path / "again")


def test_every_tenant_and_collection_is_in_it(
    service: Service, hand_in: Any, open_service: OpenService, tmp_path: Path
) -> None:
    http = admin(service)
    hand_in(http, "Seals of one.", collection="one")
    hand_in(http, "Seals of two.", collection="two")
    done = saved(http, tmp_path / "backup")
    assert [one["collection"] for one in done["indexes"]] == ["one", "two"]
    restore(tmp_path / "backup", tmp_path / "again")
    assert open_service(tmp_path / "again").collections("default") == ["one", "two"]


def test_what_belongs_to_a_moment_is_left_out(service: Service, filled: TestClient, tmp_path: Path) -> None:
    (service.data / "owner.lock").write_text("1\n")
    (service.data / "jobs.sqlite").write_bytes(b"x")
    (service.data / "cache").mkdir()
    (service.data / "cache" / "big").write_bytes(b"x")
    (service.data / "keys.json").write_text("{}")
    saved(filled, tmp_path / "backup")
    kept = {Path(path).parts[0] for path in listed(tmp_path / "backup")}
    assert kept == {"indexes", "keys.json", "sequence"}


def listed(folder: Path) -> dict[str, dict[str, Any]]:
    """The files of a backup by their paths."""
    return {one["path"]: one for one in json.loads((folder / "backup.json").read_text())["files"]}


def objects(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "objects").rglob("*") if path.is_file()}


def disk_bytes(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


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
        restore(tmp_path / "backup", tmp_path / "full")
    assert error.value.code == "target_not_empty"
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["letter"]


HARMS = {
    "flipped": lambda raw: raw[:20] + bytes([raw[20] ^ 1]) + raw[21:],  # behind the header of 10 bytes
    "cut": lambda raw: raw[:-1],
    "emptied": lambda raw: b"",
}


@pytest.mark.parametrize("harm", [*HARMS, "missing", "unlisted", "outside", "newer", "renamed"])
def test_a_damaged_backup_is_not_restored(filled: TestClient, tmp_path: Path, harm: str) -> None:
    folder = tmp_path / "backup"
    saved(filled, folder)
    victim = max((folder / "objects").rglob("*.gz"), key=lambda path: path.stat().st_size)
    (name, *_) = [path for path, one in listed(folder).items() if victim.name.startswith(one["sha256"])]
    content = json.loads((folder / "backup.json").read_text())
    if harm in HARMS:
        victim.write_bytes(HARMS[harm](victim.read_bytes()))
    elif harm == "missing":
        victim.unlink()
    elif harm == "unlisted":
        (folder / "backup.json").unlink()
    else:
        if harm == "newer":
            content["format"] = 99
        else:
            content["files"][0]["path"] = "../outside" if harm == "outside" else "other"
        (folder / "backup.json").write_text(json.dumps(content))
    with pytest.raises(ApiError) as error:
        restore(folder, tmp_path / "again")
    assert error.value.code == ("backup_not_found" if harm == "unlisted" else "backup_damaged")
    if harm in HARMS or harm == "missing":
        assert Path(name).name in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["backup"]


def test_too_little_space_is_said_before_anything_is_copied(
    filled: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(filled, tmp_path / "backup")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(backup.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    assert code_of(filled.post("/backup", json={"folder": str(tmp_path / "b")})) == (507, "disk_full")
    assert list((tmp_path / "b").iterdir()) == []
    with pytest.raises(DiskFullError, match="MiB free"):
        restore(tmp_path / "backup", tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_only_the_owners_socket_may_ask_for_one(http: TestClient, tmp_path: Path) -> None:
    assert code_of(http.post("/backup", json={"folder": str(tmp_path / "b")})) == (403, "admin_only")
    assert not (tmp_path / "b").exists()


def test_holes_stay_holes_and_what_is_kept_is_compressed(
    service: Service, filled: TestClient, tmp_path: Path
) -> None:
    """The engine preallocates a hundred mebibytes; a small index fills few of them."""
    done = saved(filled, tmp_path / "backup")
    assert disk_bytes(tmp_path / "backup") < done["bytes"] // 20
    restore(tmp_path / "backup", tmp_path / "again")
    assert disk_bytes(tmp_path / "again") < done["bytes"] // 20
    for path, one in listed(tmp_path / "backup").items():
        assert (tmp_path / "again" / path).stat().st_size == one["bytes"]


def test_the_next_backup_into_a_folder_copies_what_changed_and_removes_what_nobody_names(
    service: Service, filled: TestClient, hand_in: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    first = saved(filled, folder)
    assert first["copied_files"] > 10
    again = saved(filled, folder)
    assert (again["copied_files"], again["copied_bytes"]) == (0, 0)
    counter = listed(folder)["sequence"]["sha256"]  # it goes up with each upload
    before = {name: content for name, content in objects(folder).items() if counter not in name}
    hand_in(filled, "An owl.", collection="other", uri="upload:owl")
    more = saved(filled, folder)
    assert 0 < more["copied_bytes"] < first["copied_bytes"]
    assert before.keys() <= objects(folder).keys()
    assert filled.delete("/collections/other").status_code == 204
    saved(filled, folder)
    counter = listed(folder)["sequence"]["sha256"]
    assert {name: content for name, content in objects(folder).items() if counter not in name} == before
    restore(folder, tmp_path / "again")


def test_a_fresh_folder_shares_what_did_not_change_with_an_earlier_one(
    service: Service, filled: TestClient, hand_in: Any, tmp_path: Path
) -> None:
    first, second = tmp_path / "monday", tmp_path / "tuesday"
    saved(filled, first)
    hand_in(filled, "An owl.", collection="other", uri="upload:owl")
    body = {"folder": str(second), "base": str(first)}
    done = filled.post("/backup", json=body).json()
    assert [one["collection"] for one in done["indexes"]] == ["default", "other"]
    linked = [path for path in (second / "objects").rglob("*.gz") if path.stat().st_nlink > 1]
    assert len(linked) > 10
    shutil.rmtree(first)  # each of them is whole by itself
    assert restore(second, tmp_path / "again")["files"] == done["files"]
    refused = filled.post("/backup", json={"folder": str(tmp_path / "b"), "base": str(first)})
    assert code_of(refused) == (404, "backup_not_found")


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_object_is_written_anew_by_the_next_backup(
    filled: TestClient, tmp_path: Path, harm: str
) -> None:
    folder = tmp_path / "backup"
    saved(filled, folder)
    victim = max((folder / "objects").rglob("*.gz"), key=lambda path: path.stat().st_size)
    victim.write_bytes(HARMS[harm](victim.read_bytes()))
    assert saved(filled, folder)["copied_files"] == 1
    restore(folder, tmp_path / "again")


def test_a_backup_that_fails_half_way_leaves_the_earlier_one(
    service: Service, filled: TestClient, hand_in: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "backup"
    first = saved(filled, folder)
    hand_in(filled, "An owl.", uri="upload:owl")
    real, count = backup._Copier.add, 0

    def fails(copier: Any, path: Path) -> Any:
        nonlocal count
        count += 1
        if count > first["files"] - 3:
            raise OSError(28, "No space left on device", str(path))
        return real(copier, path)

    monkeypatch.setattr(backup._Copier, "add", fails)
    assert code_of(filled.post("/backup", json={"folder": str(folder)})) == (507, "disk_full")
    monkeypatch.undo()
    assert restore(folder, tmp_path / "again")["indexes"] == first["indexes"]
    saved(filled, folder)


def test_a_folder_of_another_backup_is_not_overwritten(
    service: Service, filled: TestClient, hand_in: Any, open_service: OpenService, tmp_path: Path
) -> None:
    saved(filled, tmp_path / "backup")
    part = filled.post("/backup", json={"folder": str(tmp_path / "backup"), "collection": "default"})
    assert code_of(part) == (409, "target_differs")
    other = open_service()
    hand_in(admin(other), "Seals.")
    refused = admin(other).post("/backup", json={"folder": str(tmp_path / "backup")})
    assert code_of(refused) == (409, "target_differs")
    restore(tmp_path / "backup", tmp_path / "again")


def test_one_collection_is_saved_and_put_back_among_others(
    service: Service, filled: TestClient, hand_in: Any, open_service: OpenService, tmp_path: Path
) -> None:
    hand_in(filled, "An owl.", collection="birds", uri="upload:owl")
    (service.data / "keys.json").write_text('{"format": 1, "keys": []}')
    gate = hold(service, "birds")
    for collection in ("birds", "default"):
        filled.post("/documents", params={"collection": collection}, json={"text": "It waits."})
    part = filled.post("/backup", json={"folder": str(tmp_path / "part"), "collection": "birds"}).json()
    whole = saved(filled, tmp_path / "whole")
    gate.set()
    assert [one["collection"] for one in part["indexes"]] == ["birds"]
    assert "keys.json" not in listed(tmp_path / "part")
    missing = filled.post("/backup", json={"folder": str(tmp_path / "no"), "collection": "no"})
    assert code_of(missing) == (404, "collection_not_found")
    for number, folder in enumerate((tmp_path / "part", tmp_path / "whole")):
        other = open_service()
        hand_in(admin(other), "Seals of the other.", uri="upload:seals")
        other.close()
        restore(folder, other.data, backup.selected(None, "birds"))
        again = open_service(other.data)
        assert again.collections("default") == ["birds", "default"]
        assert [one["collection"] for one in again.desk.all("default")] == ["birds"]
        assert admin(again).post("/search", json={"query": "owl", "collection": "birds"}).json()["results"]
        again.close()
        with pytest.raises(ApiError, match="has default/birds already"):
            restore(folder, other.data, backup.selected(None, "birds"))
        fresh = restore(folder, tmp_path / f"fresh{number}", backup.selected(None, "birds"))
        assert [one["collection"] for one in fresh["indexes"]] == ["birds"]
    with pytest.raises(ApiError, match="holds nothing of default/no"):
        restore(tmp_path / "whole", tmp_path / "none", backup.selected("default", "no"))
    assert len(whole["indexes"]) == 2


def test_collections_are_not_added_to_data_that_is_in_use(
    filled: TestClient, open_service: OpenService, tmp_path: Path
) -> None:
    saved(filled, tmp_path / "backup")
    data = tmp_path / "data"
    handle = try_lock(data)
    assert handle is not None
    try:
        with pytest.raises(ApiError) as error:
            restore(tmp_path / "backup", data, backup.selected(None, "default"))
    finally:
        os.close(handle)
    assert error.value.code == "data_in_use"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_restore_revives_no_revoked_key_unless_keys_are_wanted(
    service: Service, filled: TestClient, tmp_path: Path
) -> None:
    keys = KeyStore(service.data)
    kept, _ = keys.create(KeyWish("default", name="kept"))
    gone, _ = keys.create(KeyWish("default", name="gone"))
    saved(filled, tmp_path / "backup")
    keys.revoke(gone.id)
    done = restore(tmp_path / "backup", tmp_path / "again")
    assert done["keys_left_out"]
    assert KeyStore(tmp_path / "again").all() == []
    restore(tmp_path / "backup", tmp_path / "with", with_keys=True)
    assert {key.id for key in KeyStore(tmp_path / "with").all()} == {kept.id, gone.id}
    assert stat.S_IMODE((tmp_path / "with" / "keys.json").stat().st_mode) == 0o600


def test_a_backup_that_an_earlier_version_made_is_restored(
    service: Service, filled: TestClient, open_service: OpenService, tmp_path: Path
) -> None:
    """Format 1: the files as they are, below `files/`."""
    before = answers(filled)
    saved(filled, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "plain" / "files")
    files = [
        {"path": path, "bytes": one["bytes"], "sha256": one["sha256"]}
        for path, one in listed(tmp_path / "backup").items()
    ]
    indexes = json.loads((tmp_path / "backup" / "backup.json").read_text())["indexes"]
    content = {"format": 1, "created": "", "indexes": indexes, "files": files}
    (tmp_path / "plain" / "backup.json").write_text(json.dumps(content))
    restore(tmp_path / "plain", tmp_path / "again")
    assert answers(admin(open_service(tmp_path / "again"))) == before
    refused = filled.post("/backup", json={"folder": str(tmp_path / "plain")})
    assert code_of(refused) == (409, "target_not_empty")
    damaged = tmp_path / "plain" / "files" / files[0]["path"]
    damaged.write_bytes(b"x")
    with pytest.raises(ApiError, match=f"{damaged.name} has 1 bytes"):
        restore(tmp_path / "plain", tmp_path / "not")


def test_a_restore_removes_what_killed_ones_left_and_nothing_of_a_living_one(
    filled: TestClient, tmp_path: Path
) -> None:
    saved(filled, tmp_path / "backup")
    dead = tmp_path / ".again.restoring-1234"  # as earlier versions named it, too
    (dead / "indexes").mkdir(parents=True)
    code = (
        "import sys; from pathlib import Path; from latewood.search.stores.held_folder import HeldFolder;"
        f"held = HeldFolder(Path({str(tmp_path)!r}), '.again.restoring-'); print(held.path, flush=True);"
        "sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    living = Path(process.stdout.readline().strip())
    try:
        restore(tmp_path / "backup", tmp_path / "again")
        assert not dead.exists()
        assert living.is_dir()
    finally:
        process.kill()
        process.communicate()
    assert living.is_dir()  # killed, it leaves its folder
    shutil.rmtree(tmp_path / "again")
    restore(tmp_path / "backup", tmp_path / "again")
    assert not living.exists()


def test_of_two_restores_at_once_one_wins_and_the_other_says_so(
    filled: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(filled, tmp_path / "backup")
    bring = restoring._bring_all
    done: list[Any] = []

    def and_another(*given: Any) -> None:
        bring(*given)
        if not done:
            done.append(None)
            done.append(restore(tmp_path / "backup", tmp_path / "again"))

    monkeypatch.setattr(restoring, "_bring_all", and_another)
    with pytest.raises(ApiError) as error:
        restore(tmp_path / "backup", tmp_path / "again")
    assert error.value.code == "target_not_empty"
    assert done[1]["files"] == len(listed(tmp_path / "backup"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "backup"]


def test_the_order_of_arrival_goes_on_after_a_restore(
    service: Service, filled: TestClient, tmp_path: Path
) -> None:
    before = [service.spool.sequence.next() for _ in range(3)]
    saved(filled, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "again")
    assert Spool(tmp_path / "again" / "uploads").sequence.next() > before[-1]
