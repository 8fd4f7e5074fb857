"""A collection equals its folder, whatever was done to the folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from latewood.embedder.types import InputError, StoppedError
from latewood.ingest.parsing.sandbox.pool import ParserPool
from latewood.ingest.pipeline import Index
from latewood.ingest.report import Report
from latewood.ingest.sources.diff import file_uri
from latewood.ingest.sources.scan import SourceError
from latewood.ingest.sync import SyncOptions, Work, sync
from latewood.ingest.uploads import Spool, Upload, ingest_upload


@pytest.fixture(scope="module")
def pool() -> Iterator[ParserPool]:
    with ParserPool(2) as children:
        yield children


@pytest.fixture
def work(pool: ParserPool) -> Work:
    return Work(pool, lambda report: None, lambda: False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "docs"
    root.mkdir()
    (root / "a.txt").write_text("The lighthouse keeper counts the ships.")
    (root / "b.txt").write_text("Seals rest on the skerries in March.")
    return root


def run(index: Index, folder: Path, work: Work, **options: bool) -> Report:
    return sync(lambda: index, str(folder), SyncOptions(**options), work)


def texts(index: Index) -> dict[str, str]:
    """Every document that answers: its name and whole text."""
    found = {}
    for manifest in index.store.list_manifests():
        text = "".join(passage.chunk.text for passage in index.store.chunks_of(manifest.id))
        if text:
            found[manifest.document.uri.rsplit("/", 1)[-1]] = text
    return found


def test_a_first_ingest_takes_every_file_and_a_second_embeds_nothing(
    index: Index, embedder: Any, folder: Path, work: Work
) -> None:
    first = run(index, folder, work)
    assert (first.added, first.unchanged, first.documents) == (2, 0, 2)
    assert first.tokens == 7 + 8
    embedded = embedder.embedded
    second = run(index, folder, work)
    assert embedder.embedded == embedded == 2
    assert (second.added, second.updated, second.unchanged, second.deleted) == (0, 0, 2, 0)


def test_a_changed_file_replaces_its_old_version_and_a_removed_one_disappears(
    index: Index, folder: Path, work: Work
) -> None:
    run(index, folder, work)
    (folder / "a.txt").write_text("The lighthouse is automatic now.")
    (folder / "b.txt").unlink()
    (folder / "c.txt").write_text("A third note.")
    report = run(index, folder, work)
    assert (report.added, report.updated, report.deleted) == (1, 1, 1)
    assert texts(index) == {"a.txt": "The lighthouse is automatic now.", "c.txt": "A third note."}
    assert index.store.stats().hidden == 0


def test_a_change_within_the_same_second_that_keeps_size_and_times_is_found(
    index: Index, folder: Path, work: Work
) -> None:
    run(index, folder, work)
    before = (folder / "a.txt").stat()
    with (folder / "a.txt").open("r+") as file:
        file.write("THE")
    os.utime(folder / "a.txt", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert run(index, folder, work).updated == 1
    assert texts(index)["a.txt"].startswith("THE lighthouse")


def test_a_touched_file_is_read_and_not_embedded(
    index: Index, embedder: Any, folder: Path, work: Work
) -> None:
    run(index, folder, work)
    os.utime(folder / "a.txt", (1, 1))
    report = run(index, folder, work)
    assert (report.updated, report.unchanged, embedder.embedded) == (0, 2, 2)


def test_a_file_that_breaks_keeps_its_old_version_and_is_named_every_time(
    index: Index, folder: Path, work: Work
) -> None:
    run(index, folder, work)
    (folder / "a.txt").write_bytes(os.urandom(5000))
    for _ in range(2):
        report = run(index, folder, work)
        assert [(problem.uri, problem.code) for problem in report.failed] == [
            (file_uri(folder / "a.txt"), "not_text")
        ]
        assert texts(index)["a.txt"] == "The lighthouse keeper counts the ships."
    (folder / "a.txt").write_text("Mended.")
    assert run(index, folder, work).failed == []
    assert texts(index)["a.txt"] == "Mended."


def test_a_file_that_becomes_empty_leaves_as_a_fresh_ingest_would_leave_it_out(
    index: Index, folder: Path, work: Work
) -> None:
    run(index, folder, work)
    (folder / "a.txt").write_text("")
    report = run(index, folder, work)
    assert report.deleted == 1
    assert [problem.code for problem in report.skipped] == ["empty_file"]
    assert list(texts(index)) == ["b.txt"]


def test_a_file_that_vanishes_before_it_is_read_is_left_to_the_next_scan(
    index: Index, folder: Path, work: Work
) -> None:
    run(index, folder, work)
    (folder / "a.txt").write_text("changed just before it goes")

    class Removing:
        """Removes the file as it is about to be read."""

        def parse(self, path: str, known: str | None, **more: Any) -> Any:
            if path.endswith("a.txt"):
                Path(path).unlink()
            return work.pool.parse(path, known, **more)

    report = run(index, folder, Work(Removing(), work.progress, work.stop))  # type: ignore[arg-type]
    assert report.failed == []
    assert [problem.code for problem in report.skipped] == ["vanished"]
    assert texts(index)["a.txt"] == "The lighthouse keeper counts the ships."
    assert run(index, folder, work).deleted == 1
    assert "a.txt" not in texts(index)


def test_a_missing_root_creates_and_removes_nothing(index: Index, folder: Path, work: Work) -> None:
    run(index, folder, work)
    moved = folder.rename(folder.with_name("moved"))
    with pytest.raises(SourceError) as missing:
        run(index, folder, work)
    assert missing.value.code == "source_missing"
    folder.mkdir()
    with pytest.raises(SourceError) as empty:
        run(index, folder, work)
    assert empty.value.code == "source_empty"
    assert len(texts(index)) == 2
    assert run(index, folder, work, allow_empty=True).deleted == 2
    assert moved.is_dir()


def test_documents_of_another_source_stay(index: Index, folder: Path, work: Work, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "z.txt").write_text("From elsewhere.")
    run(index, folder, work)
    run(index, other, work)
    (folder / "a.txt").unlink()
    run(index, folder, work)
    assert set(texts(index)) == {"b.txt", "z.txt"}


def test_a_dry_run_counts_and_changes_nothing(index: Index, embedder: Any, folder: Path, work: Work) -> None:
    report = run(index, folder, work, dry_run=True)
    assert (report.added, embedder.embedded, texts(index)) == (2, 0, {})


def test_keep_deleted_keeps_what_vanished(index: Index, folder: Path, work: Work) -> None:
    run(index, folder, work)
    (folder / "a.txt").unlink()
    assert run(index, folder, work, keep_deleted=True).deleted == 0
    assert len(texts(index)) == 2


def test_a_stopped_ingest_goes_on_where_it_was(
    index: Index, embedder: Any, folder: Path, pool: ParserPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latewood.ingest.chunking.prepare.BATCH_DOCUMENTS", 1)
    for n in range(20):
        (folder / f"n{n:02}.txt").write_text(f"Note number {n}.")
    seen: list[int] = []
    stopping = Work(pool, lambda report: seen.append(report.finished), lambda: len(seen) > 5)
    stopped = run(index, folder, stopping)
    assert 0 < stopped.added < 22
    report = run(index, folder, Work(pool, lambda report: None, lambda: False))
    assert stopped.added + report.added == 22
    assert embedder.embedded == 22


def test_names_with_spaces_emoji_and_invalid_utf8_become_documents(
    index: Index, folder: Path, work: Work
) -> None:
    for name in (b"with space.txt", "🦭 seals.txt".encode(), b"latin-\xe9.txt", b"100%.txt"):
        (folder / os.fsdecode(name)).write_text("A note with an unusual name.")
    report = run(index, folder, work)
    assert (report.failed, report.added) == ([], 6)
    assert run(index, folder, work).unchanged == 6
    assert {"with%20space.txt", "latin-%E9.txt", "100%25.txt"} <= set(texts(index))


def test_an_upload_is_committed_and_survives_an_ingest_of_a_folder(
    index: Index, folder: Path, work: Work, tmp_path: Path
) -> None:
    spool = Spool(tmp_path / "spool")
    upload = Upload("default", "default", "upload:note", "note.txt", "A title", {"team": "north"})
    spooled = spool.add(upload, lambda path: path.write_text("Handed in by hand.") and None)
    assert spool.waiting() == [spooled]
    report = ingest_upload(index, spooled, work)
    assert (report.added, report.failed) == (1, [])
    run(index, folder, work)
    (manifest,) = index.store.list_manifests(source="uploads:")
    assert manifest.document.title == "A title"
    assert manifest.document.metadata["team"] == "north"
    assert texts(index)["upload:note"] == "Handed in by hand."


def test_a_folder_taken_away_while_it_is_scanned_removes_nothing(
    index: Index, folder: Path, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("x", "y"):
        (folder / name).mkdir()
        (folder / name / "note.txt").write_text(f"A note in {name}.")
    run(index, folder, work)
    listed = 0
    scandir = os.scandir

    def leaving(path: str) -> Any:
        nonlocal listed
        listed += 1
        if listed == 2:
            folder.rename(folder.with_name("elsewhere"))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", leaving)
    with pytest.raises(SourceError) as taken:
        run(index, folder, work)
    assert taken.value.code == "source_missing"
    assert index.store.stats().documents == 4


def test_keep_deleted_keeps_a_file_that_became_empty(index: Index, folder: Path, work: Work) -> None:
    run(index, folder, work)
    (folder / "a.txt").write_text("")
    report = run(index, folder, work, keep_deleted=True)
    assert (report.deleted, [problem.code for problem in report.skipped]) == (0, ["empty_file"])
    assert len(texts(index)) == 2


def test_a_file_dated_beyond_the_calendar_is_a_document_without_a_date(
    index: Index, folder: Path, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan_file = "latewood.ingest.parsing.sandbox.pool.ParserPool.parse"
    parse = ParserPool.parse

    def dated(pool: ParserPool, path: str, known: str | None = None, **more: Any) -> Any:
        answer: Any = parse(pool, path, known, **more)
        return replace(answer, stamp=replace(answer.stamp, mtime_ns=900_000_000_000 * 10**9))

    monkeypatch.setattr(scan_file, dated)
    report = run(index, folder, work)
    assert (report.added, report.failed) == (2, [])
    assert {manifest.document.modified for manifest in index.store.list_manifests()} == {""}


def test_a_document_that_cannot_be_embedded_fails_alone(
    index: Index, embedder: Any, folder: Path, work: Work
) -> None:
    embed = embedder.embed_documents

    def refusing(documents: Any, stop: Any = None, progress: Any = None) -> Any:
        if any("lighthouse" in document.text for document in documents):
            raise InputError("span [0, 10) of document 0 holds no token")
        return embed(documents)

    embedder.embed_documents = refusing
    report = run(index, folder, work)
    assert [(problem.uri, problem.code) for problem in report.failed] == [
        (file_uri(folder / "a.txt"), "cannot_be_indexed")
    ]
    assert list(texts(index)) == ["b.txt"]
    assert index.store.in_flight() == []


def test_what_the_store_cannot_hold_fails_alone_and_leaves_nothing(
    index: Index, folder: Path, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = index.store.put_chunks

    def refusing(passages: Any, vectors: Any) -> None:
        put(passages, vectors)
        if any("Seals" in passage.chunk.text for passage in passages):
            raise ValueError("metadata holds a number that is not finite")

    monkeypatch.setattr(index.store, "put_chunks", refusing)
    report = run(index, folder, work)
    assert [problem.code for problem in report.failed] == ["cannot_be_indexed"]
    assert list(texts(index)) == ["a.txt"]
    assert index.store.stats().hidden == 0
    assert index.store.in_flight() == []


def test_an_ingest_is_stopped_in_the_middle_of_a_document(
    index: Index, embedder: Any, folder: Path, pool: ParserPool
) -> None:
    def stopping(documents: Any, stop: Any, progress: Any) -> Any:
        assert not stop()
        stopped.append(1)
        assert stop()
        raise StoppedError("stopped on request")

    stopped: list[int] = []
    embedder.embed_documents = stopping
    report = run(index, folder, Work(pool, lambda report: None, lambda: bool(stopped)))
    assert (report.added, report.failed) == (0, [])
    assert index.store.in_flight() == []


def test_a_dry_run_foretells_what_the_ingest_does(index: Index, folder: Path, work: Work) -> None:
    (folder / "empty.txt").write_text("")
    (folder / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    foretold = run(index, folder, work, dry_run=True)
    assert (foretold.added, len(foretold.skipped)) == (2, 2)
    done = run(index, folder, work)
    assert (done.added, len(done.skipped)) == (2, 2)
    (folder / "a.txt").write_text("Changed.")
    (folder / "b.txt").write_text("")
    os.utime(folder / "empty.txt")
    foretold = run(index, folder, work, dry_run=True)
    done = run(index, folder, work)
    counts = [(report.added, report.updated, report.unchanged, report.deleted) for report in (foretold, done)]
    assert counts == [(0, 1, 0, 1)] * 2


def test_a_single_file_that_is_gone_can_be_removed(index: Index, folder: Path, work: Work) -> None:
    run(index, folder / "a.txt", work)
    assert list(texts(index)) == ["a.txt"]
    (folder / "a.txt").unlink()
    with pytest.raises(SourceError):
        run(index, folder / "a.txt", work)
    assert run(index, folder / "a.txt", work, allow_empty=True).deleted == 1
    assert texts(index) == {}


def test_a_source_with_failures_only_does_not_stand_in_its_parents_way(
    index: Index, folder: Path, work: Work
) -> None:
    inner = folder / "inner"
    inner.mkdir()
    (inner / "broken.txt").write_bytes(bytes(range(256)) * 20)
    assert len(run(index, inner, work).failed) == 1
    report = run(index, folder, work)
    assert (report.added, len(report.failed)) == (2, 1)
    assert run(index, folder, work).unchanged == 2
