"""Indexes on a pretended disk, whose owner can be killed between any two calls to a store or the catalog."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from latewood.embedder.types import Floats
from latewood.ingest.index import commit
from latewood.ingest.index.copy import Remake
from latewood.ingest.index.rebuild import Seams, Target, rebuild
from latewood.ingest.index.reembed import Reembed
from latewood.ingest.index.writer import describe
from latewood.ingest.pipeline import Index, ingest
from latewood.ingest.types import Document, document_id
from latewood.search.analysis.analyzer import Analyzer
from latewood.search.stores.base import Store
from latewood.search.stores.edge.store import EdgeStore
from latewood.search.stores.generations import folder as succession
from latewood.search.stores.generations import layout
from latewood.search.stores.generations.base import FolderHome
from latewood.search.stores.generations.switch import Held, SwitchStore
from latewood.search.stores.memory import MemoryStore
from latewood.search.types import Failure, IndexConfig, Manifest

TEXTS = {
    "ferry": "The ferry leaves at nine. It carries forty cars and a post van. Dogs travel free of charge.",
    "seals": "Seals rest on the sand bank at low tide. Keep away from them.",
    "tides": "High water is an hour later each day.",
}


class Killed(BaseException):
    """The process is gone: nothing it would still have done happens."""


@dataclass
class Process:
    """Counts calls; from the `limit`-th on every one of them finds the process killed."""

    limit: int | None = None
    calls: int = 0

    def step(self) -> None:
        self.calls += 1
        if self.limit is not None and self.calls >= self.limit:
            raise Killed


class Tapped:
    """A store as one process sees it."""

    def __init__(self, store: MemoryStore | EdgeStore, process: Process) -> None:
        self._store = store
        self._process = process

    @property
    def config(self) -> IndexConfig:
        return self._store.config

    def close(self) -> None:
        """Nothing for what pretends to be a disk, which keeps what was written."""
        if isinstance(self._store, EdgeStore):
            self._store.close()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self._process.step()
            return found(*args, **kwargs)

        return call


@dataclass
class World:
    """A collection's folder, and what its stores hold while no process is there."""

    data: Path
    config: IndexConfig
    embedder: Any
    real: bool = False
    disk: dict[Path, MemoryStore] = field(default_factory=dict)
    process: Process = field(default_factory=Process)

    def __post_init__(self) -> None:
        self.start()

    @property
    def home(self) -> Path:
        return layout.home_of(self.data, "default", "default")

    def start(self) -> None:
        """A new process: it settles what another left and opens what is current."""
        if not layout.exists(self.data, "default", "default"):
            first = layout.create(self.data, "default", "default", self.config)
            (self.data / "first").write_text(first.name)
        succession.settle(self.home)
        folder = layout.current(self.home)
        store = self.open_store(folder.name, layout.read_config(folder), False)
        commit.recover(store)
        self.live = SwitchStore(self.held(store, folder))

    def held(self, store: Store, folder: Path) -> Held:
        def let_go(returned: Store) -> None:
            returned.close()
            succession.release(folder)

        succession.use(folder)
        return Held(store, let_go)

    def close(self) -> None:
        self.live.close()

    def optimised(self) -> bool:
        """Whether another generation took over from the first."""
        return (self.data / "first").read_text() != layout.current(self.home).name

    def open_store(self, generation: str, config: IndexConfig, aside: bool) -> Store:
        self.process.step()
        folder = self.home / generation
        if self.real:
            return Tapped(EdgeStore(folder, config), self.process)  # type: ignore[return-value]
        store = self.disk.setdefault(folder, MemoryStore(config))
        assert store.config == config
        return Tapped(store, self.process)  # type: ignore[return-value]

    def take_over(self, store: Store, generation: str) -> None:
        folder = layout.current(self.home)
        assert folder.name == generation
        self.live.switch_to(self.held(store, folder))

    def seams(self, **changes: Any) -> Seams:
        return replace(Seams(self.open_store, lambda store: None, self.take_over), **changes)

    def rebuild(
        self, purpose: str = succession.OPTIMISE, remake: Remake | None = None, **changes: Any
    ) -> None:
        config = self.live.config
        if purpose == succession.ROLLBACK:
            kept = succession.previous(self.home)
            assert kept is not None
            config = layout.read_config(kept)
        elif remake is not None:
            config = OTHER
        rebuild(self.live, Target(FolderHome(self.home), purpose, config, remake), self.seams(**changes))

    def killed_at(self, limit: int, work: Callable[[], object]) -> bool:
        """Whether the process was killed before `work` was done."""
        self.process.limit, self.process.calls = limit, 0
        try:
            work()
        except Killed:
            return True
        else:
            return False
        finally:
            self.process.limit = None
            succession._in_use.clear()
            self.process = Process()

    def take(self, texts: dict[str, str], embedder: Any = None) -> None:
        index = Index("default", "default", self.live, lambda: embedder or self.embedder, Analyzer(), 8)
        outcomes = list(ingest(index, [document(name, texts[name]) for name in texts]))
        assert [one.error for one in outcomes] == [None] * len(texts)

    def remove(self, name: str) -> None:
        assert commit.remove(self.live, [key(name)]) == 1

    def content(self, store: Store | None = None) -> dict[str, Any]:
        return content(store or self.live)

    def strays(self) -> list[str]:
        return strays(self.live)

    def text(self, name: str) -> str:
        return "".join(one.chunk.text for one in self.live.chunks_of(key(name)))

    def kept(self) -> str | None:
        found = succession.previous(self.home)
        return found and found.name

    def folders(self) -> set[str]:
        return {one.name for one in self.home.iterdir() if one.is_dir()}


