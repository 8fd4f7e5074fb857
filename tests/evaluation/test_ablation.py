"""The grid is whole and has no doubles; comparisons are corrected; what is finished is never scored again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from latewood.evaluation.ablation import Grid, Journal, JournalError, ablate, compare, fusions
from latewood.evaluation.configuration import Configuration, ConfigurationError
from latewood.evaluation.statistics import StatisticsError, holm, paired_bootstrap, randomisation_test
from latewood.search.fusion import Fusion, fuse
from latewood.search.types import Candidate, QueryError

BM25, DENSE, HYBRID = (Configuration(mode=mode) for mode in ("bm25", "dense", "hybrid"))


def noisy(mean: float, seed: int, queries: int = 60) -> dict[str, float]:
    values = np.random.default_rng(seed).normal(mean, 0.2, queries)
    return {f"q{index}": float(value) for index, value in enumerate(values)}


SCORES = {
    BM25: noisy(0.4, 1),
    DENSE: noisy(0.4, 2),
    HYBRID: {q: v + 0.2 for q, v in noisy(0.4, 1).items()},
}


class Scorer:
    """Scores from a table; remembers what it was asked, and can be killed after some."""

    def __init__(self, dies_after: int = 99) -> None:
        self.asked: list[Configuration] = []
        self._dies_after = dies_after

    def __call__(self, configuration: Configuration) -> Mapping[str, float]:
        if len(self.asked) >= self._dies_after:
            raise KeyboardInterrupt
        self.asked.append(configuration)
        return SCORES[configuration]


# --- the grid -----------------------------------------------------------------------------------------------


def test_a_grid_is_every_combination_that_matters_once() -> None:
    grid = Grid(
        modes=("bm25", "dense", "hybrid"),
        fusions=fusions(("rrf", "convex"), (0.3, 0.5), (10, 60)),
        contexts=(0.0, 0.5, 1.0),
        chunk_tokens=(128, 256),
        dimensions=(256, 64),
        k1=(0.9, 1.2),
        b=(0.4, 0.75),
        languages=("en", "de"),
    )
    made = grid.configurations()
    count = {mode: sum(one.mode == mode for one in made) for mode in grid.modes}
    analysers, vectors, cuts = 2 * 2 * 2, 3 * 2, 2
    fused = 2 * 2 + 2  # rrf has two k, convex has none
    assert count == {
        "bm25": cuts * analysers,
        "dense": cuts * vectors,
        "hybrid": fused * cuts * vectors * analysers,
    }
    assert len(set(made)) == len(made)
    assert all(one == one.essential for one in made)


def test_the_plain_grid_is_the_three_modes() -> None:
    assert Grid().configurations() == [BM25, DENSE, HYBRID]


def test_a_grid_with_a_value_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="context is 2"):
        Grid(contexts=(2.0,)).configurations()
    with pytest.raises(QueryError, match=r"fusion weight of 'bm25' is -0\.2"):
        fusions(("rrf",), (1.2,))


@pytest.mark.parametrize("method", ["rrf", "dbsf", "convex"])
def test_an_equal_share_is_the_default_and_ranks_as_equal_weights_do(method: str) -> None:
    (found,) = fusions((method,), (0.5,))
    assert found == Fusion(method)
    lists = {
        "dense": [Candidate("a", 0.9), Candidate("b", 0.7), Candidate("c", 0.1)],
        "bm25": [Candidate("c", 9.0), Candidate("b", 8.0), Candidate("d", 2.0)],
    }
    halves = Fusion(method, weights={"dense": 0.5, "bm25": 0.5})
    assert [one.id for one in fuse(found, lists)] == [one.id for one in fuse(halves, lists)]


# --- comparisons --------------------------------------------------------------------------------------------


def test_rows_carry_mean_interval_p_and_the_corrected_p() -> None:
    rows = compare(SCORES, BM25, samples=2000, seed=5)
    assert [row.configuration for row in rows] == [BM25, DENSE, HYBRID]
    assert rows[0].comparison is None
    p_values = [
        randomisation_test(SCORES[one], SCORES[BM25], samples=2000, seed=5) for one in (DENSE, HYBRID)
    ]
    for row, p, adjusted in zip(rows[1:], p_values, holm(p_values), strict=True):
        found = row.comparison
        assert found is not None
        assert (found.p, found.adjusted) == (p, adjusted)
        base = SCORES[BM25]
        assert found.difference == paired_bootstrap(SCORES[row.configuration], base, samples=2000, seed=5)
        assert found.difference.mean == pytest.approx(row.mean - rows[0].mean)
    dense, hybrid = rows[1].comparison, rows[2].comparison
    assert dense is not None
    assert hybrid is not None
    assert not dense.difference.excludes_zero
    assert hybrid.difference.low == pytest.approx(0.2)
    assert hybrid.adjusted == 2 / 2001


def test_many_looks_at_noise_find_something_in_no_more_than_one_ablation_of_twenty() -> None:
    grid = [Configuration(k=k) for k in range(1, 13)]
    false = 0
    for trial in range(100):
        scores = {one: noisy(0.5, trial * 100 + index, 30) for index, one in enumerate(grid)}
        rows = compare(scores, grid[0], samples=400, seed=trial)
        false += any(row.comparison is not None and row.comparison.adjusted <= 0.05 for row in rows)
    assert false / 100 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 100)


def test_a_clear_gain_is_found_among_however_many_comparisons() -> None:
    base = noisy(0.5, 0, 40)
    grid = {Configuration(k=k + 1): dict(base) for k in range(150)}
    grid[Configuration(k=151)] = {query: score + 0.3 for query, score in base.items()}
    clear = compare(grid, Configuration(k=1), samples=100)[-1].comparison
    assert clear is not None
    assert clear.adjusted == pytest.approx(150 / 15_001)  # a hundred swaps would leave it at 1


def test_configurations_scored_on_other_queries_are_refused() -> None:
    with pytest.raises(StatisticsError, match=r"1 queries are scored on one side only, e\.g\. 'q3'"):
        compare({BM25: noisy(0.4, 1, 4), DENSE: noisy(0.4, 1, 3)}, BM25)


# --- going on -----------------------------------------------------------------------------------------------


def test_a_baseline_that_is_not_in_the_list_is_scored_first_and_doubles_once() -> None:
    scorer = Scorer()
    told: list[tuple[int, int]] = []
    rows = ablate([DENSE, HYBRID, DENSE], BM25, scorer, progress=lambda *at: told.append(at))
    assert scorer.asked == [row.configuration for row in rows] == [BM25, DENSE, HYBRID]
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_an_ablation_that_was_stopped_goes_on_and_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    first = Scorer(dies_after=2)
    with pytest.raises(KeyboardInterrupt):
        ablate(list(SCORES), BM25, first, journal=Journal(path, "set"))
    assert first.asked == [BM25, DENSE]
    second = Scorer()
    rows = ablate(list(SCORES), BM25, second, journal=Journal(path, "set"))
    assert second.asked == [HYBRID]
    assert rows == ablate(list(SCORES), BM25, Scorer())
    third = Scorer(dies_after=0)
    assert ablate(list(SCORES), BM25, third, journal=Journal(path, "set")) == rows


def test_another_dataset_does_not_see_these_scores(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path, "set a").add(BM25, {"q": 0.5})
    assert Journal(path, "set b").get(BM25) is None
    Journal(path, "set b").add(BM25, {"q": 0.25})
    assert Journal(path, "set a").get(BM25) == {"q": 0.5}
    assert Journal(path, "set b").get(BM25) == {"q": 0.25}
    assert Journal(path, "set a").get(DENSE) is None


def test_a_line_that_a_kill_cut_short_is_dropped_and_the_next_one_stands_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path, "set").add(BM25, {"q": 0.5})
    whole = path.read_bytes()
    Journal(path, "set").add(DENSE, {"q": 0.75})
    second = path.read_bytes()[len(whole) :]
    for cut in range(1, len(second)):
        path.write_bytes(whole + second[:cut])
        journal = Journal(path, "set")
        assert (journal.get(BM25), journal.get(DENSE)) == ({"q": 0.5}, None)
        journal.add(DENSE, {"q": 0.25})
        assert Journal(path, "set").get(DENSE) == {"q": 0.25}


@pytest.mark.parametrize("line", ["nonsense", "[]", "{}", "null"])
def test_a_line_that_is_not_one_of_a_journal_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path, "set").add(BM25, {"q": 0.5})
    with path.open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(JournalError, match=r"line 2 of .*remove the line or the file"):
        Journal(path, "set")
