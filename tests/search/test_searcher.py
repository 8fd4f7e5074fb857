from __future__ import annotations

import threading
import uuid
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latewood.embedder.types import EmbedderError, StoppedError, Vectors
from latewood.search.analysis.analyzer import Analyzer
from latewood.search.filters import Limits
from latewood.search.fusion import SHIPPED, Fusion
from latewood.search.request import Expand, Rerank, SearchRequest
from latewood.search.reranking import TimedReranker
from latewood.search.results import Reranked
from latewood.search.searcher import Searcher
from latewood.search.stores.memory import MemoryStore
from latewood.search.types import (
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
    assert [best.legs[leg].rank for leg in ("dense", "bm25")] == [1, 1]
    assert best.score == pytest.approx(SHIPPED.weights["dense"] + SHIPPED.weights["bm25"])
    assert result.fusion == SHIPPED.for_question(foreign=False)
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


def test_legs_are_read_deeper_than_the_page():
    """Four times what is asked for, in steps, so that no page differs from the next in what it saw."""
    store = several([["oak"]] * 260)
    searcher = Searcher(store, embed, ANALYZER)
    for limit, offset in ((10, 40), (1, 50), (100, 100)):
        searcher.search(SearchRequest("oak", limit=limit, offset=offset))
    shallow, deep = ({"dense": depth, "bm25": depth} for depth in (200, 1000))
    assert store.asked == [shallow, shallow, deep, shallow, deep]


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


# --- documents, neighbours, rerank


def several(texts_of_documents, store=None):
    """A store of documents, each a list of passages; the title is the document's number."""
    store = store or CountingStore(IndexConfig((6,), {}))
    passages = []
    for number, texts_ in enumerate(texts_of_documents):
        document = DocumentInfo(
            str(uuid.UUID(int=number + 1)), f"file:///{number}", "", str(number), "", "", "", ""
        )
        start = 0
        for ordinal, text in enumerate(texts_):
            chunk = Chunk(
                document.id, f"v{number}", ordinal, start, start + len(text), text, context=f"T{number}"
            )
            passages.append(Passage(chunk, document))
            start += len(text)
    sparse = tuple(ANALYZER.passage_vector(one.chunk.text) for one in passages)
    store.put_chunks(passages, Vectors(np.stack([embed(one.chunk.text) for one in passages]), sparse))
    return store


FOREST = [["oak oak", "elm", "oak"], ["ash", "oak elm"], ["fir", "yew", "fir yew"], ["oak"]]


def titles(result):
    return [hit.passage.document.title for hit in result.hits]


@pytest.mark.parametrize("mode", ["hybrid", "dense", "bm25"])
def test_grouped_by_document_each_stands_once_by_its_best_passage(mode):
    searcher = Searcher(several(FOREST), embed, ANALYZER)
    every = searcher.search(SearchRequest("oak", mode=mode))
    best = {}
    for hit in every.hits:
        best.setdefault(hit.passage.document.title, hit)
    grouped = searcher.search(SearchRequest("oak", mode=mode, group_by="document"))
    assert list(grouped.hits) == list(best.values())
    assert len(grouped.hits) == (3 if mode == "bm25" else 4)


WOODS = st.lists(
    st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join), min_size=1, max_size=4),
    min_size=1,
    max_size=8,
)


@settings(max_examples=30, deadline=None)
@given(
    woods=WOODS,
    query=st.sampled_from(["oak", "oak elm", "yew fir ash"]),
    mode=st.sampled_from(["hybrid", "dense", "bm25"]),
    method=st.sampled_from(["rrf", "dbsf", "convex"]),
    group_by=st.sampled_from(["", "document"]),
    limit=st.integers(1, 5),
    rerank=st.sampled_from([None, Rerank(top_n=7)]),
)
def test_pages_join_to_the_whole_list_and_every_trace_adds_up(
    woods, query, mode, method, group_by, limit, rerank
):
    searcher = Searcher(several(woods), embed, ANALYZER, reranker=TimedReranker("fake", FakeReranker, 60.0))
    asked = SearchRequest(
        query, limit=100, mode=mode, fusion=Fusion(method), group_by=group_by, rerank=rerank
    )
    whole = searcher.search(asked).hits
    pages = []
    for offset in range(0, 100, limit):
        page = searcher.search(replace(asked, limit=limit, offset=offset)).hits
        pages += page
        if len(page) < limit:
            break
    assert pages == list(whole)
    for hit in whole:
        assert sum(trace.contribution for trace in hit.legs.values()) == pytest.approx(hit.fused, abs=1e-6)
        assert hit.score == (hit.fused if rerank is None else hit.rerank)
    again = sorted(whole, key=lambda hit: (-hit.score, hit.passage.chunk.id))
    assert again == list(whole)
    if rerank is None:
        sums = [sum(trace.contribution for trace in hit.legs.values()) for hit in whole]
        assert sums == sorted(sums, reverse=True)


