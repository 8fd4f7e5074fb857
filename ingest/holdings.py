"""What an index holds of a version, and whether that is what was written."""

from __future__ import annotations

from collections.abc import Sequence

from search.stores.base import Store
from search.types import Chunk, Manifest, Passage, StoreDamagedError

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
    live = manifest.live or ""
    wanted = [chunk_id(manifest.id, live, ordinal) for ordinal in range(manifest.chunks)] if live else []
    pages = (wanted[start : start + _IDS] for start in range(0, len(wanted), _IDS))
    return [passage for page in pages for passage in store.fetch(page)]


def read_version(store: Store, manifest: Manifest) -> tuple[list[Passage], list[int]]:
    """The chunks there are of a live version, in order, and the ordinals of pages with damaged vectors."""
    passages: list[Passage] = []
    unsound: list[int] = []
    for first in range(0, manifest.chunks, _PAGE):
        try:
            page, _ = store.read_chunks(manifest.id, first=first, limit=_PAGE)
        except (StoreDamagedError, ValueError):  # not what an embedder makes: finite rows of length 1
            page = store.chunks_of(manifest.id, first=first, last=first + _PAGE - 1)
            unsound += [passage.chunk.ordinal for passage in page]
        passages += page
    own = [
        passage
        for passage in passages
        if passage.chunk.version == manifest.live and passage.chunk.ordinal < manifest.chunks
    ]
    return own, unsound
