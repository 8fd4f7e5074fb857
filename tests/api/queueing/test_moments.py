"""What happens between two steps: before the queue is open, between the queue's status and this process's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from latewood.api.cli import serve
from latewood.api.http.app import Admin, create_app
from latewood.engine.library import Service
from latewood.ingest.report import Report

OpenService = Callable[..., Service]


@pytest.fixture
def opened(open_service: OpenService) -> Iterator[OpenService]:
    """Opens a service whose jobs are in a file, and closes it: a process works on one queue at a time."""
    services: list[Service] = []

    def open_one(data: Path | None = None) -> Service:
        services.append(open_service(data, jobs="sqlite"))
        return services[-1]

    yield open_one
    for service in services:
        service.close()


def test_what_is_handed_in_before_the_queue_is_open_stays(opened: OpenService, tmp_path: Path) -> None:
    """A killed process's drafts go before anybody can hand anything in, and none afterwards."""
    left, begun = (tmp_path / "data" / "uploads" / name for name in (".killed", ".begun"))
    left.mkdir(parents=True)
    service = opened(tmp_path / "data")
    assert not left.exists()
    begun.mkdir()
    service.desk.start()
    assert begun.exists()


def test_a_queue_that_cannot_be_worked_on_is_told_and_questions_are_answered(
    opened: OpenService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    service = opened()

    def fail() -> None:
        raise FileNotFoundError("uploads/1")

    monkeypatch.setattr(service.desk, "start", fail)
    serve._begin(service)
    assert service.loaded
    assert "uploads/1" in service.warm_up_error
    assert "FileNotFoundError" in caplog.text


def test_a_cancel_just_before_a_job_is_known_here_is_not_lost(
    opened: OpenService, finish: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("Seals rest in March.")
    service = opened()
    gate, taken, told = threading.Event(), threading.Event(), threading.Event()

    def hold(job: Any, progress: Any, stop: Callable[[], bool]) -> Report:
        while not stop() and not gate.wait(0.01):
            pass
        return Report()

    service.jobs.submit("default", "held", "x", hold)
    kept = service.desk.run_here

    def late(*given: Any) -> Any:
        taken.set()
        told.wait()
        return kept(*given)

    monkeypatch.setattr(service.desk, "run_here", late)
    http = TestClient(Admin(create_app(service)), raise_server_exceptions=False)
    job = http.post("/jobs", json={"source": str(tmp_path / "docs")}).json()["id"]
    assert taken.wait(60)
    assert http.post(f"/jobs/{job}/cancel").status_code == 202
    told.set()
    deadline = time.monotonic() + 60
    while (known := service.jobs.get("default", job)) is None or not service.jobs.cancelled(known):
        assert time.monotonic() < deadline, "the job would run to its end"
        time.sleep(0.01)
    gate.set()
    assert finish(http, job)["status"] == "cancelled"
    assert not service.exists("default", "default")
