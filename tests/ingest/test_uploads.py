"""What was accepted is on disk, survives a kill, and is taken up by the next process."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from latewood.embedder.types import EmbedderError
from latewood.engine import collections
from latewood.engine.library import Service
from latewood.engine.settings import Settings
from latewood.ingest.index import commit
from latewood.ingest.index.writer import StoreWriter
from latewood.ingest.parsing.sandbox.pool import ParserPool
from latewood.ingest.pipeline import Index
from latewood.ingest.report import Report
from latewood.ingest.sync import Work
from latewood.ingest.types import ParseError, document_id
from latewood.ingest.uploads import (
    SMALL_BYTES,
    SOURCE,
    Spool,
    Spooled,
    Upload,
    discard,
    ingest_upload,
    is_small,
)
from latewood.search.types import DiskFullError, StoreUnavailableError

ROOT = Path(__file__).resolve().parents[2]


def note(name: str, *, file: str = "", title: str = "", metadata: Any = None) -> Upload:
    return Upload("default", "default", f"upload:{name}", file or f"{name}.txt", title, metadata or {})


def keep(spool: Spool, upload: Upload, text: str = "The ferry leaves at nine.") -> Spooled:
    return spool.add(upload, lambda path: path.write_text(text) and None)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "uploads")


def test_what_was_kept_comes_back_as_it_was(spool: Spool) -> None:
    upload = note("ferry", title="Fähre 🦭", metadata={"year": 2026, "tags": ["a"], "draft": True, "x": 0.1})
    kept = keep(spool, upload, "Neun Uhr.")
    (found,) = spool.waiting()
    assert found == kept
    assert found.upload == upload
    assert found.file.read_text() == "Neun Uhr."
    spool.remove(found)
    assert spool.waiting() == []


def test_uploads_wait_in_the_order_they_came(spool: Spool) -> None:
    for name in "badc":
        keep(spool, note(name))
    assert [one.upload.uri for one in spool.waiting()] == [f"upload:{name}" for name in "badc"]


def test_a_clock_that_is_set_back_changes_no_order(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    older = keep(spool, note("ferry"), "Nine.")
    monkeypatch.setattr("time.time_ns", lambda: 1)
    monkeypatch.setattr("time.time", lambda: 1e-9)
    newer = keep(spool, note("ferry"), "Ten.")
    assert [one.file.read_text() for one in spool.waiting()] == ["Nine.", "Ten."]
    spool.remove_all(older.upload.document_id, before=older)
    assert spool.settle(older)
    assert spool.waiting() == [newer]


def test_order_is_kept_over_restarts_and_when_the_counter_is_lost(spool: Spool, tmp_path: Path) -> None:
    for name in "ba":
        keep(spool, note(name))
    keep(Spool(tmp_path / "uploads"), note("d"))
    (tmp_path / "sequence").unlink()
    keep(Spool(tmp_path / "uploads"), note("c"))
    assert [one.upload.uri for one in spool.waiting()] == [f"upload:{name}" for name in "badc"]
    numbers = [one.number for one in spool.waiting()]
    assert numbers == sorted(set(numbers))


def test_uploads_of_an_older_version_are_taken_and_come_first(spool: Spool) -> None:
    new = keep(spool, note("ferry"), "New.")
    old = keep(spool, note("ferry"), "Old.")
    named_by_clock = old.folder.with_name(f"09999999999999999999-{old.upload.document_id}-0a0b0c0d")
    old.folder.rename(named_by_clock)
    assert [(one.file.read_text(), one.number) for one in spool.waiting()] == [("Old.", 0), ("New.", 1)]
    spool.remove_all(new.upload.document_id, before=new)
    assert spool.waiting() == [new]


def test_small_is_what_its_size_bounds(spool: Spool) -> None:
    assert is_small(keep(spool, note("a"), "x" * SMALL_BYTES))
    assert not is_small(keep(spool, note("b"), "x" * (SMALL_BYTES + 1)))
    assert not is_small(keep(spool, note("c", file="c.txt.GZ"), "x"))
    assert not is_small(keep(spool, note("d", file="d.zip"), "x"))


def test_a_spool_that_was_never_used_is_empty_and_makes_no_folder(tmp_path: Path) -> None:
    assert Spool(tmp_path / "uploads").waiting() == []
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_leaves_nothing(spool: Spool, tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        spool.add(note("large"), fail)
    assert list((tmp_path / "uploads").iterdir()) == []


KILLED = """
import sys, time
from pathlib import Path
from latewood.ingest.uploads import Spool, Upload

def half(path):
    path.write_text("half of it")
    print("writing", flush=True)
    time.sleep(600)

