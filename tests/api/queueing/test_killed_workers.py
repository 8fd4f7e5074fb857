"""Whoever runs a job is killed -9 in the middle: it goes on, and nothing is done twice or lost."""

from __future__ import annotations

import collections
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from latewood.client.client import Client, LatewoodError, UnreachableError
from latewood.engine.jobs.dbos_store import Database
from latewood.engine.owner.lock import socket_path

PEOPLE = Path(__file__).with_name("queue_people.py")
PATIENCE = 120
IN_FLIGHT = 3 * 32  # batches of at most 32 documents: one is embedded, one waits, one is written
FILES, UPLOADS = 24, 6


def until(true: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@dataclass
class Place:
    """A data directory, its queue, and everyone who works on it."""

    home: Path
    jobs: str
    people: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def log(self) -> Path:
        return self.home / "log"

    def start(self, role: str) -> subprocess.Popen[str]:
        words = [sys.executable, str(PEOPLE), role, str(self.data), self.jobs, str(self.log)]
        with (self.home / f"{role}{len(self.people)}.err").open("w") as errors:
            person = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True)
        self.people.append(person)
        assert person.stdout is not None
        assert person.stdout.readline(), f"the {role} does not start"
        return person

    def client(self) -> Client:
        return Client(socket=socket_path(self.data), timeout=PATIENCE)

    def noted(self, word: str) -> list[list[str]]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line.split() for line in lines if line.startswith(f"{word} ")]

    def folder(self, name: str, files: int) -> Path:
        folder = self.home / name
        folder.mkdir()
        for number in range(files):
            text = f"{name}{number} tells of ropes, knots and the tide at Ostrey. " * 6
            (folder / f"{number}.txt").write_text(text)
        return folder

    def order(self, client: Client) -> list[str]:
        """Two folders and some uploads; their jobs."""
        made = []
        for name in ("north", "south"):
            folder = self.folder(name, FILES)
            made.append(client.call("POST", "/jobs", json={"source": str(folder)})["id"])
        for number in range(UPLOADS):
            text = f"letter{number} is a letter about the tide."
            made.append(client.add_text(text, uri=f"upload:letter{number}"))
        return made

    def check(self, client: Client, jobs: list[str], unnoted: int = 0) -> None:
        """Every document is there, was committed once, and nothing waits or is in flight.

        An owner that was killed after a commit could not note it any more: `unnoted` documents at most.
        """
        states = {job: client.job(job) for job in jobs}
        ended = {(state["source"], state["status"], str(state["error"])) for state in states.values()}
        assert {one for one in ended if one[1] != "completed"} == set()
        assert [state["errors"] for state in states.values()] == [[]] * len(states)
        documents = [one["uri"] for one in client.documents()]
        assert len(documents) == len(set(documents)) == 2 * FILES + UPLOADS
        commits = collections.Counter(words[2] for words in self.noted("committed"))
        assert set(commits) <= set(documents)
        twice = {uri for uri, times in commits.items() if times > 1}
        # An upload is forgotten within a second of its commit: killed before that, it is taken in again.
        assert all(unnoted and uri.startswith("upload:") for uri in twice)
        assert len(documents) - len(commits) <= unnoted
        database = Database(self.jobs, self.data)
        assert database.open() == []
        database.close()
        assert client.call("GET", "/status")["in_flight_chunks"] == 0
        verdict = client.call("POST", "/verify", json={})
        *_, last = client.follow(verdict["job_id"])
        assert last["result"]["missing"] == last["result"]["orphaned"] == last["result"]["stale"] == []

    def close(self) -> None:
        for person in self.people:
            if person.poll() is None:
                person.send_signal(signal.SIGTERM)
        for person in self.people:
            try:
                person.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                person.kill()
                person.communicate()


def ended(client: Client, jobs: list[str]) -> bool:
    try:
        return all(client.job(job)["status"] in {"completed", "failed", "cancelled"} for job in jobs)
    except (LatewoodError, UnreachableError):
        return False


@pytest.fixture
def place(tmp_path: Path, setting: str) -> Iterator[Place]:
    made = Place(tmp_path, setting)
    yield made
    made.close()


