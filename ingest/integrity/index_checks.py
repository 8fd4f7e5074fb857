"""Check that an index's lookup structures agree with the chunks: filters, terms, languages, listings.

Search does not read a chunk to know that it matches a filter or holds a term: the engine keeps indexes for
that. Damage to one of them changes answers while every chunk is whole. The check scans the chunks once,
gathers what each value and each term should find, then looks each of them up. Of many values and terms it
takes a random sample of `MOST`, another one each time, so that time and memory stay small.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import unicodedata
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from latewood.embedder.types import SparseVector
from latewood.search.stores.base import Store
from latewood.search.stores.qdrant.payload import last_page
from latewood.search.stores.qdrant.range_fields import dates_of, numbers_of
from latewood.search.types import ChunkKey, Comparison, Filter, Group, Leg, Manifest, Passage

MOST = 4096
"""Values, and terms, that are looked up."""

PAGE = 256
_LISTED = 10_000
_LEGS = 32
_LOOKS = 3
_CLOSE = 1e-4
_KEYS = ("source", "kind", "language")
_MOMENTS = ("modified", "ingested")

Stop = Callable[[], bool]
_log = logging.getLogger(__name__)
_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class Difference:
    """A lookup structure that does not agree with the chunks.

    Attributes:
        code: `filter_differs`, `terms_differ`, `languages_differ` or `listing_differs`.
        name: which one: a filter's key, or a source.
        chunks: how many chunks, or documents of a listing, it finds.
        of: how many it should find.
    """

    code: str
    name: str
    chunks: int
    of: int


def differences(store: Store, stop: Stop = lambda: False) -> list[Difference]:
    """Find the lookup structures that differ; the first difference of each is enough.

    A writer changes what is to be found: the check is repeated when anything was written meanwhile, and given
    up with a log line when that happens each time.
    """
    before = _state(store)
    for _ in range(_LOOKS):
        found = _check(store, stop)
        after = _state(store)
        if stop() or after == before or not found:
            return found
        before = after
    _log.warning("indexes were not compared with the chunks: the index was written to all the time")
    return []


def _state(store: Store) -> bytes:
    """16 bytes that change with every commit."""
    summed = hashlib.blake2b(digest_size=16)
    for manifest in _manifests(store):
        summed.update(f"{manifest.id} {manifest.revision} ".encode())
    return summed.digest()


def _manifests(store: Store) -> Iterator[Manifest]:
    after: str | None = None
    while page := store.list_manifests(after=after, limit=PAGE):
        yield from page
        after = page[-1].id


class _Sample(Generic[_Found]):
    """A mapping that keeps a random part of its keys, at most `MOST`, each with all that is added to it."""

    def __init__(self, make: Callable[[], _Found]) -> None:
        self._make = make
        self._salt = os.urandom(8)
        self._one_of = 1
        self.kept: dict[str, _Found] = {}

    def at(self, key: str) -> _Found | None:
        """What is kept under a key; None where it is not in the sample."""
        if key not in self.kept:
            if self._place(key) % self._one_of:
                return None
            self.kept[key] = self._make()
            while len(self.kept) > MOST:
                self._one_of *= 2
                self.kept = {
                    one: was for one, was in self.kept.items() if not self._place(one) % self._one_of
                }
        return self.kept.get(key)

    def _place(self, key: str) -> int:
        summed = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8, salt=self._salt)
        return int.from_bytes(summed.digest(), "little")


@dataclass(slots=True)
class _Matching:
    """The chunks that a filter should find, as their number and the exclusive or of their ids.

    Attributes:
        key: of the filter.
        low, high: the least and greatest value seen, as the filter takes them.
    """

    key: str = ""
    low: str | int | float | bool = ""
    high: str | int | float | bool = ""
    chunks: int = 0
    ids: int = 0

    def add(self, key: str, value: str | int | float | bool, chunk: str) -> None:
        """Count one more chunk."""
        first = self.chunks == 0
        self.key = key
        if first or value < self.low:  # type: ignore[operator]
            self.low = value
        if first or value > self.high:  # type: ignore[operator]
            self.high = value
        self.chunks, self.ids = self.chunks + 1, self.ids ^ uuid.UUID(chunk).int


@dataclass(slots=True)
class _Gathered:
    """What the chunks say should be found."""

    exact: _Sample[_Matching] = field(default_factory=lambda: _Sample(_Matching))
    ranged: _Sample[_Matching] = field(default_factory=lambda: _Sample(_Matching))
    pages: dict[tuple[int, int], _Matching] = field(default_factory=dict)
    terms: _Sample[dict[str, float]] = field(default_factory=lambda: _Sample(dict))
    languages: set[str] = field(default_factory=set)
    with_terms: int = 0

    def add(self, passage: Passage, sparse: SparseVector) -> None:
        """Gather one chunk."""
        chunk, document = passage.chunk, passage.document
        self.languages.add(chunk.language)
        self._put(self.exact, "document_id", document.id, chunk.id)
        for key in _KEYS:
            self._put(self.exact, key, getattr(document, key), chunk.id)
        for key in _MOMENTS:
            for moment in dates_of(getattr(document, key)):
                self._put(self.ranged, key, moment.isoformat(), chunk.id)
        first, last = chunk.page_start, last_page(chunk)
        if first is not None and last is not None:
            self.pages.setdefault((first, last), _Matching()).add("page", first, chunk.id)
        for key, value in document.metadata.items():
            if key and '"' not in key and "\\" not in key:
                self._put_metadata(key, value if isinstance(value, list) else [value], chunk.id)
        self.with_terms += bool(len(sparse.indices))
        for term, weight in zip(sparse.indices.tolist(), sparse.values.tolist(), strict=True):
            holders = self.terms.at(str(term))
            if holders is not None:
                holders[chunk.id] = weight

    def _put_metadata(self, key: str, values: Sequence[str | int | float | bool], chunk: str) -> None:
        for value in set(values):
            text = isinstance(value, str) and not dates_of(value)  # moments are looked up by range
            if text or isinstance(value, bool):
                self._put(self.exact, key, value, chunk)
        for moment in {one.isoformat() for value in values for one in dates_of(value)}:
            self._put(self.ranged, key, moment, chunk)
        numbers = {f"{one:.9g}": one for value in values for one in numbers_of(value)}
        for number in numbers.values():
            self._put(self.ranged, key, number, chunk)

    @staticmethod
    def _put(sample: _Sample[_Matching], key: str, value: str | int | float | bool, chunk: str) -> None:
        # Numbers that are nearly equal are one value, as engines compare them; so are forms of one text.
        if isinstance(value, bool):
            written = str(value)
        elif isinstance(value, str):
            written = f"text {unicodedata.normalize('NFC', value)}"
        else:
            written = f"{value:.9g}"
        matching = sample.at(f"{key}\x00{written}")
        if matching is not None:
            matching.add(key, value, chunk)


def _check(store: Store, stop: Stop) -> list[Difference]:
    gathered, found = _Gathered(), dict[tuple[str, str], Difference]()
    sources: dict[str, set[str]] = {}
    documents: set[str] = set()
    flying = False
    for manifest in _manifests(store):
        if stop():
            return []
        documents.add(manifest.id)
        sources.setdefault(manifest.document.source, set()).add(manifest.id)
        flying |= manifest.in_flight
        for first in range(0, manifest.chunks if manifest.live else 0, PAGE):
            passages, vectors = store.read_chunks(manifest.id, first=first, limit=PAGE)
            for passage, sparse in zip(passages, vectors.sparse, strict=True):
                gathered.add(passage, sparse)
    lookups = (
        _listings(store, sources, documents),
        _filters(store, gathered),
        _terms(store, gathered),
        _languages(store, gathered, flying=flying),
    )
    for lookup in lookups:
        for one in lookup:
            found.setdefault((one.code, one.name), one)
            if stop():
                return []
    return list(found.values())


def _listings(store: Store, sources: Mapping[str, set[str]], documents: set[str]) -> Iterator[Difference]:
    for source, expected in sources.items():
        listed: set[str] = set()
        after: str | None = None
        while page := store.list_manifests(source=source, after=after, limit=PAGE):
            listed |= {one.id for one in page}
            after = page[-1].id
        if listed != expected:
            yield Difference("listing_differs", source, len(listed), len(expected))
    named = {key.document_id for key in _chunks(store, None)}
    hidden = {one.id for one in store.get_manifests(sorted(named - documents))}
    if hidden:
        yield Difference("listing_differs", "documents", len(documents), len(documents | hidden))


def _chunks(store: Store, where: Filter | None) -> Iterator[ChunkKey]:
    after: str | None = None
    while page := store.list_chunks(after=after, limit=_LISTED, where=where):
        yield from page
        after = page[-1].id


def _filters(store: Store, gathered: _Gathered) -> Iterator[Difference]:
    for matching in gathered.exact.kept.values():
        if (
            matching.low != matching.high
        ):  # forms of one text: whether they are equal is the filter's business
            continue
        yield from _lookup(store, matching, Comparison("eq", matching.key, matching.low))
    for matching in gathered.ranged.kept.values():
        ends = (Comparison("gte", matching.key, matching.low), Comparison("lte", matching.key, matching.high))
        yield from _lookup(store, matching, Group("and", ends))
    yield from _pages(store, gathered.pages)


def _lookup(store: Store, matching: _Matching, where: Filter) -> Iterator[Difference]:
    chunks = ids = 0
    for key in _chunks(store, where):
        chunks, ids = chunks + 1, ids ^ uuid.UUID(key.id).int
    if (chunks, ids) != (matching.chunks, matching.ids):
        yield Difference("filter_differs", matching.key, chunks, matching.chunks)


def _pages(store: Store, pages: Mapping[tuple[int, int], _Matching]) -> Iterator[Difference]:
    """Look up each page, at most `MOST`: the chunks whose pages include it."""
    numbers = sorted({page for first, last in pages for page in (first, last)})
    for page in numbers[:: len(numbers) // MOST + 1]:
        expected = _Matching()
        for (first, last), some in pages.items():
            if first <= page <= last:
                expected.chunks, expected.ids = expected.chunks + some.chunks, expected.ids ^ some.ids
        expected.key = "page"
        yield from _lookup(store, expected, Comparison("eq", "page", page))


def _terms(store: Store, gathered: _Gathered) -> Iterator[Difference]:
    terms = list(gathered.terms.kept.items())
    for start in range(0, len(terms), _LEGS):
        part = terms[start : start + _LEGS]
        legs = [Leg("bm25", _term(term), len(holders) + 1) for term, holders in part]
        for (_, holders), ranked in zip(part, store.search(legs), strict=True):
            rare = math.log(1 + (gathered.with_terms - len(holders) + 0.5) / (len(holders) + 0.5))
            expected = {chunk: rare * weight for chunk, weight in holders.items()}
            if not _agree({one.id: one.score for one in ranked}, expected):
                yield Difference("terms_differ", "terms", len(ranked), len(expected))


def _term(number: str) -> SparseVector:
    return SparseVector(np.array([int(number)], np.uint32), np.ones(1, np.float32))


def _agree(scores: Mapping[str, float], expected: Mapping[str, float]) -> bool:
    return scores.keys() == expected.keys() and all(
        math.isclose(score, expected[chunk], rel_tol=_CLOSE) for chunk, score in scores.items()
    )


def _languages(store: Store, gathered: _Gathered, *, flying: bool) -> Iterator[Difference]:
    listed = set(store.languages())
    if listed != gathered.languages and not (flying and listed > gathered.languages):
        yield Difference("languages_differ", "languages", len(listed), len(gathered.languages))
