"""Dense rows without embedding: a document with the same text, cut at the same places, has the same ones.

Where rows may come from, in this order: another document of the batch, one of a batch that is still being
written, a document that was replaced a moment ago and whose content another one may have now, a live document
of the store (its twin). Context and metadata may differ between twins; they are no part of a dense vector
(context is, where the embedder puts it before its windows), and the sparse one is always made anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from latewood.embedder.types import LEAD, Embedder, Floats, Span, SpannedText
from latewood.search.stores.base import Store
from latewood.search.types import Chunk, Manifest, Passage

PAGE = 256  # chunks read of a twin at a time
KEPT_BYTES = 64 * 2**20  # of rows and texts of replaced documents; the oldest go first
IN_FLIGHT = 3  # batches that may be embedded and not yet committed: one waits, one is written, one is done


Key = tuple[str, tuple[int, ...], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A tiled document that needs dense rows: `chunks` tile `text`, `content_hash` is of its bytes.

    Attributes:
        document_id: the document whose live version will be replaced.
    """

    content_hash: str
    text: str
    chunks: Sequence[Chunk]
    document_id: str = ""


class Made(NamedTuple):
    """A document's (chunks, dimension) float32 unit rows, and whether they were embedded, not copied."""

    rows: Floats
    embedded: bool


class Twins:
    """Live documents by the hash of their bytes. A hint: what is found is held against the store.

    Safe to share by threads.
    """

    def __init__(self, live: Mapping[str, str] | None = None, leaving: Collection[str] = ()) -> None:
        """Begin with these.

        Args:
            live: content hash -> id of a live document with that content.
            leaving: ids of documents that will be replaced and whose content may have moved to another one.
        """
        self._ids = dict(live or {})
        self._leaving = frozenset(leaving)

    @classmethod
    def of(cls, manifests: Iterable[Manifest]) -> Twins:
        """The documents of these manifests that answer."""
        return cls({one.content_hash: one.id for one in manifests if one.live is not None})

    def __len__(self) -> int:
        """Different contents known."""
        return len(self._ids)

    def add(self, content_hash: str, document_id: str) -> None:
        """Note a document that was just committed."""
        self._ids[content_hash] = document_id

    def rows(
        self, store: Store, wanted: Sequence[Wanted], recorded: Mapping[str, str]
    ) -> list[Floats | None]:
        """For each document (chunks, dimension) float32 rows of its twin; None where there is no true one.

        A twin counts only if it is live with the same bytes, was made as `recorded` says, and its chunks are
        the same stretches of the same text. One that is replaced or removed meanwhile is none.
        """
        ids = [self._ids.get(one.content_hash, "") for one in wanted]
        known = sorted(set(ids) - {""})
        manifests = {one.id: one for one in store.get_manifests(known)} if known else {}
        return [
            _copied(store, manifests[key], one, recorded) if key in manifests else None
            for key, one in zip(ids, wanted, strict=True)
        ]

    def left(self, store: Store, wanted: Sequence[Wanted], recorded: Mapping[str, str]) -> dict[Key, Floats]:
        """Rows of these documents as they are before they are replaced, where the content may have moved."""
        ids = [one.document_id for one in wanted if one.document_id in self._leaving]
        found: dict[Key, Floats] = {}
        for manifest in store.get_manifests(ids) if ids else []:
            if manifest.live is None or dict(manifest.recorded) != dict(recorded):
                continue
            chunks: list[Chunk] = []
            pages: list[Floats] = []
            for passages, rows in _pages(store, manifest):
                chunks += [passage.chunk for passage in passages]
                pages.append(rows)
            text = "".join(chunk.text for chunk in chunks)
            whole = len(chunks) == manifest.chunks and len(text) == manifest.characters
            if whole and {chunk.version for chunk in chunks} == {manifest.live}:
                found[_key(text, chunks, recorded)] = np.concatenate(pages)
        return found


def _key(text: str, chunks: Sequence[Chunk], recorded: Mapping[str, str]) -> Key:
    """What rows depend on: the text, where each chunk ends, and what stands before windows, if anything."""
    leads = tuple(chunk.context for chunk in chunks) if LEAD in recorded else ()
    return text, tuple(chunk.end for chunk in chunks), leads


def _pages(store: Store, manifest: Manifest) -> Iterator[tuple[list[Passage], Floats]]:
    for first in range(0, manifest.chunks, PAGE):
        passages, vectors = store.read_chunks(manifest.id, first=first, limit=PAGE)
        yield passages, vectors.dense


