"""Sidecars and rules on paths: they give metadata, and a change of them embeds nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from latewood.ingest.parsing.sandbox.pool import ParserPool
from latewood.ingest.pipeline import Index
from latewood.ingest.report import Report
from latewood.ingest.sources.path_templates import read_templates
from latewood.ingest.sources.patterns import Selection
from latewood.ingest.sync import SyncOptions, Work, sync
from latewood.search.types import Comparison


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
    (root / "deck" / "2024").mkdir(parents=True)
    (root / "deck" / "2024" / "log.md").write_text(
        "---\nteam: crew\nmonth: 3\n---\n# Log\n\nThe ships were counted."
    )
    (root / "note.txt").write_text("The lamp is broken again.")
    return root


def run(index: Index, root: Path, work: Work, **options: Any) -> Report:
    return sync(lambda: index, str(root), SyncOptions(**options), work)


def told(index: Index, name: str) -> dict[str, Any]:
    """Title, language and metadata, the same in manifest and chunks."""
    for manifest in index.store.list_manifests():
        if manifest.document.uri.endswith(name):
            infos = {json.dumps(_told(one.document)) for one in index.store.chunks_of(manifest.id)}
            assert infos == {json.dumps(_told(manifest.document))}
            return _told(manifest.document)
    raise AssertionError(f"no document {name}")


def _told(info: Any) -> dict[str, Any]:
    return {"title": info.title, "language": info.language, **dict(sorted(info.metadata.items()))}


def sidecar(path: Path, **values: Any) -> None:
    path.with_name(f"{path.name}.meta.json").write_text(json.dumps(values))


def test_a_sidecar_is_no_document_and_gives_title_language_and_metadata(
    index: Index, folder: Path, work: Work
) -> None:
    sidecar(folder / "note.txt", title="The lamp", language="en", urgent=True, tags=["a", "b"])
    report = run(index, folder, work)
    assert (report.added, report.failed) == (2, [])
    assert told(index, "note.txt") == {
        "title": "The lamp",
        "language": "en",
        "tags": ["a", "b"],
        "urgent": True,
    }
    assert index.store.count(Comparison("eq", "urgent", value=True)) == 1


def test_a_sidecar_that_comes_changes_and_goes_is_followed_without_embedding(
    index: Index, embedder: Any, folder: Path, work: Work
) -> None:
    run(index, folder, work)
    embedder.embedded = 0
    for values, expected in [({"team": "deck"}, {"team": "deck"}), ({"team": "crew"}, {"team": "crew"})]:
        sidecar(folder / "note.txt", **values)
        assert run(index, folder, work).updated == 1
        assert told(index, "note.txt") == {"title": "note", "language": "", **expected}
        assert run(index, folder, work).updated == 0
    (folder / "note.txt.meta.json").unlink()
    assert run(index, folder, work).updated == 1
    assert told(index, "note.txt") == {"title": "note", "language": ""}
    assert embedder.embedded == 0


def test_a_sidecar_counts_also_where_patterns_leave_its_kind_out(
    index: Index, folder: Path, work: Work
) -> None:
    sidecar(folder / "note.txt", team="deck")
    run(index, folder, work, selection=Selection(include=("*.txt",)))
    assert told(index, "note.txt")["team"] == "deck"


def test_a_file_named_like_a_sidecar_of_nothing_is_a_document(index: Index, folder: Path, work: Work) -> None:
    (folder / "lost.txt.meta.json").write_text('{"a": "The described file is gone."}')
    assert run(index, folder, work).added == 3


def test_a_sidecar_that_cannot_be_used_is_named_keeps_the_old_version_and_is_tried_again(
    index: Index, folder: Path, work: Work
) -> None:
    run(index, folder, work)
    (folder / "note.txt.meta.json").write_text("{")
    for _ in range(2):
        assert [problem.code for problem in run(index, folder, work).failed] == ["invalid_metadata"]
    assert told(index, "note.txt") == {"title": "note", "language": ""}
    sidecar(folder / "note.txt", team="deck")
    assert run(index, folder, work).failed == []
    assert told(index, "note.txt")["team"] == "deck"


def test_rules_on_paths_give_metadata_and_stand_between_the_file_and_its_sidecar(
    index: Index, embedder: Any, folder: Path, work: Work
) -> None:
    run(index, folder, work)
    assert told(index, "log.md") == {"title": "Log", "language": "", "month": 3, "team": "crew"}
    embedder.embedded = 0
    ruled = replace(work, templates=read_templates(["{team}/{year:int}/**"]))
    assert run(index, folder, ruled).updated == 1
    assert told(index, "log.md") == {"title": "Log", "language": "", "month": 3, "team": "deck", "year": 2024}
    sidecar(folder / "deck" / "2024" / "log.md", team="office")
    assert run(index, folder, ruled).updated == 1
    assert told(index, "log.md")["team"] == "office"
    assert run(index, folder, ruled).updated == 0
    assert embedder.embedded == 0


def test_a_single_file_has_its_sidecar_too(index: Index, folder: Path, work: Work) -> None:
    sidecar(folder / "note.txt", team="deck")
    run(index, folder / "note.txt", work)
    assert told(index, "note.txt")["team"] == "deck"
