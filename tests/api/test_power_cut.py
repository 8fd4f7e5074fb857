"""What was acknowledged survives a power cut, at whichever flush of the disk it comes.

A service works on a disk that records what reaches it (`recorded_disk`). The disk as it was at a flush is
mounted, a service is started on it, and every document must be in the state of its last acknowledged change,
or of a later one that had begun.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from latewood.api.http.app import Admin, create_app
from latewood.engine.library import Service
from latewood.ingest.types import document_id
from latewood.search.stores.durable import sync

sys.path.append(str(Path(__file__).parents[1] / "power"))  # helpers; no test package
import recorded_disk
from recorded_disk import Recording

pytestmark = pytest.mark.skipif(bool(recorded_disk.missing()), reason=recorded_disk.missing())

Open = Callable[..., Service]
Finish = Callable[[TestClient, str], dict[str, Any]]
State = tuple[str, str] | None
"""A document's text and its metadata `team`; None where there is no such document."""

NAMES = ("ferry", "seals", "ropes", "light", "tides")


def key_of(name: str) -> str:
    return document_id("default", "default", f"upload:{name}")


@dataclass
class Step:
    """A change: where the log stood when it was asked for and when it was acknowledged; what it makes."""

    begun: int
    acknowledged: int | None
    state: State


@dataclass
class Run:
    """A service on a recorded disk, and what it was asked to do."""

    recording: Recording
    http: TestClient
    finish: Finish
    steps: dict[str, list[Step]] = field(default_factory=dict)
    jobs: list[str] = field(default_factory=list)

    def upload(self, name: str, text: str) -> None:
        body = {"uri": f"upload:{name}", "text": text, "metadata": {"team": "file"}}
        answer = self._step(name, (text, self._team(name) or "file"), "POST", "/documents", body)
        self.jobs.append(answer.json()["job_id"])

    def patch(self, name: str, team: str) -> None:
        state = self._now(name)
        assert state is not None
        path = f"/documents/{key_of(name)}"
        self._step(name, (state[0], team), "PATCH", path, {"metadata": {"team": team}})

    def delete(self, name: str) -> None:
        self._step(name, None, "DELETE", f"/documents/{key_of(name)}", None)

    def wait(self) -> None:
        """Until every job has ended."""
        while self.jobs:
            job = self.finish(self.http, self.jobs.pop(0))
            assert job["status"] == "completed", job

    def allowed(self, name: str, position: int) -> list[State]:
        """The states a document may be in after a power cut at this position."""
        states: list[State] = [None]
        for step in self.steps.get(name, []):
            if step.acknowledged is not None and step.acknowledged <= position:
                states = [step.state]
            elif step.begun <= position:
                states.append(step.state)
        return states

    def _step(self, name: str, state: State, method: str, path: str, body: Any) -> Any:
        step = Step(self.recording.position(), None, state)
        self.steps.setdefault(name, []).append(step)
        answer = self.http.request(method, path, json=body)
        assert answer.status_code in {200, 202, 204}, answer.text
        step.acknowledged = self.recording.position()
        return answer

    def _now(self, name: str) -> State:
        return self.steps[name][-1].state if name in self.steps else None

    def _team(self, name: str) -> str:
        """What was set by hand stays over what a later upload says."""
        state = self._now(name)
        return "" if state is None else state[1]


@contextmanager
def written_back(folder: Path, chance: random.Random) -> Iterator[None]:
    """Have files of the index reach the disk in any order, as the kernel does whenever it likes."""
    ended = threading.Event()

    def write_back() -> None:
        while not ended.wait(0.02):
            files = [Path(place, name) for place, _, names in os.walk(folder) for name in names]
            if files:
                with suppress(FileNotFoundError):
                    sync(chance.choice(files))

    thread = threading.Thread(target=write_back)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def prose(name: str, version: int) -> str:
    """A text of several passages that says which version it is."""
    return " ".join(
        f"In {name} v{version} the keeper of light {number} writes of ropes, knots and tides."
        for number in range(3 + version % 3)
    )


