"""Twins: rows are copied where everything they depend on is equal, and only there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from latewood.embedder.types import Vectors
from latewood.ingest.index import commit
from latewood.ingest.pipeline import Index, ingest
from latewood.ingest.types import Document, Element, ElementKind, document_id
from latewood.ingest.vector_reuse import Twins
from latewood.search.analysis.analyzer import Analyzer
from latewood.search.types import Leg, Passage

TEXT = "The ferry leaves at dawn when the tide is high. " * 40


def document(name: str, text: str = TEXT, **more: Any) -> Document:
    uri = f"file:///folder/{name}"
    made = Document(
        id=document_id("default", "default", uri),
        uri=uri,
        source="file:///folder/",
        title=name,
        kind="txt",
        text=text,
        elements=(Element(ElementKind.PARAGRAPH, 0, len(text)),),
        content_hash=f"hash of {text}",
    )
    return replace(made, **more)


def take(index: Index, documents: Sequence[Document], twins: Twins | None = None) -> None:
    assert [one.error for one in ingest(index, documents, twins=twins)] == [None] * len(documents)


def rows_of(index: Index, key: str) -> Any:
    return index.store.read_chunks(key)[1].dense


def twins_of(index: Index) -> Twins:
    return Twins.of(index.store.list_manifests())


def test_equal_documents_of_one_batch_are_embedded_once(index: Index, embedder: Any) -> None:
    one, other, third = document("one"), document("other"), document("third", "Something else.")
    take(index, [one, other, third])
    assert embedder.embedded == 2
    np.testing.assert_array_equal(rows_of(index, one.id), rows_of(index, other.id))
    assert index.store.stats().documents == 3


def test_equal_documents_of_batches_that_follow_are_embedded_once(
    index: Index, embedder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latewood.ingest.chunking.prepare.BATCH_DOCUMENTS", 2)
    take(index, [document(f"copy {n}") for n in range(30)], Twins())
    assert embedder.embedded == 1


def test_a_copy_of_a_live_document_is_not_embedded(index: Index, embedder: Any) -> None:
    one, copy = document("one"), document("copy")
    take(index, [one])
    take(index, [copy], twins_of(index))
    assert embedder.embedded == 1
    np.testing.assert_array_equal(rows_of(index, one.id), rows_of(index, copy.id))


def test_a_long_copy_is_read_page_by_page(
    index: Index, embedder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latewood.ingest.vector_reuse.PAGE", 3)
    one, copy = document("one"), document("copy")
    take(index, [one])
    take(index, [copy], twins_of(index))
    assert embedder.embedded == 1
    assert len(rows_of(index, copy.id)) > 6
    np.testing.assert_array_equal(rows_of(index, one.id), rows_of(index, copy.id))


def test_a_copy_answers_by_its_own_title(index: Index) -> None:
    take(index, [document("zephyr")])
    take(index, [document("quartz")], twins_of(index))
    leg = Leg("bm25", Analyzer().query_vector("quartz"), 100)
    (ranked,) = index.store.search([leg])
    titles = {passage.document.title for passage in index.store.fetch([one.id for one in ranked])}
    assert titles == {"quartz"}


def test_what_is_committed_becomes_a_twin(index: Index, embedder: Any) -> None:
    twins = Twins()
    take(index, [document("one")], twins)
    assert len(twins) == 1
    take(index, [document("two")], twins)
    assert embedder.embedded == 1


def test_another_way_of_embedding_or_cutting_makes_no_twin(index: Index, embedder: Any) -> None:
    take(index, [document("one")])
    embedder.recorded = {"context": "0.5"}
    take(index, [document("two")], twins_of(index))
    assert embedder.embedded == 2
    take(replace(index, chunk_tokens=24), [document("three")], twins_of(index))
    assert embedder.embedded == 3


def test_where_titles_stand_before_windows_another_title_makes_no_twin(index: Index, embedder: Any) -> None:
    embedder.recorded = {"context": "1", "lead": "title and headings"}
    one, other = document("one"), document("other")
    take(index, [one, other])
    assert embedder.embedded == 2
    third = document("third")
    take(index, [third], twins_of(index))
    assert embedder.embedded == 3
    take(index, [document("again", title="third")], Twins({third.content_hash: third.id}))
    assert embedder.embedded == 3


def test_equal_bytes_read_as_another_text_or_cut_elsewhere_make_no_twin(index: Index, embedder: Any) -> None:
    one = document("one")
    take(index, [one])
    other_text = document("two", TEXT.replace("dawn", "dusk"), content_hash=one.content_hash)
    headings = tuple(Element(ElementKind.TITLE, at, at + 9, depth=1) for at in range(48, len(TEXT), 96))
    other_cuts = document("three", elements=headings)
    for embedded, other in enumerate((other_text, other_cuts), 2):
        take(index, [other], Twins({one.content_hash: one.id}))
        assert embedder.embedded == embedded
    assert "".join(p.chunk.text for p in index.store.chunks_of(other_text.id)) == other_text.text


def test_a_twin_that_changed_is_none(index: Index, embedder: Any) -> None:
    one = document("one")
    take(index, [one])
    stale = twins_of(index)
    take(index, [document("one", "Quite another text now.")])
    take(index, [document("two")], stale)
    assert embedder.embedded == 3


@pytest.mark.parametrize("vanishes", ["before", "between"])
def test_a_twin_that_vanishes_while_it_is_read_is_embedded_instead(
    index: Index, embedder: Any, monkeypatch: pytest.MonkeyPatch, vanishes: str
) -> None:
    monkeypatch.setattr("latewood.ingest.vector_reuse.PAGE", 3)
    one, copy = document("one"), document("copy")
    take(index, [one])
    twins, read = twins_of(index), index.store.read_chunks
    asked: list[int] = []

    def disturbed(key: str, *, first: int = 0, limit: int = 256) -> tuple[list[Passage], Vectors]:
        if len(asked) == (vanishes == "between"):
            commit.remove(index.store, [key])
        asked.append(first)
        return read(key, first=first, limit=limit)

    monkeypatch.setattr(index.store, "read_chunks", disturbed)
    take(index, [copy], twins)
    assert asked
    assert embedder.embedded == 2
    assert "".join(passage.chunk.text for passage in index.store.chunks_of(copy.id)) == TEXT


def test_a_twin_replaced_by_an_equal_version_while_it_is_read_is_embedded_instead(
    index: Index, embedder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = document("one")
    take(index, [one])
    twins, read = twins_of(index), index.store.read_chunks

    def disturbed(key: str, *, first: int = 0, limit: int = 256) -> tuple[list[Passage], Vectors]:
        take(index, [one])
        return read(key, first=first, limit=limit)

    monkeypatch.setattr(index.store, "read_chunks", disturbed)
    take(index, [document("copy")], twins)
    assert embedder.embedded == 3
