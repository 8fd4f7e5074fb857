"""The commands on a full disk, on one with little space and on a read-only one."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from latewood.api.cli.main import app
from latewood.api.http.api_keys import KeyStore
from latewood.engine import disk as errors
from latewood.engine.errors import describe
from latewood.engine.library import Service
from latewood.ingest.uploads import Upload
from latewood.search.types import DiskFullError, StoreUnavailableError

sys.path.append(str(Path(__file__).parents[1] / "disks"))  # helpers; no test package

from small_disk import SmallDisk, needs_mount, small_disk

MIB = 2**20
DATA = "data"


@pytest.fixture(scope="module")
def mounted() -> Iterator[SmallDisk]:
    with small_disk(640) as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "docs"
    root.mkdir()
    for name in ("ferry", "seals"):
        (root / f"{name}.txt").write_text(f"The {name} of the harbour at seven.")
    return root


@pytest.fixture
def run(
    mounted: SmallDisk, open_service: Callable[..., Service], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Any]:
    """Run a command with a stand-in model on a data directory of the small disk; gives the JSON."""
    data = mounted.folder / tmp_path.name / DATA
    monkeypatch.setattr(Service, "embedder", type(open_service()).embedder)
    monkeypatch.setenv("LATEWOOD_DATA", str(data))
    monkeypatch.setenv("LATEWOOD_CHUNK_TOKENS", "24")

    def command(*args: str | Path, code: int = 0) -> Any:
        done: Result = CliRunner().invoke(app, [*map(str, args), "--json"])
        assert done.exit_code == code, (done.output, done.stderr, done.exception)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return json.loads(done.stdout)

    return command


def code_of(answer: Any) -> str:
    return str(answer["error"]["code"])


def reads(run: Callable[..., Any], key: str) -> None:
    """Every command that only reads, on a data directory with two documents."""
    assert len(run("search", "ferry", "--limit", "2")["results"]) == 2
    assert len(run("list")["documents"]) == 2
    assert run("show", key)["text"].startswith("The ")
    assert run("status")["documents"] == 2
    assert run("verify")["missing"] == []
    assert run("keys", "list")["keys"] == []


@needs_mount
def test_a_completely_full_disk_is_read_and_every_write_refused_with_its_code(
    run: Callable[..., Any], folder: Path, mounted: SmallDisk
) -> None:
    run("ingest", folder)
    key = run("list")["documents"][0]["id"]
    (folder / "ferry.txt").write_text("Another text.")
    with mounted.full_but_for(0):
        reads(run, key)
        assert run("backup", folder.with_name("backup"))["indexes"][0]["documents"] == 2
        for command in (["ingest", folder], ["delete", key], ["keys", "create"]):
            mounted.fill()
            assert code_of(run(*command, code=3)) == "disk_full"
    assert run("ingest", folder)["updated"] == 1
    assert run("verify")["missing"] == []


@needs_mount
def test_with_less_than_the_reserve_free_documents_can_be_removed(
    run: Callable[..., Any], folder: Path, mounted: SmallDisk
) -> None:
    """By command, and by an ingest that only removes."""
    run("ingest", folder)
    (folder / "more.txt").write_text("More of the harbour.")
    run("ingest", folder)
    (key,) = [one["id"] for one in run("list")["documents"] if one["title"] == "more"]
    with mounted.full_but_for(64 * MIB):
        (folder / "new.txt").write_text("New.")
        assert code_of(run("ingest", folder, code=3)) == "disk_full"
        (folder / "new.txt").unlink()
        (folder / "seals.txt").unlink()
        os.utime(folder / "ferry.txt")  # read, found unchanged, and no space to note that
        assert run("ingest", folder)["deleted"] == 1
        assert run("delete", key) == {"deleted": 1}
        assert [one["title"] for one in run("list")["documents"]] == ["ferry"]


@needs_mount
def test_a_read_only_data_directory_is_read_and_every_write_refused_with_its_code(
    run: Callable[..., Any], folder: Path, mounted: SmallDisk
) -> None:
    run("ingest", folder)
    key = run("list")["documents"][0]["id"]
    with mounted.read_only():
        reads(run, key)
        assert run("jobs")["jobs"] == []
        assert run("backup", folder.with_name("backup"))["indexes"][0]["documents"] == 2
        for command in (["ingest", folder], ["delete", key], ["keys", "create"], ["optimise"]):
            assert code_of(run(*command, code=3)) == "read_only"
    assert run("delete", key) == {"deleted": 1}


def test_one_meaning_for_every_library_that_meets_a_full_disk(tmp_path: Path) -> None:
    """The system's error, SQLite's, ours, and one of them behind another."""
    full = OSError(errno.ENOSPC, "No space left on device", str(tmp_path))
    database = sqlite3.connect(tmp_path / "d")
    database.execute("PRAGMA max_page_count = 1")
    with pytest.raises(sqlite3.OperationalError) as filled:
        database.execute("CREATE TABLE a (b)")
    database.close()
    behind = StoreUnavailableError("the queue does not answer")
    behind.__cause__ = full
    for error in (full, OSError(errno.EDQUOT, "Quota"), filled.value, DiskFullError("full"), behind):
        assert describe(error)[:2] == (507, "disk_full")
    assert describe(OSError(errno.EROFS, "Read-only", "x"))[:2] == (403, "read_only")
    for other in (OSError(errno.ENOENT, "No such file", "x"), StoreUnavailableError("gone"), ValueError("x")):
        assert errors.explain(other) is None


DAMAGE = {
    "no database": lambda raw: b"x" * len(raw),
    "cut": lambda raw: raw[: len(raw) // 2],
    "flipped": lambda raw: raw[:4096] + bytes(one ^ 255 for one in raw[4096:12288]) + raw[12288:],
}


@pytest.mark.parametrize("harm", DAMAGE)
def test_a_damaged_queue_is_set_aside_and_what_waits_is_queued_again(
    open_service: Callable[..., Service],
    finish: Callable[..., Any],
    harm: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from starlette.testclient import TestClient

    from latewood.api.http.app import Admin, create_app

    service = open_service(jobs="sqlite")
    http = TestClient(Admin(create_app(service)), raise_server_exceptions=False)
    job = http.post("/documents", json={"text": "Seals rest.", "uri": "upload:seals"}).json()["job_id"]
    assert finish(http, job)["status"] == "completed"
    service.close()
    path = service.data / "jobs.sqlite"
    path.write_bytes(DAMAGE[harm](path.read_bytes()))
    upload = Upload("default", "default", "upload:waits", "a.txt", "", {})
    service.spool.add(upload, lambda path: path.write_text("A ferry waits.") and None)
    again = open_service(service.data, jobs="sqlite")
    http = TestClient(Admin(create_app(again)), raise_server_exceptions=False)
    assert len(http.post("/search", json={"query": "seals"}).json()["results"]) == 1
    again.desk.start()
    (aside,) = service.data.glob("jobs.sqlite.damaged-*")
    assert str(aside) in caplog.text
    (waiting,) = http.get("/jobs").json()["jobs"]
    assert waiting["source"] == "upload:waits"
    assert finish(http, waiting["id"])["status"] == "completed"
    assert len(http.get("/documents").json()["documents"]) == 2
    again.close()


def test_keys_of_a_read_only_folder_are_refused_by_the_same_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`KeyStore` itself raises the system's error: the seam is the command."""
    store = KeyStore(tmp_path)
    assert store.all() == []
    monkeypatch.setenv("LATEWOOD_DATA", str(tmp_path))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path))

    monkeypatch.setattr("latewood.search.stores.generations.layout.write_file", full)
    done = CliRunner().invoke(app, ["keys", "create", "--json"])
    assert (done.exit_code, code_of(json.loads(done.stdout))) == (3, "disk_full")
