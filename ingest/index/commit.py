"""The commit walk of one document: begin, write, flip, sweep (design, decision 1).

Every step is one conditional manifest write that names the revision it read; a refused step reads again and
decides anew. Killed between any two steps, readers still see the old version or the new one, whole, and
`recover` (or the next attempt on the document) finishes the work.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from latewood.ingest.index.manifest_updates import Change, dropped_if_bare, update
from latewood.ingest.index.metadata_overrides import retell, told
from latewood.ingest.types import Document
from latewood.search.stores.base import Store
from latewood.search.stores.generations.switch import one_walk
from latewood.search.types import DocumentInfo, Failure, FileStamp, Manifest, MetadataValue


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a new version: what it will be called, and what stood there when it began.

    Attributes:
        live_seen: the version that was live.
        amended: metadata set by hand.
    """

    document_id: str
    version: str
    live_seen: str | None
    amended: Mapping[str, MetadataValue | None] = field(default_factory=dict)

    def told(self, info: DocumentInfo) -> DocumentInfo:
        """What the new version's chunks say of their document: what its file says, as amended by hand."""
        return told(info, self.amended)


@dataclass(frozen=True, slots=True)
class Written:
    """An attempt whose chunks are all acknowledged, with what its manifest will say."""

    attempt: Attempt
    info: DocumentInfo
    document: Document
    chunks: int
    recorded: Mapping[str, str]


def manifest_of(item: Written) -> Manifest:
    """What the manifest will say once this attempt is committed, of no other version; its record's too."""
    return Manifest(
        document=item.info,
        revision="",
        content_hash=item.document.content_hash,
        stamp=item.document.stamp,
        live=item.attempt.version,
        chunks=item.chunks,
        characters=len(item.document.text),
        recorded=dict(item.recorded),
        notes=item.document.notes,
        beside=item.document.beside,
        amended=dict(item.attempt.amended),
    )


def begin(store: Store, infos: Sequence[DocumentInfo]) -> list[Attempt]:
    """Announce a new version of each document; its chunks stay invisible until `commit`."""
    versions = {info.id: str(uuid.uuid4()) for info in infos}
    by_id = {info.id: info for info in infos}

    def announce(key: str) -> Change:
        def change(old: Manifest | None) -> Manifest:
            base = old or Manifest(document=by_id[key], revision="")
            return replace(base, pending=(*base.pending, versions[key]))

        return change

    after = update(store, {key: announce(key) for key in by_id})
    return [_attempt(key, versions[key], after[key]) for key in by_id]


def _attempt(key: str, version: str, manifest: Manifest | None) -> Attempt:
    return Attempt(key, version, _live(manifest), {} if manifest is None else manifest.amended)


def commit(store: Store, written: Sequence[Written]) -> list[bool]:
    """Flip each document to its new version, then sweep what it replaced.

    False where another writer was first: that attempt's chunks are removed again.
    """

    def flip(item: Written) -> Change:
        def change(old: Manifest | None) -> Manifest | None:
            attempt = item.attempt
            if old is None or attempt.version not in old.pending or old.live != attempt.live_seen:
                return old
            return replace(
                manifest_of(item),
                revision=old.revision,
                pending=tuple(version for version in old.pending if version != attempt.version),
                replaced=old.replaced if old.live is None else (*old.replaced, old.live),
                amended=old.amended,
                retelling=old.amended != attempt.amended,
            )

        return change

    after = update(store, {item.attempt.document_id: flip(item) for item in written})
    won = [_live(after[item.attempt.document_id]) == item.attempt.version for item in written]
    abandon(store, [item.attempt for item, ok in zip(written, won, strict=True) if not ok])
    finish(store, [manifest for manifest in after.values() if manifest is not None and manifest.replaced])
    retell(store, [key for key, manifest in after.items() if manifest is not None and manifest.retelling])
    return won


