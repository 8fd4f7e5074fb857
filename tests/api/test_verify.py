"""`latewood verify`: an index that lost nearly everything says so, names it, and gets it back."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import qdrant_edge as edge
from starlette.testclient import TestClient
from typer.testing import CliRunner

from latewood.api.cli import verify as verify_cli
from latewood.api.cli.main import app
from latewood.api.http.app import Admin, create_app
from latewood.engine import repair_marker
from latewood.engine import verify as maintenance
from latewood.engine.library import Service
from latewood.engine.owner.writer_rpc import Link
from latewood.search.stores.generations import layout
from latewood.search.types import StoreUnavailableError

QUESTIONS = ("kelp7x2 harvest of the stations", "seals fled logs11", "paper 3 of the office")
LISTS = ("missing", "orphaned", "stale", "damaged_records", "differing", "indexes", "unrepaired")


def fill(folder: Path) -> list[Path]:
    """Two folders of 26 files each, with headings to lose."""
    roots = [folder / "stations", folder / "logs"]
    for root in roots:
        root.mkdir(parents=True)
        for number in range(26):
            harvest = " ".join(f"Kelp{number}x{day} harvest in week {day}." for day in range(4))
            storm = f"## Storm log\n\nSeals fled {root.name}{number}."
            text = f"# Report of {root.name} {number}\n\n{harvest}\n\n{storm}"
            (root / f"{number}.md").write_text(text)
    return roots


def generation_of(data: Path, collection: str = "default") -> Path:
    return layout.path_of(data, "default", collection)


def damage(data: Path, share: float, seed: int, collection: str = "default", *, of_each: bool = False) -> int:
    """Delete points, chunks and manifests alike, behind everyone's back; how many are left.

    With `of_each`, no document keeps all of its points, whatever chance would have.
    """
    shard = edge.EdgeShard.load(str(generation_of(data, collection) / "shard"))
    points: dict[Any, str] = {}
    offset = None
    while True:
        records, offset = shard.scroll(edge.ScrollRequest(offset=offset, limit=1000, with_payload=True))
        points |= {record.id: record.payload["document_id"] for record in records}
        if offset is None:
            break
    lost = random.Random(seed).sample(sorted(points, key=str), round(share * len(points)))
    if of_each:
        hurt = {points[one] for one in lost}
        lost += [next(one for one in points if points[one] == key) for key in {*points.values()} - hurt]
    shard.update(edge.UpdateOperation.delete_points(lost))
    shard.flush()
    left: int = shard.count(edge.CountRequest())
    shard.close()
    return left


def state(http: TestClient) -> dict[str, Any]:
    """All a user can see of the index, without what a new version may change: chunk ids and version."""
    documents = {}
    for listed in http.get("/documents", params={"limit": 1000}).json()["documents"]:
        shown = http.get(f"/documents/{listed['id']}").json()
        documents[listed["id"]] = {key: value for key, value in shown.items() if key != "version"}
    found = {}
    for question in QUESTIONS:
        for mode in ("dense", "bm25", "hybrid"):
            body = {"query": question, "mode": mode, "limit": 100, "fusion": {"method": "convex"}}
            results = http.post("/search", json=body).json()["results"]
            found[question, mode] = sorted(
                (round(one["score"], 5), one["document_id"], one["start"], one["text"], str(one["headings"]))
                for one in results
                if one["score"]
                > results[-1]["score"] + 1e-5  # ties for the end are broken by the chunks' ids
            )
    status = http.get("/status").json()
    return {"documents": documents, "found": found, "counts": (status["documents"], status["chunks"])}


def verify(admin: TestClient, finish: Callable[..., Any], **body: Any) -> dict[str, Any]:
    answer = admin.post("/verify", json=body)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = finish(admin, answer.json()["job_id"])
    return job


def clean(result: dict[str, Any]) -> bool:
    return not any(result[name] for name in LISTS)


@dataclass(frozen=True, slots=True)
class Made:
    """A closed index of two folders and eight uploads, and what a user sees of it."""

    data: Path
    sources: Path
    state: dict[str, Any]


@pytest.fixture(scope="module")
def made(
    open_service: Callable[..., Service],
    fast_folder: Path,
    finish: Callable[..., Any],
    hand_in: Callable[..., Any],
) -> Made:
    folder = Path(tempfile.mkdtemp(dir=fast_folder))
    service = open_service(folder / "data")
    admin = TestClient(Admin(create_app(service)))
    for root in fill(folder / "sources"):
        job = finish(admin, admin.post("/jobs", json={"source": str(root)}).json()["id"])
        assert (job["status"], job["counts"]["added"]) == ("completed", 26)
    for number in range(8):
        text = f"Paper {number} of the office. " * 20
        metadata = {"rank": number / 3, "secret": number % 2 == 0}
        hand_in(admin, text, uri=f"upload:paper-{number}", title=f"Paper {number}", metadata=metadata)
    assert clean(verify(admin, finish)["result"])
    before = state(admin)
    service.close()
    assert before["counts"][0] == 60
    return Made(folder / "data", folder / "sources", before)


@pytest.fixture
def data(fast_folder: Path, tmp_path: Path) -> Path:
    return fast_folder / tmp_path.name / "data"


@pytest.fixture
def filled(made: Made, data: Path) -> dict[str, Any]:
    """A copy of the index to damage: what it holds."""
    data.parent.mkdir()
    subprocess.run(["cp", "-a", "--sparse=always", made.data, data], check=True)
    return made.state


@pytest.fixture
def open_again(open_service: Callable[..., Service], data: Path) -> Iterator[Callable[[], Service]]:
    """The next owner of the copy; closed with the test, and the copy removed."""
    opened: list[Service] = []

    def open_one() -> Service:
        opened.append(open_service(data))
        return opened[-1]

    yield open_one
    for service in opened:
        service.close()
    shutil.rmtree(data.parent)


@pytest.fixture
def sources_gone(made: Made) -> Iterator[None]:
    """The folders are not where they were."""
    aside = made.sources.rename(made.sources.with_name("aside"))
    yield
    aside.rename(made.sources)


@pytest.mark.parametrize("sources", [pytest.param("there", marks=pytest.mark.soak), "gone"])
def test_an_index_that_lost_97_of_100_points_names_them_and_gets_them_back(
    filled: dict[str, Any],
    data: Path,
    request: pytest.FixtureRequest,
    open_again: Callable[[], Service],
    finish: Callable[..., Any],
    sources: str,
) -> None:
    left = damage(data, 0.97, seed=5, of_each=True)
    assert left < 20
    if sources == "gone":
        request.getfixturevalue("sources_gone")
    admin = TestClient(Admin(create_app(open_again())))
    refused = admin.post("/search", json={"query": "kelp"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (500, "index_damaged")

    named = verify(admin, finish)
    assert named["status"] == "completed"
    assert {one["id"] for one in named["result"]["missing"]} == set(filled["documents"])
    assert named["result"]["repaired"] == 0

    repaired = verify(admin, finish, repair=True)
    assert repaired["status"] == "completed"
    assert repaired["result"]["unrepaired"] == []
    assert repaired["result"]["repaired"] >= 60
    assert (repaired["counts"]["documents"], repaired["counts"]["chunks"]) == filled["counts"]
    assert state(admin) == filled
    assert clean(verify(admin, finish)["result"])


def test_without_its_records_the_folders_come_back_from_their_files(
    filled: dict[str, Any], data: Path, open_again: Callable[[], Service], finish: Callable[..., Any]
) -> None:
    for file in generation_of(data).glob("records.sqlite*"):
        file.unlink()
    damage(data, 0.4, seed=8)
    admin = TestClient(Admin(create_app(open_again())))
    result = verify(admin, finish, repair=True)["result"]
    unrepaired = {one["id"] for one in result["unrepaired"]}
    for key, document in state(admin)["documents"].items():
        if key not in unrepaired:
            assert document["text"] == filled["documents"][key]["text"]
    assert all(one["uri"].startswith("upload:") for one in result["unrepaired"])
    again = verify(admin, finish)["result"]
    assert {one["id"] for one in again["unrepaired"]} == unrepaired
    assert not any(again[name] for name in LISTS if name != "unrepaired")


def remove_passages(data: Path, document: str) -> None:
    """Of one document, behind everyone's back; its manifest stays."""
    shard = edge.EdgeShard.load(str(generation_of(data) / "shard"))
    asked = {"type": "chunk", "document_id": document}
    where = edge.Filter(must=[edge.FieldCondition(key, match=edge.MatchValue(asked[key])) for key in asked])
    assert shard.count(edge.CountRequest(filter=where)) > 1
    shard.update(edge.UpdateOperation.delete_points_by_filter(where))
    shard.flush()
    shard.close()