def work(run: Run, chance: random.Random, rounds: int) -> None:
    """Every kind of change, alone and in a row."""
    versions = dict.fromkeys(NAMES, 0)
    for turn in range(rounds):
        for name in chance.sample(NAMES, 3):
            versions[name] += 1
            run.upload(name, prose(name, versions[name]))
        if turn % 2:
            run.wait()
        there = [name for name in NAMES if run.steps.get(name) and run.steps[name][-1].state is not None]
        run.wait()
        run.patch(chance.choice(there), f"team {turn}")
        if turn % 2 == 0:
            run.delete(chance.choice(there))


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where the machine has room."""
    memory = Path("/dev/shm")
    fits = memory.is_dir() and shutil.disk_usage(memory).free > 4 * 2**30
    with tempfile.TemporaryDirectory(dir=memory if fits else None, prefix="latewood-power-") as made:
        (Path(made) / "disk").mkdir()
        yield Path(made)


def recorded(folder: Path, open_service: Open, finish: Finish, seed: int, rounds: int) -> Run:
    chance = random.Random(seed)
    disk = folder / "disk"
    with recorded_disk.recorded(folder, disk) as recording:
        (disk / "data").mkdir()
        service = open_service(disk / "data", jobs="sqlite")
        try:
            run = Run(recording, TestClient(create_app(service)), finish)
            with written_back(disk / "data" / "indexes", chance):
                work(run, chance, rounds)
        finally:
            service.close()
    return run


def state_after_cut(
    run: Run, position: int, folder: Path, open_service: Open, finish: Finish
) -> tuple[dict[str, State], dict[str, Any]]:
    """What a service finds that starts on the disk as it was, and what a verify of it finds."""
    image, disk = folder / "cut", folder / "disk"
    run.recording.image(position, image)
    with recorded_disk.mount(image, disk):
        (disk / "data").mkdir(exist_ok=True)  # as the owner does before it takes its lock
        service = open_service(disk / "data", jobs="sqlite")
        try:
            service.desk.start()
            admin = TestClient(Admin(create_app(service)))
            for job in admin.get("/jobs").json()["jobs"]:
                finish(admin, job["id"])
            found = {name: state_of(admin, name) for name in NAMES}
            if not service.exists("default", "default"):
                return found, {}
            return found, verified(admin, finish)
        finally:
            service.close()


def state_of(http: TestClient, name: str) -> State:
    answer = http.get(f"/documents/{key_of(name)}")
    if answer.status_code == 404:
        return None
    assert answer.status_code == 200, answer.text
    shown = answer.json()
    return shown["text"], shown["metadata"]["team"]


def check(run: Run, position: int, folder: Path, open_service: Open, finish: Finish) -> None:
    found, result = state_after_cut(run, position, folder, open_service, finish)
    for name in NAMES:
        assert found[name] in run.allowed(name, position), f"{name} after a power cut at {position}"
    assert differing(result) == {}, f"after a power cut at {position}"


def verified(admin: TestClient, finish: Finish) -> dict[str, Any]:
    """What a verify of the index finds."""
    result: dict[str, Any] = finish(admin, admin.post("/verify", json={}).json()["job_id"])["result"]
    return result


def differing(result: dict[str, Any]) -> dict[str, Any]:
    return {what: result[what] for what in ("missing", "orphaned", "stale") if result.get(what)}


def test_what_was_acknowledged_survives_a_power_cut(folder: Path, open_service: Open, finish: Finish) -> None:
    run = recorded(folder, open_service, finish, seed=15, rounds=3)
    flushes = run.recording.flushes()
    acknowledged = [step.acknowledged or 0 for steps in run.steps.values() for step in steps]
    first = [next(one for one in flushes if one >= place) for place in acknowledged if place <= flushes[-1]]
    for position in random.Random(15).sample(sorted(set(first)), 5):
        check(run, position, folder, open_service, finish)


def test_an_ingest_that_was_cut_off_finds_what_was_lost(
    folder: Path, open_service: Open, finish: Finish
) -> None:
    """Old versions and new ones: half of the files are ingested before, and then changed."""
    source, disk, chance = folder / "source", folder / "disk", random.Random(15)
    source.mkdir()
    texts = {f"note-{number}.md": prose(f"note {number}", number) for number in range(100)}
    with recorded_disk.recorded(folder, disk) as recording:
        (disk / "data").mkdir()
        service = open_service(disk / "data", jobs="sqlite")
        try:
            admin = TestClient(Admin(create_app(service)))
            for name in list(texts)[::2]:
                (source / name).write_text(f"{texts[name]} As it was.")
            ingest(admin, source, finish)
            for name, text in texts.items():
                (source / name).write_text(text)
            begun = recording.position()
            with written_back(disk / "data" / "indexes", chance):
                ingest(admin, source, finish)
        finally:
            service.close()
    for position in chance.sample([one for one in recording.flushes() if one > begun], 3):
        recording.image(position, folder / "cut")
        with recorded_disk.mount(folder / "cut", disk):
            service = open_service(disk / "data", jobs="sqlite")
            try:
                admin = TestClient(Admin(create_app(service)))
                ingest(admin, source, finish)
                found = admin.get("/documents", params={"limit": 1000}).json()["documents"]
                shown = [admin.get(f"/documents/{one['id']}").json() for one in found]
                assert {one["uri"].rsplit("/", 1)[1]: one["text"] for one in shown} == texts
                assert differing(verified(admin, finish)) == {}
            finally:
                service.close()


def ingest(admin: TestClient, source: Path, finish: Finish) -> None:
    job = finish(admin, admin.post("/jobs", json={"source": str(source)}).json()["id"])
    assert (job["status"], job["errors"]) == ("completed", [])


@pytest.mark.soak
def test_a_power_cut_at_every_flush(folder: Path, open_service: Open, finish: Finish) -> None:
    run = recorded(folder, open_service, finish, seed=0, rounds=2)
    for position in run.recording.flushes():
        check(run, position, folder, open_service, finish)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1, 5))
def test_a_power_cut_at_any_flush_of_a_long_run(
    folder: Path, open_service: Open, finish: Finish, seed: int
) -> None:
    run = recorded(folder, open_service, finish, seed, rounds=8)
    for position in random.Random(seed).sample(run.recording.flushes(), 100):
        check(run, position, folder, open_service, finish)
