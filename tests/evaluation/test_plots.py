"""What is drawn is what was given, on an Axes without a screen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from latewood.evaluation import plots
from latewood.evaluation.plots import Curve, Map, principal_plane
from latewood.evaluation.statistics import Interval

pytest.importorskip("matplotlib")


@pytest.fixture
def ax() -> Iterator[Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure()
    canvas = FigureCanvasAgg(figure)
    yield figure.add_subplot()
    canvas.draw()  # a label or a limit that cannot be drawn fails here


def test_the_plane_lies_along_the_directions_of_most_variance() -> None:
    random = np.random.default_rng(0)
    strength = np.array([1, 9, 1, 4, 1], dtype=np.float32)
    rows = (random.standard_normal((400, 5)) * strength + 3).astype(np.float32)
    plane = principal_plane(rows)
    assert np.abs(plane.axes).argmax(axis=1).tolist() == [1, 3]
    assert plane.axes[[0, 1], [1, 3]].min() > 0.9
    assert plane.axes @ plane.axes.T == pytest.approx(np.eye(2), abs=1e-5)
    assert plane.explained == pytest.approx((81 / 100, 16 / 100), abs=0.04)
    placed = plane.place(rows)
    assert placed.shape == (400, 2)
    assert placed.mean(axis=0) == pytest.approx([0, 0], abs=1e-4)
    assert placed.var(axis=0).sum() / rows.var(axis=0).sum() == pytest.approx(sum(plane.explained), abs=1e-4)


def test_a_large_corpus_is_fitted_on_a_sample_and_the_same_one_each_time() -> None:
    rows = np.random.default_rng(1).standard_normal((plots.FIT_ROWS + 500, 3)).astype(np.float32)
    rows[:, 2] *= 10
    first, second = principal_plane(rows), principal_plane(rows)
    assert np.array_equal(first.axes, second.axes)
    assert first.axes[0] == pytest.approx([0, 0, 1], abs=0.02)


def test_equal_passages_have_a_map_too() -> None:
    plane = principal_plane(np.ones((4, 3), dtype=np.float32))
    assert plane.explained == (0, 0)
    assert plane.place(np.ones((1, 3), dtype=np.float32)).tolist() == [[0, 0]]


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (4,)])
def test_too_few_vectors_for_a_map_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="needs two"):
        principal_plane(np.zeros(shape, dtype=np.float32))


@pytest.mark.parametrize(("x", "count"), [((), 0), ((0.0, 1.0), 1)])
def test_a_curve_needs_an_interval_for_each_place(x: tuple[float, ...], count: int) -> None:
    with pytest.raises(ValueError, match="one interval for each place"):
        Curve(x, (Interval(0.5, 0.4, 0.6),) * count)


def test_intervals_stand_in_the_order_given_from_the_top(ax: Any) -> None:
    found = {"first": Interval(0.5, 0.4, 0.7), "second": Interval(0.2, 0.1, 0.3)}
    plots.intervals(ax, found, "nDCG@10", zero="the baseline")
    heights = {label.get_text(): label.get_position()[1] for label in ax.get_yticklabels()}
    assert heights["first"] > heights["second"]
    (arms,) = ax.collections
    ends = [segment[:, 0].tolist() for segment in arms.get_segments()]
    assert np.array(ends) == pytest.approx(np.array([[0.4, 0.7], [0.1, 0.3]]))
    assert ax.get_xlabel() == "nDCG@10"
    assert "the baseline" in ax.get_title()


def test_every_question_has_its_bar_and_is_counted(ax: Any) -> None:
    plots.query_differences(ax, [0.0, -0.5, 0.25, 1.0, 0.0], ("dense", "bm25"), "nDCG@10")
    bars = [bar for bar in ax.patches if bar.get_height() != 0]
    assert [bar.get_height() for bar in bars] == [1.0, 0.25, -0.5]
    assert [round(bar.get_x() + bar.get_width() / 2) for bar in bars] == [1, 2, 5]
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["dense is better: 2", "bm25 is better: 1"]
    assert ax.get_title() == "equal: 2 of 5"


def test_a_side_that_never_wins_keeps_its_colour_in_the_legend(ax: Any) -> None:
    from matplotlib.colors import to_rgba

    plots.query_differences(ax, [0.5, 0.5], ("dense", "bm25"), "nDCG@10")
    shown = [handle.get_facecolor() for handle in ax.get_legend().legend_handles]
    assert shown == [to_rgba(plots.BLUE), to_rgba(plots.ORANGE)]


def test_lines_differ_in_more_than_colour(ax: Any) -> None:
    one = Curve((0.0, 1.0), (Interval(0.1, 0.0, 0.2), Interval(0.3, 0.2, 0.4)))
    plots.curves(ax, {"rrf": one, "convex": one}, "share", "nDCG@10")
    styles = {(line.get_marker(), line.get_linestyle()) for line in ax.lines}
    assert len(styles) == 2
    assert [list(line.get_ydata()) for line in ax.lines] == [[0.1, 0.3], [0.1, 0.3]]
    low, high = ax.collections[0].get_paths()[0].get_extents().intervaly
    assert (low, high) == pytest.approx((0.0, 0.4))


def test_sizes_are_written_at_their_places(ax: Any) -> None:
    plots.curves(ax, {"dense": Curve((32, 384), (Interval(0.1, 0, 1),) * 2)}, "size", "nDCG@10", zero=True)
    plots.sizes_axis(ax, [32, 384])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["32", "384"]
    assert ax.get_legend() is None


def test_both_histograms_have_the_area_one(ax: Any) -> None:
    random = np.random.default_rng(2)
    plots.score_distributions(
        ax, random.normal(3, 1, 50).tolist(), random.normal(0, 1, 900).tolist(), "score"
    )
    bars = [patch for patch in ax.patches if hasattr(patch, "get_height")]
    assert len(bars) == plots.BINS
    assert sum(bar.get_height() * bar.get_width() for bar in bars) == pytest.approx(1)
    assert {text.get_text() for text in ax.get_legend().get_texts()} == {"other: 900", "relevant: 50"}


@pytest.mark.parametrize(("relevant", "other"), [([], []), ([0.5], []), ([], [0.5, 0.5])])
def test_distributions_of_almost_nothing_are_drawn(
    ax: Any, relevant: list[float], other: list[float]
) -> None:
    plots.score_distributions(ax, relevant, other, "score")
    assert ax.get_xlabel() == "score"


def test_the_map_marks_what_was_asked_for_and_draws_the_closest_last(ax: Any) -> None:
    places = np.array([[0, 0], [1, 1], [2, 0]], dtype=np.float32)
    closeness = np.array([0.9, 0.1, 0.5], dtype=np.float32)
    query = np.array([3, 3], dtype=np.float32)
    plots.corpus_map(ax, Map(places, closeness, query, (2,), "holds the answer", (0.3, 0.2)))
    points, rings, star = ax.collections
    assert points.get_array().tolist() == sorted(closeness.tolist())
    assert points.get_offsets()[-1].tolist() == [0, 0]
    assert rings.get_offsets().tolist() == [[2, 0]]
    assert star.get_offsets().tolist() == [[3, 3]]
    assert "30.0%" in ax.get_xlabel()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["holds the answer", "the question"]
