"""What a repair puts right, from what, and what it says of the rest."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latewood.embedder.types import InputError, StoppedError
from latewood.ingest.index import manifest_updates as manifests
from latewood.ingest.index import metadata_overrides, rewrite
from latewood.ingest.integrity.repair import Verdict, verify
from latewood.ingest.integrity.verify import LOST, examine
from latewood.ingest.parsing.sandbox.pool import ParserPool
from latewood.ingest.pipeline import Index
from latewood.ingest.report import Report
from latewood.ingest.sync import SyncOptions, Work, sync
from latewood.ingest.uploads import Spool, Upload, ingest_upload
from latewood.search.fusion import Fusion
from latewood.search.request import SearchRequest
from latewood.search.searcher import Searcher
from latewood.search.stores.memory import MemoryStore
from latewood.search.types import Manifest, Passage

QUESTIONS = ("heron ships", "which keeper counts gulls", "bay 21", "harbour light")


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
    for bird in ("heron", "gull", "tern", "auk"):
        lines = [f"The {bird} keeper counts {number} ships in bay {number * 7}." for number in range(9)]
        (root / f"{bird}.md").write_text(f"# Of the {bird}\n\n" + "\n\n".join(lines))
    return root


@pytest.fixture
def filled(index: Index, folder: Path, work: Work, tmp_path: Path) -> Index:
    """Four files and an upload, all with records."""
    assert sync(lambda: index, str(folder), SyncOptions(), work).failed == []
    upload = Upload(
        "default", "default", "upload:light", "light.txt", "The light", {"rank": 2.5, "lit": True}
    )
    spool = Spool(tmp_path / "uploads")
    text = " ".join(f"The harbour light blinks {number} times." for number in range(20))
    spooled = spool.add(upload, lambda path: path.write_text(text) and None)
    assert ingest_upload(index, spooled, work).added == 1
    spool.remove(spooled)
    assert examine(index.store).all() == []
    return index


def state(index: Index) -> dict[str, Any]:
    """All a user can see: documents, words, cuts, counts, and what is found with which score."""
    store = index.store
    documents = {
        manifest.id: (
            manifest.document,
            manifest.content_hash,
            manifest.chunks,
            manifest.characters,
            manifest.notes,
            manifest.failure,
            [replace(passage.chunk, version="") for passage in store.chunks_of(manifest.id)],
            {repr(passage.document) for passage in store.chunks_of(manifest.id)},
        )
        for manifest in store.list_manifests()
    }
    searcher = Searcher(store, lambda query: index.embedder()._vector(query), index.analyzer)
    found = {}
    for query in QUESTIONS:
        for mode in ("dense", "bm25", "hybrid"):
            hits = searcher.search(SearchRequest(query, 50, mode=mode, fusion=Fusion("convex"))).hits
            keys = [
                (round(hit.score, 5), hit.passage.document.uri, hit.passage.chunk.ordinal) for hit in hits
            ]
            found[query, mode] = sorted(keys)
    return {"documents": documents, "found": found, "stats": store.stats()}


def mend(index: Index, work: Work) -> Verdict:
    return verify(index, work, Report(), mend=True)


def manifest_of(index: Index, ending: str) -> Manifest:
    (found,) = (one for one in index.store.list_manifests() if one.document.uri.endswith(ending))
    return found


def lose(index: Index, store: MemoryStore, share: float, seed: int = 1) -> None:
    """Delete this share of all points, manifests and chunks alike."""
    points = [*sorted(store._entries), *sorted(store._manifests)]
    for key in random.Random(seed).sample(points, round(share * len(points))):
        store._entries.pop(key, None)
        store._manifests.pop(key, None)


def drop_records(store: MemoryStore) -> None:
    store._records.clear()


def vanish(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sources", ["there", "gone"])
def test_nearly_all_points_come_back_from_the_records(
    filled: Index, store: MemoryStore, folder: Path, work: Work, seed: int, sources: str
) -> None:
    before = state(filled)
    if sources == "gone":
        vanish(folder)
    lose(filled, store, 0.97, seed)
    named = examine(store)
    assert {one.id for one in named.missing} == set(before["documents"])
    verdict = mend(filled, work)
    assert (verdict.unrepaired, verdict.repaired) == ([], len(verdict.findings.all()))
    assert examine(store).all() == []
    assert state(filled) == before


def test_without_records_documents_come_back_from_their_files(
    filled: Index, store: MemoryStore, work: Work
) -> None:
    before = state(filled)
    changed = manifest_of(filled, "auk.md")
    told = replace(changed.document, metadata={"colour": "black"})
    manifests.update(store, {changed.id: lambda old: replace(old, document=told)})
    store.put_info(changed.id, str(changed.live), told)
    drop_records(store)
    for manifest in store.list_manifests():
        if manifest.document.source != "uploads:":
            store.remove_chunks([one.chunk.id for one in store.chunks_of(manifest.id)][1:])
    verdict = mend(filled, work)
    assert (verdict.unrepaired, verdict.repaired) == ([], 5)  # the upload's lack of a record is one of them
    after = state(filled)
    assert after["stats"] == before["stats"]
    assert after["found"] == before["found"]
    assert manifest_of(filled, "auk.md").document.metadata == {"colour": "black"}  # as it was told since


def test_a_file_that_changed_is_taken_as_it_is_now_when_nothing_else_is_left(
    filled: Index, store: MemoryStore, folder: Path, work: Work
) -> None:
    drop_records(store)
    gull = manifest_of(filled, "gull.md")
    store.remove_chunks([one.chunk.id for one in store.chunks_of(gull.id)][:1])
    (folder / "gull.md").write_text("The gulls have left.")
    assert mend(filled, work).unrepaired == []
    assert [one.chunk.text for one in store.chunks_of(gull.id)] == ["The gulls have left."]


def test_orphans_whose_file_is_there_become_its_document_and_others_are_removed(
    filled: Index, store: MemoryStore, work: Work
) -> None:
    before = state(filled)
    gull, light = manifest_of(filled, "gull.md"), manifest_of(filled, "light")
    drop_records(store)
    del store._manifests[gull.id], store._manifests[light.id]
    verdict = mend(filled, work)
    assert {one.id for one in verdict.findings.orphaned} == {gull.id, light.id}
    assert verdict.unrepaired == []
    assert examine(store).all() == []
    assert [one.chunk.text for one in store.chunks_of(gull.id)] == [
        chunk.text for chunk in before["documents"][gull.id][6]
    ]
    assert store.get_manifests([light.id]) == []
    assert store.stats().chunks == before["stats"].chunks - light.chunks


def test_stale_chunks_and_records_are_removed_and_nothing_else(
    filled: Index, store: MemoryStore, work: Work
) -> None:
    before = state(filled)
    tern = manifest_of(filled, "tern.md")
    for passage in store.chunks_of(tern.id):
        gone = replace(passage.chunk, version="00000000-0000-4000-8000-000000000000")
        store._entries[gone.id] = replace(
            store._entries[passage.chunk.id], passage=Passage(gone, passage.document)
        )
    (record,) = store.get_records([tern.id])
    chunks = tuple(replace(chunk, version="old") for chunk in record.chunks)
    store.put_records([replace(record, manifest=replace(record.manifest, live="old"), chunks=chunks)])
    assert {one.code for one in examine(store).all()} == {"version_gone", "record_stale"}
    assert mend(filled, work).repaired == 2
    assert state(filled) == before
    assert len(store.list_records()) == 5


def test_only_the_manifest_is_written_where_only_it_is_lost(
    filled: Index, store: MemoryStore, work: Work, embedder: Any
) -> None:
    before, ids = state(filled), set(store._entries)
    for manifest in store.list_manifests():
        del store._manifests[manifest.id]
    embedded = embedder.embedded
    assert mend(filled, work).repaired == 5
    assert embedder.embedded == embedded
    assert set(store._entries) == ids
    assert state(filled) == before


@pytest.mark.parametrize("share", [0.97, 0.0])
def test_metadata_set_by_hand_outlives_the_loss_of_everything_but_the_record(
    filled: Index, store: MemoryStore, folder: Path, work: Work, share: float
) -> None:
    heron = manifest_of(filled, "heron.md")
    metadata_overrides.amend(store, heron.id, {"team": "deck", "old": None})
    assert examine(store).all() == []
    before = state(filled)
    lose(filled, store, share)
    store._manifests.pop(heron.id, None)
    assert mend(filled, work).unrepaired == []
    assert state(filled) == before
    assert manifest_of(filled, "heron.md").amended == {"team": "deck", "old": None}
    (folder / "heron.md").write_text("Herons only.")
    sync(lambda: filled, str(folder), SyncOptions(), work)
    assert manifest_of(filled, "heron.md").document.metadata == {"team": "deck"}


@pytest.mark.parametrize("records", [True, False])
def test_damaged_vectors_are_made_again_even_without_a_record(
    filled: Index, store: MemoryStore, work: Work, records: bool
) -> None:
    before = state(filled)
    light = manifest_of(filled, "light")
    for passage in store.chunks_of(light.id)[:2]:
        entry = store._entries[passage.chunk.id]
        store._entries[passage.chunk.id] = replace(entry, dense=np.zeros_like(entry.dense))
    if not records:
        drop_records(store)
    assert state(filled) != before
    assert mend(filled, work).unrepaired == []
    assert examine(store).all() == []
    assert state(filled) == before


def test_records_are_mended_from_the_live_chunks(filled: Index, store: MemoryStore, work: Work) -> None:
    before = state(filled)
    kept = {key: store.get_records([key[0]])[0] for key in store.list_records()}
    first, second, third, *_ = kept
    del store._records[first]
    told = replace(kept[second].manifest, content_hash="other")
    store.put_records([replace(kept[second], manifest=told)])
    store.put_info(*third, replace(kept[third].manifest.document, title="Half a change"))
    verdict = mend(filled, work)
    assert (verdict.repaired, verdict.unrepaired) == (4, [])
    assert state(filled) == before
    for key in (first, second, third):
        assert store.get_records([key[0]])[0].chunks == kept[key].chunks


def test_what_is_left_of_a_document_stays_whole_and_is_named_until_it_is_taken_in_again(
    filled: Index, store: MemoryStore, folder: Path, work: Work
) -> None:
    drop_records(store)
    heron = manifest_of(filled, "heron.md")
    passages = store.chunks_of(heron.id)
    store.remove_chunks([passages[1].chunk.id])
    (folder / "heron.md").rename(folder.parent / "heron.md")
    ((finding, message),) = mend(filled, work).unrepaired
    assert (finding.id, finding.code) == (heron.id, LOST)
    assert f"1 of {heron.chunks} passages" in message
    left = [one.chunk.text for one in store.chunks_of(heron.id)]
    assert left == [one.chunk.text for one in passages if one.chunk.ordinal != 1]
    flagged = manifest_of(filled, "heron.md")
    assert flagged.failure is not None
    assert (flagged.failure.code, flagged.failure.transient) == (LOST, True)
    again = mend(filled, work)
    assert [one.id for one, _ in again.unrepaired] == [heron.id]
    assert again.repaired == 0
    assert store.chunks_of(heron.id)
    assert manifest_of(filled, "heron.md").live == flagged.live
    (folder.parent / "heron.md").rename(folder / "heron.md")
    assert sync(lambda: filled, str(folder), SyncOptions(), work).updated == 1
    assert [one.chunk.text for one in store.chunks_of(heron.id)] == [one.chunk.text for one in passages]
    assert manifest_of(filled, "heron.md").failure is None
    assert examine(store).lost == []


def test_a_flagged_document_whose_file_came_back_is_repaired(
    filled: Index, store: MemoryStore, folder: Path, work: Work
) -> None:
    before = state(filled)
    drop_records(store)
    heron = manifest_of(filled, "heron.md")
    store.remove_chunks([one.chunk.id for one in store.chunks_of(heron.id)])
    (folder / "heron.md").rename(folder.parent / "heron.md")
    ((finding, _),) = mend(filled, work).unrepaired
    assert (finding.id, finding.code) == (heron.id, LOST)
    assert manifest_of(filled, "heron.md").live is None
    (folder.parent / "heron.md").rename(folder / "heron.md")
    assert mend(filled, work).unrepaired == []
    assert state(filled)["found"] == before["found"]


def test_a_record_nobody_can_read_and_no_manifest_names_the_document_as_lost(
    filled: Index, store: MemoryStore, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    light = manifest_of(filled, "light")
    store.remove_chunks([one.chunk.id for one in store.chunks_of(light.id)])
    del store._manifests[light.id]
    read = store.get_records
    monkeypatch.setattr(store, "get_records", lambda ids: read([one for one in ids if one != light.id]))
    ((finding, message),) = mend(filled, work).unrepaired
    assert (finding.id, finding.code) == (light.id, "record_unreadable")
    assert "cannot be read" in message
    assert examine(store).all() == []


def test_a_document_that_cannot_be_embedded_fails_alone_and_keeps_its_record(
    filled: Index, store: MemoryStore, work: Work, embedder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(filled)
    lose(filled, store, 0.97)
    embed = embedder.embed_documents

    def refuse(documents: Any, stop: Any) -> Any:
        if any("gull" in document.text for document in documents):
            raise InputError("no gulls today")
        return embed(documents, stop)

    monkeypatch.setattr(embedder, "embed_documents", refuse)
    unrepaired = mend(filled, work).unrepaired
    assert [message for _, message in unrepaired] == ["no gulls today"]
    monkeypatch.setattr(embedder, "embed_documents", embed)
    assert mend(filled, work).unrepaired == []
    assert state(filled) == before


class KilledError(BaseException):
    """Stands for kill -9."""


@pytest.mark.parametrize("step", range(0, 18, 2))
def test_killed_at_any_write_the_next_repair_finishes(
    filled: Index, store: MemoryStore, work: Work, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    before = state(filled)
    lose(filled, store, 0.9, seed=step)
    monkeypatch.setattr(rewrite, "BATCH_DOCUMENTS", 2)
    left = step
    for name in ("put_manifests", "put_chunks", "put_records", "sweep", "remove_chunks"):
        whole = getattr(store, name)

        def counted(*args: Any, _whole: Any = whole) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise KilledError
            return _whole(*args)

        monkeypatch.setattr(store, name, counted)
    with pytest.raises(KilledError):
        mend(filled, work)
    monkeypatch.undo()
    assert mend(filled, work).unrepaired == []
    assert examine(store).all() == []
    assert state(filled) == before


def test_a_stopped_repair_ends_early_and_the_next_one_goes_on(
    filled: Index, store: MemoryStore, work: Work, embedder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(filled)
    lose(filled, store, 0.97)

    def stopped(documents: Any, stop: Any) -> Any:
        raise StoppedError("asked to")

    with monkeypatch.context() as patched:
        patched.setattr(embedder, "embed_documents", stopped)
        mend(filled, work)
    assert mend(filled, work).unrepaired == []
    assert state(filled) == before


def test_a_verify_alone_changes_nothing_and_says_what_a_person_and_a_program_need(
    filled: Index, store: MemoryStore, work: Work
) -> None:
    lose(filled, store, 0.5)
    entries, manifests = dict(store._entries), dict(store._manifests)
    told: list[tuple[int, int]] = []
    listening = replace(work, progress=lambda report: told.append((report.finished, report.total)))
    answer = verify(filled, listening, Report()).as_dict()
    assert (store._entries, store._manifests) == (entries, manifests)
    assert answer["missing"]
    assert (answer["repaired"], answer["unrepaired"]) == (0, [])
    assert set(answer) == {
        "documents",
        "chunks",
        "missing",
        "orphaned",
        "stale",
        "damaged_records",
        "differing",
        "indexes",
        "repaired",
        "unrepaired",
    }
    assert told[-1] == (len(manifests), len(manifests))
