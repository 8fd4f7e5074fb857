"""Hold a copy of an index against the index it was made of: every manifest, passage, vector and record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from latewood.embedder.types import SparseVector, StoppedError, Vectors
from latewood.search.stores.base import Store
from latewood.search.types import Manifest, Passage, StoreDamagedError, chunk_id

TOLERANCE = 1e-6
"""Of each number of a dense vector: an engine may give one back a unit in the last place away."""

_PAGE = 256
_CHUNKS = 256


def compare(old: Store, new: Store, stop: Callable[[], bool] = lambda: False) -> int:
    """The number of documents that are the same in both; those that are changed meanwhile are left out.

    Raises:
        StoreDamagedError: one that differs, and in what.
        StoppedError: `stop` said so.
    """
    same, after = 0, None
    while page := old.list_manifests(after=after, limit=_PAGE):
        copies = {one.id: one for one in new.get_manifests([one.id for one in page])}
        for one in page:
            if stop():
                raise StoppedError("the comparing was stopped between two documents")
            copy = copies.get(one.id)
            what = "its manifest" if copy is None else _difference(old, new, one, copy)
            if not what:
                same += 1
            elif _unchanged(old, one):
                raise StoreDamagedError(
                    f"the copy of {one.document.uri} differs in {what}; it does not take over; try again, "
                    "or run `latewood verify --repair` first"
                )
        after = page[-1].id
    return same


def _difference(old: Store, new: Store, one: Manifest, copy: Manifest) -> str:
    """In what a document's copy differs; empty when it does not."""
    if replace(one, pending=(), replaced=()) != copy:
        return "its manifest"
    if one.live is None:
        return ""
    for first in range(0, one.chunks, _CHUNKS):
        ids = [chunk_id(one.id, one.live, at) for at in range(first, min(first + _CHUNKS, one.chunks))]
        passages, vectors = old.read_points(ids)
        told = [replace(passage, document=one.document) for passage in passages]
        what = _chunks_differ(len(ids), (told, vectors), new.read_points(ids))
        if what:
            return what
    mine, theirs = ([r for r in s.get_records([one.id]) if r.version == one.live] for s in (old, new))
    return "" if mine == theirs else "its record"


def _chunks_differ(
    asked: int, mine: tuple[Sequence[Passage], Vectors], theirs: tuple[Sequence[Passage], Vectors]
) -> str:
    if len(theirs[0]) != asked or list(mine[0]) != list(theirs[0]):
        return "its passages"
    if not np.allclose(mine[1].dense, theirs[1].dense, rtol=0, atol=TOLERANCE):
        return "its vectors"
    pairs = zip(mine[1].sparse, theirs[1].sparse, strict=True)
    return "" if all(_terms(one) == _terms(other) for one, other in pairs) else "its words"


def _terms(vector: SparseVector) -> dict[int, float]:
    return dict(zip(vector.indices.tolist(), vector.values.tolist(), strict=True))


def _unchanged(old: Store, one: Manifest) -> bool:
    return old.get_manifests([one.id]) == [one]
