"""Ablations: every combination of a grid against one baseline, with what luck explains taken off.

Scoring is the caller's: `score(configuration)` gives a metric for every query. Finished configurations are
kept in a journal, so that a run that was stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from latewood.evaluation.configuration import Configuration
from latewood.evaluation.statistics import (
    CONFIDENCE,
    SAMPLES,
    Interval,
    differences,
    holm,
    paired_bootstrap,
    randomisation_tests,
)
from latewood.search.fusion import DEFAULT_K, SHIPPED, Fusion

SWAPS_EACH = 100
"""Random swaps for each comparison at least: Holm's correction of the least p must be able to reach .01."""

Score = Callable[[Configuration], Mapping[str, float]]
Progress = Callable[[int, int], None]


class JournalError(ValueError):
    """A journal that cannot be read; the message names the line and the remedy."""


@dataclass(frozen=True, slots=True)
class Grid:
    """What to try: every combination, each once. An empty tuple leaves a value to the model or the index."""

    modes: tuple[str, ...] = ("bm25", "dense", "hybrid")
    fusions: tuple[Fusion, ...] = (SHIPPED,)
    contexts: tuple[float, ...] = ()
    chunk_tokens: tuple[int, ...] = ()
    dimensions: tuple[int, ...] = ()
    k1: tuple[float, ...] = ()
    b: tuple[float, ...] = ()
    languages: tuple[str, ...] = ()

    def configurations(self) -> list[Configuration]:
        """Every combination, without what does not matter to it; the last field varies fastest.

        Raises:
            ConfigurationError: a value out of its range.
        """
        made = (
            Configuration(
                mode=mode,
                method=fusion.method,
                k=fusion.k,
                weights=tuple(fusion.weights.items()),
                foreign=fusion.foreign,
                context=context,
                chunk_tokens=tokens,
                dimensions=dimensions,
                k1=k1,
                b=b,
                language=language,
            ).essential
            for mode, fusion, context, tokens, dimensions, k1, b, language in itertools.product(
                self.modes,
                self.fusions,
                self.contexts or (None,),
                self.chunk_tokens or (None,),
                self.dimensions or (None,),
                self.k1 or (None,),
                self.b or (None,),
                self.languages or (None,),
            )
        )
        return list(dict.fromkeys(made))


def fusions(
    methods: Sequence[str],
    dense_shares: Sequence[float] = (0.5,),
    ks: Sequence[float] = (DEFAULT_K,),
    foreign: Sequence[float] = (1.0,),
) -> tuple[Fusion, ...]:
    """Every method with every share of the dense leg, BM25 having the rest, and every `foreign`.

    `ks` are for `rrf` only.

    A share of ½ is written as no weights: equal ones are the default, and the order is the same.

    Raises:
        QueryError: a share that is not from 0 to 1, or see `Fusion`.
    """
    return tuple(
        Fusion(method, k, {} if share == 0.5 else {"dense": share, "bm25": round(1 - share, 12)}, held)
        for method in methods
        for k in (ks if method == "rrf" else (DEFAULT_K,))
        for share in dense_shares
        for held in foreign
    )


@dataclass(frozen=True, slots=True)
class Comparison:
    """A configuration against the baseline.

    Attributes:
        difference: its mean minus the baseline's, with the paired bootstrap interval.
        p: of the randomisation test.
        adjusted: `p` corrected by Holm for all comparisons of the ablation.
    """

    difference: Interval
    p: float
    adjusted: float


@dataclass(frozen=True, slots=True)
class AblationRow:
    """A configuration's mean over all queries; `comparison` is None for the baseline itself."""

    configuration: Configuration
    mean: float
    queries: int
    comparison: Comparison | None