@pytest.mark.parametrize("remedy", ["deleted", "handed in again"])
def test_an_upload_of_which_nothing_is_left_is_named_until_it_is_deleted_or_handed_in_again(
    filled: dict[str, Any],
    data: Path,
    open_again: Callable[[], Service],
    finish: Callable[..., Any],
    hand_in: Callable[..., Any],
    remedy: str,
) -> None:
    for file in generation_of(data).glob("records.sqlite*"):
        file.unlink()
    lost = next(key for key, one in filled["documents"].items() if one["uri"] == "upload:paper-3")
    remove_passages(data, lost)
    admin = TestClient(Admin(create_app(open_again())))
    result = verify(admin, finish, repair=True)["result"]
    assert [(one["id"], one["uri"]) for one in result["unrepaired"]] == [(lost, "upload:paper-3")]
    assert "hand it in again, or delete it" in result["unrepaired"][0]["message"]
    assert state(admin)["documents"].keys() == filled["documents"].keys() - {lost}
    assert {one["id"] for one in verify(admin, finish)["result"]["unrepaired"]} == {lost}
    if remedy == "deleted":
        assert admin.delete(f"/documents/{lost}").status_code == 204
        assert admin.delete(f"/documents/{lost}").status_code == 404
    else:
        hand_in(admin, "Paper 3, again.", uri="upload:paper-3")
    assert clean(verify(admin, finish)["result"])


