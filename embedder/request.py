"""A request while it is put together: rows to run, and how many tokens are summed in each slot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from latewood.embedder.encoder.rows import Frame, Row, whole_of


@dataclass(slots=True)
class Request:
    """Rows and the tokens that go into each slot, while a request is put together."""

    pooling: str
    rows: list[Row] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    def add(
        self,
        frame: Frame,
        ids: NDArray[np.int32],
        spans: NDArray[np.int64],
        leads: Sequence[NDArray[np.int32]] = (),
    ) -> NDArray[np.int64]:
        """Ask for a sum over each token span of one text; returns the slots, (len(spans),) int64."""
        first = len(self.counts)
        self.rows.extend(frame.rows(ids, spans, first, leads))
        self.counts.extend((spans[:, 1] - spans[:, 0]).tolist())
        return np.arange(first, len(self.counts), dtype=np.int64)

    def add_whole(self, frame: Frame, ids: NDArray[np.int32]) -> int:
        """Ask for one text by itself, pooled as the model was trained; returns its slot."""
        slot = len(self.counts)
        rows, states = frame.whole(ids, slot, self.pooling)
        self.rows.extend(rows)
        self.counts.append(states)
        return slot

    def add_both(self, frame: Frame, ids: NDArray[np.int32]) -> tuple[int, int]:
        """Ask, in the same passes, for a text by itself and for its content; returns both slots."""
        slot = len(self.counts)
        by_itself, states = frame.whole(ids, slot, self.pooling)
        for one, other in zip(by_itself, frame.rows(ids, whole_of(ids), slot + 1), strict=True):
            self.rows.append(Row(one.ids, np.concatenate([one.pieces, other.pieces])))
        self.counts += [states, len(ids)]
        return slot, slot + 1
