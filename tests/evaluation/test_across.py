"""One setting for many sets: each is judged by what the others chose, and the intervals are honest."""

from __future__ import annotations

import numpy as np
import pytest

from latewood.evaluation.configuration import Configuration
from latewood.evaluation.multi_dataset import LEAST_PROOF, LEAST_SETS, Scored, choose_across
from latewood.evaluation.statistics import StatisticsError, bootstrap_sets, paired_bootstrap
from latewood.evaluation.tune import TuneError

INCUMBENT = Configuration()
OTHERS = [Configuration(method="convex", weights=(("dense", n + 1.0),)) for n in range(3)]


def by_question(values: np.ndarray) -> dict[str, float]:
    return {f"q{n}": float(value) for n, value in enumerate(values)}


def made(
    name: str, means: tuple[float, ...], legs: tuple[float, float] = (0.3, 0.2), seed: int = 0
) -> Scored:
    """A set of forty questions, hard and easy for all alike, on which each configuration has its mean."""
    random = np.random.default_rng(seed)
    base = random.normal(0, 0.2, 40)
    base -= base.mean()
    tried = dict(zip([INCUMBENT, *OTHERS], (by_question(base + mean) for mean in means), strict=False))
    own = {leg: by_question(base + mean) for leg, mean in zip(("bm25", "dense"), legs, strict=True)}
    return Scored(name, tried, own)


def test_each_set_is_scored_by_what_is_best_on_the_others_and_held_against_its_better_leg() -> None:
    sets = [
        made("a", (0.5, 0.9, 0.6), seed=1),  # alone for the first of the others
        made("b", (0.5, 0.4, 0.6), (0.3, 0.55), seed=2),
        made("c", (0.5, 0.4, 0.6), seed=3),
        made("d", (0.5, 0.4, 0.7), seed=4),
    ]
    found = choose_across(sets, INCUMBENT, samples=500)
    assert found.chosen == OTHERS[1]
    a, b, c, d = found.sets
    assert [one.chosen for one in (a, c)] == [OTHERS[1], OTHERS[1]]
    assert (a.mean, a.leg, a.leg_mean) == (pytest.approx(0.6), "bm25", pytest.approx(0.3))
    assert (b.leg, b.leg_mean) == ("dense", pytest.approx(0.55))
    assert b.over_leg.difference.mean == pytest.approx(b.mean - 0.55)
    assert d.over_incumbent.difference.mean == pytest.approx(d.mean - 0.5)
    expected = paired_bootstrap(sets[2].tried[OTHERS[1]], sets[2].tried[INCUMBENT], samples=500, seed=0)
    assert c.over_incumbent.difference == expected
    assert a.over_leg.adjusted == pytest.approx(min(1, 4 * a.over_leg.p))


def test_a_gain_that_all_sets_share_is_promoted_and_one_that_a_single_set_has_is_not() -> None:
    alike = [made(str(n), (0.5, 0.55), seed=n) for n in range(LEAST_PROOF)]
    shared = choose_across(alike, INCUMBENT, samples=500)
    assert (shared.chosen, shared.promoted) == (OTHERS[0], True)
    assert shared.over_incumbent.mean == pytest.approx(0.05)
    few = choose_across(alike[1:], INCUMBENT, samples=500)
    assert (few.chosen, few.promoted, few.over_incumbent.low > 0) == (OTHERS[0], False, True)
    lone = [made("lone", (0.5, 0.9)), *(made(str(n), (0.5, 0.49), seed=n) for n in range(LEAST_PROOF - 1))]
    found = choose_across(lone, INCUMBENT, samples=500)
    assert (found.chosen, found.promoted) == (OTHERS[0], False)
    assert found.sets[0].chosen == INCUMBENT


def test_a_tie_keeps_the_incumbent() -> None:
    found = choose_across([made(str(n), (0.5, 0.5, 0.5), seed=n) for n in range(4)], INCUMBENT, samples=100)
    assert (found.chosen, found.promoted) == (INCUMBENT, False)
    assert {one.chosen for one in found.sets} == {INCUMBENT}


def test_noise_is_not_promoted() -> None:
    random = np.random.default_rng(5)
    promoted = 0
    for trial in range(60):
        sets = [
            Scored(
                str(number),
                {one: by_question(random.normal(0.5, 0.3, 30)) for one in (INCUMBENT, *OTHERS)},
                {"bm25": by_question(random.normal(0.5, 0.3, 30))},
            )
            for number in range(LEAST_PROOF)
        ]
        promoted += choose_across(sets, INCUMBENT, samples=200, seed=trial).promoted
    assert promoted <= 4


def test_sets_that_gain_and_lose_by_chance_are_promoted_seldom() -> None:
    """One alternative, as often better as worse, by far more than a set's questions tell by noise."""
    random = np.random.default_rng(11)
    promoted = 0
    for trial in range(200):
        gains = random.normal(0, 0.05, LEAST_PROOF)
        sets = [
            Scored(
                str(number),
                {
                    INCUMBENT: by_question(base := random.normal(0.5, 0.02, 40)),
                    OTHERS[0]: by_question(base + gain + random.normal(0, 0.005, 40)),
                },
                {"bm25": by_question(base)},
            )
            for number, gain in enumerate(gains)
        ]
        promoted += choose_across(sets, INCUMBENT, samples=200, seed=trial).promoted
    assert promoted <= 14


def test_what_cannot_be_chosen_from_is_refused() -> None:
    three = [made(name, (0.5, 0.6)) for name in "abc"]
    with pytest.raises(TuneError, match=f"2 sets were given; name one, or at least {LEAST_SETS}"):
        choose_across(three[:2], INCUMBENT)
    with pytest.raises(TuneError, match="the set 'a' was given twice"):
        choose_across([*three, three[0]], INCUMBENT)
    with pytest.raises(TuneError, match="d was not scored under the same configurations as a"):
        choose_across([*three, made("d", (0.5, 0.6, 0.7))], INCUMBENT)


def test_sets_that_disagree_make_a_longer_interval_than_questions_do() -> None:
    random = np.random.default_rng(0)
    alike = [random.normal(0.1, 0.2, 100) for _ in range(8)]
    apart = [values + shift for values, shift in zip(alike, np.linspace(-0.2, 0.2, 8), strict=True)]
    one, other = (bootstrap_sets(found, samples=2000, seed=1) for found in (alike, apart))
    assert one.mean == pytest.approx(float(np.mean([values.mean() for values in alike])))
    assert other.mean == pytest.approx(float(np.mean([values.mean() for values in apart])))
    assert other.high - other.low > 3 * (one.high - one.low)


def test_the_interval_over_sets_covers_the_mean_of_sets_never_seen() -> None:
    random = np.random.default_rng(7)
    covered = 0
    for trial in range(200):
        sets = [random.normal(random.normal(0.05, 0.1), 0.3, 30) for _ in range(12)]
        found = bootstrap_sets(sets, samples=300, seed=trial)
        covered += found.low <= 0.05 <= found.high
    assert covered >= 0.9 * 200


def test_an_interval_over_sets_needs_two_of_them() -> None:
    with pytest.raises(StatisticsError, match="1 sets were scored; at least 2 are needed"):
        bootstrap_sets([np.zeros(5)], seed=0)
    with pytest.raises(StatisticsError, match="confidence is 1"):
        bootstrap_sets([np.zeros(5), np.zeros(5)], confidence=1, seed=0)
