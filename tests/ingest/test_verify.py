"""What a verify names: every way in which manifests, chunks and records can disagree, and nothing else."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from latewood.ingest.index import commit
from latewood.ingest.index.rewrite import record_of
from latewood.ingest.integrity import orphans, verify
from latewood.ingest.integrity.verify import Finding, Findings, examine
from latewood.ingest.pipeline import Index, ingest
from latewood.ingest.types import Document, document_id
from latewood.search.stores.memory import MemoryStore
from latewood.search.types import Failure, Manifest, ManifestWrite, Passage, Record


def document(name: str, sentences: int = 12, **changes: Any) -> Document:
    uri = f"file:///notes/{name}.txt"
    text = " ".join(
        f"The {name} keeper counts {number} ships in bay {number * 7}." for number in range(sentences)
    )
    made = Document(
        document_id("default", "default", uri), uri, "file:///notes/", name, "txt", text, (), name
    )
    return replace(made, **changes)


def take(index: Index, *names: str) -> list[Manifest]:
    """Documents that answer, each with its record."""
    assert [one.error for one in ingest(index, [document(name) for name in names])] == [None] * len(names)
    manifests = index.store.get_manifests([document(name).id for name in names])
    for manifest in manifests:
        chunks = [passage.chunk for passage in index.store.chunks_of(manifest.id)]
        index.store.put_records([record_of(manifest, chunks)])
    return manifests


def forget(store: MemoryStore, manifest: Manifest) -> None:
    """Remove a manifest behind the store's back."""
    del store._manifests[manifest.id]


def chunk_ids(store: MemoryStore, manifest: Manifest) -> list[str]:
    return [passage.chunk.id for passage in store.chunks_of(manifest.id)]


def summary(findings: Findings) -> list[tuple[str, str, int]]:
    return [(one.code, one.id, one.chunks) for one in findings.all()]


@pytest.fixture
def three(index: Index) -> list[Manifest]:
    return take(index, "heron", "gull", "tern")


def test_a_whole_index_has_no_findings_and_counts_are_told(store: MemoryStore, three: list[Manifest]) -> None:
    findings = examine(store)
    assert findings.all() == []
    assert (findings.documents, findings.chunks) == (3, sum(one.chunks for one in three))


def test_an_empty_index_has_no_findings(store: MemoryStore) -> None:
    assert examine(store) == Findings()


def test_missing_chunks_are_named_by_document_and_ordinal(store: MemoryStore, three: list[Manifest]) -> None:
    ids = chunk_ids(store, three[1])
    store.remove_chunks([ids[0], ids[2]])
    (found,) = examine(store).missing
    uri = three[1].document.uri
    assert found == Finding("chunks_missing", three[1].id, uri, str(three[1].live), 2, len(ids), (0, 2))


def test_a_manifest_without_any_chunk_is_named(store: MemoryStore, three: list[Manifest]) -> None:
    store.remove_chunks(chunk_ids(store, three[0]))
    assert summary(examine(store)) == [("no_chunks", three[0].id, three[0].chunks)]


@pytest.mark.parametrize(
    "change", [{"text": "x" * 40, "end": 40}, {"context": "another"}, {"headings": ("h",)}]
)
def test_chunks_that_are_not_what_was_written_are_named(
    store: MemoryStore, three: list[Manifest], change: dict[str, Any]
) -> None:
    (first,) = chunk_ids(store, three[0])[:1]
    entry = store._entries[first]
    changed = replace(entry.passage.chunk, **change)
    store._entries[first] = replace(entry, passage=Passage(changed, entry.passage.document))
    assert summary(examine(store)) == [("chunks_damaged", three[0].id, 1)]


def test_chunks_that_do_not_join_are_named_without_a_record_too(
    store: MemoryStore, three: list[Manifest]
) -> None:
    store._records.clear()
    entry = store._entries[chunk_ids(store, three[0])[0]]
    longer = replace(
        entry.passage.chunk, text=entry.passage.chunk.text + "!", end=entry.passage.chunk.end + 1
    )
    store._entries[longer.id] = replace(entry, passage=Passage(longer, entry.passage.document))
    assert {one.code for one in examine(store).missing} == {"chunks_damaged"}


@pytest.mark.parametrize("value", [0.0, float("nan"), 3.0])
def test_vectors_that_no_embedder_made_are_named(
    store: MemoryStore, three: list[Manifest], value: float
) -> None:
    key = chunk_ids(store, three[1])[1]
    entry = store._entries[key]
    store._entries[key] = replace(entry, dense=np.full_like(entry.dense, value))
    (found,) = examine(store).missing
    assert (found.code, found.id) == ("vectors_damaged", three[1].id)
    assert 1 in found.ordinals


