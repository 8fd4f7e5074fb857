from __future__ import annotations

import uuid
from dataclasses import replace

import numpy as np
import pytest

from embedder.types import Vectors
from search.analyzer import Analyzer
from search.fusion import Fusion
from search.query import Limits
from search.searcher import Searcher, SearchRequest
from search.stores.memory import MemoryStore
from search.types import (
    Candidate,
    Chunk,
    Comparison,
    DocumentInfo,
    Group,
    IndexConfig,
    Passage,
    QueryError,
    StoreUnavailableError,
)

WORDS = ["oak", "elm", "ash", "fir", "yew"]
ANALYZER = Analyzer(average_length=2.0)


def embed(text: str) -> np.ndarray:
    """A direction per word of WORDS, and one for everything else."""
    row = np.full(6, 0.01, np.float32)
    for word in text.split():
        row[WORDS.index(word) if word in WORDS else 5] += 1
    return row / np.linalg.norm(row)


class CountingStore(MemoryStore):
    """An exact store that notes the legs it was asked for."""

    def __init__(self, config):
        super().__init__(config)
        self.asked = []

    def search(self, legs, where=None):
        self.asked.append({leg.name: leg.limit for leg in legs})
        return super().search(legs, where)


@pytest.fixture
def store():
    store = CountingStore(IndexConfig((6,), {}))
    document = DocumentInfo(
        str(uuid.UUID(int=1)), "file:///a", "file:///", "a", "txt", "en", "", "", {"n": 1}
    )
    texts = ["oak", "oak elm", "elm ash", "ash fir", "fir yew", "yew oak oak"]
    passages = [
        Passage(Chunk(document.id, "v", number, 0, len(text), text), document)
        for number, text in enumerate(texts)
    ]
    sparse = tuple(ANALYZER.passage_vector(text) for text in texts)
    store.put_chunks(passages, Vectors(np.stack([embed(text) for text in texts]), sparse))
    return store


@pytest.fixture
def searcher(store):
    return Searcher(store, embed, ANALYZER)


def texts(result):
    return [hit.passage.chunk.text for hit in result.hits]


def test_a_hybrid_search_fuses_both_legs_and_says_how(searcher, store):
    result = searcher.search(SearchRequest("oak", limit=3))
    best = result.hits[0]
    assert result.mode == "hybrid"
    assert texts(result)[0] == "oak"
    assert set(best.legs) == {"dense", "bm25"}
    assert best.score == pytest.approx(sum(trace.contribution for trace in best.legs.values()), abs=1e-6)
    assert best.score == pytest.approx(1 / (60 + best.legs["dense"].rank) + 1 / (60 + best.legs["bm25"].rank))
    assert store.asked == [{"dense": 200, "bm25": 200}]
    took = result.took_ms
    assert took.total == pytest.approx(took.embed + took.search)


@pytest.mark.parametrize("mode", ["dense", "bm25"])
def test_a_search_of_one_leg_asks_and_scores_by_that_leg_alone(searcher, store, mode):
    result = searcher.search(SearchRequest("oak elm", mode=mode))
    assert [set(asked) for asked in store.asked] == [{mode}]
    for rank, hit in enumerate(result.hits, 1):
        trace = hit.legs[mode]
        assert (set(hit.legs), trace.rank, trace.score) == ({mode}, rank, hit.score)


def test_bm25_alone_embeds_nothing(store):
    def refuse(_text):
        raise AssertionError("embedded")

    result = Searcher(store, refuse, ANALYZER).search(SearchRequest("elm ash", mode="bm25"))
    assert texts(result)[0] == "elm ash"


def test_pages_neither_repeat_nor_skip(searcher):
    whole = texts(searcher.search(SearchRequest("oak", limit=6)))
    pages = [texts(searcher.search(SearchRequest("oak", limit=2, offset=start))) for start in (0, 2, 4, 6)]
    assert pages == [whole[:2], whole[2:4], whole[4:6], []]


