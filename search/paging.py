"""Pages of a fused list that neither repeat nor skip, however deep.

A deeper look at the legs changes the fused order: a passage that is 150th by words may be 230th by meaning,
which a look at 200 does not see. Were every page fused from a depth of its own, a passage could stand on two
pages or on none. So depths come in steps, and what a step decided stays: the first 50 places are decided at
depth 200, those up to 250 at 1,000, those up to 1,250 at 5,000, each by the passages not placed before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from latewood.search.fusion import Ranking
from latewood.search.types import Fused

LEG_DEPTH = 200
OVERSAMPLING = 4
_STEP = 5

Keys = Callable[[list[str]], Iterable[tuple[str, str]]]
"""(id, key) for each id, in order: what is counted as one place. May be lazy."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the legs gave at one depth; `whole` when they have nothing deeper."""

    ranking: Ranking
    whole: bool


def depths(most: int) -> Iterator[tuple[int, int]]:
    """(places, depth of the legs that decide them), the last one for at least `most` places."""
    places = LEG_DEPTH // OVERSAMPLING
    while True:
        yield places, OVERSAMPLING * places
        if places >= most:
            return
        places *= _STEP


def page(look: Callable[[int], Look], keys: Keys, start: int, end: int, most: int) -> list[Fused]:
    """Places `start` to `end` (from 0, exclusive), sorted by score, ties by id.

    Args:
        look: the fused list at a depth of the legs.
        keys: what to count as one place; the first id of a key stands for it.
        start: the first place.
        end: the first place beyond.
        most: places that can be asked for at all; how deep to look at most.
    """
    found: dict[str, tuple[Ranking, str]] = {}
    for places, depth in depths(most):
        seen = look(depth)
        first_look = not found
        again: set[str] = set()
        for identity, key in keys(seen.ranking.ids):
            if key in again or not (key in found or seen.whole or len(found) < places):
                continue
            again.add(key)
            found[key] = (seen.ranking, identity)
            if first_look and len(found) == end:
                break
        if len(found) >= end or seen.whole:
            break
    chosen = [ranking.of(identity) for ranking, identity in list(found.values())[start:end]]
    return sorted(chosen, key=lambda one: (-one.score, one.id))
