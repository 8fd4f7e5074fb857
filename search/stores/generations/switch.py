"""One store in front of the generations of an index, so that another can take over while it is in use.

Three promises:

* A call goes to the generation that is current when it begins, and that one stays open until the call, and
  whoever else holds it (`Held`), is done.
* What is written between `watch` and the switch is known by document (`touched`), so that the new generation
  can be brought up to the state of these documents; no log of changes is kept.
* A walk of several writes (`one_walk`) is done wholly before a switch or wholly after it.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Concatenate, ParamSpec, TypeVar

from latewood.embedder.types import Vectors
from latewood.search.facets import Facets
from latewood.search.stores.base import Store
from latewood.search.stores.generations.write_barrier import Gate
from latewood.search.types import (
    Candidate,
    ChunkKey,
    DocumentInfo,
    Filter,
    IndexConfig,
    Leg,
    Manifest,
    ManifestWrite,
    Passage,
    Record,
    StoreStats,
)

P = ParamSpec("P")
R = TypeVar("R")


class Held:
    """An open store that is let go of when nobody can reach this object any more.

    So a reference is a lease: whoever needs the store keeps this.
    """

    def __init__(self, store: Store, let_go: Callable[[Store], object]) -> None:
        """Hold `store`.

        Args:
            store: an open store.
            let_go: called once, in whichever thread drops the last reference: it must be short and must not
                take a lock, so it passes the store on to be closed.
        """
        self.store = store
        self.let_go = weakref.finalize(self, let_go, store)
        self.let_go.atexit = False


class SwitchStore:
    """The store of an index, whichever generation that is. Implements `Store`; see there."""

    def __init__(self, held: Held) -> None:
        self._held = held
        self._gate = Gate()
        self._noting = threading.Lock()
        self._touched: set[str] | None = None
        self._written = 0

    # switching

    def held(self) -> Held:
        """The current generation, open for as long as the answer is kept."""
        return self._held

    def writing(self) -> AbstractContextManager[None]:
        """Until it is left, no generation takes over: for a walk of several writes by one thread."""
        return self._gate.writing()

    def switching(self, patience: float) -> AbstractContextManager[None]:
        """Until it is left, nothing is written. See `Gate.switching`."""
        return self._gate.switching(patience)

    def switch_to(self, held: Held) -> None:
        """Let another generation take over; only inside `switching`."""
        self._held = held

    def watch(self) -> None:
        """Begin to note which documents are written."""
        with self._noting:
            self._touched = set()

    def unwatch(self) -> None:
        """No more."""
        with self._noting:
            self._touched = None

    def touched(self) -> list[str]:
        """Ids of the documents written since `watch` or the last call, in order."""
        with self._noting:
            found = sorted(self._touched or ())
            if self._touched is not None:
                self._touched.clear()
            return found

    def take_written(self) -> int:
        """The number of chunks written since the last call."""
        with self._noting:
            written, self._written = self._written, 0
            return written

    @contextmanager
    def _open(self) -> Iterator[Store]:
        held = self._held  # kept until the call is done, and with it the store open
        yield held.store

    @contextmanager
    def _changing(self, ids: Sequence[str] = (), chunks: int = 0) -> Iterator[Store]:
        with self._gate.writing(), self._open() as store:
            try:
                yield store
            finally:  # noted after the write, so that whoever asks in between finds it the next time
                with self._noting:
                    self._written += chunks
                    if self._touched is not None:
                        self._touched.update(ids)

    # the store

    @property
    def config(self) -> IndexConfig:
        """See `Store.config`."""
        return self._held.store.config

    def put_manifests(self, writes: Sequence[ManifestWrite]) -> list[bool]:
        """See `Store.put_manifests`."""
        with self._changing([write.document_id for write in writes]) as store:
            return store.put_manifests(writes)

    def get_manifests(self, ids: Sequence[str]) -> list[Manifest]:
        """See `Store.get_manifests`."""
        with self._open() as store:
            return store.get_manifests(ids)

    def list_manifests(
        self, *, source: str | None = None, after: str | None = None, limit: int = 1000
    ) -> list[Manifest]:
        """See `Store.list_manifests`."""
        with self._open() as store:
            return store.list_manifests(source=source, after=after, limit=limit)

    def newest(self, *, after: tuple[str, str] | None = None, limit: int = 100) -> list[tuple[str, str]]:
        """See `Store.newest`."""
        with self._open() as store:
            return store.newest(after=after, limit=limit)

    def in_flight(self) -> list[Manifest]:
        """See `Store.in_flight`."""
        with self._open() as store:
            return store.in_flight()

    def abandoned(self) -> list[Manifest]:
        """See `Store.abandoned`."""
        with self._open() as store:
            return store.abandoned()

    def put_chunks(self, passages: Sequence[Passage], vectors: Vectors) -> None:
        """See `Store.put_chunks`."""
        with self._changing([one.chunk.document_id for one in passages], len(passages)) as store:
            store.put_chunks(passages, vectors)

    def sweep(self, versions: Sequence[str]) -> int:
        """See `Store.sweep`."""
        with self._changing() as store:
            return store.sweep(versions)

    def remove_chunks(self, ids: Sequence[str]) -> int:
        """See `Store.remove_chunks`."""
        with self._changing() as store:
            return store.remove_chunks(ids)

    def put_info(self, document_id: str, version: str, info: DocumentInfo) -> None:
        """See `Store.put_info`."""
        with self._changing([document_id]) as store:
            store.put_info(document_id, version, info)

    def put_records(self, records: Sequence[Record]) -> None:
        """See `Store.put_records`."""
        with self._changing([record.manifest.id for record in records]) as store:
            store.put_records(records)

    def get_records(self, ids: Sequence[str]) -> list[Record]:
        """See `Store.get_records`."""
        with self._open() as store:
            return store.get_records(ids)

    def list_records(
        self, *, after: tuple[str, str] | None = None, limit: int = 10_000
    ) -> list[tuple[str, str]]:
        """See `Store.list_records`."""
        with self._open() as store:
            return store.list_records(after=after, limit=limit)

    def search(self, legs: Sequence[Leg], where: Filter | None = None) -> Sequence[Sequence[Candidate]]:
        """See `Store.search`. A dense query belongs to one model: search one generation (`held`) instead."""
        with self._open() as store:
            return store.search(legs, where)

    def fetch(self, ids: Sequence[str]) -> list[Passage]:
        """See `Store.fetch`."""
        with self._open() as store:
            return store.fetch(ids)

    def locate(self, ids: Sequence[str]) -> list[ChunkKey]:
        """See `Store.locate`."""
        with self._open() as store:
            return store.locate(ids)

    def chunks_of(self, document_id: str, *, first: int = 0, last: int | None = None) -> list[Passage]:
        """See `Store.chunks_of`."""
        with self._open() as store:
            return store.chunks_of(document_id, first=first, last=last)

    def read_chunks(
        self, document_id: str, *, first: int = 0, limit: int = 256
    ) -> tuple[list[Passage], Vectors]:
        """See `Store.read_chunks`."""
        with self._open() as store:
            return store.read_chunks(document_id, first=first, limit=limit)

    def read_points(self, ids: Sequence[str]) -> tuple[list[Passage], Vectors]:
        """See `Store.read_points`."""
        with self._open() as store:
            return store.read_points(ids)

    def unsound(self, ids: Sequence[str]) -> list[str]:
        """See `Store.unsound`."""
        with self._open() as store:
            return store.unsound(ids)

    def list_chunks(
        self, *, after: str | None = None, limit: int = 10_000, where: Filter | None = None
    ) -> list[ChunkKey]:
        """See `Store.list_chunks`."""
        with self._open() as store:
            return store.list_chunks(after=after, limit=limit, where=where)

    def languages(self) -> list[str]:
        """See `Store.languages`."""
        with self._open() as store:
            return store.languages()

    def count(self, where: Filter | None = None) -> int:
        """See `Store.count`."""
        with self._open() as store:
            return store.count(where)

    def facets(self, key: str, where: Filter | None = None) -> Facets:
        """See `Store.facets`."""
        with self._open() as store:
            return store.facets(key, where)

    def stats(self) -> StoreStats:
        """See `Store.stats`."""
        with self._open() as store:
            return store.stats()

    def optimise(self) -> None:
        """See `Store.optimise`: not here, where readers would wait; `ingest.generations` does it aside."""
        with self._open() as store:
            store.optimise()

    def sync(self) -> None:
        """See `Store.sync`."""
        with self._open() as store:
            store.sync()

    def flush(self) -> None:
        """See `Store.flush`."""
        with self._open() as store:
            store.flush()

    def close(self) -> None:
        """Let go of the current generation."""
        self._held.let_go()


def one_walk(function: Callable[Concatenate[Store, P], R]) -> Callable[Concatenate[Store, P], R]:
    """Mark a function whose first argument is a store: its writes stay together in one generation."""

    @functools.wraps(function)
    def walked(store: Store, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with store.writing() if isinstance(store, SwitchStore) else nullcontext():
            return function(store, *args, **kwargs)

    return walked
