"""Bring one index to the state of another, document by document.

What is held against each other is the manifest's revision, which the copy keeps: so the same walk makes a
copy, catches up with it after a while, and goes on where a killed process stopped. Versions in flight are not
copied: the live one is, and the writer of the other commits it later.

A copy is a walk like any other (design, decision 1): announced by a manifest that hides what is being
written, so that a kill leaves nothing behind that nobody knows of.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from latewood.embedder.types import StoppedError, Vectors
from latewood.search.stores.base import Store
from latewood.search.stores.vectors import prefix
from latewood.search.types import (
    Chunk,
    Manifest,
    ManifestWrite,
    Passage,
    StoreDamagedError,
    StoreUnavailableError,
)

T = TypeVar("T")
PAGE = 1000  # manifests read at a time
BATCH_CHUNKS = 256
READ_CHUNKS = 64  # at a time: whoever asks the old index meanwhile waits for one such reading
_BATCH_DOCUMENTS = 64


class Remake(Protocol):
    """Makes the vectors of documents anew; without one they are copied."""

    @property
    def recorded(self) -> Mapping[str, str]:
        """How they are made, for the manifest."""
        ...

    def vectors(self, documents: Sequence[Sequence[Passage]]) -> list[Vectors]:
        """Of each document's chunks, all of them, in order."""
        ...


@dataclass(frozen=True, slots=True)
class Transfer:
    """From `old`, which others may read and write meanwhile, to `new`, which nobody else knows.

    Attributes:
        remake: makes vectors anew; without one they are copied, cut where the new index stores shorter ones.
        stop: asked between documents; True ends the work by StoppedError.
        moved: told the uri of each document that was brought over or removed.
    """

    old: Store
    new: Store
    remake: Remake | None
    stop: Callable[[], bool]
    moved: Callable[[str], object]

    def everything(self) -> None:
        """Hold all documents against each other, and bring over or remove what differs.

        Raises:
            StoreDamagedError: a document of the old index lacks chunks.
            StoppedError: `stop` said so.
        """
        for page in _pages(self.old):
            self._bring([one.id for one in page], page)
        for page in _pages(self.new):
            self._bring([one.id for one in page], self.old.get_manifests([one.id for one in page]))

    def documents(self, ids: Sequence[str]) -> None:
        """The same for these documents, whether they are there or not."""
        for part in _parts(ids, PAGE):
            self._bring(part, self.old.get_manifests(part))

    def _bring(self, ids: Sequence[str], found: Sequence[Manifest]) -> None:
        wanted = {one.id: _settled(one) for one in found}
        there = {one.id: one for one in self.new.get_manifests(ids)}
        gone = [there[key] for key in ids if wanted.get(key) is None and key in there]
        for some in _parts(gone, BATCH_CHUNKS):
            self._remove(some)
        differing = [
            target
            for target in wanted.values()
            if target is not None and (target.id not in there or there[target.id].revision != target.revision)
        ]
        for batch in _batches(differing):
            if self.stop():
                raise StoppedError("the work was stopped between two documents")
            self._write([(target, there.get(target.id)) for target in batch])

    def _remove(self, manifests: Sequence[Manifest]) -> None:
        hidden = [
            replace(one, revision=_fresh(), live=None, chunks=0, pending=(), replaced=_versions(one))
            for one in manifests
        ]
        self._put([(one, was.revision) for one, was in zip(hidden, manifests, strict=True)])
        self.new.sweep([version for one in hidden for version in one.replaced])
        writes = [ManifestWrite(one.id, one.revision, None) for one in hidden]
        _check_taken(self.new.put_manifests(writes))
        for one in manifests:
            self.moved(one.document.uri)

    def _write(self, batch: Sequence[tuple[Manifest, Manifest | None]]) -> None:
        copied = [(target, was) for target, was in batch if not _has_chunks(target, was)]
        announced = [(_announced(target, was), was) for target, was in copied]
        self._put([(one, was.revision if was else None) for one, was in announced])
        self.new.sweep([version for one, _ in announced for version in one.replaced])
        whole = self._copy([target for target, _ in copied])
        revisions = {one.id: one.revision for one, _ in announced}
        finals = [(self._final(one), revisions[one.id]) for one in whole]
        for target, was in batch:
            if was is not None and _has_chunks(target, was):
                finals.append((self._retold(target, was), was.revision))
        self._keep_records([one for one, _ in finals])
        self._put(finals)
        for one, _ in finals:
            self.moved(one.document.uri)

    def _retold(self, target: Manifest, was: Manifest) -> Manifest:
        """The manifest of a version that is there already; its chunks are told what their document is now."""
        if target.live is not None and target.document != was.document:
            self.new.put_info(target.id, target.live, target.document)
        return target if self.remake is None else replace(target, recorded=was.recorded)

    def _final(self, target: Manifest) -> Manifest:
        if self.remake is None or target.live is None:
            return target
        # How a document was cut stays true; how it was embedded does not.
        kept = {key: value for key, value in target.recorded.items() if key == "chunk_tokens"}
        return replace(target, recorded={**self.remake.recorded, **kept})

    def _copy(self, targets: Sequence[Manifest]) -> list[Manifest]:
        """Write the chunks of live versions; the manifests of those that did not change meanwhile."""
        live = [one for one in targets if one.live is not None]
        counted = self._copy_chunks(live) if self.remake is None else self._remake_chunks(live, self.remake)
        whole = {one.id for one in live if 0 < one.chunks == counted[one.id]}
        self._check_changed([one for one in live if one.id not in whole])
        return [one for one in targets if one.live is None or one.id in whole]

    def _keep_records(self, finals: Sequence[Manifest]) -> None:
        """What versions were made of, as it is kept now: metadata may have been set by hand since."""
        live = {(one.id, one.live): one for one in finals if one.live is not None}
        kept = []
        for record in self.old.get_records([key for key, _ in live]):
            final = live.get((record.document_id, record.version))
            if final is not None:
                recorded = record.manifest.recorded if self.remake is None else final.recorded
                kept.append(replace(record, manifest=replace(record.manifest, recorded=recorded)))
        if kept:
            self.new.put_records(kept)

    def _copy_chunks(self, targets: Sequence[Manifest]) -> Counter[str]:
        """Page by page, so that memory does not follow the longest document; chunks by document."""
        counted: Counter[str] = Counter()
        size = self.new.config.dimensions[0]
        for passages, vectors in self._read(targets):
            dense = prefix(vectors.dense, size) if vectors.dense.shape[1] > size else vectors.dense
            self.new.put_chunks(passages, Vectors(dense, vectors.sparse))
            counted.update(one.chunk.document_id for one in passages)
        return counted

    def _remake_chunks(self, targets: Sequence[Manifest], remake: Remake) -> Counter[str]:
        """Documents that are whole, each at once; chunks by document."""
        read: dict[str, list[Passage]] = {one.id: [] for one in targets}
        for found, _ in self._read(targets):
            for one in found:
                read[one.chunk.document_id].append(one)
        whole = [read[one.id] for one in targets if len(read[one.id]) == one.chunks]
        for passages, vectors in zip(whole, remake.vectors(whole) if whole else [], strict=True):
            for at in range(0, len(passages), BATCH_CHUNKS):
                end = at + BATCH_CHUNKS
                self.new.put_chunks(passages[at:end], Vectors(vectors.dense[at:end], vectors.sparse[at:end]))
        return Counter({key: len(passages) for key, passages in read.items()})

    def _read(self, targets: Sequence[Manifest]) -> Iterator[tuple[list[Passage], Vectors]]:
        """Chunks of these live versions, in order; those that are gone are left out."""
        documents = {one.id: one.document for one in targets}
        ids = [
            Chunk(one.id, one.live, ordinal, 0, 1, " ").id
            for one in targets
            if one.live is not None
            for ordinal in range(one.chunks)
        ]
        for some in _parts(ids, BATCH_CHUNKS):
            pages = [self.old.read_points(part) for part in _parts(some, READ_CHUNKS)]
            told = [
                replace(one, document=documents[one.chunk.document_id])
                for passages, _ in pages
                for one in passages
            ]
            if told:
                yield told, Vectors.joined([vectors for passages, vectors in pages if passages])

    def _check_changed(self, missing: Sequence[Manifest]) -> None:
        """What could not be read whole must have been replaced meanwhile: then the next round brings it."""
        now = {one.id: one.revision for one in self.old.get_manifests(_ids(missing))}
        short = [one for one in missing if now.get(one.id) == one.revision]
        if short:
            raise StoreDamagedError(
                f"{len(short)} document(s), {short[0].document.uri} first, lack passages that their "
                "manifests tell of; run `latewood verify --repair`, then try again"
            )

    def _put(self, manifests: Sequence[tuple[Manifest, str | None]]) -> None:
        writes = [ManifestWrite(one.id, expected, one) for one, expected in manifests]
        _check_taken(self.new.put_manifests(writes) if writes else [])


