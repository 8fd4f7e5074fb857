"""Every store runs the same tests; what they write is made here."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import docker
import numpy as np
import pytest
from testcontainers.core.container import DockerContainer

from latewood.embedder.types import Vectors
from latewood.search.analysis.analyzer import Analyzer
from latewood.search.stores.base import Store
from latewood.search.stores.edge.store import EdgeStore
from latewood.search.stores.memory import MemoryStore
from latewood.search.stores.server import schema
from latewood.search.stores.server.client import Calls, ServerOptions, connect
from latewood.search.stores.server.store import ServerStore
from latewood.search.types import (
    Chunk,
    DenseQuery,
    DocumentInfo,
    IndexConfig,
    Leg,
    Manifest,
    ManifestWrite,
    Passage,
)

sys.path.append(str(Path(__file__).parents[2] / "qdrant_server"))  # helpers; no test package

from qdrant_grpc import QdrantGRPC
from qdrant_http import QdrantHTTP
from qdrant_memory import LockedClient

IMAGE = "qdrant/qdrant:v1.20.0"
DIMENSION = 16
CONFIG = IndexConfig((DIMENSION, 8), {"model": "test"})
ANALYZER = Analyzer(average_length=6.0)


def docker_answers() -> bool:
    """Whether a Docker engine runs here."""
    if not Path("/var/run/docker.sock").exists() and "DOCKER_HOST" not in os.environ:
        return False
    try:
        with closing(docker.from_env(timeout=5)) as engine:
            engine.ping()
    except docker.errors.DockerException:
        return False
    return True


def document_id(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


@dataclass
class Kit:
    """Makes documents and writes them as the ingest walk does."""

    config: IndexConfig = CONFIG
    analyzer: Analyzer = ANALYZER
    versions: set[str] = field(default_factory=set)

    def document(self, name: str, **changes) -> DocumentInfo:
        info = DocumentInfo(
            id=document_id(name),
            uri=f"file:///notes/{name}.txt",
            source="file:///notes/",
            title=name,
            kind="txt",
            language="en",
            modified="2026-01-31T12:00:00Z",
            ingested="2026-02-01T00:00:00Z",
        )
        return replace(info, **changes)

    def passages(self, document: DocumentInfo, version: str, texts: Sequence[str]) -> list[Passage]:
        made, start = [], 0
        for ordinal, text in enumerate(texts):
            end = start + len(text)
            made.append(Passage(Chunk(document.id, version, ordinal, start, end, text), document))
            start = end
        return made

    def vectors(self, passages: Sequence[Passage]) -> Vectors:
        rows = [self.dense(passage.chunk.text) for passage in passages]
        sparse = [self.analyzer.chunk_vector(one.chunk) for one in passages]
        return Vectors(np.stack(rows) if rows else np.empty((0, DIMENSION), np.float32), tuple(sparse))

    def dense(self, text: str) -> np.ndarray:
        seed = uuid.uuid5(uuid.NAMESPACE_OID, text).int % 2**32
        row = np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)
        return row / np.linalg.norm(row)

    def write(self, store: Store, passages: Sequence[Passage]) -> None:
        store.put_chunks(passages, self.vectors(passages))
        self.versions.update(passage.chunk.version for passage in passages)

    def empty(self, store: Store) -> None:
        """Remove everything this kit ever wrote."""
        recorded = {version for _, version in store.list_records()}
        store.sweep(sorted(self.versions | recorded))
        removals = [ManifestWrite(one.id, one.revision, None) for one in store.list_manifests()]
        assert all(store.put_manifests(removals))
        stats = store.stats()
        assert (stats.documents, stats.chunks, stats.hidden) == (0, 0, 0)
        assert (store.list_records(), store.list_chunks()) == ([], [])

    def commit(self, store: Store, name: str, texts: Sequence[str], **changes) -> list[Passage]:
        """A whole document of one version, answering."""
        document = self.document(name, **changes)
        version = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{name}/{len(texts)}/{texts[:1]}"))
        passages = self.passages(document, version, texts)
        old = store.get_manifests([document.id])
        expected = old[0].revision if old else None
        flying = Manifest(document, f"{version}-pending", live=None, pending=(version,))
        assert store.put_manifests([ManifestWrite(document.id, expected, flying)]) == [True]
        self.write(store, passages)
        done = Manifest(document, f"{version}-live", live=version, chunks=len(texts))
        assert store.put_manifests([ManifestWrite(document.id, flying.revision, done)]) == [True]
        return passages

    def legs(self, text: str, limit: int = 50) -> list[Leg]:
        return [
            Leg("dense", DenseQuery(self.dense(text)), limit),
            Leg("bm25", self.analyzer.query_vector(text), limit),
        ]


@pytest.fixture(scope="session")
def kit() -> Kit:
    return Kit()


@pytest.fixture(scope="session")
def fast_folder(tmp_path_factory) -> Iterator[Path]:
    """A folder in memory where the machine has room: making an index waits for the disk a dozen times."""
    memory = Path("/dev/shm")
    if memory.is_dir() and shutil.disk_usage(memory).free > 4 * 2**30:
        with tempfile.TemporaryDirectory(dir=memory, prefix="latewood-") as folder:
            yield Path(folder)
    else:
        yield tmp_path_factory.mktemp("indexes")


@pytest.fixture
def index_folder(fast_folder) -> Iterator[Path]:
    """Removed when the test is over: a hundred indexes would fill the memory they stand in."""
    folder = Path(tempfile.mkdtemp(dir=fast_folder))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def open_edge(index_folder, kit) -> Iterator[Callable[..., EdgeStore]]:
    """Opens embedded stores, by default one and the same index, and closes what a test leaves open."""
    opened: list[EdgeStore] = []

    def open_one(name: str = "index", **options) -> EdgeStore:
        directory = index_folder / name
        directory.mkdir(exist_ok=True)
        opened.append(EdgeStore(directory, kit.config, **options))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture(scope="session")
def shared_edge(fast_folder, kit) -> Iterator[EdgeStore]:
    directory = fast_folder / "shared"
    directory.mkdir()
    store = EdgeStore(directory, kit.config)
    yield store
    store.close()


@pytest.fixture(scope="session")
def make_server(kit) -> Callable[..., ServerStore]:
    """Opens a store on an in-memory engine of its own, or on `client`; who calls it closes it."""

    def make(name: str, client: object | None = None, **options) -> ServerStore:
        given = ServerOptions("http://memory", **options)
        calls = Calls(client or LockedClient(), given, pause=lambda seconds: None)
        schema.make(calls, name, kit.config)
        return ServerStore(calls, name)

    return make


@pytest.fixture
def open_server(make_server) -> Iterator[Callable[..., ServerStore]]:
    """Opens stores, by default one and the same collection, and closes what a test leaves open."""
    client = LockedClient()
    opened: list[ServerStore] = []

    def open_one(name: str = "index") -> ServerStore:
        opened.append(make_server(name, client))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture(scope="session")
def shared_server(make_server) -> Iterator[ServerStore]:
    store = make_server("shared")
    yield store
    store.close()


@pytest.fixture(scope="session")
def qdrant() -> Iterator[QdrantHTTP]:
    """Qdrant's REST paths on a port of this machine."""
    server = QdrantHTTP().start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def connect_to(kit) -> Iterator[Callable[..., Calls]]:
    """Real clients of an address; closed at the end."""
    opened: list[Calls] = []

    def connected(url: str, pause: Callable[[float], object] = lambda seconds: None, **options) -> Calls:
        given = ServerOptions(url, **options)
        opened.append(Calls(connect(given), given, pause))
        return opened[-1]

    yield connected
    for calls in opened:
        calls.client.close()


