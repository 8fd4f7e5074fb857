"""Flipped bits in any file of an index: no answer changes that `verify` does not name."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latewood.embedder.types import Floats, Vectors
from latewood.ingest.chunking.prepare import Prepared
from latewood.ingest.index.writer import Embedded, StoreWriter
from latewood.ingest.integrity.verify import examine
from latewood.ingest.types import Document, document_id
from latewood.search.analysis.analyzer import Analyzer
from latewood.search.stores.edge.store import EdgeStore
from latewood.search.stores.vectors import prefix
from latewood.search.types import (
    Chunk,
    Comparison,
    DenseQuery,
    FileStamp,
    Filter,
    IndexConfig,
    Leg,
    StoreDamagedError,
    StoreError,
)

CONFIG = IndexConfig((16, 8), {"model": "test"})
ANALYZER = Analyzer()
TREES = [
    "oak",
    "elm",
    "ash",
    "fir",
    "larch",
    "yew",
    "birch",
    "beech",
    "alder",
    "rowan",
    "hazel",
    "holly",
    "maple",
    "cedar",
    "spruce",
    "aspen",
]
QUESTIONS = ("oak elm", "larch d40 d100", "holly maple cedar spruce")
FILTERS: tuple[Filter | None, ...] = (
    None,
    Comparison("eq", "kind", "pdf"),
    Comparison("ne", "kind", "pdf"),
    Comparison("eq", "source", "uploads:"),
    Comparison("eq", "language", "de"),
    Comparison("eq", "page", 2),
    Comparison("gte", "year", 1995),
    Comparison("gt", "ratio", 0.5),
    Comparison("eq", "team", "red"),
    Comparison("eq", "open", True),
    Comparison("in", "tags", ["oak", "elm"]),
    Comparison("gt", "day", "2026-05-01"),
    Comparison("lt", "modified", "2023-12-30"),
    Comparison("gt", "ingested", "2020-01-01"),
)
FACETS = ("source", "kind", "language", "year", "team", "tags", "open", "day", "modified")


def dense(text: str) -> Floats:
    seed = uuid.uuid5(uuid.NAMESPACE_OID, text).int % 2**32
    row = np.random.default_rng(seed).standard_normal(16).astype(np.float32)
    return row / np.linalg.norm(row)


def embedded(name: str, seed: int) -> Embedded:
    """A document of five chunks with every kind of metadata."""
    chance = random.Random(seed)
    uri = f"file:///wood/{name}.txt"
    key = document_id("default", "default", uri)
    language = chance.choice(["en", "de"])
    chunks: list[Chunk] = []
    for ordinal in range(5):
        text = " ".join(chance.choices(TREES, k=chance.randint(5, 30))) + f" {name}{ordinal}. "
        start = chunks[-1].end if chunks else 0
        end, page = start + len(text), ordinal // 2 + 1
        headings = ("Wood", name)
        chunks.append(Chunk(key, "v", ordinal, start, end, text, name, headings, page, page + 1, language))
    metadata: dict[str, Any] = {
        "year": chance.randint(1990, 1999),
        "ratio": chance.random(),
        "team": chance.choice(["red", "blue"]),
        "open": chance.random() < 0.5,
        "day": f"2026-0{chance.randint(1, 9)}-11",
        "tags": chance.sample(TREES, 2),
    }
    document = Document(
        id=key,
        uri=uri,
        source=chance.choice(["file:///wood/", "uploads:"]),
        title=f"Title {name}",
        kind=chance.choice(["txt", "pdf"]),
        text="".join(one.text for one in chunks),
        elements=(),
        content_hash=f"hash of {name}",
        metadata=metadata,
        stamp=FileStamp(10, 1_700_000_000_000_000_000 + chance.randint(0, 5) * 10**15, 5, 6, 7),
    )
    sparse = tuple(map(ANALYZER.chunk_vector, chunks))
    vectors = Vectors(np.stack([dense(one.text) for one in chunks]), sparse)
    return Embedded(Prepared(document, tuple(chunks), sparse, 0), vectors, 0)


def answers(store: EdgeStore) -> dict[tuple[str, ...], Any]:
    """Everything that a reader can see."""
    seen: dict[tuple[str, ...], Any] = {}
    for where in FILTERS:
        seen["count", str(where)] = store.count(where)
        for question in QUESTIONS:
            query = DenseQuery(dense(question))
            words = ANALYZER.query_vector(question, ["en", "de"])
            legs = [Leg("dense", query, 100), Leg("dense", query, 5), Leg("bm25", words, 100)]
            ranked = store.search(legs, where)
            seen["search", question, str(where)] = [[tuple(one) for one in each] for each in ranked]
    for key in FACETS:
        seen["facets", key] = store.facets(key)
    manifests = store.list_manifests()
    seen["documents",] = manifests
    for one in manifests:
        seen["chunks", one.id] = store.chunks_of(one.id)
    seen["languages",] = store.languages()
    stats = store.stats()
    seen["stats",] = (stats.documents, stats.chunks, stats.hidden)
    return seen


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An index of 60 chunks that was closed, opened, written to, and closed again."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else tmp_path_factory.mktemp("flips")))
    made = folder / "made"
    made.mkdir()
    with closing(EdgeStore(made, CONFIG, free_space=0)) as store:
        StoreWriter(store).write([embedded(f"d{one}", one) for one in range(6)], {})
    with closing(EdgeStore(made, CONFIG, free_space=0)) as store:
        writer = StoreWriter(store)
        writer.write([embedded(f"d{one}", one) for one in range(6, 14)], {})
        writer.write([embedded("d1", 77)], {})
        writer.remove([embedded(name, 0).document.id for name in ("d2", "d9")])
    subprocess.run(["cp", "-a", "--sparse=always", made, folder / "base"], check=True)
    shutil.rmtree(made)  # its files have no holes, and reading them for nothing takes long
    yield folder / "base"
    shutil.rmtree(folder)


@pytest.fixture
def flip(base: Path) -> Callable[[int], str]:
    """Flips the bit that a seed says in a copy, and gives what became of it, with the file."""
    with closing(EdgeStore(base, CONFIG, free_space=0)) as store:
        before = answers(store)
        assert examine(store, analyzer=ANALYZER).all() == []
    written = [
        (path, np.flatnonzero(np.fromfile(path, np.uint8)))
        for path in sorted(base.rglob("*"))
        if path.is_file()
    ]
    written = [(path, places) for path, places in written if len(places)]
    sizes = [len(places) for _, places in written]

    def one(seed: int) -> str:
        chance = random.Random(seed)
        weights = sizes if chance.random() < 0.5 else None  # every file is hit, however small it is
        path, places = chance.choices(written, weights)[0]
        place, bit = int(places[chance.randrange(len(places))]), chance.randrange(8)
        copy = base.parent / "copy"
        subprocess.run(["cp", "-a", "--sparse=always", base, copy], check=True)
        try:
            with (copy / path.relative_to(base)).open("r+b") as file:
                file.seek(place)
                byte = file.read(1)[0]
                file.seek(place)
                file.write(bytes([byte ^ 1 << bit]))
            return f"{_outcome(copy, before)} {path.relative_to(base)}:{place}.{bit}"
        finally:
            shutil.rmtree(copy)

    return one


def _outcome(copy: Path, before: dict[tuple[str, ...], Any]) -> str:
    """`refused`, `same`, `named` (answers changed, and verify says so) or `missed`."""
    try:
        store = EdgeStore(copy, CONFIG, free_space=0)
    except StoreError:
        return "refused"
    with closing(store):
        try:
            changed = answers(store) != before
        except StoreError:
            return "refused"
        try:
            found = bool(examine(store, analyzer=ANALYZER).all())
        except StoreDamagedError:
            found = True
        return "same" if not changed else "named" if found else "missed"


@pytest.mark.parametrize(
    "seeds", [range(12), pytest.param(range(1000, 1300), marks=pytest.mark.soak)], ids=["few", "many"]
)
def test_no_flipped_bit_changes_an_answer_that_verify_does_not_name(
    flip: Callable[[int], str], seeds: range
) -> None:
    outcomes = [flip(seed) for seed in seeds]
    counted = Counter(one.split()[0] for one in outcomes)
    assert not [one for one in outcomes if one.startswith("missed")], counted
    assert counted["same"] < len(outcomes), "no flip did anything: the test would not notice damage"


def change(path: Path, written: bytes, place: int = 0) -> None:
    """Flip one bit of the only place in a file where these bytes stand."""
    data = bytearray(path.read_bytes())
    assert data.count(written) == 1
    data[data.index(written) + place] ^= 1
    path.write_bytes(data)


@pytest.fixture
def copy(base: Path) -> Iterator[Path]:
    """A copy of the index to damage."""
    copied = base.parent / "hurt"
    subprocess.run(["cp", "-a", "--sparse=always", base, copied], check=True)
    yield copied
    shutil.rmtree(copied)


@pytest.mark.parametrize("records", ["with digests", "of an earlier version"])
def test_a_damaged_bm25_weight_is_named(copy: Path, records: str) -> None:
    if records == "of an earlier version":
        with closing(sqlite3.connect(copy / "records.sqlite")) as database, database:
            database.execute("DROP TABLE digests")
    one = embedded("d5", 5)
    sparse = one.vectors.sparse[2]
    weights = sparse.values[np.argsort(sparse.indices)].astype("<f4").tobytes()
    (path,) = copy.rglob("vector_storage-bm25/store/page_0.dat")
    change(path, weights, place=2)
    with closing(EdgeStore(copy, CONFIG, free_space=0)) as store:
        (found,) = examine(store, analyzer=ANALYZER).all()
    assert (found.code, found.id, found.ordinals) == ("vectors_damaged", one.document.id, (2,))


def test_an_index_without_digests_is_whole(copy: Path) -> None:
    with closing(sqlite3.connect(copy / "records.sqlite")) as database, database:
        database.execute("DROP TABLE digests")
    with closing(EdgeStore(copy, CONFIG, free_space=0)) as store:
        assert examine(store, analyzer=ANALYZER).all() == []


def test_the_lowest_bit_of_a_dense_value_is_named(copy: Path) -> None:
    one = embedded("d5", 5)
    (path,) = copy.rglob("vector_storage-dense_16/vectors/chunk_0.mmap")
    change(path, prefix(one.vectors.dense, 16)[2].astype("<f4").tobytes())
    with closing(EdgeStore(copy, CONFIG, free_space=0)) as store:
        (found,) = examine(store).all()
    assert (found.code, found.id, found.ordinals) == ("vectors_damaged", one.document.id, (2,))


@pytest.mark.parametrize(
    ("field", "code", "name"),
    [
        ("kind-map", "filter_differs", "kind"),
        ("analysed-map", "languages_differ", "languages"),
    ],
)
def test_a_damaged_payload_index_is_named(copy: Path, field: str, code: str, name: str) -> None:
    (path,) = copy.rglob(f"payload_index/*{field}/page_0.dat")
    data = path.read_bytes()
    old = b"pdf" if name == "kind" else b"de"
    assert old in data
    path.write_bytes(data.replace(old, b"x" + old[1:]))  # everywhere: some places may be out of use
    with closing(EdgeStore(copy, CONFIG, free_space=0)) as store:
        found = examine(store).all()
    assert [(one.code, one.id) for one in found] == [(code, f"index:{name}")]


def test_a_lost_mark_of_deletion_is_named(copy: Path) -> None:
    """A manifest has no vector: the engine keeps an empty one, marked as deleted lest searches find it."""
    (path,) = copy.rglob("vector_storage-dense_16/deleted/flags_a.dat")
    data = bytearray(path.read_bytes())
    assert data[0], "no point was marked: nothing to lose"
    data[0] = 0
    path.write_bytes(data)
    with (
        closing(EdgeStore(copy, CONFIG, free_space=0)) as store,
        pytest.raises(StoreDamagedError, match=r"manifests of \d+ document\(s\) are damaged"),
    ):
        examine(store, analyzer=ANALYZER)
