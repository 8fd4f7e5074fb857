"""What no manifest tells of: records and chunks that a damaged index, or a bug, left behind.

Both walks read a page, then the manifests, then look whether what those do not name is still there. A
version's manifest names it before its first chunk is written and until its last is gone, so what is still
there is no writer's work in progress.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from latewood.ingest.integrity.read_version import chunk_id
from latewood.search.stores.base import Store
from latewood.search.types import ChunkKey, Manifest, Record

PAGE = 2_000
Stop = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class StrayRecord:
    """A record of a version that is neither live nor in flight.

    Attributes:
        lost: the document has no manifest at all.
    """

    document_id: str
    version: str
    lost: bool


@dataclass(frozen=True, slots=True)
class StrayChunk:
    """A chunk that is none of what its document's manifest tells of.

    Attributes:
        code: `no_manifest`, `manifest_lost` (but a record tells of the document), `version_gone` (neither
            live nor in flight), `not_of_version` (the live version has no such chunk).
    """

    key: ChunkKey
    code: str


def best_record(store: Store, document_id: str) -> Record | None:
    """The record to write a document again from that has no manifest: the newest that can be read."""
    kept = store.get_records([document_id])
    return max(kept, key=lambda one: (one.manifest.document.ingested, one.version), default=None)


def stray_records(store: Store, stop: Stop = lambda: False) -> Iterator[StrayRecord]:
    """Every stray record, in order of document."""
    after: tuple[str, str] | None = None
    while not stop() and (page := store.list_records(after=after, limit=PAGE)):
        after = page[-1]
        manifests = _manifests(store, [document for document, _ in page])
        for document, version in page:
            manifest = manifests.get(document)
            if manifest is not None and version in (manifest.live, *manifest.hidden):
                continue
            if (document, version) in store.list_records(after=(document, ""), limit=PAGE):
                yield StrayRecord(document, version, manifest is None)


def stray_chunks(store: Store, stop: Stop = lambda: False) -> Iterator[list[StrayChunk]]:
    """Stray chunks in groups, in order of id."""
    after: str | None = None
    while not stop() and (page := store.list_chunks(after=after, limit=PAGE)):
        manifests = _manifests(store, [key.document_id for key in page])
        codes = {key: _code(key, manifests.get(key.document_id)) for key in page}
        suspects = [key for key in page if codes[key]]
        if suspects:
            there = _still_there(store, after, suspects[-1].id)
            kept = _recorded(store, [key.document_id for key in suspects if codes[key] == "no_manifest"])
            yield [
                StrayChunk(key, "manifest_lost" if key.document_id in kept else codes[key])
                for key in suspects
                if key.id in there
            ]
        after = page[-1].id


def _manifests(store: Store, ids: Sequence[str]) -> dict[str, Manifest]:
    return {manifest.id: manifest for manifest in store.get_manifests(sorted(set(ids)))}


def _code(key: ChunkKey, manifest: Manifest | None) -> str:
    """What is wrong with a chunk; empty when its manifest tells of it."""
    if manifest is None:
        return "no_manifest"
    if key.version in manifest.hidden:
        return ""
    if key.version != manifest.live:
        return "version_gone"
    own = key.ordinal < manifest.chunks and key.id == chunk_id(key.document_id, key.version, key.ordinal)
    return "" if own else "not_of_version"


def _still_there(store: Store, after: str | None, last: str) -> set[str]:
    """Ids of the chunks there are now, from the one behind `after` to `last` and some more."""
    there: set[str] = set()
    while page := store.list_chunks(after=after, limit=PAGE):
        there.update(key.id for key in page)
        after = page[-1].id
        if after >= last:
            break
    return there


def _recorded(store: Store, documents: Sequence[str]) -> set[str]:
    """Those of the documents that a readable record tells of."""
    return {one for one in set(documents) if best_record(store, one) is not None}
