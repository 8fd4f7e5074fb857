"""From files to cited passages with real models and the real store, without HTTP and the command line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from latewood.engine.library import Opened, Service
from latewood.engine.settings import Settings
from latewood.ingest.jobs import FINAL, Job
from latewood.ingest.sources.inventory import manifests
from latewood.ingest.sync import SyncOptions
from latewood.search.request import SearchRequest
from latewood.search.types import Manifest

FIXTURES = Path(__file__).parent / "fixtures"
SAMPLES = files("latewood.api").joinpath("samples")


@pytest.fixture
def open_service(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    opened: list[Service] = []

    def open_one(**settings: Any) -> Service:
        opened.append(Service(Settings(data=tmp_path / "data", jobs="memory", **settings)))
        return opened[-1]

    yield open_one
    for service in opened:
        service.close()


def ingest(service: Service, folder: Path) -> Job:
    queued = service.ingest("default", "default", str(folder), SyncOptions())
    job = service.jobs.get("default", queued["id"])
    assert job is not None
    last = next(state for state in service.jobs.events(job) if state and state["status"] in FINAL)
    assert last["status"] == "completed", last
    return job


def live(opened: Opened) -> dict[str, Manifest]:
    return {
        manifest.document.uri.rsplit("/", 1)[1]: manifest
        for manifest in manifests(opened.index.store)
        if manifest.live is not None
    }


def test_the_demo_questions_are_answered_by_the_right_documents_first(
    open_service: Callable[..., Service],
) -> None:
    service = open_service()
    job = ingest(service, Path(str(SAMPLES.joinpath("documents"))))
    assert job.report.failed == job.report.skipped == []
    opened = service.open("default", "default")
    for entry in json.loads(SAMPLES.joinpath("demo.json").read_text(encoding="utf-8")):
        hits = opened.searcher.search(SearchRequest(entry["question"], limit=3)).hits
        assert hits[0].passage.document.uri.endswith(entry["document"]), entry["question"]
    pages = [
        passage.chunk.page_start
        for passage in opened.store.chunks_of(live(opened)["operations-handbook.pdf"].id)
    ]
    assert pages[0] == 1
    assert max(page for page in pages if page) > 20
    assert None not in pages


def test_every_fixture_is_a_whole_document_or_skipped_or_failed_and_keeps_its_ids(
    open_service: Callable[..., Service],
) -> None:
    service = open_service(parse_seconds=20)
    report = ingest(service, FIXTURES).report
    opened = service.open("default", "default")
    documents = live(opened)
    named = {problem.uri.rsplit("/", 1)[1] for problem in report.skipped + report.failed}
    assert named.isdisjoint(documents)
    assert named | set(documents) == {path.name for path in FIXTURES.iterdir()}
    assert len(documents) > 15
    offsets = opened.index.embedder().token_offsets
    for manifest in documents.values():
        chunks = [passage.chunk for passage in opened.store.chunks_of(manifest.id)]
        assert [chunk.ordinal for chunk in chunks] == list(range(manifest.chunks))
        assert chunks[0].start == 0
        assert all(before.end == after.start for before, after in pairwise(chunks))
        assert chunks[-1].end == manifest.characters
        assert all(0 < len(offsets(chunk.text)) <= 256 for chunk in chunks)
    again = ingest(service, FIXTURES).report
    assert again.tokens == 0
    assert {problem.uri for problem in again.failed} == {problem.uri for problem in report.failed}
    assert {name: manifest.live for name, manifest in live(opened).items()} == {
        name: manifest.live for name, manifest in documents.items()
    }


def test_a_checkpoint_in_the_layout_of_jina_v3_serves_several_dimensions(
    open_service: Callable[..., Service], jina_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "berlin.txt").write_text("Berlin is the capital of Germany.\n\n" * 400)
    (folder / "bears.txt").write_text("Über die Straße läuft ein Bär.")
    settings = {"model": str(jina_folder), "dimensions": "64,32", "chunk_tokens": 64, "window": 256}
    service = open_service(**settings)
    job = ingest(service, folder)
    assert job.report.failed == []
    opened = service.open("default", "default")
    assert opened.store.config.dimensions == (64, 32)
    assert set(opened.store.config.fingerprint) > {"model", "adapters", "prompts", "pooling", "analyzer"}
    recorded = live(opened)["berlin.txt"].recorded
    assert (recorded["context"], recorded["window"]) == ("1", "256")
    for mode in ("dense", "bm25", "hybrid"):
        hits = opened.searcher.search(SearchRequest("Berlin is the capital", mode=mode)).hits
        assert hits, mode
    service.close()
    reopened = open_service(**settings).open("default", "default")
    assert (
        reopened.searcher.search(SearchRequest("Bär", mode="bm25")).hits[0].passage.document.title == "bears"
    )
