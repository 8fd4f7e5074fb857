"""A leg's list as columns, so that what nobody looks at is never made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

from latewood.search.types import Candidate


class RankedList(Sequence[Candidate]):
    """A ranked list, best first, that makes a `Candidate` when its place is looked at.

    Hundreds come with every question and a page shows ten: fusion reads the columns. Equal to any sequence of
    the same candidates.

    Attributes:
        ids: of the chunks, best first.
        scores: the raw score of each.
    """

    __slots__ = ("ids", "scores")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, ids: Sequence[str], scores: Sequence[float]) -> None:
        self.ids = ids
        self.scores = scores

    @classmethod
    def of(cls, candidates: Sequence[Candidate]) -> RankedList:
        """The columns of any ranked list."""
        if isinstance(candidates, cls):
            return candidates
        return cls([one.id for one in candidates], [one.score for one in candidates])

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Candidate]:
        return map(Candidate, self.ids, self.scores)

    @overload
    def __getitem__(self, place: int) -> Candidate: ...

    @overload
    def __getitem__(self, place: slice) -> list[Candidate]: ...

    def __getitem__(self, place: int | slice) -> Candidate | list[Candidate]:
        if isinstance(place, slice):
            return list(map(Candidate, self.ids[place], self.scores[place]))
        return Candidate(self.ids[place], self.scores[place])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return list(self) == list(other)

    def __repr__(self) -> str:
        return repr(list(self))
