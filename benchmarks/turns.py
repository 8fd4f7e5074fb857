"""Sides of a comparison that take turns, so that what else the machine does slows all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import process_time

ROUNDS = 2


def best(
    sides: Mapping[str, Callable[[], object]],
    rounds: int = ROUNDS,
    clock: Callable[[], float] = process_time,
) -> dict[str, float]:
    """Seconds (of CPU, unless another clock is given) of each side's best round.

    The sides take turns, after one round that does not count.
    """
    seconds = dict.fromkeys(sides, float("inf"))
    for turn in range(rounds + 1):
        for name, run in sides.items():
            started = clock()
            run()
            if turn:
                seconds[name] = min(seconds[name], clock() - started)
    return seconds


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print Markdown."""
    print("\n| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
