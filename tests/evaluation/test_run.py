from __future__ import annotations

from dataclasses import replace

import pytest

from latewood.embedder.types import InputError, ModelDescription
from latewood.evaluation.ablation import Grid
from latewood.evaluation.bm25 import Bm25Parameters
from latewood.evaluation.configuration import Configuration
from latewood.evaluation.dataset_files import DatasetError, EvaluationError
from latewood.evaluation.datasets import read_dataset
from latewood.evaluation.metrics import METRICS
from latewood.evaluation.workbench import Workbench, complete, evaluate
from latewood.search.analysis.analyzer import Analyzer
from latewood.search.fusion import Fusion

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
    assert (whole.k1, whole.b, whole.language) == (1.2, 0.75, "auto")
    assert complete(Configuration(context=0), MODEL, "document").context == 0
    assert complete(Configuration(k1=0), MODEL, "document").k1 == 0
    assert complete(Configuration("bm25"), MODEL, "document").context is None
    assert complete(Configuration(chunk_tokens=64), MODEL, "passage").chunk_tokens is None


def test_a_context_that_the_model_cannot_have_is_refused():
    first = replace(MODEL, pooling="cls", context=0.0)
    assert complete(Configuration(), first, "document").context == 0
    assert complete(Configuration("bm25", context=0.5), first, "document").context is None
    with pytest.raises(InputError, match=r"context 0\.5 is for models that pool by the mean"):
        complete(Configuration(context=0.5), first, "document")


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


def test_a_question_that_is_a_document_does_not_count_as_finding_itself(make_set, tmp_path, embedder):
    texts = {"a": "Boats pollute the sound.", "b": "Boats feed the islands.", "7": "Boats are late in fog."}
    # `a` is its own question; `b` too, but judged to answer itself; 7 is the number of both by chance.
    asked = {"a": texts["a"], "b": texts["b"], "7": "boats in fog"}
    documents = [{"_id": key, "title": "On boats", "text": text} for key, text in texts.items()]
    folder = make_set("arguments", documents, asked, [("a", "b", 1), ("b", "b", 1), ("7", "7", 1)])
    bench = Workbench(read_dataset(folder), embedder, tmp_path / "cache")
    for mode in ("bm25", "dense", "hybrid"):
        tried = Configuration(mode)
        found = bench.judged_run(tried, bench.run(tried)[0])
        assert "a" not in {one.id for one in found["a"]}
        assert found["b"][0].id == "b"
        assert "7" in {one.id for one in found["7"]}
    assert bench.row(Configuration("bm25")).scores["recall@10"] == 1.0


def test_scores_are_by_a_metric_that_the_set_can_be_scored_by(bench, plain_set, embedder, tmp_path):
    bm25 = Configuration("bm25")
    for metric in (*METRICS, "span_recall@10", "span_mrr@10"):
        assert bench.scorer(metric)(bm25) == bench.row(bm25).per_query[metric]
    plain = Workbench(read_dataset(plain_set), embedder, tmp_path / "cache")
    for metric in ("span_mrr@10", "map"):
        with pytest.raises(DatasetError, match=rf"metric '{metric}' is not known of plain; one of: ndcg@10"):
            plain.scorer(metric)


def test_what_scores_depend_on_is_another_when_question_grade_passage_vector_or_code_is(
    spanned_set, embedder, tmp_path, monkeypatch
):
    def subject(unit: str = "document") -> str:
        bench = Workbench(read_dataset(spanned_set), embedder, tmp_path / "cache", unit)
        return bench.subject(bench.complete(Configuration()))

    seen = [subject(), subject("passage")]
    assert seen[0] == subject()
    for name, old, new in (
        ("queries.jsonl", "How many cars?", "How many vans?"),
        ("qrels/dev.tsv", "ferry\t2", "ferry\t1"),
        ("spans.jsonl", '"start": 0', '"start": 1'),
        ("corpus.jsonl", "Tickets are sold", "Tickets are bought"),
    ):
        text = (spanned_set / name).read_text(encoding="utf-8")
        assert old in text
        (spanned_set / name).write_text(text.replace(old, new), encoding="utf-8")
        seen.append(subject())
    monkeypatch.setattr("latewood.evaluation.workbench.code_hash", lambda module: f"another {module}")
    seen.append(subject())
    assert len(set(seen)) == len(seen)


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
