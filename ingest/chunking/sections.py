"""The tokens of a whole text, and the stretches that a very long one is worked on in.

A model counts the tokens of a text as a whole; a stretch by itself may be divided into others, most of all
where a text is one unbroken run of letters. So tokens are found once and stretches are given their share.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latewood.embedder.types import Offsets
from latewood.ingest.chunking.boundaries import heading_strength
from latewood.ingest.types import Document, ElementKind

SECTION = 1_000_000  # characters whose boundaries are found at a time

TokenOffsets = Callable[[str], Offsets]


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a whole text: character spans (n, 2), and twice the middle of each, ascending (n,)."""

    offsets: Offsets
    middles: NDArray[np.int64]

    @classmethod
    def of(cls, text: str, token_offsets: TokenOffsets) -> Tokens:
        """Tokenise a text, once."""
        offsets = token_offsets(text)
        return cls(offsets, np.maximum.accumulate(np.minimum(offsets.sum(axis=1), 2 * len(text) - 1)))

    def within(self, start: int, end: int) -> Offsets:
        """Spans of the tokens whose middle lies in `[start, end)`, from `start`; what reaches out is cut."""
        first, last = np.searchsorted(self.middles, (2 * start, 2 * end))
        return (self.offsets[first:last] - start).clip(0, end - start)

    def border(self, text: str, cut: int) -> int:
        """`cut`, or the start of the token that it goes through."""
        index = int(np.searchsorted(self.offsets[:, 0], cut)) - 1
        while index >= 0 and self.offsets[index, 1] > cut:
            start = int(self.offsets[index, 0])
            start += len(text[start:cut]) - len(text[start:cut].lstrip())
            if start == cut:
                break
            cut, index = start, index - 1
        return cut


def sections(document: Document, tokens: Tokens) -> Iterator[tuple[int, int]]:
    """Tile the text with stretches of at most SECTION characters that end where a chunk would end anyway."""
    start, length = 0, len(document.text)
    while length - start > SECTION:
        cut = _section_end(document, start + SECTION // 2, start + SECTION)
        # A token of half a million characters is no model's; it would be parted rather than never passed.
        cut = max(tokens.border(document.text, cut), start + SECTION // 4)
        yield start, cut
        start = cut
    yield start, length


def _section_end(document: Document, low: int, high: int) -> int:
    text, elements = document.text, document.elements
    first = bisect_left(elements, low, key=lambda element: element.start)
    last = bisect_right(elements, high, key=lambda element: element.start)
    candidates = [
        (heading_strength(element), element.start)
        for before, element in zip(
            elements[max(first - 1, 0) : last], elements[max(first, 1) : last], strict=False
        )
        if before.kind is not ElementKind.TITLE and text[element.start - 1].isspace()
    ]
    if candidates:
        return max(candidates)[1]
    for mark in ("\n", "。", " "):
        found = text.rfind(mark, low, high)
        if found >= 0:
            return found + 1
    return high