def _settled(manifest: Manifest) -> Manifest | None:
    """A manifest without what is in flight; None when nothing is left to tell."""
    if manifest.live is None and manifest.failure is None:
        return None
    return replace(manifest, pending=(), replaced=())


def _announced(target: Manifest, was: Manifest | None) -> Manifest:
    """What stands in the new index while the target's chunks are written: it hides them."""
    pending = () if target.live is None else (target.live,)
    replaced = () if was is None else tuple(one for one in _versions(was) if one not in pending)
    return Manifest(target.document, _fresh(), pending=pending, replaced=replaced)


def _has_chunks(target: Manifest, was: Manifest | None) -> bool:
    """Whether only the manifest differs."""
    return was is not None and not was.hidden and was.live == target.live and was.chunks == target.chunks


def _versions(manifest: Manifest) -> tuple[str, ...]:
    return manifest.hidden if manifest.live is None else (*manifest.hidden, manifest.live)


def _batches(manifests: Sequence[Manifest]) -> Iterator[list[Manifest]]:
    """Some at a time, a long document by itself."""
    batch: list[Manifest] = []
    chunks = 0
    for one in manifests:
        if batch and (chunks + one.chunks > BATCH_CHUNKS or len(batch) == _BATCH_DOCUMENTS):
            yield batch
            batch, chunks = [], 0
        batch.append(one)
        chunks += one.chunks
    if batch:
        yield batch


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for at in range(0, len(items), size):
        yield items[at : at + size]


def _pages(store: Store) -> Iterator[list[Manifest]]:
    after: str | None = None
    while page := store.list_manifests(after=after, limit=PAGE):
        yield page
        after = page[-1].id


def _ids(manifests: Sequence[Manifest]) -> list[str]:
    return [one.id for one in manifests]


def _fresh() -> str:
    return str(uuid.uuid4())


def _check_taken(taken: Sequence[bool]) -> None:
    if not all(taken):
        raise StoreUnavailableError(
            "another writer is at work on a generation that is being built; try again"
        )
