"""Pictures of an evaluation: each function draws plain values on an Axes that it is given.

Colours are from Okabe and Ito's set, which people with any colour vision tell apart; series differ in marker
and line too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from latewood.embedder.types import Floats
from latewood.evaluation.statistics import Interval

if TYPE_CHECKING:  # an evaluation without pictures needs no matplotlib
    from matplotlib.axes import Axes

BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#777777"
SERIES = ((BLUE, "o", "-"), (ORANGE, "s", "--"), (GREEN, "^", ":"), (PURPLE, "D", "-."))
"""Colour, marker and line of the first, second … series; a fifth looks like the first."""

FIT_ROWS = 5_000
BINS = 30


@dataclass(frozen=True, slots=True)
class Curve:
    """A measured line: `intervals[i]` is what was found at `x[i]`.

    Raises:
        ValueError: not one interval for each place, or no place.
    """

    x: tuple[float, ...]
    intervals: tuple[Interval, ...]

    def __post_init__(self) -> None:
        if len(self.x) != len(self.intervals) or not self.x:
            raise ValueError(
                f"{len(self.x)} places and {len(self.intervals)} intervals; give one interval for each place"
            )


@dataclass(frozen=True, slots=True)
class Plane:
    """The two directions along which vectors differ most.

    Attributes:
        centre: (dim,) float32, the mean.
        axes: (2, dim) float32, unit rows, at right angles.
        explained: share of the variance that lies along each.
    """

    centre: Floats
    axes: Floats
    explained: tuple[float, float]

    def place(self, rows: Floats) -> Floats:
        """Where rows fall on the plane: (n, dim) to (n, 2)."""
        placed: Floats = ((rows - self.centre) @ self.axes.T).astype(np.float32)
        return placed


@dataclass(frozen=True, slots=True)
class Map:
    """Passages on a plane, and a question among them.

    Attributes:
        passages: (n, 2).
        closeness: (n,), each passage's cosine similarity to the question, before anything was projected.
        query: (2,).
        marked: rows of `passages` to draw a ring around.
        mark: what the rings say.
        explained: share of the variance along each direction.
    """

    passages: Floats
    closeness: Floats
    query: Floats
    marked: tuple[int, ...]
    mark: str
    explained: tuple[float, float]


def principal_plane(rows: Floats, seed: int = 0) -> Plane:
    """PCA by singular value decomposition; of more than 5,000 rows a seeded sample is fitted.

    A direction's sign is chosen so that its largest component is positive: the same rows give the same map.
    Pearson: On Lines and Planes of Closest Fit to Systems of Points in Space, 1901.

    Args:
        rows: (n, dim) float32, n and dim at least 2.
        seed: of the sample.

    Raises:
        ValueError: fewer than two rows or columns.
    """
    if rows.ndim != 2 or min(rows.shape) < 2:
        raise ValueError(f"vectors have the shape {rows.shape}; a map needs two of two dimensions at least")
    if len(rows) > FIT_ROWS:
        rows = rows[np.random.default_rng(seed).choice(len(rows), FIT_ROWS, replace=False)]
    centre = rows.mean(axis=0)
    _, strengths, directions = np.linalg.svd(rows - centre, full_matrices=False)
    axes = directions[:2]
    signs = np.where(axes[np.arange(2), np.abs(axes).argmax(axis=1)] < 0, -1, 1)
    total = float(np.square(strengths).sum()) or 1.0
    first, second = (float(one) for one in np.square(strengths[:2]) / total)
    return Plane(centre, (axes * signs[:, None]).astype(np.float32), (first, second))


def intervals(ax: Axes, found: Mapping[str, Interval], unit: str, *, zero: str | None = None) -> None:
    """A row for each name, top to bottom: a dot at the mean, a line over the interval.

    Args:
        ax: drawn on.
        found: by name.
        unit: what the axis measures.
        zero: what stands at 0, where that is worth a line.
    """
    heights = np.arange(len(found))[::-1]
    means = np.array([one.mean for one in found.values()])
    arms = np.array([[one.mean - one.low, one.high - one.mean] for one in found.values()]).T
    ax.errorbar(means, heights, xerr=np.maximum(arms, 0), fmt="o", color=BLUE, capsize=4)
    ax.set_yticks(heights, list(found))
    ax.set_ylim(-0.6, len(found) - 0.4)
    ax.locator_params(axis="x", nbins=5)  # more numbers than that run into each other
    ax.set_xlabel(unit)
    ax.grid(axis="x", alpha=0.3)
    if zero is not None:
        ax.axvline(0, color=GREY, linewidth=1, linestyle="--")
        ax.set_title(f"0: {zero}", fontsize="medium")


def query_differences(ax: Axes, found: Sequence[float], names: tuple[str, str], metric: str) -> None:
    """A bar for each question, from where the first wins to where the second does.

    Args:
        ax: drawn on.
        found: the first's score minus the second's, by question, -1 to 1.
        names: of the two.
        metric: what the scores are.
    """
    ordered = np.sort(np.asarray(found, dtype=np.float64))[::-1]
    place = np.arange(1, len(ordered) + 1)
    for wins, name, colour in ((ordered > 0, names[0], BLUE), (ordered < 0, names[1], ORANGE)):
        label = f"{name} is better: {int(np.count_nonzero(wins))}"
        # A side that never wins still needs its bars: the legend takes its colour from them.
        ax.bar(place, np.where(wins, ordered, 0), width=0.9, color=colour, label=label)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set_title(f"equal: {int(np.count_nonzero(ordered == 0))} of {len(ordered)}", fontsize="medium")
    ax.set_xlim(0.25, len(ordered) + 0.75)
    ax.set_ylim(-1.05, 1.05)
    ax.set_xlabel("questions, sorted by the difference (count)")
    ax.set_ylabel(f"{metric}: {names[0]} minus {names[1]}")
    ax.legend(loc="upper right")


def curves(ax: Axes, found: Mapping[str, Curve], x_label: str, y_label: str, *, zero: bool = False) -> None:
    """A line with its band for each name.

    Args:
        ax: drawn on.
        found: by name.
        x_label: what is varied.
        y_label: what was measured.
        zero: draw a line where y is 0.
    """
    if zero:
        ax.axhline(0, color="black", linewidth=0.8)
    for number, (name, curve) in enumerate(found.items()):
        colour, marker, line = SERIES[number % len(SERIES)]
        low, high = ([getattr(one, end) for one in curve.intervals] for end in ("low", "high"))
        ax.fill_between(curve.x, low, high, color=colour, alpha=0.15, linewidth=1)
        means = [one.mean for one in curve.intervals]
        ax.plot(curve.x, means, color=colour, marker=marker, linestyle=line, label=name)
    ax.set_xlabel(x_label)
    ax.set_ylabel(y_label)
    ax.grid(alpha=0.3)
    if len(found) > 1:
        ax.legend()


def sizes_axis(ax: Axes, sizes: Sequence[int]) -> None:
    """Make x double from step to step, with these sizes written at it."""
    ax.set_xscale("log", base=2)
    ax.set_xticks(list(sizes), [str(size) for size in sizes])
    ax.minorticks_off()


def score_distributions(ax: Axes, relevant: Sequence[float], other: Sequence[float], unit: str) -> None:
    """Two histograms over the same bins, each of area 1.

    Args:
        ax: drawn on.
        relevant: scores of candidates that are relevant to their question.
        other: of those that are not.
        unit: of the scores.
    """
    scores = [*relevant, *other]
    low, high = (min(scores), max(scores)) if scores else (0.0, 1.0)
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1).tolist()
    if other:
        ax.hist(other, edges, density=True, color=GREY, alpha=0.45, label=f"other: {len(other):,}")
    if relevant:
        told = f"relevant: {len(relevant):,}"
        ax.hist(relevant, edges, density=True, color=BLUE, histtype="step", linewidth=2, label=told)
    ax.set_xlabel(unit)
    ax.set_ylabel("density (share of candidates per unit of score)")
    if scores:
        ax.legend(title="candidates")


def corpus_map(ax: Axes, found: Map) -> None:
    """Draw a map; colour is closeness to the question, with a scale beside it."""
    order = np.argsort(found.closeness)  # the closest on top
    x, y = found.passages[order, 0], found.passages[order, 1]
    points = ax.scatter(x, y, c=found.closeness[order], cmap="cividis", s=20, rasterized=True)
    x, y = found.passages[list(found.marked), 0], found.passages[list(found.marked), 1]
    ax.scatter(x, y, s=90, facecolors="none", edgecolors=ORANGE, linewidths=1.8, label=found.mark)
    x, y = found.query[:1], found.query[1:]
    ax.scatter(x, y, s=260, marker="*", color=ORANGE, edgecolors="black", zorder=3, label="the question")
    first, second = found.explained
    ax.set_xlabel(f"first principal direction ({first:.1%} of the variance)")
    ax.set_ylabel(f"second principal direction ({second:.1%} of the variance)")
    ax.figure.colorbar(points, ax=ax, label="cosine similarity to the question")
    ax.set_aspect("equal", adjustable="datalim")
    ax.legend(loc="best")
