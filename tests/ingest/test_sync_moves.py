"""Contents that moved keep their vectors: a rename, a copy and a swap embed nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latewood.ingest.parsing.sandbox.pool import ParserPool
from latewood.ingest.pipeline import Index
from latewood.ingest.report import Report
from latewood.ingest.sources.scan import SourceError
from latewood.ingest.sync import SyncOptions, Work, sync


@pytest.fixture(scope="module")
def pool() -> Iterator[ParserPool]:
    with ParserPool(2) as children:
        yield children


@pytest.fixture
def work(pool: ParserPool) -> Work:
    return Work(pool, lambda report: None, lambda: False)


def text_of(number: int) -> str:
    return f"Page {number} of the log: the keeper counted {number * 7} ships. " * (3 + number % 5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two folders, of fifty files and of ten."""
    root = tmp_path / "docs"
    for number in range(60):
        path = root / ("one" if number < 50 else "two") / f"{number % 50:02}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text_of(number))
    return root


def run(index: Index, folder: Path, work: Work, **options: bool) -> Report:
    return sync(lambda: index, str(folder), SyncOptions(**options), work)


def documents(index: Index) -> dict[str, tuple[str, Any]]:
    """Each document's text and dense rows, by the end of its uri."""
    found = {}
    for manifest in index.store.list_manifests():
        passages, vectors = index.store.read_chunks(manifest.id)
        text = "".join(passage.chunk.text for passage in passages)
        found["/".join(manifest.document.uri.split("/")[-2:])] = (text, vectors.dense)
    return found


def test_a_renamed_folder_embeds_nothing_and_leaves_nothing(
    index: Index, embedder: Any, folder: Path, work: Work
) -> None:
    run(index, folder, work)
    before = documents(index)
    embedder.embedded = 0
    (folder / "one").rename(folder / "uno")
    report = run(index, folder, work)
    assert (report.added, report.deleted, embedder.embedded, report.tokens) == (50, 50, 0, 0)
    after = documents(index)
    assert set(after) == {name.replace("one/", "uno/") for name in before}
    for name, (text, rows) in before.items():
        assert after[name.replace("one/", "uno/")][0] == text
        np.testing.assert_allclose(after[name.replace("one/", "uno/")][1], rows, atol=1e-6)
    assert index.store.stats().hidden == 0


def test_a_rename_of_single_files_in_place_embeds_nothing(
    index: Index, embedder: Any, folder: Path, work: Work
) -> None:
    run(index, folder, work)
    embedder.embedded = 0
    (folder / "one" / "00.txt").rename(folder / "two" / "renamed.txt")
    (folder / "two" / "09.txt").replace(folder / "one" / "49.txt")  # over another one
    report = run(index, folder, work)
    assert (report.added, report.updated, report.deleted, embedder.embedded) == (1, 1, 2, 0)


def test_a_copy_embeds_nothing(index: Index, embedder: Any, folder: Path, work: Work) -> None:
    run(index, folder, work)
    embedder.embedded = 0
    shutil.copytree(folder / "one", folder / "copy")
    report = run(index, folder, work)
    assert (report.added, report.deleted, embedder.embedded) == (50, 0, 0)


def test_a_copy_from_another_source_embeds_nothing(
    index: Index, embedder: Any, folder: Path, work: Work
) -> None:
    run(index, folder, work)
    embedder.embedded = 0
    shutil.copytree(folder, folder.with_name("backup"))
    assert run(index, folder.with_name("backup"), work).added == 60
    assert embedder.embedded == 0


def swap(one: Path, other: Path) -> None:
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def test_two_files_that_were_swapped_embed_nothing(
    index: Index, embedder: Any, folder: Path, work: Work
) -> None:
    run(index, folder, work)
    before = documents(index)
    embedder.embedded = 0
    swap(folder / "one" / "03.txt", folder / "two" / "04.txt")
    report = run(index, folder, work)
    assert (report.updated, embedder.embedded) == (2, 0)
    after = documents(index)
    assert after["one/03.txt"][0] == before["two/04.txt"][0]
    assert after["two/04.txt"][0] == before["one/03.txt"][0]


