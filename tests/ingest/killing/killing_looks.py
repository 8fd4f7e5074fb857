"""What a reader sees of an index, every way of asking held against every other."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from killing_world import ANALYZER, CONFIG, VERSIONS, mark, vector

from latewood.ingest.integrity.verify import examine
from latewood.search.stores.base import Store
from latewood.search.stores.memory import MemoryStore
from latewood.search.types import Candidate, Comparison, DenseQuery, Leg, Manifest, ManifestWrite, Passage

MARKS = {mark(name, version) for name in VERSIONS for version in (1, 2)}


def name_of(manifest: Manifest) -> str:
    return PurePosixPath(manifest.document.uri).stem


def manifests(store: Store) -> Iterator[Manifest]:
    """All of them, by small pages."""
    after = None
    while page := store.list_manifests(after=after, limit=2):
        yield from page
        after = page[-1].id


def legs(words: str, limit: int = 1000) -> list[Leg]:
    return [
        Leg("dense", DenseQuery(vector(words)), limit),
        Leg("bm25", ANALYZER.query_vector(words), limit),
    ]


def look(store: Store) -> dict[str, str]:
    """The documents that answer, by name: each whole, and by every way of asking the same.

    The index must not change meanwhile.
    """
    live = [manifest for manifest in manifests(store) if manifest.live is not None]
    seen: dict[str, str] = {}
    visible: dict[str, Passage] = {}
    for manifest in live:
        passages = store.chunks_of(manifest.id)
        seen[name_of(manifest)] = _whole(manifest, passages)
        visible |= {one.chunk.id: one for one in passages}
        assert store.count(Comparison("eq", "document_id", manifest.id)) == manifest.chunks
    assert len(seen) == len(live), "two documents of one name"
    stats = store.stats()
    assert (stats.documents, stats.chunks) == (len(live), len(visible))
    assert store.count() == len(visible)
    assert {one.chunk.id: one for one in store.fetch(sorted(visible))} == visible
    _hold_searches(store, visible)
    _hold_scores(store, live)
    return seen


def _whole(manifest: Manifest, passages: list[Passage]) -> str:
    name = name_of(manifest)
    text = "".join(one.chunk.text for one in passages)
    assert text in VERSIONS[name], f"{name} is neither an old version nor a new one: {text!r}"
    assert [one.chunk.ordinal for one in passages] == list(range(manifest.chunks))
    assert {one.chunk.version for one in passages} == {manifest.live}
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert (manifest.content_hash, manifest.characters) == (digest, len(text))
    assert manifest.document.metadata == {"digest": digest}
    # The passages of a touched file learn its new time first; all at once.
    (told,) = {one.document.modified: one.document for one in passages}.values()
    assert replace(told, modified="") == replace(manifest.document, modified="")
    return text


def _hold_searches(store: Store, visible: Mapping[str, Passage]) -> None:
    everything, _ = store.search(legs("keeper"))
    assert {one.id for one in everything} == visible.keys()
    for word in MARKS:
        (found,) = store.search(legs(word)[1:])
        assert {one.id for one in found} == {key for key in visible if word in visible[key].chunk.text}


def _hold_scores(store: Store, live: list[Manifest]) -> None:
    """What nobody may see must not show in a score either: as if only the visible had ever been written."""
    exact = MemoryStore(CONFIG)
    for manifest in live:
        passages, vectors = store.read_chunks(manifest.id)
        exact.put_chunks(passages, vectors)
        bare = replace(manifest, pending=(), replaced=())
        exact.put_manifests([ManifestWrite(manifest.id, None, bare)])
    asked = legs("keeper of gulls boats rests")
    for leg, ours, theirs in zip(asked, store.search(asked), exact.search(asked), strict=True):
        differing = differences(ours, theirs)
        flying = [(name_of(one), one.pending, one.replaced) for one in store.in_flight()]
        assert not differing, (
            f"{leg.name}: id: (found, exact) {differing}; in flight {flying}; {store.stats()}"
        )


def differences(ours: list[Candidate], theirs: list[Candidate]) -> dict[str, tuple[float, float]]:
    """By id (found, exact), NaN where it is not found at all; empty when the lists agree."""
    found, exact = ({one.id: one.score for one in each} for each in (ours, theirs))
    pairs = {key: (found.get(key, math.nan), exact.get(key, math.nan)) for key in found.keys() | exact.keys()}
    return {key: pair for key, pair in pairs.items() if not math.isclose(*pair, rel_tol=1e-4)}


def settled(store: Store) -> None:
    """Nothing is in flight and nothing is left over."""
    assert store.in_flight() == []
    assert store.stats().hidden == 0
    found = list(manifests(store))
    assert all(manifest.live is not None for manifest in found)
    assert store.list_records() == [(manifest.id, manifest.live) for manifest in found]
    keys = {(key.document_id, key.version, key.ordinal) for key in store.list_chunks()}
    assert keys == {(one.id, one.live, number) for one in found for number in range(one.chunks)}
    # A touched file's passages may know its new time before its manifest: the next sync writes that again.
    verified(store, but=frozenset({"info_differs", "record_differs"}))


def verified(store: Store, but: frozenset[str] = frozenset()) -> None:
    """`verify` finds nothing, these codes left aside."""
    found = [one for one in examine(store).all() if one.code not in but]
    assert not found, found


def content(store: Store) -> dict[str, Any]:
    """Everything an index says of its documents, but for versions and times."""
    found = {}
    for manifest in manifests(store):
        passages, vectors = store.read_chunks(manifest.id)
        chunks = [replace(one.chunk, version="") for one in passages]
        info = replace(manifest.document, ingested="", modified="")
        terms = [dict(zip(one.indices.tolist(), one.values.tolist(), strict=True)) for one in vectors.sparse]
        found[manifest.id] = (info, manifest.content_hash, dict(manifest.recorded), chunks, terms)
    return found


def dense(store: Store) -> np.ndarray:
    """The dense rows of all documents, in order of id and ordinal."""
    return np.concatenate([store.read_chunks(manifest.id)[1].dense for manifest in manifests(store)])
