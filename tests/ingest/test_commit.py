"""The commit walk: whatever stops it where, a reader sees an old version or a new one, whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from latewood.ingest.index import commit
from latewood.ingest.index.writer import describe as describe_document
from latewood.ingest.index.writer import utc
from latewood.ingest.pipeline import Index, ingest
from latewood.ingest.types import Document, Element, ElementKind, document_id
from latewood.search.analysis.analyzer import Analyzer
from latewood.search.types import Failure, Leg


class Killed(BaseException):
    """The process is gone at this point."""


@dataclass
class Mortal:
    """A store that dies before its n-th write."""

    inner: Any
    lives: int = 10**9
    writes: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)
        if name not in {"put_manifests", "put_records", "put_chunks", "sweep"}:
            return method

        def mortal(*args: Any, **more: Any) -> Any:
            if len(self.writes) >= self.lives:
                raise Killed
            self.writes.append(name)
            return method(*args, **more)

        return mortal


def document(text: str, name: str = "a") -> Document:
    uri = f"file:///folder/{name}.txt"
    return Document(
        id=document_id("default", "default", uri),
        uri=uri,
        source="file:///folder/",
        title=name,
        kind="txt",
        text=text,
        elements=(Element(ElementKind.PARAGRAPH, 0, len(text)),),
        content_hash=f"hash of {text}",
    )


def text_of(store: Any, key: str) -> str:
    return "".join(passage.chunk.text for passage in store.chunks_of(key))


def recorded_text(store: Any) -> list[str]:
    """The text of every record there is."""
    records = store.get_records([key for key, _ in store.list_records()])
    return ["".join(chunk.text for chunk in record.chunks) for record in records]


def found(store: Any, word: str) -> set[str]:
    """Texts that answer a word, by BM25 over everything a reader sees."""
    leg = Leg("bm25", Analyzer().query_vector(word), 100)
    (ranked,) = store.search([leg])
    return {passage.chunk.text for passage in store.fetch([one.id for one in ranked])}


def on(index: Index, store: Any) -> Index:
    return Index(index.tenant, index.collection, store, index.embedder, index.analyzer, index.chunk_tokens)


OLD = "The old harbour opens at seven. " * 12
NEW = "The new harbour opens at nine, they say. " * 12


def run_until_killed(act: Callable[[Any], object], store: Any, lives: int) -> bool:
    """Whether the act died."""
    try:
        act(Mortal(store, lives))
    except Killed:
        return True
    return False


def test_a_first_version_is_invisible_until_its_manifest_is_committed(index: Index) -> None:
    doc = document(OLD)
    for lives in range(100):
        died = run_until_killed(lambda store: list(ingest(on(index, store), [doc])), index.store, lives)
        assert text_of(index.store, doc.id) in {"", OLD}
        assert index.store.count() in {0, index.store.stats().chunks}
        commit.recover(index.store)
        assert index.store.stats().hidden == 0
        if not died:
            break
        commit.remove(index.store, [doc.id])
    assert text_of(index.store, doc.id) == OLD
    assert lives == 4, "announce, record, chunks, flip: four writes, each survived"


def test_an_update_killed_anywhere_shows_the_old_version_or_the_new_one_whole(index: Index) -> None:
    old, new = document(OLD), document(NEW)
    for lives in range(100):
        list(ingest(index, [old]))
        died = run_until_killed(lambda store: list(ingest(on(index, store), [new])), index.store, lives)
        seen = text_of(index.store, old.id)
        assert seen in {OLD, NEW}
        words = "".join(found(index.store, "harbour"))
        assert ("old" in words) != ("new" in words)
        assert index.store.count() == index.store.get_manifests([old.id])[0].chunks
        commit.recover(index.store)
        assert text_of(index.store, old.id) == seen
        assert index.store.stats().hidden == 0
        assert recorded_text(index.store) == [seen]
        if not died:
            break
    assert text_of(index.store, old.id) == NEW


def test_a_removal_killed_anywhere_leaves_the_document_whole_or_gone(index: Index) -> None:
    doc = document(OLD)
    for lives in range(100):
        list(ingest(index, [doc]))
        died = run_until_killed(lambda store: commit.remove(store, [doc.id]), index.store, lives)
        assert text_of(index.store, doc.id) in {"", OLD}
        assert bool(found(index.store, "harbour")) == bool(text_of(index.store, doc.id))
        commit.recover(index.store)
        if not died:
            break
    assert index.store.get_manifests([doc.id]) == []
    assert index.store.stats().hidden == 0
    assert recorded_text(index.store) == []


def test_a_record_says_what_the_manifest_says(index: Index) -> None:
    doc = document(OLD)
    list(ingest(index, [doc]))
    (record,) = index.store.get_records([doc.id])
    (manifest,) = index.store.get_manifests([doc.id])
    assert record.manifest == replace(manifest, revision=record.manifest.revision)
    assert [passage.chunk for passage in index.store.chunks_of(doc.id)] == list(record.chunks)


def test_of_two_writers_on_one_document_one_wins_whole_and_the_other_leaves_nothing(index: Index) -> None:
    list(ingest(index, [document(OLD)]))

    class Interrupting(Mortal):
        """Lets another writer commit just before this one does."""

        def __getattr__(self, name: str) -> Any:
            if name == "put_manifests" and self.writes[-1:] == ["put_chunks"]:
                self.writes.append("other")
                list(ingest(index, [document("The other writer was first. " * 12)]))
            return super().__getattr__(name)

    outcomes = list(ingest(on(index, Interrupting(index.store)), [document(NEW)]))
    assert [outcome.error.code for outcome in outcomes if outcome.error] == ["conflict"]
    assert found(index.store, "harbour") == set()
    assert "other writer" in text_of(index.store, document(OLD).id)
    assert recorded_text(index.store) == [text_of(index.store, document(OLD).id)]
    assert index.store.stats().hidden == 0
    assert index.store.in_flight() == []


def test_a_document_deleted_while_it_is_written_stays_deleted(index: Index) -> None:
    doc = document(OLD)
    attempt = commit.begin(index.store, [describe(doc)])
    commit.recover(index.store)
    written = commit.Written(attempt[0], describe(doc), doc, 1, {})
    assert commit.commit(index.store, [written]) == [False]
    assert index.store.get_manifests([doc.id]) == []


def describe(doc: Document) -> Any:
    return describe_document(doc)


def test_a_failure_flags_the_document_and_keeps_its_version_live(index: Index) -> None:
    doc = document(OLD)
    list(ingest(index, [doc]))
    failure = Failure("corrupt", "it is broken", utc(), "", None, "1", transient=False)
    commit.note_failure(index.store, describe(doc), failure)
    manifest = index.store.get_manifests([doc.id])[0]
    assert manifest.failure == failure
    assert text_of(index.store, doc.id) == OLD
    list(ingest(index, [document(NEW)]))
    assert index.store.get_manifests([doc.id])[0].failure is None


@pytest.mark.parametrize("stop_after", [0, 1, 2])
def test_stopping_ends_between_batches_with_everything_before_committed(
    index: Index, monkeypatch: pytest.MonkeyPatch, stop_after: int
) -> None:
    monkeypatch.setattr("latewood.ingest.chunking.prepare.BATCH_DOCUMENTS", 1)
    documents = [document(f"Document number {n} speaks of tides.", f"d{n}") for n in range(4)]
    asked = iter(range(10))
    done = list(ingest(index, documents, stop=lambda: next(asked) >= stop_after))
    assert len(done) == stop_after
    assert index.store.stats().documents == stop_after
    assert index.store.in_flight() == []


def test_recovering_beside_a_removal_hides_what_the_removal_retired(index: Index) -> None:
    doc = document(OLD)
    list(ingest(index, [doc]))
    commit.begin(index.store, [describe(doc)])

    class Removing(Mortal):
        """Another thread retires the document between recovery's sweep and its clearing."""

        def __getattr__(self, name: str) -> Any:
            if name == "put_manifests" and self.writes == ["sweep"]:
                self.writes.append("removal")
                run_until_killed(lambda store: commit.remove(store, [doc.id]), index.store, 1)
            return super().__getattr__(name)

    commit.recover(Removing(index.store))
    assert found(index.store, "harbour") == set()
    assert index.store.count() == 0
    commit.recover(index.store)
    assert index.store.get_manifests([doc.id]) == []
    assert index.store.stats().hidden == 0
