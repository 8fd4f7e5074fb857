from __future__ import annotations

import numpy as np
import pytest
import pytrec_eval

from latewood.evaluation.datasets import GoldSpan
from latewood.evaluation.metrics import means, score, score_spans

THEIRS = {"ndcg_cut_10": "ndcg@10", "recall_10": "recall@10", "recall_100": "recall@100"}


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_pytrec_evals(seed):
    random = np.random.default_rng(seed)
    documents = [f"d{number}" for number in range(150)]
    qrels, rankings = {}, {}
    for query in map(str, range(20)):
        judged = random.choice(documents, size=random.integers(1, 30), replace=False)
        qrels[query] = {
            one: int(grade) for one, grade in zip(judged, random.integers(0, 4, 30), strict=False)
        }
        qrels[query][documents[0]] = 1
        rankings[query] = list(random.choice(documents, size=random.integers(1, 150), replace=False))
    ours = score(qrels, rankings)
    placed = {
        query: {one: 1000.0 - place for place, one in enumerate(ranking)}
        for query, ranking in rankings.items()
    }
    for query, values in (
        pytrec_eval.RelevanceEvaluator(qrels, {*THEIRS, "recip_rank"}).evaluate(placed).items()
    ):
        for theirs, name in THEIRS.items():
            assert ours[name][query] == pytest.approx(values[theirs], abs=1e-9)
        reciprocal = values["recip_rank"] if values["recip_rank"] >= 0.1 else 0.0
        assert ours["mrr@10"][query] == pytest.approx(reciprocal, abs=1e-9)


def test_ndcg_by_hand():
    # Gain is the grade, discounted by log2(1 + rank), over that of the best order.
    assert score({"q": {"a": 2, "b": 1}}, {"q": ["b", "a"]})["ndcg@10"]["q"] == pytest.approx(
        (1 + 2 / np.log2(3)) / (2 + 1 / np.log2(3))
    )


def test_a_query_that_found_nothing_counts_as_zero_everywhere():
    qrels = {"found": {"a": 1}, "nothing": {"a": 1}, "absent": {"a": 1}}
    ours = score(qrels, {"found": ["a"], "nothing": [], "foreign": ["a"]})
    for values in ours.values():
        assert values == {"found": 1.0, "nothing": 0.0, "absent": 0.0}
    assert means(ours)["ndcg@10"] == pytest.approx(1 / 3)


def test_the_order_given_is_the_order_scored_whatever_the_ids():
    for names in (["a", "b", "c"], ["c", "b", "a"]):
        assert score({"q": {names[1]: 1}}, {"q": names})["mrr@10"] == {"q": 0.5}


def test_a_passage_finds_a_span_when_they_share_a_character():
    gold = {"q": [GoldSpan("d", 10, 20)]}

    def reciprocal(*found: GoldSpan) -> float:
        return score_spans(gold, {"q": list(found)})["span_mrr@10"]["q"]

    beside = [GoldSpan("d", 0, 10), GoldSpan("d", 20, 30), GoldSpan("other", 0, 99)]
    assert reciprocal(*beside) == 0
    assert reciprocal(*beside, GoldSpan("d", 19, 21)) == 1 / 4
    assert reciprocal(GoldSpan("d", 0, 11)) == 1


def test_span_recall_is_the_share_of_a_querys_spans_in_the_first_ten():
    gold = {"q": [GoldSpan("d", 0, 5), GoldSpan("d", 50, 55)], "none": [GoldSpan("d", 0, 5)]}
    late = [GoldSpan("x", 0, 1)] * 9 + [GoldSpan("d", 0, 20), GoldSpan("d", 40, 60)]
    scores = score_spans(gold, {"q": late})
    assert scores["span_recall@10"] == {"q": 0.5, "none": 0.0}
    assert scores["span_mrr@10"] == {"q": 1 / 10, "none": 0.0}


def test_a_mean_of_nothing_is_refused():
    with pytest.raises(ValueError, match="recall@10 has no queries"):
        means({"recall@10": {}})
