"""What `latewood tune` tries, on one judged set or several: what serves now, and every other combination."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latewood.api.cli import render
from latewood.api.cli.common import WRONG_USE, CommandError
from latewood.engine.settings import Settings

if TYPE_CHECKING:  # the command line starts without numpy's weight
    from latewood.evaluation.configuration import Configuration
    from latewood.evaluation.workbench import Workbench


CONTEXTS = (0.0, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Numbers:
    """Values to try besides methods; `contexts` None: all that suit the model."""

    contexts: tuple[float, ...] | None
    k1: tuple[float, ...]
    b: tuple[float, ...]
    shares: tuple[float, ...]
    foreign: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """What to try, on what, judged by what; `unit` empty: each set's own."""

    datasets: tuple[str, ...]
    split: str
    unit: str
    metric: str
    methods: tuple[str, ...]
    numbers: Numbers
    folds: int
    cache: Path | None


def incumbent(
    bench: Workbench, settings: Settings, size: int | None, current: Configuration | None
) -> Configuration:
    """What answers now: the collection's fusion, and what the settings and the model give an index."""
    from latewood.evaluation.configuration import Configuration

    serving = current or Configuration()
    return bench.complete(
        Configuration(
            method=serving.method,
            k=serving.k,
            weights=serving.weights,
            foreign=serving.foreign,
            context=settings.context,
            chunk_tokens=None if bench.unit == "passage" else settings.chunk_tokens,
            dimensions=size,
            k1=settings.k1,
            b=settings.b,
            language=settings.language,
        )
    )


def candidates(bench: Workbench, now: Configuration, asked: Asked) -> list[Configuration]:
    """The incumbent, then every combination."""
    from latewood.evaluation.ablation import Grid, fusions
    from latewood.search.types import QueryError

    try:
        tried = fusions(asked.methods, asked.numbers.shares, foreign=asked.numbers.foreign)
    except QueryError as error:
        raise CommandError(WRONG_USE, "wrong_use", f"--fusion: {error}") from error
    contexts = asked.numbers.contexts
    if contexts is None:
        contexts = CONTEXTS if bench.late_chunking else (0.0,)
    grid = Grid(
        modes=("hybrid",),
        fusions=tried,
        contexts=_with(now.context, contexts),
        chunk_tokens=_with(now.chunk_tokens, ()),
        dimensions=_with(now.dimensions, ()),
        k1=_with(now.k1, asked.numbers.k1),
        b=_with(now.b, asked.numbers.b),
        languages=_with(now.language, ()),
    )
    return list(dict.fromkeys([now, *map(bench.complete, grid.configurations())]))


def _with(own: Any, others: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(one for one in (own, *others) if one is not None))


def number_list(name: str, text: str) -> tuple[float, ...]:
    """An option that is numbers divided by commas; empty for none."""
    try:
        return tuple(dict.fromkeys(float(part) for part in text.split(",") if part.strip()))
    except ValueError as error:
        message = f"--{name} {text!r} must be numbers divided by commas"
        raise CommandError(WRONG_USE, "wrong_use", message) from error


def scoring_progress(what: str = "") -> Callable[[int, int], None]:
    """A line on stderr now and then."""
    last = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= render.PLAIN_EVERY:
            last = time.monotonic()
            render.say(f"scoring: {done:,} of {total:,} configurations{what}")

    return tell
