from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from latewood.ingest.index import commit, metadata_overrides
from latewood.ingest.pipeline import Index, ingest
from latewood.ingest.types import Document, Element, ElementKind, document_id
from latewood.search.searcher import Searcher, SearchRequest

GERMAN = (
    "Die Fähren fahren zu den Inseln, und wer mit uns kommt, der muss nicht auf das nächste Schiff warten."
)
ENGLISH = (
    "The ferries go to the islands, and whoever comes with us will not have to wait for the next of them."
)
JAPANESE = "フェリーは正午に島を出るので、一緒に来たい人はそれまでに桟橋にいてください。"
TABLE = "Aurora, Leith, 410; Brenda, Oban, 380"


def document(name: str, text: str, **metadata: Any) -> Document:
    uri = f"upload:{name}"
    return Document(
        id=document_id("default", "default", uri),
        uri=uri,
        source="uploads:",
        title=name,
        kind="txt",
        text=text,
        elements=(Element(ElementKind.PARAGRAPH, 0, len(text)),),
        content_hash=text,
        metadata=metadata,
    )


def take(index: Index, *documents: Document) -> None:
    assert all(outcome.error is None for outcome in ingest(index, documents))


def spoken(index: Index) -> Mapping[str, tuple[str, str]]:
    """Title -> the language a manifest says, and the one its chunks are analysed in."""
    manifests = index.store.list_manifests()
    return {
        one.document.title: (one.document.language, index.store.chunks_of(one.id)[0].chunk.language)
        for one in manifests
    }


def asked(index: Index, question: str) -> dict[str, float]:
    searcher = Searcher(
        index.store, lambda query: index.embedder().embed_texts([query], None)[0], index.analyzer
    )
    hits = searcher.search(SearchRequest(question, mode="bm25")).hits
    return {hit.passage.document.title: hit.score for hit in hits}


def test_a_document_says_its_language_or_is_told_it_by_its_words(index: Index) -> None:
    take(
        index,
        document("de", GERMAN),
        document("en", ENGLISH),
        document("ja", JAPANESE),
        document("table", TABLE),
        document("stated", ENGLISH, language="sv"),
        document("unknown", GERMAN, language="klingon"),
    )
    assert spoken(index) == {
        "de": ("de", "de"),
        "en": ("en", "en"),
        "ja": ("ja", "ja"),
        "table": ("", ""),
        "stated": ("sv", "sv"),
        "unknown": ("klingon", "de"),
    }
    assert index.store.languages() == ["", "de", "en", "ja", "sv"]


def test_a_language_set_by_hand_is_found_by_and_leaves_the_words_as_they_are(index: Index) -> None:
    take(index, document("de", GERMAN))
    metadata_overrides.amend(index.store, document("de", GERMAN).id, {"language": "nds"})
    assert spoken(index) == {"de": ("nds", "de")}


@pytest.mark.parametrize(
    ("question", "title"),
    [("Fähre zur Insel", "de"), ("a ferry to an island", "en"), ("桟橋のフェリー", "ja"), ("Leith", "table")],
)
def test_a_question_meets_each_language(index: Index, question: str, title: str) -> None:
    take(
        index,
        document("de", GERMAN),
        document("en", ENGLISH),
        document("ja", JAPANESE),
        document("table", TABLE),
    )
    assert next(iter(asked(index, question))) == title


def test_what_is_gone_of_a_language_leaves_no_trace_in_a_score(index: Index) -> None:
    take(index, document("en", ENGLISH), document("table", TABLE))
    before = asked(index, "a ferry to the islands")
    take(index, document("de", GERMAN))
    assert index.store.languages() == ["", "de", "en"]
    commit.remove(index.store, [document("de", GERMAN).id])
    assert index.store.languages() == ["", "en"]
    assert asked(index, "a ferry to the islands") == before
