"""Parity of two dtypes: the arithmetic, and what counts as equal."""

from __future__ import annotations

import numpy as np
import pytest

from latewood.evaluation.configuration import Configuration
from latewood.evaluation.dataset_files import EvaluationError
from latewood.evaluation.datasets import read_dataset
from latewood.evaluation.parity import Criterion, Measured, compare, measure
from latewood.evaluation.workbench import Workbench


@pytest.fixture
def bench(spanned_set, embedder, tmp_path):
    return Workbench(read_dataset(spanned_set), embedder, tmp_path / "cache")


def unit(*rows: tuple[float, float]) -> np.ndarray:
    values = np.array(rows, dtype=np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


EXACT = Measured(
    unit((1, 0), (0, 1)),
    unit((1, 1), (1, 0), (0, 1)),
    {"a": 1.0, "b": 0.5, "c": 0.0},
    {"a": ("1", "2"), "b": ("2", "1"), "c": ()},
)


def test_what_is_the_same_has_parity() -> None:
    found = compare(EXACT, EXACT)
    assert (found.passages.mean, found.queries.least, found.overlap) == (1, pytest.approx(1), 1)
    assert (found.score, found.gain.mean, found.gain.low, found.gain.high) == (0.5, 0, 0, 0)
    assert found.failures(Criterion()) == []


def test_cosines_scores_and_lists_are_compared_question_by_question() -> None:
    other = Measured(
        unit((1, 1), (0, 1)),
        EXACT.queries,
        {"a": 0.7, "b": 0.5, "c": 0.0},
        {"a": ("1", "3"), "b": ("1", "2"), "c": ()},
    )
    found = compare(EXACT, other)
    assert found.passages.mean == pytest.approx((1 + 0.5**0.5) / 2)
    assert found.passages.least == pytest.approx(0.5**0.5)
    assert found.queries.mean == pytest.approx(1)
    assert found.gain.mean == pytest.approx(-0.1)
    assert found.gain.low == pytest.approx(-0.3)  # question a drawn three times
    assert found.overlap == pytest.approx((1 / 2 + 1 + 1) / 3)
    failed = found.failures(Criterion())
    assert [sentence.split(",")[0] for sentence in failed] == [
        "the mean cosine of passages is 0.85355",
        "ndcg@10 may have fallen by 0.3000 (low end of the 95 % interval)",
        "0.833 of the ten best passages are the same",
    ]
    assert found.failures(Criterion(cosine=0.85, drop=0.31, overlap=0.8)) == []
    assert found.to_json()["ndcg@10"]["interval"] == [found.gain.low, found.gain.high]


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_criterion_out_of_range_is_refused(value: float) -> None:
    with pytest.raises(EvaluationError, match="not between 0 and 1"):
        Criterion(cosine=value)


def test_two_sets_are_not_compared() -> None:
    other = Measured(EXACT.passages[:1], EXACT.queries, EXACT.scores, EXACT.found)
    with pytest.raises(EvaluationError, match="same passages"):
        compare(EXACT, other)


def test_a_set_is_measured_by_vectors_alone(bench: Workbench) -> None:
    found = measure(bench, Configuration(mode="dense"))
    assert found.passages.shape[1] == found.queries.shape[1] == 16
    assert found.scores.keys() == found.found.keys() == set(bench.queries)
    assert all(len(ids) <= 10 for ids in found.found.values())
    assert compare(found, found).failures(Criterion()) == []


def test_a_mode_without_vectors_has_nothing_to_compare(bench: Workbench) -> None:
    with pytest.raises(EvaluationError, match="no vectors"):
        measure(bench, Configuration(mode="bm25"))
