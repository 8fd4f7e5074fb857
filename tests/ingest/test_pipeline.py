"""The ingest walk: its stages overlap, and order, stopping, closing and errors are as if they did not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from latewood.embedder.types import Floats, SpannedText, StoppedError
from latewood.ingest.pipeline import Index, ingest
from latewood.ingest.types import Document, Element, ElementKind, document_id
from latewood.search.types import StoreUnavailableError

PATIENCE_S = 60.0


def document(number: int, text: str = "") -> Document:
    uri = f"file:///folder/{number}.txt"
    text = text or f"Document number {number} speaks of tides and ferries."
    return Document(
        id=document_id("default", "default", uri),
        uri=uri,
        source="file:///folder/",
        title=f"number {number}",
        kind="txt",
        text=text,
        elements=(Element(ElementKind.PARAGRAPH, 0, len(text)),),
        content_hash=f"hash of {text}",
    )


@pytest.fixture(autouse=True)
def one_document_is_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latewood.ingest.chunking.prepare.BATCH_DOCUMENTS", 1)


def before(monkeypatch: pytest.MonkeyPatch, thing: Any, name: str, act: Callable[..., object]) -> None:
    """Have `act` done before each call of a method."""
    method = getattr(thing, name)

    def changed(*arguments: Any, **more: Any) -> Any:
        act(*arguments)
        return method(*arguments, **more)

    monkeypatch.setattr(thing, name, changed)


def test_the_next_batch_is_embedded_while_one_is_written(
    index: Index, embedder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = threading.Event()
    met: list[bool] = []
    before(
        monkeypatch,
        embedder,
        "embed_documents",
        lambda texts, stop: second.set() if "number 1" in texts[0].text else None,
    )
    before(monkeypatch, index.store, "put_chunks", lambda *_: met.append(second.wait(PATIENCE_S)))
    outcomes = list(ingest(index, map(document, range(3))))
    assert [outcome.error for outcome in outcomes] == [None] * 3
    assert met == [True] * 3


def test_the_next_documents_are_read_while_one_is_embedded(
    index: Index, embedder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = threading.Event()

    def documents() -> Iterator[Document]:
        yield from map(document, range(2))
        read.set()
        yield document(2)

    met: list[bool] = []
    before(monkeypatch, embedder, "embed_documents", lambda *_: met.append(read.wait(PATIENCE_S)))
    assert len(list(ingest(index, documents()))) == 3
    assert met == [True] * 3


def test_documents_are_read_in_the_callers_thread_and_only_a_few_ahead(index: Index) -> None:
    threads: set[int] = set()
    read: list[int] = []

    def documents() -> Iterator[Document]:
        for number in range(40):
            threads.add(threading.get_ident())
            read.append(number)
            yield document(number)

    for done, _ in enumerate(ingest(index, documents()), 1):
        assert len(read) <= done + 5
    assert threads == {threading.get_ident()}
    assert done == 40


@pytest.mark.parametrize("batch", [1, 4, 32])
def test_outcomes_come_in_the_order_of_the_documents_whatever_becomes_of_each(
    index: Index, embedder: Any, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr("latewood.ingest.chunking.prepare.BATCH_DOCUMENTS", batch)

    def refuse(texts: Sequence[SpannedText], stop: object) -> None:
        if any("number 3 " in one.text for one in texts):
            raise ValueError("number 3 cannot be embedded")

    def refuse_chunks(passages: Sequence[Any], vectors: object) -> None:
        if any(one.document.title == "number 5" for one in passages):
            raise ValueError("number 5 cannot be kept")

    before(monkeypatch, embedder, "embed_documents", refuse)
    before(monkeypatch, index.store, "put_chunks", refuse_chunks)
    offsets = embedder.token_offsets
    monkeypatch.setattr(
        embedder, "token_offsets", lambda text: offsets(text)[: 0 if "number 6 " in text else None]
    )
    documents = list(map(document, range(9)))
    outcomes = list(ingest(index, documents))
    assert [outcome.document for outcome in outcomes] == documents
    codes = {n: one.error.code for n, one in enumerate(outcomes) if one.error is not None}
    assert codes == {3: "cannot_be_indexed", 5: "cannot_be_indexed", 6: "no_tokens"}
    assert index.store.stats().documents == 6
    assert index.store.stats().hidden == 0
    assert index.store.in_flight() == []
    assert len(index.store.list_records()) == 6


def test_an_error_while_writing_is_raised_after_the_outcomes_before_it(
    index: Index, embedder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(passages: Sequence[Any], vectors: object) -> None:
        if passages[0].document.title == "number 2":
            raise StoreUnavailableError("the store is gone")

    before(monkeypatch, index.store, "put_chunks", fail)
    outcomes = ingest(index, map(document, range(40)))
    assert [next(outcomes).document.title for _ in range(2)] == ["number 0", "number 1"]
    with pytest.raises(StoreUnavailableError, match="gone"):
        next(outcomes)
    assert index.store.stats().documents in {2, 3}, "nothing is begun after the one that was being written"
    assert embedder.embedded < 10


def test_an_error_of_the_documents_is_raised_after_the_outcomes_before_it(index: Index) -> None:
    def documents() -> Iterator[Document]:
        yield from map(document, range(3))
        raise OSError("the folder is gone")

    outcomes = ingest(index, documents())
    assert [next(outcomes).document.title for _ in range(2)] == ["number 0", "number 1"]
    with pytest.raises(OSError, match="folder is gone"):
        list(outcomes)
    assert index.store.stats().documents == 2, "the batch that was being gathered is not taken"


class _Waiting:
    """Embeds the first batches, then waits until it is stopped."""

    def __init__(self, embedder: Any, first: int) -> None:
        self._embed = embedder.embed_documents
        self._first = first
        self.waiting = threading.Event()

    def __call__(self, texts: Sequence[SpannedText], stop: Callable[[], bool]) -> list[Floats]:
        if self._first > 0:
            self._first -= 1
            return self._embed(texts, stop)
        self.waiting.set()
        for _ in range(int(PATIENCE_S / 0.01)):
            if stop():
                raise StoppedError("stopped")
            threading.Event().wait(0.01)
        raise AssertionError("nobody stopped the embedding")


def test_closing_ends_what_is_embedded_and_leaves_nothing_half_there(
    index: Index, embedder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = _Waiting(embedder, first=2)
    monkeypatch.setattr(embedder, "embed_documents", waiting)
    outcomes = ingest(index, map(document, range(40)))
    assert next(outcomes).error is None
    assert waiting.waiting.wait(PATIENCE_S)
    outcomes.close()
    assert 1 <= index.store.stats().documents <= 2
    assert index.store.in_flight() == []
    assert index.store.stats().hidden == 0


def test_stopping_gives_the_outcomes_of_all_that_was_committed(
    index: Index, embedder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = _Waiting(embedder, first=3)
    monkeypatch.setattr(embedder, "embed_documents", waiting)
    outcomes = list(ingest(index, map(document, range(40)), stop=waiting.waiting.is_set))
    assert [outcome.document.title for outcome in outcomes] == ["number 0", "number 1", "number 2"]
    assert index.store.stats().documents == 3
    assert index.store.in_flight() == []


def test_an_ingest_of_nothing_loads_no_model(index: Index) -> None:
    def refuse() -> Any:
        raise AssertionError("the model was asked for")

    quiet = Index(index.tenant, index.collection, index.store, refuse, index.analyzer, index.chunk_tokens)
    assert list(ingest(quiet, [])) == []


def test_a_document_given_twice_ends_as_the_later_one(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latewood.ingest.chunking.prepare.BATCH_DOCUMENTS", 32)
    twice = [document(1, "The first text of it."), document(2), document(1, "The second text of it.")]
    assert [outcome.error for outcome in ingest(index, twice)] == [None] * 3
    (passage,) = index.store.chunks_of(twice[0].id)
    assert passage.chunk.text == "The second text of it."
    assert index.store.stats().hidden == 0
    assert len(index.store.list_records()) == 2
