from __future__ import annotations

import numpy as np
import pytest

from latewood.embedder.encoder.pooling import blend, matryoshka, means, unit
from latewood.embedder.types import EmbedderError, InputError


def rows(*values):
    return np.array(values, dtype=np.float32)


def test_a_mean_is_the_sum_over_the_count_at_length_one():
    # (6, 8) / 2 = (3, 4), of length 5.
    np.testing.assert_allclose(means(rows([6, 8]), np.array([2])), [[0.6, 0.8]], rtol=1e-6)


def test_matryoshka_truncates_and_then_normalises():
    # (3, 4, 12) / 13 cut to two values is (3, 4) / 13, of length 5 / 13.
    short = matryoshka(unit(rows([3, 4, 12])), 2)
    np.testing.assert_allclose(short, [[0.6, 0.8]], rtol=1e-6)
    assert short.dtype == np.float32


@pytest.mark.parametrize("dimension", [0, -1, 4])
def test_a_dimension_the_model_does_not_have_is_refused(dimension):
    with pytest.raises(InputError, match="between 1 and 3"):
        matryoshka(rows([1, 2, 3]), dimension)


def test_a_blend_is_the_weighted_mean_at_length_one():
    # 0.5 (1, 0) + 0.5 (0, 1) = (0.5, 0.5), of length sqrt(0.5).
    half = np.sqrt(0.5)
    np.testing.assert_allclose(blend(rows([1, 0]), rows([0, 1]), 0.5), [[half, half]], rtol=1e-6)


def test_the_dial_gives_each_end_back():
    alone, late = unit(rows([1, 2, 3])), unit(rows([-3, 1, 5]))
    np.testing.assert_allclose(blend(alone, late, 0), alone, rtol=1e-6)
    np.testing.assert_allclose(blend(alone, late, 1), late, rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_an_error(bad):
    with pytest.raises(EmbedderError, match="row 1"):
        unit(rows([1, 0], [bad, 1]))


def test_a_zero_vector_is_an_error():
    with pytest.raises(EmbedderError, match="zero or not finite"):
        unit(rows([0, 0]))
