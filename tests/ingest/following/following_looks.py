"""What an index holds, for holding two against each other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from following_world import ANALYZER, vector

from latewood.embedder.types import Floats, SparseVector
from latewood.search.stores.base import Store
from latewood.search.types import DenseQuery, Leg


@dataclass(slots=True)
class Snapshot:
    """What an index holds, without what is its own affair (versions, moments of ingest)."""

    documents: dict[str, Any]
    failures: dict[str, tuple[str, str]]
    chunks: dict[str, Any]
    dense: dict[str, Floats]
    sparse: dict[str, Any]
    found: list[Any]


def snapshot(store: Store) -> Snapshot:
    """Look at everything, and hold what must be true of any index."""
    manifests = store.list_manifests(limit=100_000)
    live = {one.id: one for one in manifests if one.live is not None}
    assert store.in_flight() == []
    expected = {(one.id, one.live, ordinal) for one in live.values() for ordinal in range(one.chunks)}
    keys = store.list_chunks(limit=100_000)
    assert {(key.document_id, key.version, key.ordinal) for key in keys} == expected
    assert len(keys) == len(expected)
    records = {one.version: one for one in store.get_records(list(live))}
    assert store.list_records() == sorted((one.id, str(one.live)) for one in live.values())
    stats = store.stats()
    assert (stats.documents, stats.chunks, stats.hidden) == (len(live), len(expected), 0)
    assert store.count() == len(expected)
    seen = Snapshot({}, {}, {}, {}, {}, [])
    for one in manifests:
        if one.failure is not None:
            seen.failures[one.document.uri] = (one.failure.code, one.failure.content_hash)
    for one in live.values():
        _look_at(seen, store, one, records[str(one.live)])
    seen.found = _searched(store)
    return seen


def _look_at(seen: Snapshot, store: Store, one: Any, record: Any) -> None:
    uri = one.document.uri
    passages, vectors = store.read_chunks(one.id, limit=1000)
    told = replace(one.document, ingested="")
    assert all(replace(passage.document, ingested="") == told for passage in passages)
    assert record.chunks == tuple(passage.chunk for passage in passages)
    kept = record.manifest
    assert (kept.document, kept.content_hash, kept.chunks, kept.characters, kept.recorded) == (
        one.document,
        one.content_hash,
        one.chunks,
        one.characters,
        one.recorded,
    )
    seen.documents[uri] = (
        told,
        one.content_hash,
        replace(one.stamp, scanned_ns=0),
        one.chunks,
        one.characters,
        one.recorded,
        one.notes,
    )
    seen.chunks[uri] = [replace(passage.chunk, version="") for passage in passages]
    seen.dense[uri] = vectors.dense
    seen.sparse[uri] = [_terms(row) for row in vectors.sparse]


def _terms(row: SparseVector) -> dict[int, float]:
    return {int(term): round(float(value), 5) for term, value in zip(row.indices, row.values, strict=True)}


def _searched(store: Store) -> list[Any]:
    """Two ranked lists; ties may stand in any order, their ids differ from index to index."""
    legs = [
        Leg("bm25", ANALYZER.query_vector("keeper ferry tide lamp Leith"), 100),
        Leg("dense", DenseQuery(vector("q", 0, 1)), 100),
    ]
    lists = []
    for ranked in store.search(legs):
        passages = {passage.chunk.id: passage for passage in store.fetch([one.id for one in ranked])}
        lists.append(
            sorted(
                (round(one.score, 4), passages[one.id].document.uri, passages[one.id].chunk.ordinal)
                for one in ranked
            )
        )
    return lists


def same(synced: Snapshot, fresh: Snapshot) -> None:
    """Hold an index that followed the edits against a fresh one.

    A file that cannot be read keeps its old version where there was one: the one thing in which they differ.
    """
    assert synced.failures == fresh.failures
    kept = {uri for uri in synced.documents if uri in synced.failures}
    for name in ("documents", "chunks", "sparse"):
        left = {uri: one for uri, one in getattr(synced, name).items() if uri not in kept}
        assert left == getattr(fresh, name), name
    for uri, rows in fresh.dense.items():
        np.testing.assert_allclose(synced.dense[uri], rows, atol=1e-6)
    if not kept:
        assert synced.found == fresh.found