def test_a_lost_manifest_is_told_from_its_record_with_what_is_left(
    store: MemoryStore, three: list[Manifest]
) -> None:
    store.remove_chunks(chunk_ids(store, three[2])[1:])
    forget(store, three[2])
    findings = examine(store)
    assert summary(findings) == [("manifest_lost", three[2].id, three[2].chunks - 1)]
    assert findings.missing[0].uri == three[2].document.uri


def test_chunks_that_neither_manifest_nor_record_names_are_orphaned(
    store: MemoryStore, three: list[Manifest]
) -> None:
    forget(store, three[2])
    del store._records[three[2].id, str(three[2].live)]
    findings = examine(store)
    assert summary(findings) == [("no_manifest", three[2].id, three[2].chunks)]
    assert findings.orphaned[0].uri == three[2].document.uri


def test_chunks_of_a_version_that_is_gone_are_stale_and_those_in_flight_are_not(
    index: Index, store: MemoryStore, three: list[Manifest]
) -> None:
    old = {key: store._entries[key] for key in chunk_ids(store, three[0])}
    take(index, "heron")
    (attempt,) = commit.begin(store, [three[0].document])
    flying = replace(three[0], live=attempt.version)
    for entry in old.values():
        chunk = replace(entry.passage.chunk, version=attempt.version)
        store._entries[chunk.id] = replace(entry, passage=Passage(chunk, entry.passage.document))
    store.put_records(
        [
            record_of(
                flying,
                [one.passage.chunk for one in store._entries.values() if one.key.version == attempt.version],
            )
        ]
    )
    assert examine(store).all() == []
    store._entries |= old
    assert summary(examine(store)) == [("version_gone", three[0].id, three[0].chunks)]
    store._manifests[three[0].id] = _settled(store, three[0].id)  # as if the one in flight were forgotten
    assert {(one.code, one.version) for one in examine(store).all()} == {
        ("version_gone", str(three[0].live)),
        ("version_gone", attempt.version),
        ("record_stale", attempt.version),
    }


def _settled(store: MemoryStore, key: str) -> str:
    from latewood.search.stores.qdrant.payload import manifest_json

    return manifest_json(replace(store.get_manifests([key])[0], pending=()))


def test_a_chunk_beyond_its_version_is_stale(store: MemoryStore, three: list[Manifest]) -> None:
    entry = store._entries[chunk_ids(store, three[0])[0]]
    beyond = replace(entry.passage.chunk, ordinal=three[0].chunks + 4)
    store._entries[beyond.id] = replace(entry, passage=Passage(beyond, entry.passage.document))
    (found,) = examine(store).all()
    assert (found.code, found.ordinals) == ("not_of_version", (three[0].chunks + 4,))


def test_records_that_are_missing_differ_or_are_of_no_version_are_named(
    store: MemoryStore, three: list[Manifest]
) -> None:
    first, second, third = three
    del store._records[first.id, str(first.live)]
    record = store.get_records([second.id])[0]
    chunks = tuple(replace(chunk, version="gone") for chunk in record.chunks)
    store.put_records([Record(replace(record.manifest, live="gone"), chunks)])
    record = store.get_records([third.id])[0]
    told = replace(record.manifest, content_hash="other")
    store.put_records([replace(record, manifest=told)])
    assert {(one.code, one.id) for one in examine(store).damaged_records} == {
        ("record_missing", first.id),
        ("record_stale", second.id),
        ("record_differs", third.id),
    }
    assert len(examine(store).all()) == 3


def test_chunks_that_say_something_else_of_their_document_are_named(
    store: MemoryStore, three: list[Manifest]
) -> None:
    store.put_info(three[0].id, str(three[0].live), replace(three[0].document, title="another"))
    findings = examine(store)
    assert summary(findings) == [
        ("record_differs", three[0].id, 0),
        ("info_differs", three[0].id, three[0].chunks),
    ]


def test_metadata_being_set_by_hand_is_no_finding(store: MemoryStore, three: list[Manifest]) -> None:
    wish = replace(three[0], revision="w", amended={"team": "deck"}, retelling=True)
    assert store.put_manifests([ManifestWrite(wish.id, three[0].revision, wish)]) == [True]
    assert examine(store).all() == []
    store.put_info(wish.id, str(wish.live), replace(wish.document, metadata={"team": "deck"}))
    assert examine(store).all() == []
    commit.recover(store)
    assert examine(store).all() == []
    assert store.get_records([wish.id])[0].manifest.amended == {"team": "deck"}


def test_a_failure_without_a_live_version_is_no_finding(store: MemoryStore, three: list[Manifest]) -> None:
    broken = document("broken")
    info = replace(three[0].document, id=broken.id, uri=broken.uri)
    commit.note_failure(store, info, Failure("corrupt", "no", "", "", None, "1", transient=False))
    assert examine(store).all() == []


