"""What an index holds of a version, and whether that is what was written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latewood.embedder.types import SparseVector
from latewood.search.analysis.analyzer import Analyzer
from latewood.search.stores.base import Store
from latewood.search.types import Chunk, Manifest, Passage

_PAGE = 256
_IDS = 2_000


def chunk_id(document_id: str, version: str, ordinal: int) -> str:
    """The id that a chunk of this version has."""
    return Chunk(document_id, version, ordinal, 0, 1, " ").id


def tiles(chunks: Sequence[Chunk], characters: int) -> bool:
    """Whether these chunks, in order, join to one text of so many characters."""
    borders = [0, *(chunk.end for chunk in chunks)]
    joined = all(chunk.start == end for chunk, end in zip(chunks, borders, strict=False))
    return joined and borders[-1] == characters


def fetch_version(store: Store, manifest: Manifest) -> list[Passage]:
    """The chunks there are of a manifest's live version, in order; the manifest need not be in the store."""
    wanted = _chunk_ids(manifest)
    pages = (wanted[start : start + _IDS] for start in range(0, len(wanted), _IDS))
    return [passage for page in pages for passage in store.fetch(page)]


def _chunk_ids(manifest: Manifest) -> list[str]:
    """The ids of the live version's chunks, in order."""
    if manifest.live is None:
        return []
    return [chunk_id(manifest.id, manifest.live, ordinal) for ordinal in range(manifest.chunks)]


def read_version(
    store: Store, manifest: Manifest, analyzer: Analyzer | None = None
) -> tuple[list[Passage], list[int]]:
    """The chunks there are of a live version, in order, and the ordinals of those with damaged vectors.

    Args:
        store: an index.
        manifest: whose live version.
        analyzer: that of the index; its terms for a chunk are held against those that are stored.
    """
    passages = fetch_version(store, manifest)
    ids = _chunk_ids(manifest)  # a damaged passage may not know its own
    unsound: set[str] = set()
    for start in range(0, len(ids), _PAGE):
        page = ids[start : start + _PAGE]
        unsound |= set(store.unsound(page))
        if analyzer is not None:
            whole = [one for one in page if one not in unsound]
            unsound |= _other_terms(store, whole, analyzer)
    return passages, [ordinal for ordinal, one in enumerate(ids) if one in unsound]


def _other_terms(store: Store, ids: Sequence[str], analyzer: Analyzer) -> set[str]:
    """Those of these chunks whose stored terms are not the analyser's own."""
    passages, vectors = store.read_points(ids)
    return {
        one.chunk.id
        for one, stored in zip(passages, vectors.sparse, strict=True)
        if not _same_terms(stored, analyzer.chunk_vector(one.chunk))
    }


def _same_terms(stored: SparseVector, made: SparseVector) -> bool:
    """Whether two sparse vectors agree; an engine may change their order, and the last place of a weight."""
    if len(stored.indices) != len(made.indices):
        return False
    left, right = np.argsort(stored.indices), np.argsort(made.indices)
    return bool(
        (stored.indices[left] == made.indices[right]).all()
        and np.allclose(stored.values[left], made.values[right], rtol=1e-5, atol=0)
    )
