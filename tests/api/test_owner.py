"""One owner, everyone else a client: with real processes, killed for real."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from latewood.api import owner
from latewood.api.owner import OwnerGoneError, SocketServer, take_over, with_owner
from latewood.client.client import Client, LatewoodError, UnreachableError
from latewood.engine.library import Service
from latewood.engine.owner import lock
from latewood.engine.owner.lock import DataError, private_socket, socket_path, try_lock
from latewood.engine.settings import Settings
from latewood.ingest.report import CLOSING

LATEWOOD = [sys.executable, "-m", "latewood.api.cli.main"]
PATIENCE = 480  # seconds; only what hangs meets it, not what a loaded machine makes slow


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "docs"
    root.mkdir()
    for n in range(3):
        (root / f"note{n}.md").write_text(
            f"# Note {n}\n\nThe harbour master's dog number {n} is called Bosun.\n"
        )
    return root


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `latewood …`; whatever still runs at the end is killed."""
    running: list[subprocess.Popen[str]] = []

    def start(*args: str, data: Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*LATEWOOD, *args, "--data", str(data)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def latewood(*args: str, data: Path, code: int = 0) -> dict[str, Any]:
    """Run a command to its end and read its JSON."""
    done = subprocess.run(
        [*LATEWOOD, *args, "--json", "--data", str(data)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == code, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def serving(process: subprocess.Popen[str]) -> str:
    """The URL a starting service prints."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.stderr.read() if process.stderr else ""
    return str(json.loads(line)["url"])


def documents_in(data: Path) -> int:
    """How many documents answer now, asked over the owner's socket; 0 while nobody is there to ask."""
    if not socket_path(data).exists():
        return 0
    try:
        with Client(socket=socket_path(data), timeout=PATIENCE) as client:
            return int(client.call("GET", "/status")["documents"])
    except (UnreachableError, LatewoodError):
        return 0


def many(folder: Path, count: int) -> None:
    for n in range(count):
        text = " ".join(
            f"Sentence {k} of file {n} tells of ropes, knots and the tide at Ostrey." for k in range(60)
        )
        (folder / f"long{n:03}.txt").write_text(text)


class Clock:
    """Stands in for the module `time`: nobody waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    fake = Clock()
    monkeypatch.setattr(owner, "time", fake)
    return fake


@pytest.fixture
def any_owner(monkeypatch: pytest.MonkeyPatch, data: Path) -> Settings:
    """Someone owns the data and can be connected to; what becomes of the work is the test's."""

    @contextlib.contextmanager
    def connected(settings: Settings, tenant: str) -> Iterator[Client]:
        with Client(socket=socket_path(data)) as client:
            yield client

    monkeypatch.setattr(owner, "connected", connected)
    data.mkdir()
    (data / "owner.lock").write_text("4711\n")
    return Settings(data=data)


def test_an_owner_that_dies_late_into_a_long_command_is_followed_by_the_next_one(
    clock: Clock, any_owner: Settings
) -> None:
    attempts = []

    def work(client: Client) -> str:
        attempts.append(client)
        if len(attempts) == 3:
            return "done"
        clock.now += 300
        raise UnreachableError("the owner was killed")

    assert with_owner(any_owner, "default", work) == "done"


def test_owners_that_never_answer_are_given_up_after_30_seconds(clock: Clock, any_owner: Settings) -> None:
    def work(client: Client) -> None:
        raise UnreachableError("connection refused")

    with pytest.raises(DataError, match="connection refused"):
        with_owner(any_owner, "default", work)
    assert 30 < clock.now < 32


@pytest.mark.parametrize("error", [OwnerGoneError(), LatewoodError(503, CLOSING, "this process is closing")])
def test_owners_that_only_ever_close_are_given_up_after_60_seconds_and_one_word(
    clock: Clock, any_owner: Settings, error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(client: Client) -> None:
        raise error

    with pytest.raises(DataError, match="process 4711"):
        with_owner(any_owner, "default", work)
    assert 60 < clock.now < 62
    assert capsys.readouterr().err.count("waiting for the next owner") == 1


def test_an_owner_that_closes_slowly_and_then_goes_is_followed_by_the_next_one(
    clock: Clock, any_owner: Settings
) -> None:
    def work(client: Client) -> str:
        if clock.now < 40:
            raise LatewoodError(503, CLOSING, "this process is closing")
        if clock.now < 50:
            raise UnreachableError("connection refused")
        return "done"

    assert with_owner(any_owner, "default", work) == "done"


def test_a_service_that_waits_asks_whoever_came_first_to_make_room_each_second(
    clock: Clock, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def ask(client: Client) -> bool:
        asked.append(clock.now)
        return True

    monkeypatch.setattr(owner, "_ask_to_yield", ask)
    monkeypatch.setattr(owner, "try_lock", lambda data: 7 if clock.now > 3.5 else None)
    assert take_over(Settings(data=data)) == 7
    assert [round(at) for at in asked] == [0, 1, 2, 3]


def test_the_lock_has_one_holder_and_is_free_when_the_holder_dies(data: Path) -> None:
    handle = try_lock(data)
    assert handle is not None
    assert try_lock(data) is None
    os.close(handle)
    again = try_lock(data)
    assert again is not None
    os.close(again)


def test_a_data_directory_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DataError, match="LATEWOOD_DATA"):
        try_lock(tmp_path / "file" / "data")
    answer = latewood("ingest", str(tmp_path), data=tmp_path / "file" / "data", code=3)
    assert "cannot use the data directory" in answer["error"]["message"]


def test_the_socket_of_a_very_long_path_is_found_by_everyone(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    assert len(os.fsencode(socket_path(deep))) < 108
    assert socket_path(deep) == socket_path(deep / ".." / deep.name)


def test_the_socket_of_a_long_path_does_not_depend_on_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 120)
    found = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv("TMPDIR", str(tmp_path / name))
        monkeypatch.setattr(tempfile, "tempdir", None)
        found.add(socket_path(deep))
    assert len(found) == 1


def test_a_socket_beside_the_data_needs_no_folder_of_its_own() -> None:
    assert private_socket(Path("/nowhere/data")) == Path("/nowhere/data/owner.sock")


@pytest.mark.parametrize("what", ["open to others", "a link"])
def test_a_place_for_the_socket_that_others_can_write_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(lock, "SHORT", tmp_path)
    deep = tmp_path / ("d" * 120)
    folder = private_socket(deep).parent
    assert folder.stat().st_mode & 0o777 == 0o700
    if what == "a link":
        folder.rename(tmp_path / "elsewhere")
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        folder.chmod(0o755)
    with pytest.raises(DataError, match="mode 700"):
        private_socket(deep)


@pytest.mark.parametrize("name", ["missing/owner.sock", "d" * 120])
def test_a_socket_that_cannot_be_made_is_an_error_with_its_path(
    shared: Service, tmp_path: Path, name: str
) -> None:
    with pytest.raises(DataError, match=name):
        SocketServer(shared, tmp_path / name)


def test_a_service_on_a_very_long_path_is_reached_from_another_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: Callable[..., subprocess.Popen[str]]
) -> None:
    deep = tmp_path / ("d" * 120)
    url = serving(started("serve", "--port", "0", "--json", data=deep))
    try:
        (tmp_path / "other").mkdir()
        monkeypatch.setenv("TMPDIR", str(tmp_path / "other"))
        assert url in latewood("serve", "--port", "0", data=deep, code=3)["error"]["message"]
    finally:
        shutil.rmtree(socket_path(deep).parent)


def test_a_search_answers_while_an_ingest_runs_and_sees_whole_documents_only(
    folder: Path, data: Path, started: Callable[..., subprocess.Popen[str]]
) -> None:
    latewood("ingest", str(folder), data=data)
    many(folder, 60)
    ingest = started("ingest", str(folder), "--json", data=data)
    until(lambda: documents_in(data) > 3, "the ingest commits something")
    assert ingest.poll() is None, "the ingest was over before the search could run beside it"
    found = latewood("search", "name of the dog", data=data)
    assert any("Bosun" in result["text"] for result in found["results"])
    out, errors = ingest.communicate(timeout=PATIENCE)
    assert ingest.returncode == 0, errors
    assert json.loads(out)["documents"] == 63


def test_an_ingest_goes_through_a_running_service_and_the_service_outlives_it(
    folder: Path, data: Path, started: Callable[..., subprocess.Popen[str]]
) -> None:
    service = started("serve", "--port", "0", "--json", data=data)
    url = serving(service)
    assert latewood("ingest", str(folder), data=data)["added"] == 3
    with httpx.Client(base_url=url, timeout=PATIENCE) as http:
        answer = http.post("/search", json={"query": "the harbour master's dog", "limit": 1}).json()
        assert "Bosun" in answer["results"][0]["text"]
        assert http.get("/readyz").json()["ready"]
        assert http.post("/jobs", json={"source": str(folder)}).status_code == 403
    service.send_signal(signal.SIGTERM)
    assert service.wait(PATIENCE) in {0, 130}
    assert latewood("status", data=data)["documents"] == 3


def test_a_killed_owner_leaves_nothing_to_clean_and_the_next_ingest_goes_on(
    folder: Path, data: Path, started: Callable[..., subprocess.Popen[str]]
) -> None:
    many(folder, 60)
    ingest = started("ingest", str(folder), data=data)

    until(lambda: documents_in(data) > 0, "the ingest commits something")
    ingest.kill()
    ingest.wait()
    before = latewood("status", data=data)
    assert before["in_flight_chunks"] == 0
    for document in latewood("list", data=data)["documents"][:5]:
        text = latewood("show", document["id"], data=data)["text"]
        path = folder / document["uri"].rsplit("/", 1)[1]
        assert path.suffix == ".md" or text == path.read_text()
    report = latewood("ingest", str(folder), data=data)
    assert report["added"] + report["unchanged"] == 63
    assert report["unchanged"] == before["documents"]


def test_serve_takes_the_data_over_from_an_ingest_which_goes_on_through_it(
    folder: Path, data: Path, started: Callable[..., subprocess.Popen[str]]
) -> None:
    many(folder, 80)
    ingest = started("ingest", str(folder), "--json", data=data)
    until(lambda: socket_path(data).exists(), "the ingest owns the data")
    service = started("serve", "--port", "0", "--json", data=data)
    url = serving(service)
    out, errors = ingest.communicate(timeout=PATIENCE)
    assert ingest.returncode == 0, errors
    assert json.loads(out)["documents"] == 83
    with httpx.Client(base_url=url, timeout=PATIENCE) as http:
        assert len(http.get("/documents", params={"limit": 1000}).json()["documents"]) == 83


def test_a_second_service_on_the_same_data_is_refused_by_name(
    data: Path, started: Callable[..., subprocess.Popen[str]]
) -> None:
    url = serving(started("serve", "--port", "0", "--json", data=data))
    answer = latewood("serve", "--port", "0", data=data, code=3)
    assert url in answer["error"]["message"]


def test_two_ingests_at_once_both_end_well(
    folder: Path, data: Path, started: Callable[..., subprocess.Popen[str]]
) -> None:
    both = [started("ingest", str(folder), "--json", data=data) for _ in range(2)]
    reports = []
    for process in both:
        out, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, errors
        reports.append(json.loads(out))
    jobs = latewood("jobs", data=data)["jobs"]
    assert sum(job["counts"]["added"] for job in jobs) == 3
    # The later one joins the job of the earlier where that still waits to begin; then both report the same.
    # Where the earlier one closes first, what it leaves in the queue may have begun before it is asked for
    # again: that is a third job, with nothing to add.
    assert len(jobs) in {2, 3} or (len(jobs), reports[0]) == (1, reports[1])
    assert [report["documents"] for report in reports] == [3, 3]


def test_ctrl_c_in_the_middle_keeps_what_was_committed(
    folder: Path, data: Path, started: Callable[..., subprocess.Popen[str]]
) -> None:
    many(folder, 60)
    ingest = started("ingest", str(folder), data=data)
    until(lambda: socket_path(data).exists(), "the ingest began")
    time.sleep(1)
    ingest.send_signal(signal.SIGINT)
    _, errors = ingest.communicate(timeout=PATIENCE)
    assert ingest.returncode == 130
    assert "run it again" in errors
    assert latewood("ingest", str(folder), data=data)["documents"] == 63
