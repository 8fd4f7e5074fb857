"""Every plan of the dense leg against the exact store, with the engine's structures really built."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from latewood.embedder.types import SparseVector, Vectors
from latewood.search.index_config import DensePlan
from latewood.search.stores.edge import convert, shard
from latewood.search.stores.edge.convert import query_request, vector_params
from latewood.search.stores.edge.index import EdgeIndex
from latewood.search.stores.edge.process import ranked_list
from latewood.search.stores.memory import MemoryStore
from latewood.search.stores.qdrant.requests import leg_request
from latewood.search.types import (
    Candidate,
    Chunk,
    Comparison,
    DenseQuery,
    Filter,
    IndexConfig,
    Leg,
    Passage,
    StoreDamagedError,
)

POINTS, SIZES = 1500, (64, 32, 16)
EMPTY = SparseVector(np.empty(0, np.uint32), np.empty(0, np.float32))
PLANS = {
    "flat": DensePlan(graph=False),
    "hnsw": DensePlan(),
    "hnsw on disk, few edges": DensePlan(on_disk=True, m=8, ef_construct=50),
    "float16": DensePlan(dtype="float16"),
    "int8": DensePlan(quantization="int8"),
    "flat int8 float16": DensePlan(graph=False, quantization="int8", dtype="float16"),
    "turbo": DensePlan(quantization="turbo"),
    "binary": DensePlan(quantization="binary", oversampling=8),
    "32→64": DensePlan(stages=(32, 64)),
    "32→64 int8 on disk": DensePlan(stages=(32, 64), quantization="int8", on_disk=True),
    "16→32→64": DensePlan(stages=(16, 32, 64)),
}


@dataclass
class World:
    """The same passages in both stores, and questions to ask them."""

    memory: MemoryStore
    passages: list[Passage]
    vectors: Vectors
    questions: np.ndarray

    def exact(self, question: np.ndarray, limit: int, where: Filter | None = None) -> list[Candidate]:
        return self.memory.search([Leg("dense", DenseQuery(question), limit)], where)[0]


@pytest.fixture(scope="module")
def world(kit) -> World:
    """Clusters whose first numbers say the most, as those of a model trained for it do."""
    random = np.random.default_rng(3)
    spectrum = np.arange(1, SIZES[0] + 1) ** -0.5
    centres = random.standard_normal((POINTS // 50, SIZES[0]))

    def drawn(count: int) -> np.ndarray:
        rows = centres[random.integers(0, len(centres), count)]
        rows = (rows + 0.7 * random.standard_normal(rows.shape)) * spectrum
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    passages = []
    for number in range(POINTS // 10):
        document = kit.document(f"d{number}", kind="pdf" if number % 10 == 0 else "txt")
        version = document.id
        passages += [
            Passage(Chunk(document.id, version, one, one, one + 1, "x"), document) for one in range(10)
        ]
    vectors = Vectors(drawn(POINTS), (EMPTY,) * POINTS)
    memory = MemoryStore(IndexConfig(SIZES, {}))
    memory.put_chunks(passages, vectors)
    return World(memory, passages, vectors, drawn(20))


@pytest.fixture
def build(world, index_folder, monkeypatch) -> Iterator[Callable[[DensePlan], EdgeIndex]]:
    """Writes and optimises an index in this process; the engine builds everything, however few there are."""
    monkeypatch.setattr(convert, "FULL_SCAN_KIB", 1)
    monkeypatch.setattr(shard, "INDEXING_KIB", 1)
    opened = []

    def build_one(plan: DensePlan, *, optimised: bool = True) -> EdgeIndex:
        index = EdgeIndex(index_folder, IndexConfig(SIZES, {}, plan), 0)
        index.put_chunks(world.passages, world.vectors)
        if optimised:
            index.optimise()
        opened.append(index)
        return index

    yield build_one
    for index in opened:
        index.close()


def answer(
    index: EdgeIndex, question: np.ndarray, limit: int, where: Filter | None = None
) -> list[Candidate]:
    return list(ranked_list(index.search([Leg("dense", DenseQuery(question), limit)], where)[0]))


def built_files(folder: Path) -> set[tuple[str, str]]:
    """What there is of which named vector; a graph without edges is none."""
    kinds = {"links_compressed.bin": "graph", "quantized.data": "quantised"}
    return {
        (path.parent.name.partition("-")[2], kinds[path.name])
        for path in (folder / "shard").rglob("*")
        if path.name in kinds and path.stat().st_size > 8 * POINTS
    }


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_finds_what_is_nearest_and_scores_it_exactly(name, build, world, index_folder):
    plan = PLANS[name]
    index = build(plan)
    first = f"dense_{(plan.stages or SIZES)[0]}"
    wanted = {(first, "graph")} if plan.graph else set()
    assert built_files(index_folder) == wanted | (
        {(first, "quantised")} if plan.quantization != "none" else set()
    )
    found = 0
    for question in world.questions:
        exact = {one.id: one.score for one in world.exact(question, POINTS)}
        nearest = {one.id for one in world.exact(question, 10)}
        ranked = answer(index, question, 10)
        assert [one.score for one in ranked] == sorted((one.score for one in ranked), reverse=True)
        off = 1e-3 if plan.dtype == "float16" else 1e-6
        assert [one.score for one in ranked] == pytest.approx([exact[one.id] for one in ranked], abs=off)
        found += len(nearest & {one.id for one in ranked})
    least = {"flat": 1.0, "binary": 0.9}.get(name, 0.95)
    assert found / (10 * len(world.questions)) >= least


@pytest.mark.parametrize("name", ["hnsw", "int8", "binary", "32→64 int8 on disk", "flat int8 float16"])
def test_a_plan_keeps_to_filters_and_to_what_a_reader_may_see(name, build, world):
    index = build(PLANS[name])
    where = Comparison("eq", "kind", "pdf")
    allowed = {one.chunk.id for one in world.passages if one.document.kind == "pdf"}
    found = 0
    for question in world.questions:
        ranked = {one.id for one in answer(index, question, 10, where)}
        assert ranked <= allowed
        found += len(ranked & {one.id for one in world.exact(question, 10, where)})
    assert found / (10 * len(world.questions)) >= 0.8
    gone = [one.id for one in answer(index, world.questions[0], 3)]
    index.remove_chunks(gone)
    assert not {one.id for one in answer(index, world.questions[0], 20)} & set(gone)


@pytest.mark.parametrize("name", PLANS)
def test_before_it_is_optimised_an_index_answers_by_the_same_plan(name, build, world):
    index = build(PLANS[name], optimised=False)
    found = 0
    for question in world.questions:
        nearest = {one.id for one in world.exact(question, 10)}
        found += len(nearest & {one.id for one in answer(index, question, 10)})
    assert found / (10 * len(world.questions)) >= (0.9 if name == "binary" else 0.95)


@pytest.mark.parametrize("name", ["float16", "binary", "32→64 int8 on disk"])
def test_vectors_are_given_back_as_they_are_kept_whatever_the_plan(name, build, world):
    index = build(PLANS[name])
    _, dense, _ = index.read_points([one.chunk.id for one in world.passages[:50]])
    off = 1e-3 if PLANS[name].dtype == "float16" else 1e-6
    assert dense == pytest.approx(world.vectors.dense[:50], abs=off)


def test_the_same_question_gives_the_same_list_and_deeper_ones_begin_with_it_where_all_is_compared(
    build, world
):
    index = build(PLANS["flat int8 float16"])
    for question in world.questions:
        assert answer(index, question, 30) == answer(index, question, 30)
        assert answer(index, question, 30)[:10] == answer(index, question, 10)


def test_each_stage_but_the_last_finds_more_than_the_next_one_ranks():
    config = IndexConfig(
        SIZES, {}, DensePlan(stages=(16, 32, 64), quantization="int8", oversampling=2, ef=70)
    )
    question = np.eye(64, dtype=np.float32)[3]
    request = leg_request(Leg("dense", DenseQuery(question), 10), config, None, None, 11)
    second = request.prefetch
    first = second.prefetch
    assert [(one.using, one.limit) for one in (first, second, request)] == [
        ("dense_16", 44),
        ("dense_32", 22),
        ("dense_64", 11),
    ]
    assert first.params.quantization.rescore is False  # the next stage ranks by more numbers anyway
    assert first.params.hnsw_ef == 70
    assert second.params.quantization.ignore
    assert request.params.quantization.ignore
    assert len(first.query.nearest) == 16


def test_a_flat_plan_compares_every_vector_even_where_a_graph_was_built():
    question = Leg("dense", DenseQuery(np.ones(64, np.float32)), 10)
    flat = leg_request(question, IndexConfig(SIZES, {}, DensePlan(graph=False)), None, None, 11)
    assert flat.params.exact
    assert leg_request(question, IndexConfig(SIZES, {}), None, None, 11).params.exact is False


def test_what_no_plan_has_is_not_converted():
    from qdrant_client import models

    dot = models.VectorParams(size=4, distance=models.Distance.DOT, datatype=models.Datatype.FLOAT32)
    with pytest.raises(TypeError, match="no plan here has"):
        vector_params(dot)
    bare = models.VectorParams(size=4, distance=models.Distance.COSINE, datatype=models.Datatype.FLOAT32)
    with pytest.raises(TypeError, match="how its graph is built"):
        vector_params(bare)


def test_the_engine_left_alone_scores_by_quantised_vectors(build, world):
    """What every request here guards against; when the engine changes, it need not."""
    index = build(PLANS["int8"])
    question = world.questions[0]
    request = leg_request(Leg("dense", DenseQuery(question), 10), index._config, None, None, 10)
    exact = {one.id: one.score for one in world.exact(question, POINTS)}

    def furthest(asked) -> float:
        points = index._shard.query(query_request(asked))
        return max(abs(one.score - exact[str(one.id)]) for one in points)

    assert furthest(request) < 1e-6
    assert furthest(request.model_copy(update={"params": None})) > 1e-4


def test_an_index_opens_with_another_plan_but_not_with_another_datatype(index_folder):
    EdgeIndex(index_folder, IndexConfig(SIZES, {}), 0).close()
    for plan in (DensePlan(graph=False), DensePlan(quantization="int8"), DensePlan(on_disk=True, m=32)):
        EdgeIndex(index_folder, IndexConfig(SIZES, {}, plan), 0).close()
    with pytest.raises(StoreDamagedError, match="datatype"):
        EdgeIndex(index_folder, IndexConfig(SIZES, {}, DensePlan(dtype="float16")), 0)


def test_every_value_of_a_plan_reaches_the_engine(build, index_folder, world):
    build(DensePlan(m=8, ef_construct=40, quantization="turbo", on_disk=True, dtype="float16"))
    text = (index_folder / "shard" / "edge_config.json").read_text()
    assert '"m":8' in text.replace(" ", "")
    assert '"ef_construct":40' in text.replace(" ", "")
    assert '"bits":"bits4"' in text.replace(" ", "")
    assert "float16" in text
