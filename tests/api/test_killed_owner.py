"""The service with its model, killed -9: what it acknowledged answers after the next start."""

from __future__ import annotations

import os
import random
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

from latewood.api.owner import SocketServer
from latewood.client.client import Client, DocumentSummary
from latewood.engine.library import Service
from latewood.engine.owner.lock import socket_path

LATEWOOD = [sys.executable, "-m", "latewood.api.cli.main"]
PATIENCE = 240
FILES = 5


def until(true: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def prose(name: str, version: int) -> str:
    """Several passages, each with a word of this version of this text."""
    return " ".join(
        f"In {name}v{version}x the keeper of light {number} writes of ropes, knots and the tide at Ostrey."
        for number in range(20 + 5 * (version % 3))
    )


def listed(client: Client) -> list[DocumentSummary]:
    """The documents; none before the first ingest made the collection."""
    if not client.call("GET", "/collections")["collections"]:
        return []
    return list(client.documents())


@dataclass
class Life:
    """A data directory whose service is killed again and again, and what it acknowledged."""

    home: Path
    chance: random.Random
    process: subprocess.Popen[str] | None = None
    round: int = 0
    uploaded: dict[str, str] = field(default_factory=dict)
    held: dict[str, set[str]] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return self.home / "docs"

    @property
    def data(self) -> Path:
        return self.home / "data"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [*LATEWOOD, "serve", "--port", "0", "--json", "--data", str(self.data)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline(), "the service does not start"

    def client(self) -> Client:
        return Client(socket=socket_path(self.data), timeout=PATIENCE)

    def edit(self) -> None:
        """Each file gets its next version; one of them is removed each second time."""
        self.round += 1
        self.folder.mkdir(exist_ok=True)
        for number in range(FILES):
            name = f"note{number}"
            path = self.folder / f"{name}.txt"
            if number == 0 and self.round % 2 == 0:
                path.unlink(missing_ok=True)
                self.held[name] = self.held.get(name, set()) | {""}
            else:
                path.write_text(prose(name, self.round))
                self.held[name] = self.held.get(name, {""}) | {path.read_text()}

    def work(self, client: Client) -> str:
        """An ingest and an upload, both under way; the ingest's job."""
        job = client.call("POST", "/jobs", json={"source": str(self.folder)})
        uri, text = f"upload:letter{self.round}", prose(f"letter{self.round}", 1)
        client.add_text(text, uri=uri, title=f"letter{self.round}")
        self.uploaded[uri] = text
        return str(job["id"])

    def kill(self) -> None:
        """The service and, as chance will have it, its children at the same moment."""
        assert self.process is not None
        victims = [psutil.Process(self.process.pid)]
        if self.chance.random() < 0.5:
            victims += victims[0].children(recursive=True)
        for one in victims:
            one.send_signal(signal.SIGKILL)
        self.process.communicate()

    def check(self, client: Client) -> None:
        """Whatever was acknowledged answers, and every file's document is one whole version."""
        until(lambda: self.uploaded.keys() <= {one["uri"] for one in listed(client)}, "uploads answer")
        until(lambda: all(job["status"] == "completed" for job in self.jobs(client)), "nothing runs")
        documents = list(client.documents())
        texts = {one["uri"]: client.document(one["id"])["text"] for one in documents}
        for uri, text in self.uploaded.items():
            assert texts[uri] == text
        for name, versions in self.held.items():
            found = texts.get((self.folder / f"{name}.txt").as_uri(), "")
            assert found in versions, f"{name} is no version whole"
            self.held[name] = {found}
        status = client.call("GET", "/status")
        assert status["documents"] == len(documents)
        assert status["chunks"] == sum(one["chunks"] for one in documents)
        assert status["in_flight_chunks"] == 0
        for uri in self.uploaded:
            word = f"{uri.removeprefix('upload:')}v1x"
            assert {hit["uri"] for hit in client.search(word, mode="bm25", limit=100)["results"]} == {uri}

    def jobs(self, client: Client) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = client.call("GET", "/jobs")["jobs"]
        return found

    def finish(self, client: Client) -> None:
        """One more ingest, and the folder is what answers."""
        job = client.call("POST", "/jobs", json={"source": str(self.folder)})["id"]
        until(lambda: client.call("GET", f"/jobs/{job}")["status"] == "completed", "the ingest ends")
        for path in self.folder.iterdir():
            self.held[path.stem] = {path.read_text()}
        self.check(client)


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Callable[[int], Life]]:
    made: list[Life] = []

    def live(seed: int) -> Life:
        made.append(Life(tmp_path, random.Random(seed)))
        return made[-1]

    yield live
    for one in made:
        if one.process is not None and one.process.poll() is None:
            one.process.kill()
            one.process.communicate()


def live_through(life: Life, moments: int) -> None:
    """Kill at random moments of the work, measured on one round that nobody disturbs."""
    life.start()
    life.edit()
    with life.client() as client:
        life.work(client)
        life.check(client)  # the model is loaded now
        life.edit()
        started = time.monotonic()
        job = life.work(client)
        until(lambda: client.call("GET", f"/jobs/{job}")["status"] == "completed", "the ingest ends")
        undisturbed = time.monotonic() - started
        life.check(client)
    for moment in range(moments):
        life.edit()
        with life.client() as client:
            life.work(client)
            time.sleep(undisturbed * (moment + life.chance.random()) / moments)
            life.kill()
        life.start()
        with life.client() as client:
            life.check(client)
    with life.client() as client:
        life.finish(client)


def test_a_service_killed_at_3_moments_keeps_every_upload_it_acknowledged(
    life: Callable[[int], Life],
) -> None:
    live_through(life(3), 3)


@pytest.mark.soak
def test_a_service_killed_at_30_moments_keeps_every_upload_it_acknowledged(
    life: Callable[[int], Life],
) -> None:
    live_through(life(30), 30)


WRITER = """
import sys
from pathlib import Path
from latewood.client import Client, DocumentSummary
with Client(socket=Path(sys.argv[1]), timeout=600) as client:
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(10):
        text = f"{sys.argv[2]} wrote this letter. " * (number + 1)
        client.add_text(text, uri="upload:letter", title="letter")
"""


def test_two_processes_that_hand_in_the_same_document_through_one_owner_leave_one_of_them_whole(
    shared: Service, tmp_path: Path
) -> None:
    server = SocketServer(shared, tmp_path / "owner.sock")
    try:
        command = [sys.executable, "-c", WRITER, str(tmp_path / "owner.sock")]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        writers = [subprocess.Popen([*command, name], **pipes) for name in ("anna", "bert")]
        for writer in writers:
            assert writer.stdout.readline() == "ready\n"
        allowed = {f"{name} wrote this letter. " * many for name in ("anna", "bert") for many in range(1, 11)}
        with Client(socket=tmp_path / "owner.sock", timeout=PATIENCE) as client:
            for writer in writers:
                writer.stdin.write("go\n")
                writer.stdin.flush()
            seen = set()
            while any(writer.poll() is None for writer in writers) or busy(client):
                seen |= {
                    client.document(one["id"])["text"]
                    for one in listed(client)
                    if one["uri"] == "upload:letter"
                }
            for writer in writers:
                writer.communicate()
            assert [writer.returncode for writer in writers] == [0, 0]
            (letter,) = [one for one in client.documents() if one["uri"] == "upload:letter"]
            last = client.document(letter["id"])["text"]
            assert last in {f"{name} wrote this letter. " * 10 for name in ("anna", "bert")}
            assert {last, *seen} <= allowed
            assert client.call("GET", "/status")["in_flight_chunks"] == 0
            jobs = client.call("GET", "/jobs")["jobs"]  # other tests' too: the service is shared
            ends = {end(job) for job in jobs if job["source"] == "upload:letter"}
            assert "completed" in ends
            assert ends <= {"completed", "failed: superseded"}
    finally:
        server.close()


def end(job: dict[str, Any]) -> str:
    """A job that one later in the spool, but earlier in the queue, made needless has failed as superseded."""
    return job["status"] if job["error"] is None else f"{job['status']}: {job['error']['code']}"


def busy(client: Client) -> bool:
    jobs = client.call("GET", "/jobs")["jobs"]
    return any(job["status"] in {"queued", "in_progress"} for job in jobs)
