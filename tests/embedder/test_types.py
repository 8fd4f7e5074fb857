from __future__ import annotations

import numpy as np
import pytest

from latewood.embedder.types import (
    InputError,
    RerankerDescription,
    Span,
    SpannedText,
    SparseVector,
    Vectors,
)


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (3, 3), (4, 2)])
def test_a_span_that_is_empty_or_negative_is_refused(start, end):
    with pytest.raises(InputError, match="0 <= start < end"):
        Span(start, end)


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        (((3, 5), (0, 2)), "begins before 5"),
        (((0, 4), (3, 6)), "begins before 4"),
        (((0, 2), (0, 2)), "begins before 2"),
        (((0, 7),), r"ends at 7, past the end of the text \(6 characters\)"),
    ],
    ids=["out of order", "overlapping", "twice", "outside"],
)
def test_spans_that_do_not_fit_their_text_are_refused(spans, message):
    with pytest.raises(InputError, match=message):
        SpannedText("Berlin", tuple(Span(*span) for span in spans))


def test_errors_of_input_are_value_errors():
    assert issubclass(InputError, ValueError)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_vectors_that_are_not_finite_are_refused(value):
    with pytest.raises(ValueError, match="not finite"):
        SparseVector(np.array([1], dtype=np.uint32), np.array([value], dtype=np.float32))
    empty = SparseVector(np.array([], dtype=np.uint32), np.array([], dtype=np.float32))
    with pytest.raises(ValueError, match="finite unit vectors"):
        Vectors(np.array([[value, 0]], dtype=np.float32), (empty,))


def test_a_cross_encoder_that_reads_nothing_is_refused():
    with pytest.raises(InputError, match="max_tokens 0"):
        RerankerDescription("mine", "", 0, "unknown", "unknown")


def test_joined_vectors_are_those_of_all_parts_in_order():
    identity = np.eye(3, dtype=np.float32)
    words = [SparseVector(np.array([row], dtype=np.uint32), np.ones(1, dtype=np.float32)) for row in range(3)]
    parts = [Vectors(identity[:2], tuple(words[:2])), Vectors(identity[2:], (words[2],))]
    joined = Vectors.joined(parts)
    assert np.array_equal(joined.dense, identity)
    assert [one is word for one, word in zip(joined.sparse, words, strict=True)] == [True] * 3
    assert Vectors.joined(parts[:1]) is parts[0]
