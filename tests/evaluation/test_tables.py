from __future__ import annotations

import csv

import pytest
import pytrec_eval

from latewood.evaluation import metrics, tables
from latewood.evaluation.configuration import Configuration
from latewood.evaluation.workbench import Row
from latewood.search.types import Candidate

DENSE = Configuration("dense", context=0.5, dimensions=384, chunk_tokens=256)
HYBRID = Configuration("hybrid", method="convex", weights=(("dense", 0.7),), context=0.5, dimensions=384)


def row(configuration: Configuration, **scores: float) -> Row:
    return Row(configuration, "document", {"ndcg@10": 0.123456789, **scores}, {}, 85, 12.3456)


def test_a_row_is_flat_and_says_what_was_tried():
    assert tables.plain(row(DENSE)) == {
        "mode": "dense",
        "unit": "document",
        "fusion": None,
        "context": 0.5,
        "dimensions": 384,
        "chunk_tokens": 256,
        "ndcg@10": 0.123457,
        "queries": 85,
        "latency_ms": 12.346,
    }


def test_a_fusion_is_named_with_what_is_unusual_about_it():
    assert tables.fusion_name(Configuration("hybrid")) == "convex bm25=0.6 dense=0.4 foreign=0.25"
    assert tables.fusion_name(Configuration("hybrid", method="rrf")) == "rrf"
    assert tables.fusion_name(Configuration("hybrid", method="rrf", k=10)) == "rrf k=10"
    assert tables.fusion_name(HYBRID) == "convex dense=0.7"
    assert tables.fusion_name(DENSE) is None


def test_a_csv_has_every_column_once(tmp_path):
    rows = [tables.plain(row(DENSE)), tables.plain(row(HYBRID, **{"span_mrr@10": 0.5}))]
    tables.write_csv(tmp_path / "rows.csv", rows)
    with (tmp_path / "rows.csv").open(encoding="utf-8", newline="") as file:
        dense, hybrid = csv.DictReader(file)
    assert dense["span_mrr@10"] == dense["fusion"] == ""
    assert (hybrid["span_mrr@10"], hybrid["fusion"]) == ("0.5", "convex dense=0.7")
    assert dense.keys() == hybrid.keys()


def test_a_trec_run_has_six_columns_whatever_the_ids(tmp_path):
    found = {"q 1": [Candidate("my file.pdf", 0.5), Candidate("b", 0.25)], "q2": []}
    tables.write_trec(tmp_path / "run.trec", found, "a tag")
    assert (tmp_path / "run.trec").read_text(encoding="utf-8") == (
        "q%201 Q0 my%20file.pdf 1 0.5 a%20tag\nq%201 Q0 b 2 0.25 a%20tag\n"
    )


def test_trec_eval_scores_a_run_file_in_the_order_of_the_list_where_scores_are_equal(tmp_path):
    # trec_eval alone would turn equal scores round, the last id first.
    order = [f"d{place:02}" for place in range(20)]
    scores = [1 / 61, *[1 / 62] * 6, 1 / 62 - 1e-10, *[1 / 63] * 12]
    run = {"q": [Candidate(one, score) for one, score in zip(order, scores, strict=True)]}
    tables.write_trec(tmp_path / "run.trec", run, "tag")
    qrels = {"q": {"d01": 2, "d08": 1, "d19": 1}}
    with (tmp_path / "run.trec").open(encoding="utf-8") as file:
        told = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut_10"}).evaluate(pytrec_eval.parse_run(file))
    assert told["q"]["ndcg_cut_10"] == pytest.approx(
        metrics.score(qrels, {"q": order})["ndcg@10"]["q"], abs=1e-9
    )


def test_file_names_are_distinct_and_plain():
    assert tables.file_name(row(DENSE)) == "dense-document-context0.5-dim384-tokens256"
    assert tables.file_name(row(HYBRID)) == "hybrid-convex_dense=0.7-document-context0.5-dim384"


def test_the_table_leaves_out_what_no_row_fills_and_lines_up():
    header, rule, first, second = tables.lines([tables.plain(row(DENSE)), tables.plain(row(HYBRID))])
    assert header.split()[:4] == ["mode", "unit", "fusion", "context"]
    assert set(rule) == {"-", " "}
    assert first.split() == ["dense", "document", "-", "0.5", "384", "256", "0.1235", "85", "12.3"]
    assert len(first) == len(second) == len(header)
    bm25 = [tables.plain(row(Configuration("bm25", chunk_tokens=256)))]
    assert "context" not in next(tables.lines(bm25))
