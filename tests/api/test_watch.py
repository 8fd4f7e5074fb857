"""`ingest --watch`: through whoever owns the data, until it is told to stop."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from latewood.api.cli.common import CommandError
from latewood.api.cli.watch import Following, follow, render
from latewood.api.owner import SocketServer, take_over
from latewood.client.client import Client
from latewood.engine.library import Service
from latewood.engine.owner.lock import private_socket, socket_path
from latewood.engine.settings import Settings
from latewood.ingest.sources.watch import Pace

# httpx leaves the socket of a connection that is refused, as it is between two owners, to the collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
PATIENCE = 240
OPTIONS = {
    "collection": "default",
    "dry_run": False,
    "keep_deleted": False,
    "allow_empty": False,
    "include": [],
    "exclude": [],
    "hidden": False,
}
LATEWOOD = [sys.executable, "-m", "latewood.api.cli.main"]


def until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "docs"
    root.mkdir()
    (root / "ferry.txt").write_text("The ferry leaves the harbour at seven.")
    return root


@pytest.fixture
def settings(
    fast_folder: Path, tmp_path: Path, open_service: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> Settings:
    monkeypatch.setattr(Service, "embedder", type(open_service()).embedder)
    return Settings(data=fast_folder / tmp_path.name / "data", chunk_tokens=24)


@dataclass
class Watching:
    """A watch in a thread, and what it told."""

    settings: Settings
    sources: list[Path]
    options: dict[str, Any] = field(default_factory=lambda: OPTIONS)
    events: list[dict[str, Any]] = field(default_factory=list)
    ended: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        pace = Pace(look=0.1, again=0.2)
        self.following = Following(self.settings, "default", self.options, self.events.append, pace=pace)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.following.run([str(source) for source in self.sources])
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.ended.append(error)

    def ingests(self) -> list[dict[str, Any]]:
        return [event for event in list(self.events) if "message" not in event]

    def troubles(self) -> list[str]:
        return [event["message"] for event in list(self.events) if "message" in event]

    def total(self, name: str) -> int:
        return sum(event[name] for event in self.ingests())

    def until_added(self, count: int) -> None:
        until(lambda: bool(self.ended) or self.total("added") >= count, f"{count} are added")
        assert self.ended == []
        assert self.total("added") == count

    def ask(self, words: str) -> list[str]:
        with Client(socket=socket_path(self.settings.data), timeout=PATIENCE) as client:
            return [found["title"] for found in client.search(words, mode="bm25")["results"]]

    def end(self) -> None:
        self.following.stop.set()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()


@pytest.fixture
def watching(settings: Settings, folder: Path) -> Iterator[Callable[..., Watching]]:
    made: list[Watching] = []

    def watch(*sources: Path, **options: Any) -> Watching:
        made.append(Watching(settings, list(sources) or [folder], {**OPTIONS, **options}))
        return made[-1]

    yield watch
    for one in made:
        one.end()
    gc.collect()


@contextlib.contextmanager
def serving(settings: Settings) -> Iterator[Service]:
    """What `serve` is to other commands: an owner that came to stay."""
    handle = take_over(settings)
    try:
        with contextlib.closing(Service(settings, lock_fd=handle)) as service:
            server = SocketServer(service, private_socket(settings.data))
            try:
                yield service
            finally:
                service.jobs.close()
                server.close()
    finally:
        os.close(handle)


def test_what_is_written_changed_and_removed_in_several_sources_answers_accordingly(
    watching: Callable[..., Watching], folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "note.txt").write_text("A single file, followed too.")
    watch = watching(folder, tmp_path / "note.txt")
    watch.until_added(2)
    assert watch.ask("ferry") == ["ferry"]
    (folder / "seals.txt").write_text("Seals rest on the skerries.")
    watch.until_added(3)
    assert watch.ask("skerries") == ["seals"]
    (folder / ".seals.swp").write_text("Seals rest on the sandbank.")
    (folder / ".seals.swp").rename(folder / "seals.txt")
    until(lambda: watch.total("updated") == 1, "the change is taken")
    assert (watch.ask("skerries"), watch.ask("sandbank")) == ([], ["seals"])
    (tmp_path / "aside").write_text("A single file, written again by a rename.")
    (tmp_path / "aside").rename(tmp_path / "note.txt")
    until(lambda: watch.total("updated") == 2, "the file's change is taken")
    (folder / "ferry.txt").unlink()
    until(lambda: watch.total("deleted") == 1, "the removal is taken")
    assert watch.ask("ferry") == []
    watch.end()
    places = [event["source"].rsplit("/", 1)[1] for event in watch.ingests()]
    assert places.count("note.txt") == 2
    assert watch.following.exit_code() == 0
    assert "watched 2 source(s)" in watch.following.summary()
    assert "3 added, 2 updated" in watch.following.summary()


def test_what_was_done_while_it_was_off_is_caught_up_with(
    watching: Callable[..., Watching], folder: Path
) -> None:
    first = watching()
    first.until_added(1)
    first.end()
    (folder / "ferry.txt").write_text("The ferry leaves the harbour at eight now.")
    (folder / "seals.txt").write_text("Seals rest on the skerries.")
    second = watching()
    second.until_added(1)
    assert second.total("updated") == 1
    assert second.ask("eight") == ["ferry"]


def test_the_index_inside_the_folder_does_not_wake_it(
    watching: Callable[..., Watching], settings: Settings, tmp_path: Path
) -> None:
    (settings.data.parent).mkdir(parents=True, exist_ok=True)
    (settings.data.parent / "a.txt").write_text("A note beside the data directory.")
    watch = watching(settings.data.parent)
    watch.until_added(1)
    (settings.data.parent / "b.txt").write_text("Another one.")
    watch.until_added(2)
    ingests = len(watch.ingests())
    with Client(socket=socket_path(settings.data), timeout=PATIENCE) as client:
        job = client.add_text("Handed in, which writes to the data directory.")
        until(lambda: client.call("GET", f"/jobs/{job}")["status"] == "completed", "the upload is taken")
    (settings.data.parent / "c.txt").write_text("A third.")
    watch.until_added(3)
    assert len(watch.ingests()) <= ingests + 2
    shutil.rmtree(settings.data.parent, ignore_errors=True)


def test_a_folder_that_is_emptied_or_taken_away_keeps_its_documents_until_it_is_back(
    watching: Callable[..., Watching], folder: Path, tmp_path: Path
) -> None:
    watch = watching()
    watch.until_added(1)
    (folder / "ferry.txt").rename(tmp_path / "ferry.txt")
    until(lambda: any("--allow-empty" in told for told in watch.troubles()), "it says that all is gone")
    assert watch.ask("ferry") == ["ferry"]
    (tmp_path / "ferry.txt").rename(folder / "ferry.txt")
    folder.rename(tmp_path / "away")
    until(lambda: any("waiting for it" in told for told in watch.troubles()), "it says what it waits for")
    assert watch.ask("ferry") == ["ferry"]
    (tmp_path / "away" / "seals.txt").write_text("Seals rest on the skerries.")
    (tmp_path / "away").rename(folder)
    watch.until_added(2)
    assert watch.total("deleted") == 0


def test_a_service_takes_the_data_over_and_gives_it_back_and_the_watch_goes_on(
    watching: Callable[..., Watching], settings: Settings, folder: Path
) -> None:
    watch = watching()
    watch.until_added(1)
    with serving(settings) as service:
        (folder / "seals.txt").write_text("Seals rest on the skerries.")
        watch.until_added(2)
        assert len(service.jobs.all("default")) >= 1
    (folder / "gulls.txt").write_text("Gulls nest on the light.")
    watch.until_added(3)
    assert watch.ask("gulls") == ["gulls"]


def test_files_that_cannot_be_read_are_named_and_leave_exit_code_1_until_they_are_gone(
    watching: Callable[..., Watching], folder: Path
) -> None:
    watch = watching()
    watch.until_added(1)
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 and no more")
    until(lambda: any(event["failed"] for event in watch.ingests()), "the failure is told")
    assert watch.following.exit_code() == 1
    (folder / "broken.pdf").unlink()
    until(lambda: watch.following.exit_code() == 0, "the failure is gone")


def test_a_source_that_is_not_there_or_cannot_be_ingested_at_first_ends_it(
    watching: Callable[..., Watching], folder: Path, settings: Settings
) -> None:
    missing = watching(folder / "nowhere")
    missing.thread.join(PATIENCE)
    (error,) = missing.ended
    assert isinstance(error, CommandError)
    assert (error.exit_code, error.code) == (3, "source_missing")
    assert not settings.data.exists()
    (folder / "below").mkdir()
    overlapping = watching(folder, folder / "below")
    overlapping.thread.join(PATIENCE)
    (error,) = overlapping.ended
    assert isinstance(error, CommandError)
    assert error.code == "source_overlap"


def test_interrupted_while_it_waits_it_is_done(
    settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wait(listener: object, seconds: float) -> set[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr("latewood.ingest.sources.listening.FolderListener.wait", wait)
    assert follow(settings, "default", [str(folder)], OPTIONS, as_json=True) == 0
    told = capsys.readouterr()
    assert [json.loads(line)["added"] for line in told.out.splitlines()] == [1]
    assert "1 ingest(s), 1 added" in told.err


def test_interrupted_in_an_ingest_it_is_interrupted(
    settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("latewood.api.cli.watch.follow_ingest", interrupted)
    with pytest.raises(KeyboardInterrupt):
        follow(settings, "default", [str(folder)], OPTIONS, as_json=True)


def test_people_are_told_of_changes_only(capsys: pytest.CaptureFixture[str]) -> None:
    counts = {"added": 0, "updated": 0, "deleted": 0, "failed": [], "seconds": 0.1}
    render({"source": "file:///docs", **counts})
    render({"source": "file:///docs", **counts, "added": 2})
    render({"source": "", "message": "no notices here"})
    told = capsys.readouterr()
    assert told.out.count("\n") == 1
    assert "/docs: 2 added, 0.1 s" in told.out
    assert told.err == "latewood: no notices here\n"


def test_the_command_prints_a_line_of_json_for_each_ingest_and_ends_well_when_it_is_terminated(
    folder: Path, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [*LATEWOOD, "ingest", str(folder), "--watch", "--json", "--data", str(tmp_path / "data")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["added"] == 1
        (folder / "seals.txt").write_text("Seals rest on the skerries.")
        later = json.loads(process.stdout.readline())
        assert (later["added"], later["documents"]) == (1, 2)
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate(timeout=PATIENCE)
        assert (process.returncode, out) == (0, "")
        assert "watched 1 source(s): 2 ingest(s), 2 added" in errors
    finally:
        process.kill()
        process.communicate()


def test_a_dry_run_cannot_be_watched(folder: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [*LATEWOOD, "ingest", str(folder), "--watch", "--dry-run", "--json", "--data", str(tmp_path / "d")],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 2
    assert "--dry-run" in json.loads(done.stdout)["error"]["message"]
