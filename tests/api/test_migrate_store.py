"""`latewood migrate --store URL` as a command, against a server in another process; killed on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from latewood.api.http.app import Admin, create_app
from latewood.engine.library import Service
from latewood.ingest.jobs import FINAL

sys.path.append(str(Path(__file__).parents[1] / "qdrant_server"))  # helpers; no test package

from faulty_proxy import Fault, FaultyProxy

HELPERS = Path(__file__).parents[1] / "qdrant_server"
DOCUMENTS = 130  # in batches of 64
PATIENCE = 240


@pytest.fixture
def qdrant(tmp_path: Path) -> Iterator[str]:
    """The address of Qdrant's REST paths in another process."""
    note = tmp_path / "port"
    process = subprocess.Popen([sys.executable, "-W", "ignore", str(HELPERS / "qdrant_http.py"), str(note)])
    deadline = time.monotonic() + PATIENCE
    while not note.exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    yield f"http://127.0.0.1:{note.read_text().strip()}"
    process.kill()
    process.wait()


def everything(service: Service) -> dict[str, Any]:
    store = service.open("default", "default").store
    found: dict[str, Any] = {}
    after: str | None = None
    while page := store.list_manifests(after=after):
        records = {one.document_id: one for one in store.get_records([one.id for one in page])}
        found |= {one.id: (one, store.chunks_of(one.id), records[one.id]) for one in page}
        after = page[-1].id
    return found


def filled(service: Service, folder: Path) -> dict[str, Any]:
    folder.mkdir()
    for number in range(DOCUMENTS):
        (folder / f"{number}.txt").write_text(f"Note {number}: the ferry carries {number} cars and a van.")
    http = TestClient(Admin(create_app(service)), raise_server_exceptions=False)
    answer = http.post("/jobs", json={"source": str(folder)})
    job = service.jobs.get("default", answer.json()["id"])
    assert job is not None
    for _ in service.jobs.events(job, every=0, beat=PATIENCE):
        pass
    assert job.status in FINAL
    found = everything(service)
    assert len(found) == DOCUMENTS
    return found


def latewood(*words: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "latewood.api.cli.main", *words, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, **environment},
    )


def done(process: subprocess.Popen[str], code: int = 0) -> dict[str, Any]:
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, output + errors
    found: dict[str, Any] = json.loads(output)
    return found


def test_a_move_that_is_killed_goes_on_and_loses_nothing_there_and_back(
    open_service: Callable[..., Service], tmp_path: Path, qdrant: str
) -> None:
    here = open_service(tmp_path / "here")
    before = filled(here, tmp_path / "notes")
    here.close()
    data = ("--data", str(tmp_path / "here"))
    proxy = FaultyProxy(qdrant).start()
    proxy.plan = lambda method, path: Fault("delay", 0.1) if "/points/batch" in path else None
    killed = latewood("migrate", "--store", proxy.url, *data)
    deadline = time.monotonic() + PATIENCE
    while sum(one.endswith("/points/batch") for one in proxy.requests) < 5:
        assert time.monotonic() < deadline
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    proxy.close()
    told = done(latewood("migrate", "--store", qdrant, *data))
    assert (told["documents"], told["chunks"]) == (DOCUMENTS, DOCUMENTS)
    assert 0 < told["moved"] < DOCUMENTS
    there = open_service(tmp_path / "there", store=qdrant)
    assert everything(there) == before
    there.close()
    data = ("--data", str(tmp_path / "there"))
    status = done(latewood("status", *data, LATEWOOD_STORE=qdrant))
    assert (status["documents"], status["chunks"]) == (DOCUMENTS, DOCUMENTS)
    back = done(latewood("migrate", "--store", "embedded", *data, LATEWOOD_STORE=qdrant))
    assert (back["store"], back["documents"]) == ("embedded", DOCUMENTS)
    again = open_service(tmp_path / "there")
    assert everything(again) == before


def test_what_is_asked_of_a_server_that_is_not_there_ends_with_3(tmp_path: Path) -> None:
    nobody = {"LATEWOOD_STORE": "http://127.0.0.1:1", "LATEWOOD_STORE_RETRIES": "0"}
    for words in (["status"], ["search", "cars"], ["list"]):
        asked = latewood(*words, "--data", str(tmp_path / "d"), **nobody)
        told = done(asked, code=3)
        assert told["error"]["code"] == "store_unavailable"
        assert "cannot be reached" in told["error"]["message"]