@pytest.fixture(scope="session")
def shared_http(kit, qdrant, connect_to) -> Iterator[ServerStore]:
    calls = connect_to(qdrant.url)
    schema.make(calls, "over-http", kit.config)
    store = ServerStore(calls, "over-http")
    yield store
    store.close()


@pytest.fixture(scope="session")
def shared_grpc(kit, connect_to) -> Iterator[ServerStore]:
    server = QdrantGRPC().start()
    calls = connect_to("http://127.0.0.1:1", grpc=True, grpc_port=server.port)
    schema.make(calls, "over-grpc", kit.config)
    store = ServerStore(calls, "over-grpc")
    yield store
    store.close()
    server.close()


@pytest.fixture(scope="session")
def shared_container(kit, connect_to) -> Iterator[ServerStore]:
    """A real server: only asked for where a Docker engine answers."""
    with DockerContainer(IMAGE).with_exposed_ports(6333) as container:
        url = f"http://{container.get_container_host_ip()}:{container.get_exposed_port(6333)}"
        calls = connect_to(url, pause=time.sleep, retries=20)
        schema.make(calls, "in-a-container", kit.config)
        store = ServerStore(calls, "in-a-container")
        yield store
        store.close()


PLACES = ["memory", "edge", "server", "http", "grpc", *(["container"] if docker_answers() else [])]


@pytest.fixture(scope="session")
def places() -> list[str]:
    """The stores that run the contract here."""
    return PLACES


@pytest.fixture(params=PLACES)
def store(request, kit) -> Store:
    """An empty store. All but the first were used and emptied before: nothing of that may show."""
    if request.param == "memory":
        return MemoryStore(kit.config)
    used = request.getfixturevalue(f"shared_{request.param}")
    kit.empty(used)
    return used


@pytest.fixture(params=["edge", "server"])
def both(request, kit) -> tuple[MemoryStore, Store]:
    """The exact store and another."""
    return MemoryStore(kit.config), request.getfixturevalue(f"open_{request.param}")()