def kill(person: subprocess.Popen[str]) -> None:
    """It and its children, at one moment."""
    victim = psutil.Process(person.pid)
    for one in [victim, *victim.children(recursive=True)]:
        one.send_signal(signal.SIGKILL)
    person.communicate()


def repeated(place: Place) -> int:
    """How many documents were embedded more than once, counted each time."""
    counted = collections.Counter(words[2] for words in place.noted("embedded"))
    return sum(number - 1 for number in counted.values())


def test_a_killed_owner_goes_on_where_it_was(place: Place) -> None:
    if place.jobs != "sqlite":
        pytest.skip("with PostgreSQL it is workers who are killed")
    owner = place.start("owner")
    with place.client() as client:
        jobs = place.order(client)
        until(lambda: len(place.noted("committed")) >= 1, "something is committed")
    kill(owner)
    before = len(place.noted("committed"))
    place.start("owner")
    with place.client() as client:
        until(lambda: ended(client, jobs), "every job ends")
        place.check(client, jobs, unnoted=IN_FLIGHT)
    assert before < len(place.noted("committed"))
    assert repeated(place) <= IN_FLIGHT


def test_two_workers_share_a_queue_and_one_is_killed_half_way(place: Place) -> None:
    if place.jobs == "sqlite":
        pytest.skip("a queue in the data directory has one worker, its owner")
    place.start("owner")
    workers = [place.start("worker") for _ in range(2)]
    with place.client() as client:
        jobs = place.order(client)
        until(lambda: len({words[1] for words in place.noted("embedded")}) == 2, "both work")
        until(lambda: len(place.noted("embedded")) >= FILES, "half is done")
        kill(workers[0])
        until(lambda: ended(client, jobs), "every job ends")
        place.check(client, jobs)
    assert {words[1] for words in place.noted("committed")} == {str(place.people[0].pid)}
    assert repeated(place) <= IN_FLIGHT


def test_a_worker_that_is_asked_to_stop_leaves_its_job_to_the_others(place: Place) -> None:
    if place.jobs == "sqlite":
        pytest.skip("a queue in the data directory has one worker, its owner")
    place.start("owner")
    first = place.start("worker")
    with place.client() as client:
        jobs = place.order(client)
        until(lambda: place.noted("embedded"), "it works")
        first.send_signal(signal.SIGTERM)
        assert first.wait(PATIENCE) == 0
        assert not ended(client, jobs)
        place.start("worker")
        until(lambda: ended(client, jobs), "every job ends")
        place.check(client, jobs)


def test_workers_go_on_with_the_next_owner(place: Place) -> None:
    """The owner is killed while a worker writes through it."""
    if place.jobs == "sqlite":
        pytest.skip("a queue in the data directory has one worker, its owner")
    owner = place.start("owner")
    place.start("worker")
    with place.client() as client:
        jobs = place.order(client)
        until(lambda: place.noted("embedded"), "it works")
    kill(owner)
    place.start("owner")
    with place.client() as client:
        until(lambda: ended(client, jobs), "every job ends")
        place.check(client, jobs, unnoted=IN_FLIGHT)


def test_a_job_that_a_worker_runs_is_cancelled_and_tells_how_far_it_is(place: Place) -> None:
    if place.jobs == "sqlite":
        pytest.skip("a queue in the data directory has one worker, its owner")
    place.start("owner")
    place.start("worker")
    with place.client() as client:
        folder = place.folder("long", 400)
        job = client.call("POST", "/jobs", json={"source": str(folder)})["id"]
        until(lambda: client.job(job)["counts"]["finished"] > 0, "it tells")
        state = client.job(job)
        assert (state["status"], state["counts"]["total"]) == ("in_progress", 400)
        assert state["counts"]["current"].startswith("file:///")
        client.cancel(job)
        until(lambda: ended(client, [job]), "it ends")
        database = Database(place.jobs, place.data)
        until(lambda: not database.open(), "nothing is left open")
        database.close()
        until(lambda: client.job(job)["counts"]["finished"] < 400, "it stopped in the middle")
        assert client.job(job)["error"] == {"code": "cancelled", "message": "cancelled on request"}