def test_an_engine_whose_files_cannot_be_read_is_filled_again_from_the_records(
    filled: dict[str, Any],
    data: Path,
    sources_gone: None,
    open_again: Callable[[], Service],
    finish: Callable[..., Any],
) -> None:
    shard = generation_of(data) / "shard"
    for file in shard.rglob("*"):
        if file.is_file():
            file.write_bytes(b"nonsense")
    admin = TestClient(Admin(create_app(open_again())))
    refused = verify(admin, finish)
    assert (refused["status"], refused["error"]["code"]) == ("failed", "index_damaged")
    result = verify(admin, finish, repair=True)["result"]
    assert (len(result["missing"]), result["repaired"], result["unrepaired"]) == (60, 60, [])
    assert state(admin) == filled
    assert sorted(path.name for path in shard.parent.iterdir() if "unreadable" in path.name) == []


def files(data: Path, pattern: str) -> Path:
    """The one file of the engine whose path ends so."""
    (found,) = (generation_of(data) / "shard" / "segments").glob(f"*/{pattern}")
    return found


def scramble(path: Path, start: int, length: int) -> None:
    data = bytearray(path.read_bytes())
    data[start : start + length] = bytes(one ^ 0x5A for one in data[start : start + length])
    path.write_bytes(data)


def test_a_damaged_page_of_payloads_is_restored_from_the_records(
    filled: dict[str, Any],
    data: Path,
    sources_gone: None,
    open_again: Callable[[], Service],
    finish: Callable[..., Any],
) -> None:
    page = files(data, "payload_storage/page_0.dat")
    scramble(page, len(page.read_bytes().rstrip(b"\0")) // 2, 40)
    admin = TestClient(Admin(create_app(open_again())))
    named = verify(admin, finish)
    assert named["status"] == "completed"
    assert not clean(named["result"])
    repaired = verify(admin, finish, repair=True)
    assert (repaired["status"], repaired["result"]["unrepaired"]) == ("completed", [])
    assert state(admin) == filled
    assert clean(verify(admin, finish)["result"])


def test_a_damaged_id_map_is_restored_from_the_records(
    filled: dict[str, Any],
    data: Path,
    sources_gone: None,
    open_again: Callable[[], Service],
    finish: Callable[..., Any],
) -> None:
    scramble(files(data, "mutable_id_tracker.mappings"), 200, 1000)
    admin = TestClient(Admin(create_app(open_again())))
    refused = admin.post("/search", json={"query": "kelp"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (500, "index_damaged")
    assert "latewood verify --repair" in refused.json()["error"]["message"]
    repaired = verify(admin, finish, repair=True)
    assert (repaired["status"], repaired["result"]["unrepaired"]) == ("completed", [])
    assert state(admin) == filled


def test_a_damaged_index_of_a_filter_is_named_and_made_anew(
    filled: dict[str, Any],
    data: Path,
    sources_gone: None,
    open_again: Callable[[], Service],
    finish: Callable[..., Any],
) -> None:
    page = files(data, "payload_index/*kind-map/page_0.dat")
    kind = next(one["kind"] for one in filled["documents"].values())
    scramble(page, page.read_bytes().index(kind.encode()), 1)
    admin = TestClient(Admin(create_app(open_again())))
    (named,) = verify(admin, finish)["result"]["indexes"]
    assert (named["code"], named["id"]) == ("filter_differs", "index:kind")
    before = generation_of(data)
    result = verify(admin, finish, repair=True)["result"]
    assert (result["repaired"], result["unrepaired"]) == (1, [])
    assert generation_of(data) != before
    assert state(admin) == filled


def test_a_repair_holds_the_lock_that_workers_write_under(
    service: Service,
    admin: TestClient,
    finish: Callable[..., Any],
    hand_in: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    hand_in(admin, "The kettle on the bridge is broken.")
    key = ("default", "default")
    real, free = maintenance.repairing.verify, list[bool]()

    def watched(*args: Any, **how: Any) -> Any:
        with ThreadPoolExecutor(1) as pool:
            lock = service.write_lock(*key)
            free.append(pool.submit(lock.acquire, blocking=False).result(timeout=60))
        return real(*args, **how)

    monkeypatch.setattr(maintenance.repairing, "verify", watched)
    verify(admin, finish, repair=True)
    assert free == [False]
    with closing(Link(service, tmp_path / "w.sock")) as link:
        assert link._lock(key) is service.write_lock(*key)


@pytest.mark.soak
def test_an_engine_that_cannot_be_read_and_has_no_records_is_left_as_it_is(
    filled: dict[str, Any], data: Path, open_again: Callable[[], Service], finish: Callable[..., Any]
) -> None:
    generation = generation_of(data)
    for file in generation.glob("records.sqlite*"):
        file.unlink()
    for file in (generation / "shard").rglob("*"):
        if file.is_file():
            file.write_bytes(b"nonsense")
    before = sorted(path.name for path in (generation / "shard").rglob("*"))
    admin = TestClient(Admin(create_app(open_again())))
    refused = verify(admin, finish, repair=True)
    assert (refused["status"], refused["error"]["code"]) == ("failed", "index_damaged")
    assert sorted(path.name for path in (generation / "shard").rglob("*")) == before
    assert not (generation / "shard.unreadable").exists()
    assert not (generation / "mending").exists()


class KilledError(BaseException):
    """Stands for kill -9 of the owner."""


def test_a_repair_that_was_killed_leaves_an_index_that_nobody_answers_from(
    filled: dict[str, Any],
    data: Path,
    open_again: Callable[[], Service],
    finish: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    damage(data, 0.97, seed=6)
    admin = TestClient(Admin(create_app(open_again())))

    def killed(*args: Any, **kwargs: Any) -> Any:
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr("latewood.ingest.integrity.repair._Repair._clear_strays", killed)
        patched.setattr(repair_marker, "end", killed)
        assert verify(admin, finish, repair=True)["status"] == "failed"
    refused = admin.post("/search", json={"query": "kelp"}).json()
    assert "did not come to its end" in refused["error"]["message"]
    assert "latewood verify --repair" in refused["error"]["message"]
    assert verify(admin, finish, repair=True)["result"]["unrepaired"] == []
    assert state(admin) == filled


def test_while_an_index_is_repaired_nobody_else_opens_it(
    filled: dict[str, Any], data: Path, open_again: Callable[[], Service]
) -> None:
    service = open_again()
    with service.unchecked("default", "default"):
        with pytest.raises(StoreUnavailableError, match="being verified"):
            service.open("default", "default")
        with pytest.raises(StoreUnavailableError, match="in use"), service.unchecked("default", "default"):
            raise AssertionError("opened twice")


def test_a_verify_of_an_index_that_is_open_keeps_it_open(
    service: Service, admin: TestClient, finish: Callable[..., Any], hand_in: Callable[..., Any]
) -> None:
    hand_in(admin, "The kettle on the bridge is broken.", uri="upload:kettle")
    opened = service.open("default", "default")
    verify(admin, finish, repair=True)
    job = verify(admin, finish)
    assert (job["counts"]["total"], job["counts"]["finished"], clean(job["result"])) == (1, 1, True)
    assert service.open("default", "default") is opened


def test_wrong_use_is_refused(
    admin: TestClient, http: TestClient, hand_in: Callable[..., Any], finish: Callable[..., Any]
) -> None:
    assert admin.post("/verify", json={}).status_code == 404
    hand_in(admin, "The kettle on the bridge is broken.")
    assert http.post("/verify", json={}).status_code == 403
    unknown = admin.post("/verify", json={"mend": True})
    assert unknown.status_code == 422
    assert "repair" in unknown.json()["error"]["message"]
    assert admin.post("/verify", json={"collection": "../x"}).status_code == 422


def test_a_cancelled_verify_says_so(
    service: Service,
    admin: TestClient,
    finish: Callable[..., Any],
    hand_in: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hand_in(admin, "The kettle on the bridge is broken.")
    real = maintenance.repairing.verify

    def cancelled(index: Any, work: Any, report: Any, **how: Any) -> Any:
        service.jobs.cancel(service.jobs.all("default")[0])
        return real(index, work, report, **how)

    monkeypatch.setattr(maintenance.repairing, "verify", cancelled)
    job = verify(admin, finish, repair=True)
    assert (job["status"], job["error"]["code"]) == ("cancelled", "cancelled")


@pytest.fixture
def run(
    data: Path, open_service: Callable[..., Service], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., str]:
    """Run a command with a stand-in model; checks the exit code, gives what it printed."""
    monkeypatch.setattr(Service, "embedder", type(open_service()).embedder)
    monkeypatch.setenv("LATEWOOD_DATA", str(data))
    monkeypatch.setenv("LATEWOOD_CHUNK_TOKENS", "24")
    monkeypatch.chdir(tmp_path)

    def command(*args: str, code: int) -> str:
        done = CliRunner().invoke(app, list(args))
        assert done.exit_code == code, done.output + done.stderr
        return done.stdout + done.stderr

    return command


def test_the_command_names_what_differs_and_repairs_it(
    filled: dict[str, Any], data: Path, run: Callable[..., str]
) -> None:
    damage(data, 0.9, seed=4)
    named = run("verify", code=1)
    assert "manifest_lost" in named
    assert "stations/3.md" in named
    repaired = run("verify", "--repair", code=0)
    assert "60 documents" in repaired


def test_a_program_gets_one_object(run: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = {name: [] for name in LISTS} | {"documents": 3, "chunks": 9, "repaired": 0}
    monkeypatch.setattr(verify_cli, "ask", lambda *_: found)
    assert json.loads(run("verify", "--json", code=0)) == found
    lost = {
        "id": "a",
        "uri": "",
        "code": "record_unreadable",
        "chunks": 0,
        "of": 0,
        "message": "cannot be read",
    }
    found["unrepaired"] = [lost]
    told = run("verify", "--repair", code=1)
    assert "a: cannot be read [record_unreadable]" in told
    assert "1 left" in told


def test_the_command_on_what_does_not_exist_exits_3_and_creates_nothing(
    data: Path, run: Callable[..., str]
) -> None:
    run("verify", code=3)
    assert not data.exists()
