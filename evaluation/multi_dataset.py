"""Choose one configuration for many judged sets, and tell of each set how it does by what the others chose.

A default must suit sets that nobody judged. So each set is scored by the configuration with the best mean
over the *other* sets: by one that it had no say in. A set counts as one, however many questions it has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from latewood.evaluation.ablation import Comparison
from latewood.evaluation.configuration import Configuration
from latewood.evaluation.statistics import (
    SAMPLES,
    Interval,
    Values,
    bootstrap_mean,
    bootstrap_sets,
    differences,
    holm,
    randomisation_tests,
)
from latewood.evaluation.tune import TuneError

LEAST_SETS = 3
"""With two, each is scored by what one other set alone chose."""

LEAST_PROOF = 8
"""Sets from which on a gain may be called proven. With fewer, all gain by chance too often (three: 1 in 8),
and drawing sets again makes intervals too short: none that is drawn is worse than the worst."""

PerQuestion = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Scored:
    """A set's scores by question: of what is tried, and of each leg by itself."""

    name: str
    tried: Mapping[Configuration, PerQuestion]
    legs: Mapping[str, PerQuestion]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A set under the configuration that is best on the others.

    Attributes:
        chosen: that configuration.
        mean: its mean score here.
        leg, leg_mean: the better leg of this set, and its mean score.
        over_leg, over_incumbent: difference on the same questions with the paired bootstrap interval, p of a
            randomisation test, and p corrected by Holm for the number of sets.
    """

    name: str
    queries: int
    chosen: Configuration
    mean: float
    leg: str
    leg_mean: float
    over_leg: Comparison
    over_incumbent: Comparison


@dataclass(frozen=True, slots=True)
class Choice:
    """One configuration for all sets.

    Attributes:
        chosen: best mean over all sets; the incumbent where nothing beats it.
        over_leg, over_incumbent: mean over sets of the held-out differences, with an interval for sets and
            questions never seen.
        promoted: another configuration was chosen, its gain over the incumbent lies above zero, and there
            were `LEAST_PROOF` sets to show it.
    """

    chosen: Configuration
    incumbent: Configuration
    over_leg: Interval
    over_incumbent: Interval
    promoted: bool
    sets: tuple[HeldOut, ...]


def choose_across(
    sets: Sequence[Scored], incumbent: Configuration, *, samples: int = SAMPLES, seed: int = 0
) -> Choice:
    """Choose by leave-one-set-out cross-validation; ties keep the incumbent, else the first.

    Args:
        sets: all scored under the same configurations, the incumbent among them.
        incumbent: what is in use.
        samples: of the bootstrap and the randomisation tests.
        seed: of both.

    Raises:
        TuneError: fewer than `LEAST_SETS` sets, two of one name, or other configurations in one of them.
        StatisticsError: a set has fewer than two questions, or its scores are of different ones.
    """
    order = _checked(sets, incumbent)
    means = np.array([[_mean(one.tried[each]) for each in order] for one in sets])
    others = (means.sum(axis=0) - means) / (len(sets) - 1)
    held = [order[int(np.argmax(row))] for row in others]
    legs = [max(one.legs, key=lambda leg, one=one: _mean(one.legs[leg])) for one in sets]  # type: ignore[misc]
    against = [
        (differences(one.tried[chosen], one.legs[leg]), differences(one.tried[chosen], one.tried[incumbent]))
        for one, chosen, leg in zip(sets, held, legs, strict=True)
    ]
    over_leg = _compared([one for one, _ in against], samples, seed)
    over_incumbent = _compared([one for _, one in against], samples, seed)
    gain = bootstrap_sets([one for _, one in against], samples=samples, seed=seed)
    chosen = order[int(np.argmax(means.mean(axis=0)))]
    return Choice(
        chosen,
        incumbent,
        bootstrap_sets([one for one, _ in against], samples=samples, seed=seed),
        gain,
        chosen != incumbent and gain.low > 0 and len(sets) >= LEAST_PROOF,
        tuple(
            HeldOut(
                one.name,
                len(one.tried[incumbent]),
                chosen,
                _mean(one.tried[chosen]),
                leg,
                _mean(one.legs[leg]),
                *compared,
            )
            for one, chosen, leg, *compared in zip(sets, held, legs, over_leg, over_incumbent, strict=True)
        ),
    )


def _checked(sets: Sequence[Scored], incumbent: Configuration) -> list[Configuration]:
    """What was tried, the incumbent first."""
    if len(sets) < LEAST_SETS:
        raise TuneError(f"{len(sets)} sets were given; name one, or at least {LEAST_SETS} to choose across")
    names = [one.name for one in sets]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise TuneError(f"the set {twice[0]!r} was given twice; give each once")
    order = [incumbent, *(one for one in sets[0].tried if one != incumbent)]
    for one in sets:
        if one.tried.keys() != set(order):
            raise TuneError(f"{one.name} was not scored under the same configurations as {sets[0].name}")
    return order


def _compared(found: Sequence[Values], samples: int, seed: int) -> list[Comparison]:
    p_values = [randomisation_tests([one], samples=samples, seed=seed)[0] for one in found]
    return [
        Comparison(bootstrap_mean(one, samples=samples, seed=seed), p, adjusted)
        for one, p, adjusted in zip(found, p_values, holm(p_values), strict=True)
    ]


def _mean(scores: PerQuestion) -> float:
    return sum(scores.values()) / max(1, len(scores))
