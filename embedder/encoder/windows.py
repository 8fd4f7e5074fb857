"""Long documents as overlapping windows, and character spans as token spans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from latewood.embedder.types import InputError, Offsets, Span

LONGEST_OVERLAP = 512


@dataclass(frozen=True, slots=True)
class Window:
    """Tokens `[start, end)` run through the model together; states of `[keep_start, keep_end)` are used."""

    start: int
    end: int
    keep_start: int
    keep_end: int


def overlap_of(room: int) -> int:
    """Tokens that neighbouring windows of `room` content tokens share: a fifth, 512 at most."""
    return min(LONGEST_OVERLAP, room // 5)


def plan_windows(tokens: int, room: int, overlap: int) -> list[Window]:
    """Cover `tokens` tokens with as few windows of at most `room` tokens as the overlap allows.

    The windows are of (nearly) equal length, so that the last one is not left with little context, and
    neighbours share at least `overlap` tokens. Each token is kept from the window in which it stands
    furthest from an edge: of two windows of equal length that is the one whose centre is nearer, so the
    border lies in the middle of the overlap.

    Raises:
        InputError: the overlap leaves no room to move on.
    """
    if not 0 <= overlap < room:
        raise InputError(f"an overlap of {overlap} tokens must be smaller than the window's room of {room}")
    if tokens == 0:
        return []
    count = 1 if tokens <= room else -(-(tokens - overlap) // (room - overlap))
    length = -(-(tokens + (count - 1) * overlap) // count)
    starts = [index * (tokens - length) // max(1, count - 1) for index in range(count)]
    borders = [(after + before + length) // 2 for before, after in pairwise(starts)]
    return [
        Window(start, start + length, keep_start, keep_end)
        for start, keep_start, keep_end in zip(starts, [0, *borders], [*borders, tokens], strict=True)
    ]


def token_spans(offsets: Offsets, spans: Sequence[Span], length: int) -> NDArray[np.int64]:
    """Tokens of each character span, decided by the middle of the token.

    A token that straddles a border belongs to the side its middle lies on, so tokens of a text that is
    tiled by its spans each land in exactly one of them.

    Args:
        offsets: (n, 2) int64, character span of each token, in text order.
        spans: in order, not overlapping.
        length: characters of the text.

    Returns:
        (len(spans), 2) int64 token indices, end exclusive; start == end where a span has no token.
    """
    # Doubled, so that middles stay whole numbers; an empty token at the very end is the last character's.
    middles = np.minimum(offsets.sum(axis=1), 2 * length - 1)
    middles = np.maximum.accumulate(middles)
    borders = np.array([(span.start, span.end) for span in spans], dtype=np.int64).reshape(-1, 2)
    return np.searchsorted(middles, 2 * borders, side="left").astype(np.int64)


def pieces_in(window: Window, spans: NDArray[np.int64]) -> NDArray[np.int64]:
    """What `window` gives to each token span.

    Args:
        window: one of `plan_windows`.
        spans: (m, 2) int64 token spans, in order, not overlapping.

    Returns:
        (k, 3) int64: first and last (exclusive) token counted from the window's start, and the span's index.
    """
    first = int(np.searchsorted(spans[:, 1], window.keep_start, side="right"))
    last = int(np.searchsorted(spans[:, 0], window.keep_end, side="left"))
    indices = np.arange(first, max(first, last), dtype=np.int64)
    starts = np.maximum(spans[indices, 0], window.keep_start) - window.start
    ends = np.minimum(spans[indices, 1], window.keep_end) - window.start
    pieces = np.stack([starts, ends, indices], axis=1)
    kept: NDArray[np.int64] = pieces[ends > starts]
    return kept
