"""The evaluation's own search is held against the stores, list by list."""

from __future__ import annotations

import numpy as np
import pytest

from latewood.embedder.types import Vectors
from latewood.evaluation.bm25 import Bm25Parameters
from latewood.evaluation.configuration import Configuration
from latewood.evaluation.datasets import read_dataset
from latewood.evaluation.embedding_cache import Cutting, build_corpus
from latewood.evaluation.exact_legs import Legs
from latewood.evaluation.workbench import Workbench
from latewood.ingest.index import commit
from latewood.ingest.index.writer import describe
from latewood.ingest.pipeline import Index, ingest
from latewood.search.analysis.analyzer import Analyzer
from latewood.search.fusion import Fusion
from latewood.search.request import SearchRequest
from latewood.search.searcher import Searcher
from latewood.search.stores.edge.store import EdgeStore
from latewood.search.stores.memory import MemoryStore
from latewood.search.types import DenseQuery, IndexConfig, Leg, Passage

CHUNK_TOKENS = 64


@pytest.fixture(scope="module")
def shipped():
    from pathlib import Path

    return read_dataset(Path(__file__).resolve().parents[2] / "api" / "samples" / "judged")


def filled(store, dataset, corpus, context, dimension):
    """The corpus as an index holds it: same ids, so that ties fall the same way."""
    analyzer = Analyzer()
    documents = {document.id: document for document in dataset.documents.values()}
    passages = [Passage(one, describe(documents[one.document_id])) for one in corpus.chunks]
    sparse = tuple(analyzer.chunk_vector(one) for one in corpus.chunks)
    store.put_chunks(passages, Vectors(corpus.vectors(context, dimension), sparse))
    return store


@pytest.mark.parametrize("kind", ["memory", "edge"])
@pytest.mark.parametrize(("context", "dimension"), [(0.5, 16), (1.0, 8)])
def test_lists_are_those_of_the_stores(shipped, embedder, tmp_path, kind, context, dimension):
    corpus = build_corpus(shipped, embedder, Cutting("document", CHUNK_TOKENS), tmp_path, lambda *_: None)
    config = IndexConfig((dimension,), {"model": "words"})
    (tmp_path / "edge").mkdir()
    store = MemoryStore(config) if kind == "memory" else EdgeStore(tmp_path / "edge", config)
    filled(store, shipped, corpus, context, dimension)
    questions = list(shipped.queries.values())[:15]
    legs = Legs(corpus, questions, range(15))
    dense = legs.dense(context, dimension, 50).lists
    bm25 = legs.bm25(Analyzer(), Bm25Parameters(), 50).lists
    for row, question in enumerate(questions):
        vector = corpus.queries[row][:dimension]
        asked = [
            Leg("dense", DenseQuery(vector / np.linalg.norm(vector)), 50),
            Leg("bm25", Analyzer().query_vector(question, store.languages()), 50),
        ]
        for ours, theirs in zip((dense[row], bm25[row]), store.search(asked), strict=True):
            np.testing.assert_allclose([one.score for one in ours], [one.score for one in theirs], rtol=2e-5)
            if kind == "memory":
                assert [one.id for one in ours] == [one.id for one in theirs]
            else:  # which of two equal scores is the greater is float32's affair
                assert len({one.id for one in ours} ^ {one.id for one in theirs}) <= 2
    store.close()


class Half:
    """The evaluation's embedder as an ingest sees it, at context ½."""

    def __init__(self, embedder):
        self._embedder = embedder
        self.recorded = embedder.recorded
        self.token_offsets = embedder.token_offsets

    def embed_documents(self, documents, *_, progress=None):
        from latewood.embedder.encoder.pooling import blend

        return [blend(alone, late, 0.5) for alone, late in self._embedder.embed_documents_both(documents)]


@pytest.mark.parametrize(
    ("mode", "fusion"), [("bm25", "rrf"), ("dense", "rrf"), ("hybrid", "dbsf"), ("hybrid", "convex")]
)
def test_what_is_evaluated_is_what_an_ingest_and_a_search_give(shipped, embedder, tmp_path, mode, fusion):
    store = MemoryStore(IndexConfig((16,), {"model": "words"}))
    index = Index("t", "c", store, lambda: Half(embedder), Analyzer(), CHUNK_TOKENS)
    assert all(outcome.error is None for outcome in ingest(index, shipped.documents.values()))
    commit.recover(store)
    searcher = Searcher(store, embedder.vector, Analyzer())
    bench = Workbench(shipped, embedder, tmp_path)
    run, _ = bench.run(Configuration(mode, method=fusion, chunk_tokens=CHUNK_TOKENS, context=0.5))
    for query in bench.queries[:10]:
        request = SearchRequest(shipped.queries[query], limit=40, mode=mode, fusion=Fusion(fusion))
        hits = searcher.search(request).hits
        # By score: chunks of another ingest have other ids, and with them other places among equals.
        np.testing.assert_allclose(
            [one.score for one in run[query][:40]], [hit.score for hit in hits], rtol=1e-6
        )


def test_a_list_is_as_deep_as_asked_and_ties_fall_by_id(shipped, embedder, tmp_path):
    corpus = build_corpus(shipped, embedder, Cutting("document", CHUNK_TOKENS), tmp_path, lambda *_: None)
    legs = Legs(corpus, ["ferry ferry", "zzz qqq"], [0, 1])
    shallow, deep = (legs.bm25(Analyzer(), Bm25Parameters(), depth).lists for depth in (7, 10_000))
    assert len(shallow[0]) == 7
    assert deep[0][:7] == shallow[0]
    assert deep[1] == ()
    assert all(one.score > 0 for one in deep[0])
    assert list(deep[0]) == sorted(deep[0], key=lambda one: (-one.score, one.id))
    assert len(legs.dense(0.0, 16, 10_000).lists[0]) == len(corpus.chunks)