class Journal:
    """Scores of finished configurations, a JSON line each, on disk as soon as they are known.

    One file may hold several subjects; only this one's are given back. One writer at a time.
    """

    def __init__(self, path: Path, subject: str) -> None:
        """Open or make the journal.

        Args:
            path: the file; its folder is there.
            subject: all that scores depend on besides the configuration: hash of the dataset, model, unit,
                metric.

        Raises:
            JournalError: a line, other than a last one that a kill cut short, cannot be read.
        """
        self._path = path
        self._subject = hashlib.sha256(subject.encode()).hexdigest()
        self._known: dict[str, dict[str, float]] = {}
        whole = path.read_bytes() if path.exists() else b""
        end = whole.rfind(b"\n") + 1
        if end < len(whole):
            os.truncate(path, end)
        for number, line in enumerate(whole[:end].splitlines(), 1):
            self._read(number, line)

    def get(self, configuration: Configuration) -> Mapping[str, float] | None:
        """Scores by query, if this configuration was finished."""
        return self._known.get(configuration.key)

    def add(self, configuration: Configuration, scores: Mapping[str, float]) -> None:
        """Keep scores; they survive a kill as soon as this returns."""
        kept = dict(scores)
        record = {"subject": self._subject, "configuration": configuration.key, "scores": kept}
        with self._path.open("ab") as file:
            file.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._known[configuration.key] = kept

    def _read(self, number: int, line: bytes) -> None:
        try:
            record = json.loads(line)
            if record["subject"] == self._subject:
                self._known[str(record["configuration"])] = {
                    query: float(value) for query, value in record["scores"].items()
                }
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise JournalError(
                f"line {number} of {self._path} cannot be read ({error}); remove the line or the file, "
                "what it held is scored again"
            ) from error


def ablate(
    configurations: Sequence[Configuration],
    baseline: Configuration,
    score: Score,
    *,
    journal: Journal | None = None,
    progress: Progress = lambda _done, _all: None,
    seed: int = 0,
) -> list[AblationRow]:
    """Score every configuration and hold it against the baseline.

    Args:
        configurations: what to try, in the order of the rows; the baseline is put first if it is not there.
        baseline: what to compare with.
        score: metric by query; called once for each configuration the journal does not hold.
        journal: where finished configurations are kept.
        progress: told how many are finished, of how many.
        seed: of the bootstrap and the randomisation test.

    Raises:
        StatisticsError: two configurations were scored on different queries, or on fewer than two.
    """
    order = list(dict.fromkeys(configurations))
    if baseline not in order:
        order.insert(0, baseline)
    return compare(score_all(order, score, journal=journal, progress=progress), baseline, seed=seed)


def score_all(
    configurations: Sequence[Configuration],
    score: Score,
    *,
    journal: Journal | None = None,
    progress: Progress = lambda _done, _all: None,
) -> dict[Configuration, Mapping[str, float]]:
    """Scores by query of each configuration, in their order; see `ablate`."""
    scores: dict[Configuration, Mapping[str, float]] = {}
    for done, configuration in enumerate(configurations, 1):
        scores[configuration] = _scored(configuration, score, journal)
        progress(done, len(configurations))
    return scores


def compare(
    scores: Mapping[Configuration, Mapping[str, float]],
    baseline: Configuration,
    *,
    samples: int = SAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> list[AblationRow]:
    """Rows of configurations that are scored already, in their order; see `ablate`.

    Raises:
        StatisticsError: see `ablate`.
    """
    base = scores[baseline]
    others = [one for one in scores if one != baseline]
    intervals = [
        paired_bootstrap(scores[one], base, samples=samples, confidence=confidence, seed=seed)
        for one in others
    ]
    swaps = max(samples, SWAPS_EACH * len(others))
    p_values = randomisation_tests(
        [differences(scores[one], base) for one in others], samples=swaps, seed=seed
    )
    comparisons = {
        one: Comparison(interval, p, adjusted)
        for one, interval, p, adjusted in zip(others, intervals, p_values, holm(p_values), strict=True)
    }
    return [
        AblationRow(one, sum(found.values()) / len(found), len(found), comparisons.get(one))
        for one, found in scores.items()
    ]


def _scored(configuration: Configuration, score: Score, journal: Journal | None) -> Mapping[str, float]:
    if journal is None:
        return score(configuration)
    known = journal.get(configuration)
    if known is None:
        known = score(configuration)
        journal.add(configuration, known)
    return known