@pytest.mark.parametrize("group_by", ["", "document"])
def test_neighbours_are_the_text_before_and_after(group_by):
    document = ["oak ", "elm ", "yew yew ", "ash ", "fir"]
    searcher = Searcher(several([document, ["oak"]]), embed, ANALYZER)
    asked = SearchRequest("yew", mode="bm25", group_by=group_by)
    (plain,) = searcher.search(asked).hits
    assert (plain.before, plain.after) == (None, None)
    for expand, around in {
        Expand(1, 1): ("elm ", "ash "),
        Expand(2, 0): ("oak elm ", ""),
        Expand(10, 10): ("oak elm ", "ash fir"),
    }.items():
        (hit,) = searcher.search(replace(asked, expand=expand)).hits
        assert (hit.before, hit.after) == around
        assert replace(hit, before=None, after=None) == plain


def test_neighbours_of_a_version_that_was_replaced_meanwhile_are_asked_for_again():
    class Flipping(CountingStore):
        fetches = 0

        def fetch(self, ids):
            self.fetches += 1
            return super().fetch(ids) if self.fetches != 2 else []

    store = several(FOREST, Flipping(IndexConfig((6,), {})))
    hits = Searcher(store, embed, ANALYZER).search(SearchRequest("oak", expand=Expand(1, 1))).hits
    assert hits[0].before is not None
    assert (len(store.asked), store.fetches) == (2, 4)


class FakeReranker:
    """A passage's score is its length over a hundred; slow or broken when told to be."""

    def __init__(self, wait=None, error=None):
        self.read, self.wait, self.error, self.closed = [], wait, error, False

    def score(self, query, passages, stop=lambda: False):
        self.read.append((query, list(passages)))
        if self.error is not None:
            raise self.error
        if self.wait is not None:
            self.wait(stop)
        return np.array([len(one) / 100 for one in passages], np.float32)

    def close(self):
        self.closed = True


def test_a_reranker_orders_the_first_and_both_scores_stand():
    model = FakeReranker()
    searcher = Searcher(several(FOREST), embed, ANALYZER, reranker=TimedReranker("fake", lambda: model, 60.0))
    fused = searcher.search(SearchRequest("oak", limit=3)).hits
    result = searcher.search(SearchRequest("oak", rerank=Rerank(top_n=3)))
    assert model.read == [
        ("oak", [f"T{hit.passage.document.title}\n{hit.passage.chunk.text}" for hit in fused])
    ]
    assert result.rerank == Reranked("fake", 3, True, "", 60.0)
    assert {hit.passage.chunk.id: hit.fused for hit in result.hits} == {
        hit.passage.chunk.id: hit.score for hit in fused
    }
    lengths = [np.float32((3 + len(text)) / 100) for text in texts(result)]
    assert [hit.score for hit in result.hits] == [hit.rerank for hit in result.hits] == lengths
    assert lengths == sorted(lengths, reverse=True)
    assert result.took_ms.rerank > 0
    assert result.took_ms.total == pytest.approx(
        result.took_ms.embed + result.took_ms.search + result.took_ms.rerank
    )


def test_a_reranker_that_is_late_leaves_the_fused_order_and_is_told_to_stop():
    stopped, told = threading.Event(), threading.Event()

    def wait(stop):
        while not stop():
            told.wait(0.005)
        stopped.set()
        raise StoppedError

    late = TimedReranker("fake", lambda: FakeReranker(wait), 0.05)
    searcher = Searcher(several(FOREST), embed, ANALYZER, reranker=late)
    result = searcher.search(SearchRequest("oak", rerank=Rerank("fake", 4), limit=4))
    assert result.rerank == Reranked("fake", 4, False, "budget", 0.05)
    assert result.hits == searcher.search(SearchRequest("oak", limit=4)).hits
    assert stopped.wait(10)


def test_a_model_that_loads_longer_than_a_question_has_is_there_for_a_later_one():
    loaded = threading.Event()

    def load():
        assert loaded.wait(10)
        return FakeReranker()

    searcher = Searcher(several(FOREST), embed, ANALYZER, reranker=TimedReranker("fake", load, 0.05))
    asked = SearchRequest("oak", rerank=Rerank())
    assert searcher.search(asked).rerank.reason == "budget"
    loaded.set()
    for _ in range(200):
        if searcher.search(asked).rerank.applied:
            return
    raise AssertionError("never applied")


def test_a_reranker_that_fails_is_an_error_and_none_is_loaded_after_closing():
    def failing():
        return FakeReranker(error=EmbedderError("not finite"))

    broken = TimedReranker("fake", failing, 60.0)
    with pytest.raises(EmbedderError, match="not finite"):
        Searcher(several(FOREST), embed, ANALYZER, reranker=broken).search(
            SearchRequest("oak", rerank=Rerank())
        )
    model = FakeReranker()
    used = TimedReranker("fake", lambda: model, 60.0)
    assert used.scores("oak", ["a", "ab"]) == pytest.approx([0.01, 0.02])
    assert used.scores("oak", []) == []
    used.close()
    assert model.closed