def test_two_folders_that_were_swapped_embed_nothing(
    index: Index, embedder: Any, folder: Path, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latewood.ingest.chunking.prepare.BATCH_DOCUMENTS", 7)
    run(index, folder, work)
    before = documents(index)
    embedder.embedded = 0
    swap(folder / "one", folder / "two")
    report = run(index, folder, work)
    assert (report.added, report.updated, report.deleted, embedder.embedded) == (40, 20, 40, 0)
    after = documents(index)
    assert {name: text for name, (text, _) in after.items() if name.startswith("one/")} == {
        name.replace("two/", "one/"): text for name, (text, _) in before.items() if name.startswith("two/")
    }


def test_two_long_files_that_were_swapped_embed_nothing(
    index: Index, embedder: Any, folder: Path, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latewood.ingest.chunking.prepare.BATCH_CHARACTERS", 100)  # every document is a batch
    run(index, folder, work)
    embedder.embedded = 0
    swap(folder / "one" / "03.txt", folder / "two" / "04.txt")
    swap(folder / "one" / "04.txt", folder / "two" / "00.txt")
    assert run(index, folder, work).updated == 4
    assert embedder.embedded == 0


def test_files_with_equal_content_are_embedded_once(
    index: Index, embedder: Any, folder: Path, work: Work
) -> None:
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text("The same words in two files.")
    for name in ("a.txt", "b.txt"):
        (folder / name).rename(folder.parent / name)
    everything = run(index, folder, work)
    for name in ("a.txt", "b.txt"):
        (folder.parent / name).rename(folder / name)
    embedder.embedded = 0
    report = run(index, folder, work)
    assert (report.added, embedder.embedded, report.tokens) == (2, 1, 7)
    assert everything.tokens > 60


def test_a_rename_with_a_change_elsewhere_embeds_the_change_only(
    index: Index, embedder: Any, folder: Path, work: Work
) -> None:
    run(index, folder, work)
    embedder.embedded = 0
    (folder / "one").rename(folder / "uno")
    (folder / "uno" / "07.txt").write_text("Something new.")
    report = run(index, folder, work)
    assert (report.added, report.deleted, embedder.embedded) == (50, 50, 1)


@pytest.mark.parametrize("keep", [False, True])
def test_a_rename_that_was_stopped_is_finished_by_the_next_run(
    index: Index, embedder: Any, folder: Path, pool: ParserPool, monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    monkeypatch.setattr("latewood.ingest.chunking.prepare.BATCH_DOCUMENTS", 4)
    quiet = Work(pool, lambda report: None, lambda: False)
    run(index, folder, quiet)
    embedder.embedded = 0
    (folder / "one").rename(folder / "uno")
    seen: list[int] = []
    stopped = run(
        index, folder, Work(pool, lambda report: seen.append(report.finished), lambda: len(seen) > 8)
    )
    assert stopped.deleted == 0
    assert 0 < stopped.added < 50
    assert sum(name.startswith("one/") for name in documents(index)) == 50
    finished = run(index, folder, quiet, keep_deleted=keep)
    assert finished.added == 50 - stopped.added
    assert finished.deleted == (0 if keep else 50)
    assert embedder.embedded == 0


def test_a_folder_taken_away_while_renamed_files_were_taken_in_loses_nothing(
    index: Index, folder: Path, work: Work
) -> None:
    run(index, folder, work)
    (folder / "one").rename(folder / "uno")

    def leaving(report: Report) -> None:
        if report.added == 50 and folder.exists():
            folder.rename(folder.with_name("away"))

    with pytest.raises(SourceError) as taken:
        run(index, folder, replace(work, progress=leaving))
    assert taken.value.code == "source_missing"
    assert len(documents(index)) == 110
    folder.with_name("away").rename(folder)
    assert run(index, folder, work).deleted == 50
