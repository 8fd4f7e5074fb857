"""What a request asks of the model: rows of token ids, and which of their states are summed where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from latewood.embedder.encoder.windows import overlap_of, pieces_in, plan_windows
from latewood.embedder.types import InputError


@dataclass(frozen=True, slots=True)
class Row:
    """One input of the model.

    Attributes:
        ids: (n,) int32, special tokens and prompt included.
        pieces: (k, 3) int64 start, end, slot: the states of tokens `[start, end)` of `ids` are added to the
            sum in that slot; the slots of a row are distinct.
    """

    ids: NDArray[np.int32]
    pieces: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around a window's content: special tokens and the task's prompt.

    Attributes:
        before: int32 ids ahead of the content.
        after: int32 ids behind it.
        window: tokens of a row at most, frame included.
        opening: int32 ids ahead of the content where the text begins; as `before` when None. They differ
            where a tokenizer parts the prompt differently in front of this text.
        skip: tokens at the start of a text by itself that its pooling leaves out.

    Raises:
        InputError: the window leaves no room for content.
    """

    before: NDArray[np.int32]
    after: NDArray[np.int32]
    window: int
    opening: NDArray[np.int32] | None = None
    skip: int = 0

    def __post_init__(self) -> None:
        if self.room < 1:
            taken = self.window - self.room
            raise InputError(
                f"a window of {self.window} tokens has no room for text: special tokens and prompt take "
                f"{taken}; use a window of at least {taken + 1}"
            )

    @property
    def room(self) -> int:
        """Content tokens of a window."""
        return self.window - max(len(self.before), len(self._opening)) - len(self.after)

    @property
    def _opening(self) -> NDArray[np.int32]:
        return self.before if self.opening is None else self.opening

    def opened_by(self, opening: NDArray[np.int32]) -> Frame:
        """Return the frame of a text that begins behind these ids."""
        return self if np.array_equal(opening, self.before) else replace(self, opening=opening)

    def first(self, ids: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the input that a text begins with: as much of it as one window holds, in its frame."""
        return np.concatenate([self._opening, ids[: self.room], self.after])

    def rows(
        self,
        ids: NDArray[np.int32],
        spans: NDArray[np.int64],
        first_slot: int,
        leads: Sequence[NDArray[np.int32]] = (),
    ) -> list[Row]:
        """Rows that together sum the states of each span once.

        Args:
            ids: (n,) int32 content tokens of one text, of any length.
            spans: (m, 2) int64 token spans, in order, not overlapping; span i goes to slot `first_slot + i`.
            first_slot: slot of the first span.
            leads: for each span int32 ids, shorter than `room`, or nothing at all; before a window's content
                stands that of the span it begins in. They attend and are not summed.
        """
        rows: list[Row] = []
        room = self.room - max(map(len, leads), default=0)
        for window in plan_windows(len(ids), room, overlap_of(room)):
            pieces = pieces_in(window, spans)
            if not len(pieces):
                continue
            before = self.before if window.start else self._opening
            if leads:
                within = np.searchsorted(spans[:, 1], window.start, side="right")
                before = np.concatenate([before, leads[min(int(within), len(leads) - 1)]])
            shift = np.array([len(before), len(before), first_slot])
            content = ids[window.start : window.end]
            rows.append(Row(np.concatenate([before, content, self.after]), pieces + shift))
        return rows

    def whole(self, ids: NDArray[np.int32], slot: int, pooling: str) -> tuple[list[Row], int]:
        """Rows that sum one text as encoders are trained to pool it: special tokens and prompt included.

        Args:
            ids: (n,) int32 content tokens, at least one.
            slot: where the states are summed.
            pooling: `mean` of all tokens; `cls`, the first, or `last`, the last one of each window. The first
                `skip` tokens do not count.

        Returns:
            The rows, and how many states they sum.
        """
        if len(ids) <= self.room:  # a question: who asked waits for this
            framed = self.first(ids)
            most = len(framed)
            skip = min(self.skip, most - 1)
            start, end = {"mean": (skip, most), "cls": (skip, skip + 1), "last": (most - 1, most)}[pooling]
            return [Row(framed, np.array([[start, end, slot]]))], end - start
        rows = self.rows(ids, whole_of(ids), slot)
        if pooling == "mean":
            skip = min(self.skip, int(rows[0].pieces[0, 1]) - 1)
            rows[0].pieces[0, 0] = skip
            rows[-1].pieces[-1, 1] = len(rows[-1].ids)
            return rows, len(self._opening) + len(ids) + len(self.after) - skip
        for row in rows:
            last = len(row.ids) - 1
            at = min(self.skip, last) if pooling == "cls" else last
            row.pieces[0, :2] = at, at + 1
        return rows, len(rows)


def whole_of(ids: NDArray[np.int32]) -> NDArray[np.int64]:
    """All tokens as one span, (1, 2) int64."""
    return np.array([[0, len(ids)]], dtype=np.int64)