def test_findings_end_up_in_one_list_each_and_as_json() -> None:
    findings = Findings()
    codes = ["chunks_missing", "no_manifest", "version_gone", "record_missing", "info_differs", verify.LOST]
    findings.add(Finding(code, code, "", "") for code in codes)
    lists = (findings.missing, findings.orphaned, findings.stale, findings.damaged_records)
    assert [[one.code for one in several] for several in (*lists, findings.differing, findings.lost)] == [
        [code] for code in codes
    ]
    assert Finding("no_chunks", "a", "b", "c", 3, 9, (1, 2, 3)).as_dict() == {
        "code": "no_chunks",
        "id": "a",
        "uri": "b",
        "version": "c",
        "chunks": 3,
        "of": 9,
        "ordinals": [1, 2, 3],
    }


def test_pages_are_walked_to_the_end(
    index: Index, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifests = take(index, *(f"bird{number}" for number in range(9)))
    monkeypatch.setattr(verify, "PAGE", 2)
    monkeypatch.setattr(verify, "_BATCH_CHUNKS", 5)
    monkeypatch.setattr(orphans, "PAGE", 3)
    assert examine(store).all() == []
    for manifest in manifests[:3]:
        store.remove_chunks(chunk_ids(store, manifest)[-1:])
    for manifest in manifests[3:6]:
        forget(store, manifest)
    for manifest in manifests[6:]:
        forget(store, manifest)
        del store._records[manifest.id, str(manifest.live)]
    findings = examine(store)
    assert {one.id for one in findings.missing} == {one.id for one in manifests[:6]}
    assert {(one.id, one.chunks) for one in findings.orphaned} == {
        (one.id, one.chunks) for one in manifests[6:]
    }
    assert len(findings.all()) == 9


def test_a_stop_ends_the_walk(store: MemoryStore, three: list[Manifest]) -> None:
    for manifest in three:
        store.remove_chunks(chunk_ids(store, manifest))
    assert examine(store, stop=lambda: True).all() == []


class Racing(MemoryStore):
    """A store that lets a writer in after each read of the one thread that is to be disturbed."""

    between: Callable[[], None] = staticmethod(lambda: None)
    inside = False

    def disturbed(self, read: Callable[..., Any], *args: Any, **options: Any) -> Any:
        outer, self.inside = self.inside, True  # a read within a read holds the store's lock
        found = read(*args, **options)
        self.inside = outer
        if not outer:
            self.between()
        return found

    def get_manifests(self, ids):
        return self.disturbed(super().get_manifests, ids)

    def list_manifests(self, **options):
        return self.disturbed(super().list_manifests, **options)

    def list_chunks(self, **options):
        return self.disturbed(super().list_chunks, **options)

    def list_records(self, **options):
        return self.disturbed(super().list_records, **options)

    def get_records(self, ids):
        return self.disturbed(super().get_records, ids)

    def read_chunks(self, document_id, **options):
        return self.disturbed(super().read_chunks, document_id, **options)


def test_a_version_that_is_replaced_between_any_two_reads_is_no_finding(
    index: Index, store: MemoryStore
) -> None:
    """Each read of the walk is followed by a whole update of the document it just read."""
    racing = Racing(store.config)
    racing.__dict__.update(store.__dict__)  # another door to the same store
    take(index, "heron", "gull")
    busy = False
    updates = 0

    def update() -> None:
        nonlocal busy, updates
        if busy:
            return
        busy = True
        updates += 1
        if updates % 5 == 0:
            commit.remove(store, [document("gull").id])
        else:
            take(index, "heron", "gull")
        busy = False

    racing.between = update
    assert examine(racing).all() == []
    assert updates > 6


def test_an_ingest_that_runs_meanwhile_gives_no_findings(index: Index, store: MemoryStore) -> None:
    names = [f"bird{number}" for number in range(6)]
    take(index, *names)

    def write() -> int:
        for number in range(25):
            for outcome in ingest(index, [document(name, 5 + number % 7) for name in names]):
                assert outcome.error is None
            commit.remove(store, [document(names[number % 6]).id])
        return number

    with ThreadPoolExecutor(1) as threads:
        writer = threads.submit(write)
        looks: list[Findings] = []
        while not writer.done() or not looks:
            looks.append(examine(store))
        assert writer.result() == 24
    assert [one for look in [*looks, examine(store)] for one in look.all()] == []


def test_a_lost_document_of_two_kept_versions_is_one_finding(
    store: MemoryStore, three: list[Manifest]
) -> None:
    record = store.get_records([three[0].id])[0]
    version = str(uuid.uuid4())
    newer = replace(
        record.manifest, live=version, document=replace(record.manifest.document, ingested="2999")
    )
    chunks = tuple(replace(chunk, version=version) for chunk in record.chunks)
    store.put_records([replace(record, manifest=newer, chunks=chunks)])
    assert store.put_manifests([ManifestWrite(three[0].id, three[0].revision, None)]) == [True]
    (found,) = examine(store).missing
    assert (found.version, found.chunks) == (version, three[0].chunks)
