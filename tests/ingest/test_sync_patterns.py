"""Whatever patterns a run is given, the collection equals a fresh ingest with the same patterns."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from latewood.ingest.parsing.sandbox.pool import ParserPool
from latewood.ingest.pipeline import Index
from latewood.ingest.report import Report
from latewood.ingest.sources.patterns import Selection
from latewood.ingest.sources.scan import SourceError
from latewood.ingest.sync import SyncOptions, Work, sync


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
    for place in ("a.txt", "b.md", "notes/c.txt", "notes/old/d.txt", ".hidden.txt"):
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"This is {place}.")
    return root


def run(
    index: Index, folder: Path, work: Work, *exclude: str, options: SyncOptions | None = None, **more: object
) -> Report:
    selection = Selection(exclude=exclude, **more)  # type: ignore[arg-type]
    keep = options or SyncOptions()
    chosen = SyncOptions(keep.dry_run, keep.keep_deleted, keep.allow_empty, selection)
    return sync(lambda: index, str(folder), chosen, work)


def names(index: Index) -> set[str]:
    return {one.document.uri.rsplit("/", 1)[-1] for one in index.store.list_manifests() if one.live}


def test_a_file_that_is_excluded_later_is_removed_and_comes_back_without_the_pattern(
    index: Index, folder: Path, work: Work
) -> None:
    assert run(index, folder, work).added == 4
    report = run(index, folder, work, "notes/")
    assert (report.deleted, report.unchanged, names(index)) == (2, 2, {"a.txt", "b.md"})
    report = run(index, folder, work, include=("*.txt",))
    assert (report.added, report.deleted, names(index)) == (2, 1, {"a.txt", "c.txt", "d.txt"})
    assert run(index, folder, work).added == 1


def test_hidden_files_come_and_go_with_the_option(index: Index, folder: Path, work: Work) -> None:
    run(index, folder, work)
    assert run(index, folder, work, hidden=True).added == 1
    assert ".hidden.txt" in names(index)
    assert run(index, folder, work).deleted == 1


def test_keep_deleted_keeps_what_is_excluded(index: Index, folder: Path, work: Work) -> None:
    run(index, folder, work)
    report = run(index, folder, work, "*.txt", options=SyncOptions(keep_deleted=True))
    assert (report.deleted, len(names(index))) == (0, 4)


def test_patterns_may_leave_nothing_of_a_folder(index: Index, folder: Path, work: Work) -> None:
    run(index, folder, work)
    report = run(index, folder, work, "*")
    assert (report.deleted, names(index)) == (4, set())
    assert run(index, folder, work, "*").documents == 0


def test_a_dry_run_foretells_what_patterns_do(index: Index, folder: Path, work: Work) -> None:
    run(index, folder, work)
    foretold = run(index, folder, work, "notes", options=SyncOptions(dry_run=True))
    assert (foretold.deleted, len(names(index))) == (2, 4)
    assert run(index, folder, work, "notes").deleted == 2


def test_a_folder_that_is_suddenly_empty_is_refused_with_the_same_patterns(
    index: Index, folder: Path, work: Work
) -> None:
    run(index, folder, work, "notes/")
    folder.rename(folder.with_name("unmounted"))
    folder.mkdir()
    for patterns in (("notes/",), ("*.md",), ()):
        with pytest.raises(SourceError) as refused:
            run(index, folder, work, *patterns)
        assert refused.value.code == "source_empty"
    assert names(index) == {"a.txt", "b.md"}
    allowed = run(index, folder, work, "notes/", options=SyncOptions(allow_empty=True))
    assert allowed.deleted == 2


def test_a_folder_that_lost_what_was_asked_for_is_refused_though_excluded_files_are_there(
    index: Index, folder: Path, work: Work
) -> None:
    run(index, folder, work, include=("*.md",))
    (folder / "b.md").unlink()
    with pytest.raises(SourceError, match="1 documents were ingested"):
        run(index, folder, work, include=("*.md",))


def test_an_excluded_document_goes_though_its_folder_cannot_be_read(
    index: Index, folder: Path, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(index, folder, work)
    scandir = os.scandir

    def refusing(path: str) -> object:
        if path.endswith("notes"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    report = run(index, folder, work, "d.txt")
    assert (report.deleted, len(report.failed)) == (1, 1)
    assert names(index) == {"a.txt", "b.md", "c.txt"}
    assert run(index, folder, work, "notes").failed == []
    assert names(index) == {"a.txt", "b.md"}