def test_a_failure_after_the_deadline_is_logged(caplog):
    go = threading.Event()

    def load():
        assert go.wait(10)
        raise EmbedderError("no such weights")

    reranker = TimedReranker("fake", load, 0.02)
    assert reranker.scores("oak", ["a"]) is None
    go.set()
    for _ in range(500):
        if "no such weights" in caplog.text:
            return
        threading.Event().wait(0.01)
    raise AssertionError("not logged")


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
        (replace(GOOD, group_by="title"), "group_by 'title' is not known; one of: document"),
        (replace(GOOD, expand=Expand(before=11)), "expand before is 11; it must be from 0 to 10 passages"),
        (replace(GOOD, expand=Expand(after=-1)), "expand after is -1"),
        (replace(GOOD, rerank=Rerank(top_n=0)), "rerank top_n is 0; it must be from 1 to 100"),
        (replace(GOOD, rerank=Rerank(top_n=101)), "rerank top_n is 101"),
        (replace(GOOD, rerank=Rerank()), "no reranker is set; name one in RERANKER"),
        (replace(GOOD, min_score={"colbert": 1.0}), "min_score names the leg 'colbert'"),
        (replace(GOOD, min_score={"dense": float("nan")}), "min_score of 'dense' is nan"),
        (
            replace(GOOD, fusion=Fusion("rrf", weights={"sparse": 1.0})),
            "fusion weights names the leg 'sparse'",
        ),
        (replace(GOOD, where=Comparison("like", "n", 1)), "'like' is not known"),
        (replace(GOOD, where=Comparison("eq", "kind", 1)), "'kind' takes a string"),
        (replace(GOOD, where=Group("or", (Comparison("eq", "n", 1),) * 65)), "65 conditions"),
    ],
)
def test_a_request_beyond_the_limits_is_refused(searcher, request_, message):
    with pytest.raises(QueryError, match=message):
        searcher.search(request_)


@pytest.mark.parametrize(
    "request_",
    [
        replace(GOOD, query="x" * 8192),
        replace(GOOD, limit=1),
        replace(GOOD, limit=1000),
        replace(GOOD, limit=1, offset=999),
        replace(GOOD, expand=Expand(10, 10)),
        replace(GOOD, rerank=Rerank(top_n=1)),
        replace(GOOD, rerank=Rerank("fake", 100)),
        replace(GOOD, where=Group("or", (Comparison("eq", "n", 1),) * 64)),
        replace(GOOD, where=Comparison("in", "n", list(range(1000)))),
    ],
)
def test_a_request_right_at_a_limit_is_answered(store, request_):
    reranker = TimedReranker("fake", FakeReranker, 60.0)
    assert Searcher(store, embed, ANALYZER, reranker=reranker).search(request_) is not None
    reranker.close()


def test_another_reranker_than_the_one_that_is_set_is_refused(store):
    searcher = Searcher(store, embed, ANALYZER, reranker=TimedReranker("fake", FakeReranker, 60.0))
    with pytest.raises(QueryError, match=r"rerank model 'other' is not the one that is set; .*'fake'"):
        searcher.search(SearchRequest("oak", rerank=Rerank("other")))


def test_limits_can_be_set(store):
    strict = Searcher(store, embed, ANALYZER, Limits(query_characters=3, limit=5))
    assert strict.search(SearchRequest("oak", limit=5)).hits
    with pytest.raises(QueryError, match="at most 3"):
        strict.search(SearchRequest("oaks", limit=5))
    with pytest.raises(QueryError, match="from 1 to 5"):
        strict.search(SearchRequest("oak", limit=6))


def test_the_dense_leg_counts_less_for_a_question_the_model_does_not_know_and_it_is_said():
    searcher = Searcher(several(FOREST), embed, ANALYZER, knows=("en",))
    plain, foreign = (searcher.search(SearchRequest(query, limit=50)) for query in ("oak", "дуб oak дуб дуб"))
    assert (plain.foreign, foreign.foreign) == (False, True)
    assert plain.fusion == SHIPPED.for_question(foreign=False)
    assert foreign.fusion == SHIPPED.for_question(foreign=True)
    most = [
        max(hit.legs["dense"].contribution for hit in found.hits if "dense" in hit.legs)
        for found in (plain, foreign)
    ]
    assert most == [pytest.approx(0.4), pytest.approx(0.1 / 0.7)]


def test_a_fusion_that_is_asked_for_is_used_as_it_stands():
    searcher = Searcher(several(FOREST), embed, ANALYZER, knows=("en",))
    asked = Fusion("convex", weights={"dense": 0.5, "bm25": 0.5})
    found = searcher.search(SearchRequest("дуб oak дуб дуб", fusion=asked))
    assert (found.foreign, found.fusion) == (True, asked)


def test_one_leg_is_not_fused():
    found = Searcher(several(FOREST), embed, ANALYZER, knows=("en",)).search(
        SearchRequest("дуб", mode="bm25")
    )
    assert (found.foreign, found.fusion) == (False, None)