def abandon(store: Store, attempts: Sequence[Attempt]) -> None:
    """Remove what these attempts wrote; readers never saw it."""
    if not attempts:
        return
    store.sweep([attempt.version for attempt in attempts])

    def forget(version: str) -> Change:
        def change(old: Manifest | None) -> Manifest | None:
            if old is None or version not in old.pending:
                return old
            return dropped_if_bare(
                replace(old, pending=tuple(other for other in old.pending if other != version))
            )

        return change

    update(store, {attempt.document_id: forget(attempt.version) for attempt in attempts})


def finish(store: Store, manifests: Sequence[Manifest]) -> None:
    """Sweep the replaced versions of these manifests and clear the mark."""
    if not manifests:
        return
    store.sweep([version for manifest in manifests for version in manifest.replaced])

    def clear(swept: tuple[str, ...]) -> Change:
        def change(old: Manifest | None) -> Manifest | None:
            if old is None or not set(swept) & set(old.replaced):
                return old
            return dropped_if_bare(
                replace(old, replaced=tuple(version for version in old.replaced if version not in swept))
            )

        return change

    update(store, {manifest.id: clear(manifest.replaced) for manifest in manifests})


@one_walk
def remove(store: Store, ids: Sequence[str]) -> int:
    """Take these documents out: invisible at once, then swept. The number that answered before."""

    def retire(old: Manifest | None) -> Manifest | None:
        if old is None:
            return old
        gone = old.replaced if old.live is None else (*old.replaced, old.live)
        bare = replace(old, live=None, replaced=gone, chunks=0, failure=None, amended={}, retelling=False)
        return dropped_if_bare(bare)

    alive = [manifest.id for manifest in store.get_manifests(ids) if manifest.live is not None]
    after = update(store, dict.fromkeys(ids, retire))
    finish(store, [manifest for manifest in after.values() if manifest is not None and manifest.replaced])
    return len(alive)


def note_failure(store: Store, info: DocumentInfo, failure: Failure) -> None:
    """Flag a document whose newest bytes could not be read; what was live stays live."""

    def change(old: Manifest | None) -> Manifest:
        if old is None or old.live is None:  # nothing answers: the newest source owns the failure
            return replace(old or Manifest(document=info, revision=""), document=info, failure=failure)
        return replace(old, failure=failure)

    update(store, {info.id: change})


@one_walk
def note_unchanged(store: Store, document_id: str, stamp: FileStamp, modified: str) -> None:
    """Record the new stamp of a file that was touched and has the same content, and when it was modified."""

    def stamped(old: Manifest | None) -> Manifest | None:
        if old is None or old.live is None:
            return old
        document = replace(old.document, modified=modified)
        if document != old.document:  # first the passages: the stamp says that they are done
            store.put_info(document_id, old.live, document)
        return replace(old, document=document, stamp=stamp, failure=None)

    update(store, {document_id: stamped})


@one_walk
def recover(store: Store) -> int:
    """Finish what a killed writer left: to be called when no other writer of this process can be at work.

    Returns the number of documents that were left in flight.
    """
    found = store.abandoned()
    if found:
        store.sweep([version for manifest in found for version in manifest.hidden])

        def settle(swept: tuple[str, ...]) -> Change:
            def change(old: Manifest | None) -> Manifest | None:
                # A removal may have retired a version meanwhile: only what was swept is forgotten.
                if old is None or not set(swept) & set(old.hidden):
                    return old
                pending = tuple(version for version in old.pending if version not in swept)
                replaced = tuple(version for version in old.replaced if version not in swept)
                return dropped_if_bare(replace(old, pending=pending, replaced=replaced))

            return change

        update(store, {manifest.id: settle(manifest.hidden) for manifest in found if manifest.hidden})
        retell(store, [manifest.id for manifest in found if manifest.retelling])
    return len(found)


def _live(manifest: Manifest | None) -> str | None:
    return manifest.live if manifest is not None else None