spool = Spool(Path(sys.argv[1]))
upload = lambda name: Upload("default", "default", f"upload:{name}", f"{name}.txt", "", {})
spool.add(upload("whole"), lambda path: path.write_text("All of it."))
spool.add(upload("half"), half)
"""


def test_of_a_killed_process_the_whole_uploads_stay_and_the_half_ones_do_not(tmp_path: Path) -> None:
    root = tmp_path / "uploads"
    process = subprocess.Popen([sys.executable, "-c", KILLED, root], cwd=ROOT, stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        process.kill()
    assert len(list(root.iterdir())) == 2
    (left,) = Spool(root).waiting()
    assert (left.upload.uri, left.file.read_text()) == ("upload:whole", "All of it.")


@pytest.fixture(scope="module")
def pool() -> Iterator[ParserPool]:
    with ParserPool(1) as children:
        yield children


@pytest.fixture
def work(pool: ParserPool) -> Work:
    return Work(pool, lambda report: None, lambda: False)


def take(index: Index, work: Work, spool: Spool, upload: Upload, text: str) -> Report:
    return ingest_upload(index, keep(spool, upload, text), work)


def test_an_upload_becomes_a_document_of_the_uploads(index: Index, spool: Spool, work: Work) -> None:
    upload = note("ferry", title="Ferries", metadata={"year": 2026})
    report = take(index, work, spool, upload, "The ferry leaves at nine.")
    assert (report.added, report.updated, report.documents, report.chunks, report.tokens) == (1, 0, 1, 1, 6)
    (manifest,) = index.store.list_manifests(source=SOURCE)
    assert manifest.id == document_id("default", "default", "upload:ferry")
    assert (manifest.document.title, dict(manifest.document.metadata)) == ("Ferries", {"year": 2026})
    assert manifest.stamp is None


def test_a_second_upload_of_a_name_replaces_the_first(index: Index, spool: Spool, work: Work) -> None:
    take(index, work, spool, note("ferry"), "The ferry leaves at nine.")
    report = take(index, work, spool, note("ferry"), "The ferry leaves at ten.")
    assert (report.added, report.updated, report.documents, report.chunks) == (0, 1, 1, 1)
    (passage,) = index.store.chunks_of(document_id("default", "default", "upload:ferry"))
    assert passage.chunk.text == "The ferry leaves at ten."


def test_an_upload_that_cannot_be_read_keeps_what_was_there(index: Index, spool: Spool, work: Work) -> None:
    take(index, work, spool, note("ferry"), "The ferry leaves at nine.")
    report = take(index, work, spool, note("ferry", file="ferry.pdf"), "%PDF-1.7 garbage")
    assert [(one.uri, one.code) for one in report.failed] == [("upload:ferry", "corrupt")]
    skipped = take(index, work, spool, note("ferry", file="ferry.png"), "pixels")
    assert [(one.uri, one.code) for one in skipped.skipped] == [("upload:ferry", "unsupported_kind")]
    (passage,) = index.store.chunks_of(document_id("default", "default", "upload:ferry"))
    assert passage.chunk.text == "The ferry leaves at nine."


def test_a_discarded_document_is_gone(index: Index, spool: Spool, work: Work) -> None:
    take(index, work, spool, note("ferry"), "The ferry leaves at nine.")
    key = document_id("default", "default", "upload:ferry")
    assert discard(index, [key]) == 1
    assert discard(index, [key]) == 0
    assert index.store.stats().documents == index.store.stats().chunks == 0


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, embedder: Any) -> Iterator[Settings]:
    """Data in memory where there is such a place: making an index waits for the disk a dozen times."""
    monkeypatch.setattr(Service, "embedder", lambda service, model: embedder)
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as folder:
        yield Settings(data=Path(folder), jobs="memory")


def finished(service: Service) -> list[tuple[str, str]]:
    """Follow every job to its end: what it was for, and how it ended."""
    jobs = service.jobs.all("default")[::-1]
    for job in jobs:
        for _ in service.jobs.events(job, every=0):
            pass
    service.settling.settle()
    return [(job.source, job.status) for job in jobs]


def test_the_next_process_takes_up_what_waits(settings: Settings) -> None:
    spool = Spool(settings.data / "uploads")
    keep(spool, note("ferry"), "The ferry leaves at nine.")
    keep(spool, note("ferry"), "The ferry leaves at ten.")
    keep(spool, note("seals"), "Seals rest in March.")
    draft = settings.data / "uploads" / ".draft-of-a-killed-process"
    draft.mkdir()
    (draft / "content").write_text("half")

    service = Service(settings)
    try:
        assert finished(service) == [
            ("upload:ferry", "completed"),
            ("upload:ferry", "completed"),
            ("upload:seals", "completed"),
        ]
        store = service.open("default", "default").store
        assert store.stats().documents == 2
        (ferry,) = store.chunks_of(document_id("default", "default", "upload:ferry"))
        assert ferry.chunk.text == "The ferry leaves at ten."  # the later one won
        assert service.spool.waiting() == []
    finally:
        service.close()


def test_an_upload_that_was_accepted_outlives_a_close(settings: Settings) -> None:
    """Whatever the job reached, after the next start the document is there and nothing waits."""
    first = Service(settings)
    first.ingest_upload(keep(first.spool, note("ferry")))
    first.close()

    second = Service(settings)
    try:
        assert {status for _, status in finished(second)} <= {"completed"}
        assert second.open("default", "default").store.stats().documents == 1
        assert second.spool.waiting() == []
    finally:
        second.close()


def test_a_later_upload_ends_an_earlier_one_that_failed(
    settings: Settings, embedder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise EmbedderError("the model is out of memory")

    service = Service(settings)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(type(embedder), "embed_documents", broken)
            for name in ("ferry", "seals"):
                service.ingest_upload(keep(service.spool, note(name), "The first."))
            assert [status for _, status in finished(service)] == ["failed", "failed"]
        service.ingest_upload(keep(service.spool, note("ferry"), "The second."))
        assert finished(service)[-1] == ("upload:ferry", "completed")
        assert [one.upload.uri for one in service.spool.waiting()] == ["upload:seals"]
    finally:
        service.close()


def test_an_upload_that_was_overtaken_is_not_ingested(settings: Settings) -> None:
    service = Service(settings)
    try:
        first, second = (keep(service.spool, note("ferry"), text) for text in ("The first.", "The second."))
        service.ingest_upload(second)
        overtaken = service.ingest_upload(first)
        assert [status for _, status in finished(service)] == ["completed", "failed"]
        assert service.desk.show("default", overtaken["id"])["error"]["code"] == "superseded"
        (ferry,) = service.open("default", "default").store.chunks_of(first.upload.document_id)
        assert ferry.chunk.text == "The second."
    finally:
        service.close()


def test_a_job_told_again_of_an_upload_that_is_committed_has_completed(settings: Settings) -> None:
    keep(Spool(settings.data / "uploads"), note("ferry"))
    (waiting,) = Spool(settings.data / "uploads").waiting()
    service = Service(settings)
    try:
        assert finished(service) == [("upload:ferry", "completed")]
        service.spool.clean()  # as every owner does at its start
        again = service.ingest_upload(waiting)  # as of a worker that was killed before it could say so
        assert [status for _, status in finished(service)] == ["completed", "completed"]
        counts = service.desk.show("default", again["id"])["counts"]
        assert (counts["added"], counts["unchanged"], counts["documents"]) == (0, 1, 1)
        collections.delete(service, "default", "default")
        service.ingest_upload(waiting)
        assert finished(service)[-1] == ("upload:ferry", "completed")
        assert not service.exists("default", "default")  # a collection that was removed stays so
    finally:
        service.close()


@pytest.mark.parametrize(("lost", "status"), [(7, "completed"), (8, "failed")])
def test_an_upload_that_another_writer_overtakes_is_tried_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, lost: int, status: str
) -> None:
    races = [False] * lost
    win = StoreWriter.write
    monkeypatch.setattr(StoreWriter, "write", lambda *args: [races.pop()] if races else win(*args))
    service = Service(settings)
    try:
        service.ingest_upload(keep(service.spool, note("ferry")))
        assert finished(service) == [("upload:ferry", status)]
    finally:
        service.close()


def test_a_cancelled_upload_is_not_taken_up_by_the_next_process(settings: Settings) -> None:
    service = Service(settings)
    started = threading.Event()

    def hold(job: Any, progress: Any, stop: Any) -> Report:
        started.set()
        while not stop():
            threading.Event().wait(0.005)
        return Report()

    try:
        service.jobs.submit("default", "default", "x", hold)
        cancelled = service.ingest_upload(keep(service.spool, note("ferry")))
        service.ingest_upload(keep(service.spool, note("seals")))
        started.wait()
        service.desk.cancel("default", cancelled["id"])
        service.close()
        assert [one.upload.uri for one in service.spool.waiting()] == ["upload:seals"]  # only interrupted
    finally:
        service.close()


def failing(monkeypatch: pytest.MonkeyPatch, times: int) -> list[str]:
    """Let parsing run out of time so many times; what was tried."""
    tried: list[str] = []
    parse = ParserPool.parse

    def try_it(self: ParserPool, path: Any, known: Any = None, name: Any = None) -> Any:
        tried.append(name)
        if len(tried) <= times:
            raise ParseError("timeout", "parsing took longer than 1 s", transient=True)
        return parse(self, path, known, name)

    monkeypatch.setattr(ParserPool, "parse", try_it)
    return tried


def test_a_passing_error_is_tried_again_at_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = failing(monkeypatch, 1)
    service = Service(settings)
    try:
        service.ingest_upload(keep(service.spool, note("ferry")))
        assert finished(service) == [("upload:ferry", "completed")]
        assert len(tried) == 2
        assert service.spool.waiting() == []
    finally:
        service.close()


def test_an_upload_outlives_passing_errors_for_three_processes(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, 100)
    keep(Spool(settings.data / "uploads"), note("ferry"))
    for left in (1, 1, 0):
        service = Service(settings)
        try:
            assert finished(service) == [("upload:ferry", "failed")]
            (job,) = service.jobs.all("default")
            assert job.error == ("timeout", "parsing took longer than 1 s")
            assert [problem.code for problem in job.report.failed] == ["timeout"]
            assert len(service.spool.waiting()) == left
        finally:
            service.close()


def test_what_is_no_upload_is_named_and_left_out(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    root = settings.data / "uploads"
    keep(Spool(root), note("ferry"))
    (root / ".DS_Store").write_bytes(b"stray")
    (root / "readme.txt").write_text("not an upload")
    (root / "0001-empty").mkdir()
    for number, text in enumerate(("{", "[]", '{"uri": "upload:a"}')):
        (root / f"bad-{number}").mkdir()
        (root / f"bad-{number}" / "upload.json").write_text(text)
    service = Service(settings)
    try:
        assert finished(service) == [("upload:ferry", "completed")]
        left = {"readme.txt", "0001-empty", "bad-0", "bad-1", "bad-2"}
        assert {path.name for path in root.iterdir() if not path.name.startswith(".committed-")} == left
        assert all(f"{root / name} is not a readable upload" in caplog.text for name in left)
    finally:
        service.close()


@pytest.fixture
def filled(settings: Settings) -> Settings:
    """Data with one document."""
    service = Service(settings)
    service.ingest_upload(keep(service.spool, note("ferry")))
    assert finished(service) == [("upload:ferry", "completed")]
    service.close()
    return settings


def test_a_full_disk_is_no_reason_not_to_answer(filled: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise DiskFullError("12 MiB are free, 256 MiB must stay free; free some space")

    service = Service(filled)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(commit, "recover", full)
            assert service.open("default", "default").store.stats().documents == 1
            service.ingest_upload(keep(service.spool, note("seals")))
            assert finished(service) == [("upload:seals", "failed")]
            assert len(service.spool.waiting()) == 1
        service.ingest_upload(keep(service.spool, note("seals")))
        assert finished(service)[-1] == ("upload:seals", "completed")
    finally:
        service.close()


def test_an_index_that_could_not_be_opened_can_be_opened_again(
    filled: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object) -> None:
        raise StoreUnavailableError("the worker died")

    service = Service(filled)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(commit, "recover", unreachable)
            with pytest.raises(StoreUnavailableError, match="the worker died"):
                service.open("default", "default")
        assert service.open("default", "default").store.stats().documents == 1
    finally:
        service.close()


def test_a_model_that_loads_keeps_no_other_collection_waiting(
    filled: Settings, embedder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(filled)
    loading, loaded = threading.Event(), threading.Event()
    found: list[int] = []

    def load(self: Service, model: str | None) -> Any:
        loading.set()
        loaded.wait(60)
        return embedder

    def read() -> None:
        found.append(service.open("default", "default").store.stats().documents)

    monkeypatch.setattr(Service, "embedder", load)
    maker = threading.Thread(target=lambda: service.open("default", "new", create=True))
    reader = threading.Thread(target=read)
    maker.start()
    loading.wait()
    reader.start()
    reader.join(20)
    read_meanwhile = list(found)
    loaded.set()
    maker.join()
    reader.join()
    assert service.exists("default", "new")
    service.close()
    assert read_meanwhile == [1]


def test_one_bad_upload_does_not_keep_the_others_waiting(settings: Settings) -> None:
    spool = Spool(settings.data / "uploads")
    keep(spool, note("bad", file="bad.pdf"), "%PDF-1.7 garbage")
    keep(spool, note("good"))
    service = Service(settings)
    try:
        assert [status for _, status in finished(service)] == ["failed", "completed"]
        failed = service.jobs.all("default")[1]
        assert failed.error is not None
        assert [problem.code for problem in failed.report.failed] == [failed.error[0]] == ["corrupt"]
        assert service.open("default", "default").store.stats().documents == 1
        assert service.spool.waiting() == []  # refused for good: not tried at every start
    finally:
        service.close()
