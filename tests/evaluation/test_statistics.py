"""Intervals cover what they say, p-values are honest under the null, corrections are the textbook's."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latewood.evaluation import statistics
from latewood.evaluation.statistics import (
    Interval,
    StatisticsError,
    bootstrap_mean,
    differences,
    holm,
    paired_bootstrap,
    randomisation_test,
    randomisation_tests,
)


def scored(values: np.ndarray | list[float]) -> dict[str, float]:
    return {f"q{index}": float(value) for index, value in enumerate(values)}


def test_differences_pair_queries_by_id_whatever_their_order() -> None:
    found = differences({"b": 0.5, "a": 1.0}, {"a": 0.25, "b": 0.75})
    assert found.tolist() == [0.75, -0.25]


def test_a_constant_difference_has_an_interval_of_no_width() -> None:
    a, b = scored([0.5] * 8), scored([0.25] * 8)
    assert paired_bootstrap(a, b, samples=200, seed=1) == Interval(0.25, 0.25, 0.25)


def test_the_bootstraps_mean_is_the_mean_and_its_width_is_the_standard_errors() -> None:
    random = np.random.default_rng(7)
    values = random.normal(0.1, 0.4, 400)
    found = bootstrap_mean(values, seed=3)
    standard_error = values.std() / math.sqrt(400)
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(found.mean - 1.96 * standard_error, abs=0.1 * standard_error)
    assert found.high == pytest.approx(found.mean + 1.96 * standard_error, abs=0.1 * standard_error)


def skewed(random: np.random.Generator, count: int) -> np.ndarray:
    """As differences of nDCG are: most exactly 0, some large. Mean 0.06."""
    return np.where(random.random(count) < 0.3, random.choice([1.0, 0.2, -0.6], count), 0.0)


def normal(random: np.random.Generator, count: int) -> np.ndarray:
    return random.normal(0.06, 0.4, count)


@pytest.mark.parametrize("draw", [skewed, normal])
@pytest.mark.parametrize("confidence", [0.95, 0.8])
def test_an_interval_covers_the_true_mean_as_often_as_it_says(
    draw: Callable[..., np.ndarray], confidence: float
) -> None:
    random = np.random.default_rng(11)
    trials = 600
    covered = 0
    for trial in range(trials):
        found = bootstrap_mean(draw(random, 100), samples=600, confidence=confidence, seed=trial)
        covered += found.low <= 0.06 <= found.high
    # Four standard errors of the count, and a point for the bootstrap's own shortness.
    allowance = 4 * math.sqrt(confidence * (1 - confidence) / trials) + 0.01
    assert covered / trials == pytest.approx(confidence, abs=allowance)


def test_p_is_uniform_when_there_is_no_difference() -> None:
    random = np.random.default_rng(5)
    found = np.array(
        [
            randomisation_test(
                scored(random.normal(size=40)), scored(random.normal(size=40)), samples=400, seed=trial
            )
            for trial in range(800)
        ]
    )
    for level in (0.05, 0.2, 0.5, 0.8):
        allowance = 4 * math.sqrt(level * (1 - level) / 800)
        assert float(np.mean(found <= level)) == pytest.approx(level, abs=allowance)


def test_p_agrees_with_counting_every_swap() -> None:
    values = [0.5, -0.1, 0.3, 0.2, 0.4, -0.2]
    swaps = np.array(np.meshgrid(*[[-1, 1]] * 6)).reshape(6, -1).T
    exact = float(np.mean(np.abs(swaps @ values) >= abs(sum(values)) - 1e-12))
    found = randomisation_test(scored(values), scored([0.0] * 6), samples=20_000, seed=2)
    assert found == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 20_000))


def test_no_difference_at_all_has_p_one_and_a_clear_one_the_least_p() -> None:
    same = scored([0.1, 0.7, 0.3])
    assert randomisation_test(same, same, samples=100, seed=0) == 1.0
    better, worse = scored([0.9] * 60), scored([0.1] * 60)
    assert randomisation_test(better, worse, samples=999, seed=0) == 1 / 1000


def test_many_tests_at_once_are_each_as_by_itself() -> None:
    random = np.random.default_rng(4)
    base = scored(random.random(50))
    others = [scored(random.random(50) + shift) for shift in (0.0, 0.05, 0.3)]
    found = randomisation_tests([differences(one, base) for one in others], samples=500, seed=6)
    assert found == [randomisation_test(one, base, samples=500, seed=6) for one in others]
    assert randomisation_tests([], seed=6) == []
    with pytest.raises(StatisticsError, match="of other queries"):
        randomisation_tests([np.zeros(3), np.zeros(4)], seed=6)


def test_the_same_seed_gives_the_same_answer_and_blocks_do_not_change_what_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random = np.random.default_rng(1)
    a, b = scored(random.random(30)), scored(random.random(30))
    whole = paired_bootstrap(a, b, samples=1000, seed=9), randomisation_test(a, b, samples=1000, seed=9)
    assert (
        paired_bootstrap(a, b, samples=1000, seed=9),
        randomisation_test(a, b, samples=1000, seed=9),
    ) == whole
    monkeypatch.setattr(statistics, "_CELLS", 900)
    assert paired_bootstrap(a, b, samples=1000, seed=9) == whole[0]
    assert randomisation_test(a, b, samples=1000, seed=9) == pytest.approx(whole[1], abs=0.08)


def test_holm_is_the_textbooks() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_keeps_the_order_never_helps_and_lies_within_bonferroni(values: list[float]) -> None:
    found = holm(values)
    for value, adjusted in zip(values, found, strict=True):
        assert value <= adjusted <= min(1.0, value * len(values)) or adjusted == pytest.approx(value)
    order = sorted(range(len(values)), key=values.__getitem__)
    assert [found[index] for index in order] == sorted(found)


def test_widening_keeps_the_mean_and_each_arms_share() -> None:
    assert Interval(1.0, 0.5, 3.0).widened(2) == Interval(1.0, 0.0, 5.0)
    assert Interval(1.0, 0.5, 3.0).excludes_zero
    assert Interval(-1.0, -2.0, -0.5).excludes_zero
    assert not Interval(1.0, 0.5, 3.0).widened(2).excludes_zero


@pytest.mark.parametrize(
    ("a", "b", "told"),
    [
        ({"x": 1.0, "y": 1.0}, {"x": 1.0, "z": 1.0}, "2 queries are scored on one side only, e.g. 'y'"),
        ({"x": 1.0}, {"x": 0.0}, "1 queries were scored; at least 2"),
        ({"x": math.nan, "y": 0.0}, {"x": 0.0, "y": 0.0}, "not a finite number"),
        ({"x": math.inf, "y": 0.0}, {"x": 0.0, "y": 0.0}, "not a finite number"),
    ],
)
def test_scores_that_cannot_be_compared_are_refused(
    a: dict[str, float], b: dict[str, float], told: str
) -> None:
    for compare in (paired_bootstrap, randomisation_test):
        with pytest.raises(StatisticsError, match=told):
            compare(a, b, seed=0)


def test_numbers_out_of_range_are_refused_with_the_range() -> None:
    a = scored([0.1, 0.2])
    with pytest.raises(StatisticsError, match="samples is 5; at least 100"):
        paired_bootstrap(a, a, samples=5, seed=0)
    with pytest.raises(StatisticsError, match="samples is 5; at least 100"):
        randomisation_test(a, a, samples=5, seed=0)
    with pytest.raises(StatisticsError, match="confidence is 95"):
        paired_bootstrap(a, a, confidence=95, seed=0)
    with pytest.raises(StatisticsError, match=r"p-value 1\.5"):
        holm([0.2, 1.5])