OTHER = IndexConfig((8,), {"model": "others"})


def document(name: str, text: str, **changes: Any) -> Document:
    uri = f"file:///notes/{name}.txt"
    made = Document(
        id=document_id("default", "default", uri),
        uri=uri,
        source="file:///notes/",
        title=name,
        kind="txt",
        text=text,
        elements=(),
        content_hash=f"hash of {text}",
        metadata={"author": name.title(), "pages": [1, 2]},
        notes=("assumed to be UTF-8",),
    )
    return replace(made, **changes)


def key(name: str) -> str:
    return document(name, "x").id


def note_failure(store: Store, name: str) -> None:
    """A document of which there are only failures."""
    info = replace(describe(document(name, "x")), title=f"{name} that cannot be read")
    failure = Failure("damaged", "it is damaged", "2026-01-31T12:00:00Z", "h", None, "1", False)
    commit.note_failure(store, info, failure)


def commit_info(name: str) -> Any:
    return describe(document(name, "x"))


def leave_in_flight(store: Store, name: str) -> None:
    """What a writer that died leaves: a version announced, some of its chunks written."""
    (attempt,) = commit.begin(store, [describe(document(name, "x"))])
    found = store.get_manifests([key(name)])[0]
    passages, vectors = store.read_chunks(key(name))
    moved = [replace(one, chunk=replace(one.chunk, version=attempt.version)) for one in passages]
    store.put_chunks(moved, vectors)
    assert attempt.version in found.pending


def content(store: Store) -> dict[str, Any]:
    """Everything an index says but for its vectors; versions in flight left out."""
    found: dict[str, Any] = {}
    manifests: list[Manifest] = store.list_manifests()
    for one in manifests:
        if one.live is None and one.failure is None:
            continue
        told = replace(one, pending=(), replaced=(), revision="", recorded={})
        records = [
            (replace(record.manifest, recorded={}, revision=""), record.chunks)
            for record in store.get_records([one.id])
            if record.manifest.live == one.live
        ]
        found[one.id] = (told, store.chunks_of(one.id), records)
    return found


def strays(store: Store) -> list[str]:
    """Chunks and records of versions that are not live."""
    live = {one.live for one in store.list_manifests()}
    return [one.id for one in store.list_chunks() if one.version not in live] + [
        document for document, version in store.list_records() if version not in live
    ]


class OtherEmbedder:
    """Another model: other vectors, of another size, and another idea of what a token is."""

    fingerprint = OTHER.fingerprint
    recorded: Mapping[str, str] = MappingProxyType({"context": "0", "dtype": "float32"})
    dimension = 8

    def __init__(self) -> None:
        self.texts: list[str] = []

    def token_offsets(self, text: str) -> Any:
        spans = [(at, at + 1) for at, letter in enumerate(text) if letter.isalpha()]
        return np.array(spans, dtype=np.int64).reshape(-1, 2)

    def embed_documents(
        self,
        documents: Sequence[Any],
        stop: Callable[[], bool] = lambda: False,
        progress: Callable[[float], object] | None = None,
    ) -> list[Floats]:
        self.texts += [one.text for one in documents]
        return [self.rows([one.text[span.start : span.end] for span in one.spans]) for one in documents]

    def rows(self, texts: Sequence[str]) -> Floats:
        rows = np.array([[text.count(letter) + 0.5 for letter in "aeiounrt"] for text in texts], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def remake(self) -> Reembed:
        return Reembed(self, Analyzer(), lambda: False)  # type: ignore[arg-type]


def filled(world: World) -> World:
    """A small index: three documents, one that only ever failed, one with an attempt left in flight."""
    world.take(TEXTS)
    note_failure(world.live, "log")
    leave_in_flight(world.live, "seals")
    return world


@pytest.fixture
def fill() -> Callable[[World], World]:
    return filled


@pytest.fixture
def world(make_world: Callable[..., World], tmp_path: Path) -> World:
    return filled(make_world(tmp_path))


@pytest.fixture
def make_world(embedder: Any) -> Callable[..., World]:
    """Makes empty ones, or opens what is there."""

    def make(folder: Path, *, real: bool = False) -> World:
        return World(folder, IndexConfig((embedder.dimension,), embedder.fingerprint), embedder, real)

    return make


@pytest.fixture
def other() -> OtherEmbedder:
    return OtherEmbedder()
