"""Scores of ranked lists, per query, over ir-measures (MacAvaney et al., ECIR 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

import ir_measures

from latewood.evaluation.dataset_files import Judgements
from latewood.evaluation.datasets import GoldSpan

PerQuery = Mapping[str, Mapping[str, float]]
"""Metric name -> query id -> score, 0 to 1, higher is better; every query stands under every metric."""

METRICS = {
    "ndcg@10": ir_measures.nDCG @ 10,
    "recall@10": ir_measures.R @ 10,
    "recall@100": ir_measures.R @ 100,
    "mrr@10": ir_measures.RR @ 10,
}
SPAN_METRICS = ("span_recall@10", "span_mrr@10")
SPAN_DEPTH = 10


def score(qrels: Judgements, rankings: Mapping[str, Sequence[str]]) -> dict[str, dict[str, float]]:
    """nDCG@10 (gain is the grade), recall@10, recall@100 and MRR@10 of each judged query.

    Args:
        qrels: grades; above 0 is relevant. A query without a relevant judgement scores 0.
        rankings: judged things by query, best first, none twice. A query that is absent found nothing.

    Returns:
        Every query of `qrels` under every metric.
    """
    names = {str(measure): name for name, measure in METRICS.items()}
    scores = {name: dict.fromkeys(qrels, 0.0) for name in METRICS}
    # The evaluator breaks ties by id in its own way; places, counted down, have none.
    placed = {
        query: {one: float(len(ranking) - place) for place, one in enumerate(ranking)}
        for query, ranking in rankings.items()
        if query in qrels and ranking
    }
    if placed:
        plain = {query: dict(grades) for query, grades in qrels.items()}
        for found in ir_measures.iter_calc(list(METRICS.values()), plain, placed):
            scores[names[str(found.measure)]][found.query_id] = float(found.value)
    return scores


def score_spans(
    gold: Mapping[str, Sequence[GoldSpan]], found: Mapping[str, Sequence[GoldSpan]]
) -> dict[str, dict[str, float]]:
    """How well passages cover gold spans; a passage finds a span when they share a character.

    Args:
        gold: by query, at least one span each.
        found: where each passage of a ranked list stands, best first.

    Returns:
        `span_recall@10`: the share of a query's gold spans that the first ten passages find;
        `span_mrr@10`: 1 / rank of the first of them that finds one.
    """
    recall: dict[str, float] = {}
    reciprocal: dict[str, float] = {}
    for query, spans in gold.items():
        first_ten = list(found.get(query, ()))[:SPAN_DEPTH]
        recall[query] = fmean(any(_overlap(span, one) for one in first_ten) for span in spans)
        ranks = (rank for rank, one in enumerate(first_ten, 1) if any(_overlap(span, one) for span in spans))
        reciprocal[query] = 1 / next(ranks, float("inf"))
    return dict(zip(SPAN_METRICS, (recall, reciprocal), strict=True))


def _overlap(one: GoldSpan, other: GoldSpan) -> bool:
    return one.document == other.document and one.start < other.end and other.start < one.end


def means(scores: PerQuery) -> dict[str, float]:
    """The mean of each metric over its queries.

    Raises:
        ValueError: a metric without queries.
    """
    for name, values in scores.items():
        if not values:
            raise ValueError(f"{name} has no queries; a mean of nothing is no score")
    return {name: fmean(values.values()) for name, values in scores.items()}
