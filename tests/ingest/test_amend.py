"""Metadata set by hand: told to all chunks in one step, kept over what the file says, finished if killed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from latewood.ingest.index import commit, metadata_overrides
from latewood.ingest.pipeline import Index, ingest
from latewood.ingest.types import Document, Element, ElementKind, document_id
from latewood.search.types import Comparison

KEY = document_id("default", "default", "file:///folder/a.txt")
TEXT = "The old harbour opens at seven. " * 12


def document(text: str = TEXT, **metadata: Any) -> Document:
    return Document(
        id=KEY,
        uri="file:///folder/a.txt",
        source="file:///folder/",
        title="a",
        kind="txt",
        text=text,
        elements=(Element(ElementKind.PARAGRAPH, 0, len(text)),),
        content_hash=f"hash of {text}",
        metadata=metadata,
    )


def take(index: Index, one: Document) -> None:
    assert [outcome.error for outcome in ingest(index, [one])] == [None]


def metadata(index: Index) -> list[dict[str, Any]]:
    """What the manifest, each chunk and the record say."""
    (manifest,) = index.store.get_manifests([KEY])
    (record,) = index.store.get_records([KEY])
    told = [passage.document.metadata for passage in index.store.chunks_of(KEY)]
    return [dict(one) for one in (manifest.document.metadata, record.manifest.document.metadata, *told)]


def all_say(index: Index, wanted: dict[str, Any]) -> None:
    said = metadata(index)
    assert len(said) > 3
    assert said == [wanted] * len(said)


def test_what_is_set_is_told_to_every_chunk_and_filters_by_it(index, embedder):
    take(index, document(team="deck", year=2024))
    embedded = embedder.embedded
    after = metadata_overrides.amend(index.store, KEY, {"team": "office", "old": True})
    assert after is not None
    assert embedder.embedded == embedded
    all_say(index, {"team": "office", "year": 2024, "old": True})
    assert index.store.count(Comparison("eq", "team", "office")) == after.chunks
    assert index.store.count(Comparison("eq", "team", "deck")) == 0
    assert index.store.in_flight() == []


def test_null_takes_a_key_out_and_language_is_the_documents_own(index):
    take(index, document(team="deck", language="en"))
    after = metadata_overrides.amend(index.store, KEY, {"team": None, "language": "de"})
    assert after is not None
    assert after.document.language == "de"
    all_say(index, {})


def test_what_is_set_stays_when_the_file_changes(index):
    take(index, document(team="deck", year=2024))
    metadata_overrides.amend(index.store, KEY, {"team": "office", "year": None})
    take(index, document(TEXT.replace("seven", "nine"), team="crew", year=2025, month=3))
    all_say(index, {"team": "office", "month": 3})


def test_a_removed_document_forgets_what_was_set(index):
    take(index, document(team="deck"))
    metadata_overrides.amend(index.store, KEY, {"team": "office"})
    commit.remove(index.store, [KEY])
    take(index, document(team="deck"))
    all_say(index, {"team": "deck"})


def test_a_document_that_does_not_answer_cannot_be_amended(index):
    assert metadata_overrides.amend(index.store, KEY, {"team": "office"}) is None
    assert index.store.get_manifests([KEY]) == []


class Killed(BaseException):
    """The process is gone at this point."""


class Mortal:
    """A store that dies before its n-th write."""

    def __init__(self, inner: Any, lives: int) -> None:
        self._inner, self._lives = inner, lives

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if name not in {"put_manifests", "put_info"}:
            return method

        def mortal(*args: Any) -> Any:
            if self._lives == 0:
                raise Killed
            self._lives -= 1
            return method(*args)

        return mortal


@pytest.mark.parametrize("lives", [0, 1, 2])
def test_killed_anywhere_it_is_finished_or_was_never_wished(index, lives):
    take(index, document(team="deck"))
    with pytest.raises(Killed):
        metadata_overrides.amend(Mortal(index.store, lives), KEY, {"team": "office"})  # type: ignore[arg-type]
    assert commit.recover(index.store) == (1 if lives else 0)
    all_say(index, {"team": "office" if lives else "deck"})
    assert index.store.in_flight() == []


def test_a_version_that_was_begun_before_is_told_after_its_commit(index):
    take(index, document(team="deck"))
    newer = document(TEXT.replace("seven", "nine"), team="crew")

    class Between:
        """Amends the document between the announcement of a new version and its commit."""

        def __getattr__(self, name: str) -> Any:
            return getattr(index.store, name)

        def put_chunks(self, *args: Any) -> None:
            index.store.put_chunks(*args)
            metadata_overrides.amend(index.store, KEY, {"team": "office"})

    take(replace(index, store=Between()), newer)  # type: ignore[arg-type]
    all_say(index, {"team": "office"})
    assert index.store.in_flight() == []
