"""The tables of `docs/evaluation.md`: every mode on judged sets, intervals against BM25, and bm25s beside it.

    python -m benchmarks.report SET… [--cache DIR]

A set is a folder in the BEIR layout, or `samples`. It is scored by its own passages where it has them.
What is embedded or scored already is not done again.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import bm25s
import numpy as np

from latewood.api.cli.evaluate import SAMPLES, bench_on
from latewood.engine.settings import load
from latewood.evaluation import metrics
from latewood.evaluation.ablation import AblationRow, Journal, ablate
from latewood.evaluation.configuration import Configuration
from latewood.evaluation.workbench import Workbench
from latewood.search.analysis.analyzer import Analyzer
from latewood.search.analysis.languages import AUTO
from latewood.search.fusion import SHIPPED, Fusion
from latewood.search.paging import LEG_DEPTH

METRIC = "ndcg@10"
CONTEXTS = (0.0, 0.5, 1.0)
HEAD = ("set", "unit", "questions", "BM25", "bm25s")
FUSIONS = {"hybrid": SHIPPED, "rrf": Fusion("rrf"), "convex": Fusion("convex")}
COLUMNS = (
    *(("dense", context) for context in CONTEXTS),
    *(("hybrid", context) for context in CONTEXTS),
    ("rrf", 0.5),
    ("convex", 0.5),
)
"""Legs and fusions by their names here, with the context; `hybrid` is fused as shipped."""
SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class Report:
    """One set's rows, BM25 first, and what bm25s scores on the same words."""

    name: str
    unit: str
    rows: tuple[AblationRow, ...]
    bm25s: float

    def row(self, name: str, context: float) -> AblationRow:
        """The row of a column."""
        wanted = _configuration(name, context)
        (found,) = (one for one in self.rows if _varied(one.configuration) == _varied(wanted))
        return found


def report(dataset: str, cache: Path) -> Report:
    """Score a set; see the module."""
    settings = load()
    parted = dataset != SAMPLES and (Path(dataset) / "qrels_passage").is_dir()
    unit = "passage" if parted else "document"
    index: dict[str, Any] = {
        "chunk_tokens": None if parted else settings.chunk_tokens,
        "k1": settings.k1,
        "b": settings.b,
        "language": settings.language,
    }
    with bench_on(settings, dataset, "dev", unit, cache) as bench:
        baseline = bench.complete(Configuration("bm25", **index))
        journal = Journal(cache / "report.jsonl", bench.subject(baseline))
        rows = ablate(
            [bench.complete(replace(_configuration(*column), **index)) for column in COLUMNS],
            baseline,
            bench.scorer(METRIC),
            journal=journal,
        )
        return Report(Path(dataset).name, unit, tuple(rows), score_of_bm25s(bench, baseline))


def score_of_bm25s(bench: Workbench, configuration: Configuration) -> float:
    """nDCG@10 of the public library on the product's own words, documents by their best passage."""
    analyzer = Analyzer(configuration.language or AUTO)
    corpus = bench.corpus(configuration)
    words = [
        [term for text in (one.context, one.text) for term, _, _ in analyzer.terms(text, one.language)]
        for one in corpus.chunks
    ]
    index = bm25s.BM25(method="lucene", k1=configuration.k1, b=configuration.b)
    index.index(words, show_progress=False)
    languages = {one.language for one in corpus.chunks}
    rankings = {}
    for query in bench.queries:
        scores = np.zeros(len(words))
        for term, weight in analyzer.query_terms(bench.dataset.queries[query], languages).items():
            if term in index.vocab_dict:
                scores += weight * index.get_scores([term])
        found = [row for row in np.argsort(-scores, kind="stable")[:LEG_DEPTH] if scores[row] > 0]
        rankings[query] = list(dict.fromkeys(corpus.judged[row] for row in found))
    return metrics.means(metrics.score(bench.dataset.judged(bench.unit), rankings))[METRIC]


def _configuration(name: str, context: float) -> Configuration:
    if name not in FUSIONS:
        return Configuration(name, context=context)
    fusion = FUSIONS[name]
    weights = tuple(fusion.weights.items())
    return Configuration("hybrid", fusion.method, fusion.k, weights, fusion.foreign, context)


def _varied(configuration: Configuration) -> tuple[str, Fusion, float | None]:
    plain = configuration.essential
    return plain.mode, plain.fusion, plain.context


def tables(reports: Sequence[Report]) -> str:
    """Both tables in Markdown."""
    names = [f"{name} {_half(context)}" for name, context in COLUMNS]
    means = [[*HEAD, *names]]
    differences = [["set", *names]]
    for one in reports:
        found = [one.row(*column) for column in COLUMNS]
        head = [one.name, one.unit, str(one.rows[0].queries), _plain(one.rows[0].mean), _plain(one.bm25s)]
        means.append([*head, *(_plain(row.mean) for row in found)])
        differences.append([one.name, *map(_compared, found)])
    return "\n\n".join(map(_markdown, (means, differences)))


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    ruled = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(row)} |" for row in ruled)


def _half(context: float) -> str:
    return "½" if context == CONTEXTS[1] else f"{context:g}"


def _plain(score: float) -> str:
    return f"{score:.3f}".removeprefix("0")


def _signed(value: float) -> str:
    sign = "−" if math.copysign(1, value) < 0 else "+"
    return sign + _plain(abs(value))


def _compared(row: AblationRow) -> str:
    found = row.comparison
    if found is None:
        raise ValueError(f"{row.configuration.label} is the baseline; it has no difference")
    mark = "*" if found.adjusted < SIGNIFICANT else ""
    interval = found.difference
    return f"{_signed(interval.mean)} [{_signed(interval.low)}, {_signed(interval.high)}]{mark}"


def main() -> None:
    """Score every set and print the tables."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("sets", nargs="+", help="folders in the BEIR layout, or `samples`")
    options.add_argument("--cache", type=Path, help="where vectors are kept (DATA/cache/evaluation)")
    chosen = options.parse_args()
    cache = chosen.cache or load().data / "cache" / "evaluation"
    cache.mkdir(parents=True, exist_ok=True)
    print(tables([report(one, cache) for one in chosen.sets]))


if __name__ == "__main__":
    main()
