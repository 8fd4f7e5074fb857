from __future__ import annotations

import pytest

from embedder.types import ModelDescription
from evaluation.ablation import Grid
from evaluation.bm25 import Bm25Parameters
from evaluation.configuration import Configuration
from evaluation.datasets import read_dataset
from evaluation.metrics import METRICS
from evaluation.reading import DatasetError, EvaluationError
from evaluation.run import Workbench, complete, evaluate
from search.analyzer import Analyzer
from search.fusion import Fusion

MODEL = ModelDescription("words", "1", "mean", 512, (16, 8), "none", "any", 0.5)


@pytest.fixture
def bench(spanned_set, embedder, tmp_path):
    return Workbench(read_dataset(spanned_set), embedder, tmp_path / "cache")


@pytest.fixture
def by_passage(spanned_set, embedder, tmp_path):
    return Workbench(read_dataset(spanned_set), embedder, tmp_path / "cache", "passage")


def test_what_a_configuration_leaves_open_is_the_models_and_the_indexs():
    whole = complete(Configuration(), MODEL, "document")
    assert (whole.context, whole.dimensions, whole.chunk_tokens) == (0.5, 16, 256)
    assert (whole.k1, whole.b, whole.language) == (1.2, 0.75, "english")
    assert complete(Configuration(context=0), MODEL, "document").context == 0
    assert complete(Configuration(k1=0), MODEL, "document").k1 == 0
    assert complete(Configuration("bm25"), MODEL, "document").context is None
    assert complete(Configuration(chunk_tokens=64), MODEL, "passage").chunk_tokens is None


def test_the_defaults_of_bm25_are_the_analysers():
    own = Bm25Parameters()
    said = f"k1={own.k1:g} b={own.b:g} average_length={own.average_length:g}"
    assert said in Analyzer().fingerprint


def test_a_dimension_the_model_was_not_trained_for_is_refused(bench):
    with pytest.raises(EvaluationError, match="dimension 12 is not a size of words; one of: 16, 8"):
        bench.row(Configuration("dense", dimensions=12))


def test_a_unit_the_set_was_not_judged_by_is_refused_at_once(plain_set, embedder, tmp_path):
    with pytest.raises(DatasetError, match="plain cannot be scored by passage"):
        Workbench(read_dataset(plain_set), embedder, tmp_path, "passage")


def test_every_judged_question_counts_under_every_metric(bench):
    row = bench.row(Configuration("bm25"))
    assert bench.queries == ("q1", "q2", "q3")
    assert row.queries == 3
    assert row.per_query.keys() == {*METRICS, "span_recall@10", "span_mrr@10"}
    for name, values in row.per_query.items():
        assert values.keys() == {"q1", "q2", "q3"}
        assert row.scores[name] == pytest.approx(sum(values.values()) / 3)
    assert row.latency_ms > 0


def test_bm25_finds_the_words(by_passage):
    row = by_passage.row(Configuration("bm25"))
    assert row.unit == "passage"
    assert row.scores["ndcg@10"] == 1.0
    assert row.scores["span_mrr@10"] == 1.0


def test_a_document_is_found_by_its_best_chunk(bench):
    tried = Configuration("bm25", chunk_tokens=16)
    run, _ = bench.run(tried)
    judged = bench.judged_run(tried, run)
    chunks = {
        one.id: of for one, of in zip(bench.corpus(tried).chunks, bench.corpus(tried).judged, strict=True)
    }
    for query, found in run.items():
        best = {}
        for one in found:
            best[chunks[one.id]] = max(one.score, best.get(chunks[one.id], 0))
        assert [(one.id, one.score) for one in judged[query]] == sorted(
            best.items(), key=lambda item: -item[1]
        )


def test_with_all_weight_on_one_leg_a_fusion_ranks_as_that_leg(by_passage):
    alone, _ = by_passage.run(Configuration("dense", context=1))
    fused, _ = by_passage.run(
        Configuration("hybrid", method="convex", weights=(("bm25", 0.0), ("dense", 1.0)), context=1)
    )
    for query, found in alone.items():
        assert [one.id for one in found[:3]] == [one.id for one in fused[query][:3]]


def test_contexts_differ_and_bm25_does_not_know_them(bench):
    rows = {
        context: bench.run(Configuration("dense", context=context, chunk_tokens=16))[0]
        for context in (0.0, 1.0)
    }
    assert rows[0.0] != rows[1.0]
    grid = Grid(modes=("bm25",), contexts=(0, 0.5, 1), fusions=(Fusion("rrf"), Fusion("convex")))
    assert len(evaluate(bench, grid.configurations())) == 1


def test_rows_come_in_the_order_asked_and_twice_the_same(bench):
    asked = Grid(contexts=(0, 1), fusions=(Fusion("rrf"), Fusion("convex"))).configurations()
    once, twice = evaluate(bench, asked), evaluate(bench, asked)
    assert [row.configuration.mode for row in once] == [one.mode for one in asked]
    assert [row.per_query for row in once] == [row.per_query for row in twice]


def test_the_shipped_set_can_be_scored_in_every_mode(samples, embedder, tmp_path):
    bench = Workbench(read_dataset(samples), embedder, tmp_path)
    bm25, dense, hybrid = evaluate(bench, Grid().configurations())
    assert bm25.queries == dense.queries == hybrid.queries == 85
    assert bm25.scores["ndcg@10"] > 0.75
    assert 0 < dense.scores["ndcg@10"] < bm25.scores["ndcg@10"]  # the stand-in model knows words only
