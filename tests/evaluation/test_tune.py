"""Noise is not promoted, a real gain is, and the held-out estimate does not flatter: by simulation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from latewood.evaluation.configuration import Configuration
from latewood.evaluation.tune import LEAST_QUERIES, TuneError, choose, decide, held_out_gains

Scores = dict[Configuration, dict[str, float]]
INCUMBENT = Configuration()


def candidates(count: int) -> list[Configuration]:
    """The incumbent and `count - 1` others of the same index."""
    return [
        INCUMBENT,
        *(Configuration(method="convex", weights=(("dense", n + 1.0),)) for n in range(count - 1)),
    ]


def as_scores(configurations: list[Configuration], matrix: np.ndarray) -> Scores:
    return {
        one: {f"q{index}": float(value) for index, value in enumerate(matrix[:, column])}
        for column, one in enumerate(configurations)
    }


def independent(random: np.random.Generator, queries: int, count: int) -> np.ndarray:
    return random.normal(0.5, 0.3, (queries, count))


def alike(random: np.random.Generator, queries: int, count: int) -> np.ndarray:
    """As fusion weights are: hard and easy queries for all alike, and most queries scored the same."""
    moved = random.random((queries, count)) < 0.3
    return random.random((queries, 1)) + moved * random.normal(0, 0.2, (queries, count))


@pytest.mark.parametrize("noise", [independent, alike])
@pytest.mark.parametrize(("queries", "count"), [(25, 20), (60, 5), (200, 20), (60, 100)])
def test_configurations_that_differ_by_noise_alone_are_refused(
    noise: Callable[..., np.ndarray], queries: int, count: int
) -> None:
    random = np.random.default_rng(queries + count)
    configurations = candidates(count)
    refused = sum(
        not choose(
            as_scores(configurations, noise(random, queries, count)), INCUMBENT, samples=500, seed=trial
        ).promoted
        for trial in range(100)
    )
    assert refused >= 95


@pytest.mark.parametrize("noise", [independent, alike])
def test_a_real_gain_is_promoted_and_is_the_one_that_was_planted(noise: Callable[..., np.ndarray]) -> None:
    random = np.random.default_rng(4)
    configurations = candidates(12)
    right = 0
    for trial in range(100):
        matrix = noise(random, 150, 12)
        matrix[:, 7] += 0.2
        found = choose(as_scores(configurations, matrix), INCUMBENT, samples=500, seed=trial)
        right += found.promoted and found.chosen == configurations[7]
    assert right >= 95


def test_the_held_out_gain_is_unbiased_where_the_best_mean_flatters() -> None:
    random = np.random.default_rng(8)
    folds = np.arange(50) % 5
    held_out, best = [], []
    for _ in range(2000):
        gains = random.normal(size=(50, 30))
        gains[:, 0] = 0
        held_out.append(held_out_gains(gains, folds).mean())
        best.append(gains.mean(axis=0).max())
    standard_error = np.std(held_out) / math.sqrt(2000)
    assert np.mean(held_out) == pytest.approx(0, abs=4 * standard_error)
    assert np.mean(best) > 50 * standard_error


def test_the_low_end_rarely_lies_above_what_choosing_gains_on_queries_never_seen() -> None:
    """The truth here: the mean gain, on endless fresh queries, of what four fifths of these would choose."""
    random = np.random.default_rng(3)
    configurations = candidates(4)
    true_gain = np.array([0.0, 0.02, 0.05, -0.05])
    truths, found = [], []
    for trial in range(300):
        matrix = random.normal(0, 0.3, (100, 4)) + true_gain
        truths.append(true_gain[int(np.argmax(matrix[:80].mean(axis=0)))])
        found.append(choose(as_scores(configurations, matrix), INCUMBENT, samples=500, seed=trial))
    expected = float(np.mean(truths))
    gains = np.array([verdict.gain for verdict in found])
    assert gains.mean() == pytest.approx(expected, abs=4 * gains.std() / math.sqrt(300))
    assert np.mean([verdict.low > expected for verdict in found]) <= 0.025
    assert np.mean([verdict.high < expected for verdict in found]) <= 0.1  # candidates nearly tie here


def test_each_query_is_scored_by_what_was_best_on_the_other_folds() -> None:
    gains = np.array([[0, 5, 0], [0, 5, 1], [0, -1, 2], [0, -1, 2.0]])
    folds = np.array([0, 0, 1, 1])
    # Fold 0 is judged by column 2 (4 against -2), fold 1 by column 1 (10 against 1).
    assert held_out_gains(gains, folds).tolist() == [0, 1, -1, -1]


def test_the_incumbent_stays_where_nothing_beats_it_on_the_other_folds() -> None:
    gains = np.array([[0, -1], [0, 0], [0, -1], [0, 0.0]])
    assert held_out_gains(gains, np.array([0, 0, 1, 1])).tolist() == [0, 0, 0, 0]


def test_a_tie_keeps_the_incumbent() -> None:
    random = np.random.default_rng(0)
    column = random.random(40)
    found = choose(as_scores(candidates(3), np.stack([column] * 3, axis=1)), INCUMBENT)
    assert (found.chosen, found.promoted, found.gain, found.low, found.high) == (INCUMBENT, False, 0, 0, 0)


def test_the_order_of_queries_and_configurations_does_not_matter() -> None:
    random = np.random.default_rng(2)
    scores = as_scores(candidates(5), random.random((40, 5)))
    turned = {one: dict(reversed(scores[one].items())) for one in reversed(scores)}
    assert choose(turned, INCUMBENT) == choose(scores, INCUMBENT)


def test_only_what_the_index_can_serve_is_decided_for_now() -> None:
    random = np.random.default_rng(6)
    fused = Configuration(method="convex")
    late = Configuration(context=1.0)
    both = Configuration(method="convex", context=1.0)
    base = random.random(200)
    noise = random.normal(0, 0.05, (200, 4))
    columns = np.stack([base, base + 0.1, base + 0.05, base + 0.3], axis=1) + noise
    found = decide(as_scores([INCUMBENT, fused, late, both], columns), INCUMBENT)
    assert (found.now.chosen, found.now.promoted, found.now.incumbent) == (fused, True, INCUMBENT)
    assert found.later is not None
    assert (found.later.chosen, found.later.promoted, found.later.incumbent) == (both, True, fused)
    assert found.later.gain == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize("noise", [independent, alike])
def test_noise_is_refused_in_both_choices_together(noise: Callable[..., np.ndarray]) -> None:
    random = np.random.default_rng(12)
    configurations = [
        Configuration(context=context, method="convex", weights=(("dense", share),))
        for context in (0.5, 0.0, 1.0)
        for share in (0.3, 0.5, 0.7, 0.9)
    ]
    promoted = 0
    for trial in range(100):
        scores = as_scores(configurations, noise(random, 60, len(configurations)))
        found = decide(scores, configurations[0], seed=trial)
        assert found.later is not None
        promoted += found.now.promoted or found.later.promoted
    assert promoted <= 5


def test_what_a_new_index_must_beat_is_the_incumbent_where_nothing_was_promoted() -> None:
    random = np.random.default_rng(6)
    fused, late = Configuration(method="convex"), Configuration(context=1.0)
    base = random.random(100)
    columns = np.stack([base, base - 0.1, base + 0.001 * random.normal(size=100)], axis=1)
    found = decide(as_scores([INCUMBENT, fused, late], columns), INCUMBENT)
    assert not found.now.promoted
    assert found.later is not None
    assert found.later.incumbent == INCUMBENT


def test_without_another_index_there_is_nothing_for_later() -> None:
    random = np.random.default_rng(1)
    assert decide(as_scores(candidates(3), random.random((30, 3))), INCUMBENT).later is None


def test_scores_that_nothing_can_be_chosen_from_are_refused() -> None:
    random = np.random.default_rng(1)
    scores = as_scores(candidates(3), random.random((LEAST_QUERIES, 3)))
    with pytest.raises(TuneError, match=r"incumbent \(hybrid dbsf\) was not scored"):
        choose(scores, Configuration(method="dbsf"))
    with pytest.raises(TuneError, match="19 queries are judged; at least 20"):
        choose({one: {q: v for q, v in of.items() if q != "q0"} for one, of in scores.items()}, INCUMBENT)
    with pytest.raises(TuneError, match="folds is 1; it must be from 2 to the number of queries, 20"):
        choose(scores, INCUMBENT, folds=1)
    with pytest.raises(TuneError, match="folds is 21"):
        choose(scores, INCUMBENT, folds=21)
    with pytest.raises(TuneError, match="hybrid convex dense=1 was scored on other queries"):
        choose({**scores, candidates(2)[1]: {f"p{n}": 0.0 for n in range(20)}}, INCUMBENT)
    with pytest.raises(TuneError, match="not a finite number"):
        choose({**scores, candidates(2)[1]: {f"q{n}": math.nan for n in range(20)}}, INCUMBENT)