def _copied(store: Store, twin: Manifest, wanted: Wanted, recorded: Mapping[str, str]) -> Floats | None:
    """The twin's rows, if all that they depend on is equal."""
    claims = (twin.content_hash, twin.chunks, twin.characters, dict(twin.recorded))
    if twin.live is None or claims != (
        wanted.content_hash,
        len(wanted.chunks),
        len(wanted.text),
        dict(recorded),
    ):
        return None
    pages: list[Floats] = []
    for first, (passages, rows) in zip(range(0, twin.chunks, PAGE), _pages(store, twin), strict=True):
        expected = wanted.chunks[first : first + PAGE]
        if len(passages) != len(expected) or not all(
            passage.chunk.version == twin.live
            and _same_stretch(passage.chunk, chunk)
            and (LEAD not in recorded or passage.chunk.context == chunk.context)
            for passage, chunk in zip(passages, expected, strict=True)
        ):
            return None
        pages.append(rows)
    return np.concatenate(pages)


def _same_stretch(one: Chunk, other: Chunk) -> bool:
    return (one.ordinal, one.start, one.text) == (other.ordinal, other.start, other.text)


class Reuse:
    """Dense rows for one batch after another, each text embedded once. For one thread.

    Args:
        store: where twins are read.
        twins: live documents to copy from; None for none.
        recorded: what will be recorded of how these documents were embedded.
    """

    def __init__(self, store: Store, twins: Twins | None, recorded: Mapping[str, str]) -> None:
        self._store = store
        self._twins = twins
        self._recorded = recorded
        # Twins that are not committed yet. Documents alone in their batch are long: they are not kept.
        self._recent: deque[dict[Key, Floats]] = deque(maxlen=IN_FLIGHT)
        self._replaced: dict[Key, Floats] = {}
        self._replaced_bytes = 0

    def rows(
        self,
        embedder: Embedder,
        wanted: Sequence[Wanted],
        stop: Callable[[], bool],
        progress: Callable[[float], object] | None = None,
    ) -> list[Made]:
        """Rows for each document, at the index's largest dimension or above.

        `progress` is called with the part of what is embedded that is done.

        Raises:
            ValueError: a document cannot be embedded.
            StoppedError: `stop` said True.
        """
        keys = [_key(one.text, one.chunks, self._recorded) for one in wanted]
        unique = dict(zip(keys, wanted, strict=True))
        found = {key: rows for batch in self._recent for key, rows in batch.items() if key in unique}
        left = {key: one for key, one in unique.items() if key not in found}
        if self._twins is not None:
            found |= {key: self._replaced[key] for key in left if key in self._replaced}
            self._keep(self._twins.left(self._store, wanted, self._recorded))
            left = {key: one for key, one in left.items() if key not in found}
            copied = self._twins.rows(self._store, list(left.values()), self._recorded)
            found |= {key: rows for key, rows in zip(left, copied, strict=True) if rows is not None}
            left = {key: one for key, one in left.items() if key not in found}
        if left:
            texts = [_spanned(one) for one in left.values()]
            followed: dict[str, Any] = {} if progress is None else {"progress": progress}
            found |= zip(left, embedder.embed_documents(texts, stop, **followed), strict=True)
        self._recent.append(found if len(wanted) > 1 else {})
        first = dict(zip(reversed(keys), range(len(keys) - 1, -1, -1), strict=True))  # of equal ones
        return [Made(found[key], key in left and first[key] == place) for place, key in enumerate(keys)]

    def _keep(self, replaced: Mapping[Key, Floats]) -> None:
        """Keep rows that the store will soon not have any more, as many as there is room for."""
        for key, rows in replaced.items():
            if key not in self._replaced:
                self._replaced[key] = rows
                self._replaced_bytes += _size(key, rows)
        while self._replaced_bytes > KEPT_BYTES:
            oldest = next(iter(self._replaced))
            self._replaced_bytes -= _size(oldest, self._replaced.pop(oldest))


def _size(key: Key, rows: Floats) -> int:
    return rows.nbytes + 4 * len(key[0]) + 4 * sum(map(len, key[2]))


def _spanned(wanted: Wanted) -> SpannedText:
    spans = tuple(Span(chunk.start, chunk.end) for chunk in wanted.chunks)
    return SpannedText(wanted.text, spans, tuple(chunk.context for chunk in wanted.chunks))