def test_legs_are_read_deeper_than_the_page(searcher, store):
    searcher.search(SearchRequest("oak", limit=100, offset=100))
    assert store.asked == [{"dense": 800, "bm25": 800}]


def test_a_filter_and_a_least_score_narrow_what_is_ranked(searcher):
    assert texts(searcher.search(SearchRequest("oak", where=Comparison("eq", "n", 2)))) == []
    assert len(texts(searcher.search(SearchRequest("oak", where=Comparison("eq", "n", 1))))) == 6
    assert texts(searcher.search(SearchRequest("oak", mode="dense", min_score={"dense": 0.99}))) == ["oak"]
    only = searcher.search(SearchRequest("oak", min_score={"dense": 2.0}))
    assert all(set(hit.legs) == {"bm25"} for hit in only.hits)
    assert len(only.hits) == 3


def test_a_query_without_words_is_answered_by_the_dense_leg(searcher):
    assert len(searcher.search(SearchRequest("???")).hits) == 6
    assert searcher.search(SearchRequest("???", mode="bm25")).hits == ()


class VanishingStore(CountingStore):
    """Names chunks that are gone in its first `lies` answers, as when a version flips in between."""

    lies = 0

    def search(self, legs, where=None):
        lists = super().search(legs, where)
        if len(self.asked) <= self.lies:
            return [[Candidate(str(uuid.UUID(int=9)), 99.0), *ranked] for ranked in lists]
        return lists


def test_a_chunk_that_vanished_meanwhile_makes_the_walk_start_again(store):
    store.__class__ = VanishingStore
    store.lies = 3
    assert len(Searcher(store, embed, ANALYZER).search(SearchRequest("oak")).hits) == 6
    assert len(store.asked) == 4


def test_an_index_that_never_stands_still_is_unavailable(store):
    store.__class__ = VanishingStore
    store.lies = 10**6
    with pytest.raises(StoreUnavailableError, match="changed during each of 8 attempts"):
        Searcher(store, embed, ANALYZER).search(SearchRequest("oak"))


GOOD = SearchRequest("oak")


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (replace(GOOD, query=""), "the query is empty"),
        (replace(GOOD, query=" \n\t"), "the query is empty"),
        (replace(GOOD, query="x" * 8193), "8193 characters; at most 8192 are allowed; shorten it"),
        (replace(GOOD, limit=0), "limit is 0; it must be from 1 to 1000"),
        (replace(GOOD, limit=-1), "limit is -1"),
        (replace(GOOD, limit=10**6), "limit is 1000000"),
        (replace(GOOD, offset=-1), "offset is -1"),
        (replace(GOOD, offset=991), "offset \\+ limit is 1001; at most 1000"),
        (replace(GOOD, mode="magic"), "mode 'magic' is not known; one of: hybrid, dense, bm25"),
        (replace(GOOD, min_score={"colbert": 1.0}), "min_score names the leg 'colbert'"),
        (replace(GOOD, min_score={"dense": float("nan")}), "min_score of 'dense' is nan"),
        (replace(GOOD, fusion=Fusion(weights={"sparse": 1.0})), "fusion weights names the leg 'sparse'"),
        (replace(GOOD, where=Comparison("like", "n", 1)), "'like' is not known"),
        (replace(GOOD, where=Comparison("eq", "kind", 1)), "'kind' takes a string"),
        (replace(GOOD, where=Group("or", (Comparison("eq", "n", 1),) * 65)), "65 conditions"),
    ],
)
def test_a_request_beyond_the_limits_is_refused(searcher, request_, message):
    with pytest.raises(QueryError, match=message):
        searcher.search(request_)


def test_limits_can_be_set(store):
    strict = Searcher(store, embed, ANALYZER, Limits(query_characters=3, limit=5))
    assert strict.search(SearchRequest("oak", limit=5)).hits
    with pytest.raises(QueryError, match="at most 3"):
        strict.search(SearchRequest("oaks", limit=5))
    with pytest.raises(QueryError, match="from 1 to 5"):
        strict.search(SearchRequest("oak", limit=6))
