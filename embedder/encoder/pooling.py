"""From sums of token states to unit vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from latewood.embedder.types import EmbedderError, Floats, InputError


def unit(vectors: Floats) -> Floats:
    """Scale each row to length 1.

    Args:
        vectors: (n, dim) float32.

    Raises:
        EmbedderError: a row is zero or has a value that is not finite: the model or its dtype is broken.
    """
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    good = np.isfinite(norms[:, 0]) & (norms[:, 0] > 0)
    if not good.all():
        bad = np.flatnonzero(~good)
        raise EmbedderError(
            f"the model gave {len(bad)} of {len(vectors)} vectors that are zero or not finite (first: row "
            f"{bad[0]}); check the weights, or load the model with dtype float32"
        )
    return np.ascontiguousarray(vectors / norms, dtype=np.float32)


def means(sums: Floats, counts: NDArray[np.int64]) -> Floats:
    """Mean pooling over spans (late chunking, arXiv 2409.04701): unit vectors of `sums / counts`.

    Args:
        sums: (n, dim) float32, the states of each span's tokens added up.
        counts: (n,) int64, tokens of each span, none zero.
    """
    return unit(np.divide(sums, counts[:, None], dtype=np.float32))


def blend(alone: Floats, late: Floats, context: float) -> Floats:
    """The context dial between two sets of unit vectors.

    Args:
        alone: (n, dim) float32 unit rows, each chunk embedded by itself.
        late: (n, dim) float32 unit rows, each chunk pooled from its whole document.
        context: 0 gives `alone`, 1 gives `late`, between: the weighted mean, normalised again.
    """
    return unit(np.float32(context) * late + np.float32(1 - context) * alone)


def matryoshka(vectors: Floats, dimension: int) -> Floats:
    """Shorten Matryoshka vectors (arXiv 2205.13147): truncate, then normalise again.

    Args:
        vectors: (n, dim) float32.
        dimension: how many leading values to keep, 1 to dim.

    Returns:
        (n, dimension) float32 unit rows.

    Raises:
        InputError: the dimension is not in that range.
    """
    if not 1 <= dimension <= vectors.shape[1]:
        raise InputError(f"dimension {dimension} is not between 1 and {vectors.shape[1]}, the model's own")
    return unit(vectors[:, :dimension])
