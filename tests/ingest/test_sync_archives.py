"""Zip archives are folders: their members are documents that come, change and go with them."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from latewood.ingest.parsing.sandbox.pool import ParserPool
from latewood.ingest.pipeline import Index
from latewood.ingest.report import Report
from latewood.ingest.sources.patterns import Selection
from latewood.ingest.sync import SyncOptions, Work, sync


@pytest.fixture(scope="module")
def pool() -> Iterator[ParserPool]:
    with ParserPool(1) as children:
        yield children


@pytest.fixture
def work(pool: ParserPool) -> Work:
    return Work(pool, lambda report: None, lambda: False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "docs"
    root.mkdir()
    (root / "plain.txt").write_text("A plain file beside the archive.")
    pack(
        root / "a b.zip",
        {"notes.txt": "The keeper counts ships.", "sub/größe.md": "# Size\n\nThe lamp is tall."},
    )
    return root


def pack(path: Path, members: Mapping[str, str]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)


def run(index: Index, root: Path, work: Work, **options: Any) -> Report:
    return sync(lambda: index, str(root), SyncOptions(**options), work)


def texts(index: Index) -> dict[str, str]:
    return {
        manifest.document.uri.rpartition("/docs/")[2]: "".join(
            passage.chunk.text for passage in index.store.chunks_of(manifest.id)
        )
        for manifest in index.store.list_manifests()
        if manifest.live is not None
    }


def test_members_are_documents_named_by_their_archive(index: Index, folder: Path, work: Work) -> None:
    report = run(index, folder, work)
    assert (report.added, report.failed, report.skipped) == (3, [], [])
    assert texts(index) == {
        "plain.txt": "A plain file beside the archive.",
        "a%20b.zip/notes.txt": "The keeper counts ships.",
        "a%20b.zip/sub/gr%C3%B6%C3%9Fe.md": "Size\n\nThe lamp is tall.",
    }


def test_an_archive_that_changes_embeds_only_what_changed_in_it(
    index: Index, embedder: Any, folder: Path, work: Work
) -> None:
    run(index, folder, work)
    embedder.embedded = 0
    kept = {"sub/größe.md": "# Size\n\nThe lamp is tall."}
    pack(folder / "a b.zip", {"notes.txt": "The keeper counts whales.", "new.txt": "Another one.", **kept})
    report = run(index, folder, work)
    assert (report.added, report.updated, report.deleted, embedder.embedded) == (1, 1, 0, 2)
    assert texts(index)["a%20b.zip/notes.txt"] == "The keeper counts whales."


def test_what_leaves_an_archive_leaves_the_index_and_so_does_all_with_the_archive(
    index: Index, folder: Path, work: Work
) -> None:
    run(index, folder, work)
    pack(folder / "a b.zip", {"notes.txt": "The keeper counts ships."})
    assert run(index, folder, work).deleted == 1
    (folder / "a b.zip").unlink()
    assert run(index, folder, work).deleted == 1
    assert set(texts(index)) == {"plain.txt"}


def test_a_folder_packed_into_an_archive_keeps_its_vectors(
    index: Index, embedder: Any, folder: Path, work: Work
) -> None:
    (folder / "loose").mkdir()
    (folder / "loose" / "one.txt").write_text("The first loose page.")
    (folder / "loose" / "two.txt").write_text("The second loose page.")
    run(index, folder, work)
    embedder.embedded = 0
    pack(
        folder / "loose.zip", {name: (folder / "loose" / name).read_text() for name in ("one.txt", "two.txt")}
    )
    report = run(index, folder, work)
    assert (report.added, embedder.embedded) == (2, 0)


def test_a_damaged_archive_is_named_and_keeps_what_it_gave(index: Index, folder: Path, work: Work) -> None:
    run(index, folder, work)
    data = (folder / "a b.zip").read_bytes()
    (folder / "a b.zip").write_bytes(data[: len(data) // 2])
    report = run(index, folder, work)
    assert [problem.code for problem in report.failed] == ["corrupt"]
    assert len(texts(index)) == 3
    (folder / "a b.zip").write_bytes(data)
    assert run(index, folder, work).failed == []
    assert len(texts(index)) == 3


def test_patterns_and_hidden_names_count_inside_an_archive_as_in_a_folder(
    index: Index, folder: Path, work: Work
) -> None:
    members = {
        "a.md": "One page.",
        "a.txt": "Another page.",
        ".hidden.md": "Secret.",
        "sub/b.md": "Third page.",
    }
    pack(folder / "a b.zip", members)
    run(index, folder, work, selection=Selection(include=("*.md",), exclude=("sub/",)))
    assert set(texts(index)) == {"a%20b.zip/a.md"}
    run(index, folder, work, selection=Selection(exclude=("*.zip",)))
    assert set(texts(index)) == {"plain.txt"}


def test_an_archive_can_be_a_source_itself(index: Index, folder: Path, work: Work) -> None:
    report = run(index, folder / "a b.zip", work)
    assert (report.added, report.failed) == (2, [])
    again = run(index, folder / "a b.zip", work)
    assert (again.added, again.deleted, again.failed) == (0, 0, [])
    assert set(texts(index)) == {"a%20b.zip/notes.txt", "a%20b.zip/sub/gr%C3%B6%C3%9Fe.md"}


def test_what_cannot_be_read_in_an_archive_is_named_by_itself(index: Index, folder: Path, work: Work) -> None:
    pack(folder / "a b.zip", {"../out.txt": "Leads out.", "inner.zip": "no zip", "fine.txt": "Fine."})
    report = run(index, folder, work)
    assert [problem.code for problem in report.failed] == ["unsafe_name"]
    assert [problem.code for problem in report.skipped] == ["unsupported_kind"]
    assert "a%20b.zip/fine.txt" in texts(index)


def test_a_rehearsal_counts_members(index: Index, folder: Path, work: Work) -> None:
    assert run(index, folder, work, dry_run=True).added == 3
    assert texts(index) == {}
