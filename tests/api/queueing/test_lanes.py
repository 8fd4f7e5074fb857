"""Lanes of jobs: small jobs next to a folder, tenants in turn, one job of a source at a time."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from latewood.api.http.app import Admin, create_app
from latewood.engine.jobs import queue
from latewood.engine.library import Service
from latewood.ingest.orders import UPLOAD, Order
from latewood.ingest.report import Report
from latewood.ingest.uploads import SMALL_BYTES

ROOT = Path(__file__).resolve().parents[3]
OpenService = Callable[..., Service]


def admin(service: Service) -> TestClient:
    return TestClient(Admin(create_app(service)), raise_server_exceptions=False)


def hand_in(http: TestClient, uri: str, text: str = "The ferry leaves.", tenant: str = "default") -> str:
    headers = {"X-Latewood-Tenant": tenant}
    answer = http.post("/documents", json={"text": text, "uri": uri}, headers=headers)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job_id"])


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event, list[str]]:
    """Holds the jobs of the main lane: set when one began, to be set to let them end, sources as they ran."""
    began, gate, ran = threading.Event(), threading.Event(), list[str]()
    kept = queue.carry_out

    def run(service: Service, order: Order, job: Any, progress: Any, stop: Callable[[], bool]) -> Report:
        if not order.small:
            began.set()
            while not stop() and not gate.wait(0.01):
                pass
        ran.append(f"{order.tenant} {order.source}")
        return kept(service, order, job, progress, stop)

    monkeypatch.setattr(queue, "carry_out", run)
    return began, gate, ran


Gate = tuple[threading.Event, threading.Event, list[str]]


def test_an_upload_is_searchable_while_a_folder_is_ingested(
    open_durable: OpenService, finish: Any, gate: Gate, tmp_path: Path
) -> None:
    began, go_on, _ = gate
    (tmp_path / "a.txt").write_text("Seals rest on the skerry.")
    service = open_durable()
    http = admin(service)
    folder = http.post("/jobs", json={"source": str(tmp_path)}).json()["id"]
    assert began.wait(60)
    assert finish(http, hand_in(http, "upload:ferry"))["status"] == "completed"
    found = http.post("/search", json={"query": "ferry", "mode": "bm25"}).json()["results"]
    assert [one["uri"] for one in found] == ["upload:ferry"]
    assert http.get(f"/jobs/{folder}").json()["status"] == "in_progress"
    go_on.set()
    assert finish(http, folder)["status"] == "completed"


def test_uploads_run_in_the_order_of_their_arrival(
    open_durable: OpenService, finish: Any, gate: Gate
) -> None:
    http = admin(open_durable())
    jobs = [hand_in(http, f"upload:{number:02d}") for number in range(12)]
    assert [finish(http, job)["status"] for job in jobs] == ["completed"] * 12
    assert gate[2] == [f"default upload:{number:02d}" for number in range(12)]


def test_a_tenant_does_not_wait_for_another_ones_backlog(
    open_durable: OpenService, finish: Any, gate: Gate
) -> None:
    began, go_on, ran = gate
    http = admin(open_durable())
    large = "word " * SMALL_BYTES
    bombs = [hand_in(http, f"upload:{number}", large) for number in range(2)]
    assert began.wait(60)
    assert finish_as(http, hand_in(http, "upload:x", tenant="other"), "other") == "completed"
    assert ran == ["other upload:x"]
    for job in bombs:  # they would take long to embed
        http.post(f"/jobs/{job}/cancel")
    go_on.set()


def finish_as(http: TestClient, job: str, tenant: str) -> str:
    deadline = time.monotonic() + 60
    while True:
        state = http.get(f"/jobs/{job}", headers={"X-Latewood-Tenant": tenant}).json()
        if state["status"] in {"completed", "failed", "cancelled"}:
            return str(state["status"])
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_later_of_two_uploads_stays_whatever_lanes_they_take(
    open_durable: OpenService, finish: Any, gate: Gate
) -> None:
    began, go_on, ran = gate
    service = open_durable()
    http = admin(service)
    large = "An older text that is long.\n" * (SMALL_BYTES // 20)
    first = hand_in(http, "upload:a", large)
    assert began.wait(60)
    second = hand_in(http, "upload:a", "The newer text.")
    assert finish(http, hand_in(http, "upload:b"))["status"] == "completed"
    waiting = http.get(f"/jobs/{second}").json()
    assert waiting["status"] == "queued"
    assert waiting["waits_for"]
    go_on.set()
    assert [finish(http, job)["status"] for job in (first, second)] == ["completed"] * 2
    assert ran == ["default upload:b", "default upload:a", "default upload:a"]
    found = http.post("/search", json={"query": "newer older", "mode": "bm25"}).json()["results"]
    assert [one["text"] for one in found] == ["The newer text."]


def test_jobs_are_listed_by_arrival_when_the_clock_is_set_back(
    open_durable: OpenService, finish: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    http = admin(open_durable())
    first = hand_in(http, "upload:a")
    monkeypatch.setattr("latewood.engine.library.time", lambda: 1e9)
    second = hand_in(http, "upload:b")
    for job in (first, second):
        finish(http, job)
    listed = http.get("/jobs").json()["jobs"]
    assert [job["id"] for job in listed] == [second, first]
    assert listed[0]["created"] < listed[1]["created"]


def test_an_order_of_an_older_version_is_read() -> None:
    given = Order(UPLOAD, "t", "c", "upload:a", entry="1-x", born=12.5).as_dict()
    del given["number"], given["small"]
    assert (Order.from_dict(given).number, Order.from_dict(given).small) == (0, False)


FIRST = """
import logging, sys
logging.basicConfig(level=logging.INFO, stream=sys.stderr)
from pathlib import Path
from latewood.engine.jobs.dbos_store import Database
Database("sqlite", Path(sys.argv[1])).close()
"""


def test_the_first_start_prints_nothing_of_the_library(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FIRST, tmp_path], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("", "")
