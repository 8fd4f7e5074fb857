"""The embedded store and the server's against the exact one, list by list."""

from __future__ import annotations

import random
import uuid
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latewood.search.stores.edge.store import EdgeStore
from latewood.search.stores.memory import MemoryStore
from latewood.search.stores.qdrant.filters import matches
from latewood.search.stores.qdrant.range_fields import parse_date
from latewood.search.types import Comparison, Group, Manifest, ManifestWrite, QueryError

WORDS = "oak elm ash fir yew bark leaf root ring wood rain snow sun moon".split()  # noqa: SIM905


def assert_congruent(exact, other, tolerance):
    """Same scores place by place; same ids wherever scores tell them apart."""
    assert [one.score for one in other] == pytest.approx(
        [one.score for one in exact], rel=tolerance, abs=1e-5
    )
    wanted = {one.id: one.score for one in exact}
    least = exact[-1].score if exact else 0
    for one in other:
        assert wanted.get(one.id, least) == pytest.approx(one.score, rel=tolerance, abs=1e-5)
    gaps = [a.score - b.score for a, b in pairwise(exact)]
    if all(gap == 0 or gap > 1e-4 for gap in gaps):
        assert [one.id for one in other] == [one.id for one in exact]


def random_text(rng):
    return " ".join(rng.choices(WORDS, weights=range(1, len(WORDS) + 1), k=rng.randint(1, 14)))


def assert_same_answers(both, kit, rng):
    memory, edge = both
    for _ in range(6):
        legs = kit.legs(random_text(rng), rng.choice([3, 10, 200]))
        for exact, other in zip(memory.search(legs), edge.search(legs), strict=True):
            assert_congruent(exact, other, 1e-4)
    assert memory.count() == edge.count()
    assert replace(edge.stats(), bytes=0) == memory.stats()


@pytest.mark.parametrize("seed", [1, 2])
def test_stores_agree_through_writes_replacements_and_removals(both, kit, seed):
    rng = random.Random(seed)
    memory, edge = both
    names = [f"d{number}" for number in range(8)]
    for step in range(12):
        name = rng.choice(names)
        document = kit.document(name)
        old = memory.get_manifests([document.id])
        assert edge.get_manifests([document.id]) == old
        expected = old[0].revision if old else None
        live = old[0].live if old else None
        version = str(uuid.UUID(int=rng.getrandbits(128)))
        passages = kit.passages(document, version, [random_text(rng) for _ in range(rng.randint(1, 12))])
        flying = Manifest(
            document, f"{step}p", live=live, pending=(version,), chunks=old[0].chunks if old else 0
        )
        replaced = (live,) if live else ()
        done = Manifest(document, f"{step}d", live=version, replaced=replaced, chunks=len(passages))
        for one in both:
            assert one.put_manifests([ManifestWrite(document.id, expected, flying)]) == [True]
            kit.write(one, passages)
        if step % 3 == 0:
            assert_same_answers(both, kit, rng)
        swept = []
        for one in both:
            assert one.put_manifests([ManifestWrite(document.id, f"{step}p", done)]) == [True]
            swept.append(one.sweep(replaced))
            one.put_manifests(
                [ManifestWrite(document.id, f"{step}d", replace(done, revision=f"{step}c", replaced=()))]
            )
        assert swept[0] == swept[1]
        assert memory.chunks_of(document.id) == edge.chunks_of(document.id) == passages
    assert_same_answers(both, kit, rng)
    assert memory.list_manifests() == edge.list_manifests()


METADATA = {
    "n": st.one_of(st.integers(-3, 3), st.sampled_from([2**53, 2**53 + 1, -(2**63), 2**63 - 1])),
    "x": st.one_of(st.floats(-2, 2, width=16), st.integers(-2, 2)),
    "tag": st.one_of(st.sampled_from("abc"), st.lists(st.sampled_from("abc"), max_size=3)),
    "list": st.lists(st.integers(-2, 2), max_size=3),
    "yes": st.booleans(),
    "when": st.sampled_from(["2026-01-31", "2026-01-31T10:00:00Z", "2026-01-31T12:00:00+02:00", "soon", ""]),
    "a.b [0] ü": st.sampled_from(["a", "b"]),
    "mixed": st.one_of(st.booleans(), st.integers(0, 1), st.sampled_from(["true", "1"])),
}
KEYS = [*METADATA, "absent", "kind", "language", "title", "page", "modified", "source"]
DATES = ["2026-01-31", "2026-01-31T10:00:00Z", "2025-12-31T23:59:59.5Z", "2026-02-01T00:30:00+01:00"]


def documents():
    return st.fixed_dictionaries(
        {
            "kind": st.sampled_from(["txt", "pdf"]),
            "language": st.sampled_from(["en", "de", ""]),
            "modified": st.sampled_from([*DATES, ""]),
            "metadata": st.fixed_dictionaries({}, optional=METADATA),
            "pages": st.one_of(
                st.none(), st.tuples(st.integers(1, 5), st.one_of(st.none(), st.integers(0, 3)))
            ),
        }
    )


def scalars(key):
    if key == "page":
        return st.integers(0, 9)
    if key == "modified":
        return st.sampled_from(DATES)
    if key in ("kind", "language", "title", "source"):
        return st.sampled_from(["txt", "pdf", "en", "de", "", "d0", "file:///notes/"])
    return st.one_of(
        st.sampled_from(["a", "b", "c", "true", "1", "soon", *DATES]),
        st.integers(-3, 3),
        st.sampled_from([2**53, 2**53 + 1, 2**63 - 1, -(2**63), float(2**53), 0.5, -1.0]),
        st.booleans(),
    )


@st.composite
def comparisons(draw):
    key = draw(st.sampled_from(KEYS))
    op = draw(st.sampled_from(["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"]))
    if op in ("in", "nin"):
        return Comparison(op, key, draw(st.lists(scalars(key), max_size=3)))
    if op not in ("eq", "ne"):
        if key in ("kind", "language", "title", "source"):
            key = "x"
        values = scalars(key).filter(
            lambda one: (
                not isinstance(one, bool) and (not isinstance(one, str) or parse_date(one) is not None)
            )
        )
        return Comparison(op, key, draw(values))
    return Comparison(op, key, draw(scalars(key)))


FILTERS = st.recursive(
    comparisons(),
    lambda inner: st.builds(Group, st.sampled_from(["and", "or"]), st.lists(inner, max_size=3).map(tuple)),
    max_leaves=6,
)


@pytest.fixture(scope="module", params=["edge", "server"])
def filter_store(request, fast_folder, kit):
    if request.param == "edge":
        directory = fast_folder / "filters"
        directory.mkdir()
        store = EdgeStore(directory, kit.config)
    else:
        store = request.getfixturevalue("make_server")("filters")
    yield store
    store.close()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(made=st.lists(documents(), min_size=1, max_size=6), wheres=st.lists(FILTERS, min_size=1, max_size=8))
def test_filters_equal_the_oracle(filter_store, kit, made, wheres):
    passages = []
    for number, shape in enumerate(made):
        pages = shape.pop("pages")
        (passage,) = kit.passages(kit.document(f"d{number}", **shape), "v", ["oak"])
        if pages is not None:
            first, more = pages
            last = None if more is None else first + more
            passage = replace(passage, chunk=replace(passage.chunk, page_start=first, page_end=last))
        passages.append(passage)
    filter_store.sweep(["v"])
    kit.write(filter_store, passages)
    assert filter_store.fetch([one.chunk.id for one in passages]) == passages
    for where in wheres:
        expected = {one.chunk.id for one in passages if matches(where, one)}
        dense, sparse = filter_store.search(kit.legs("oak"), where)
        assert {one.id for one in dense} == {one.id for one in sparse} == expected
        assert filter_store.count(where) == len(expected)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    made=st.lists(documents(), min_size=1, max_size=6),
    wheres=st.lists(st.one_of(st.none(), FILTERS), min_size=1, max_size=4),
    key=st.sampled_from([key for key in KEYS if key != "page"]),
)
def test_facets_agree_with_the_filters(filter_store, kit, made, wheres, key):
    """The count of a value is the number of documents that a filter on it leaves; stores agree on it."""
    memory = MemoryStore(kit.config)
    for store in (memory, filter_store):
        kit.empty(store)
        for number, shape in enumerate(made):
            pages = shape["pages"]
            facts = {name: value for name, value in shape.items() if name != "pages"}
            first, more = pages or (None, None)
            (passage, second) = kit.commit(store, f"d{number}", ["oak ", "elm"], **facts)
            last = None if more is None else first + more
            kit.write(
                store,
                [
                    replace(passage, chunk=replace(passage.chunk, page_start=first, page_end=last)),
                    replace(second, chunk=replace(second.chunk, page_start=7, page_end=None)),
                ],
            )
    for where in wheres:
        facets = filter_store.facets(key, where)
        assert facets == memory.facets(key, where)
        assert facets.documents == len(documents_found(memory, kit, where))
        for one in facets.values:
            leaves = Comparison("eq", key, one.value)
            both_ = leaves if where is None else Group("and", (where, leaves))
            if key in ("modified", "ingested") and one.value == "":
                continue  # no date, which no filter can ask for
            assert one.documents == len(documents_found(memory, kit, both_)), (key, one)


def documents_found(store, kit, where):
    dense, _ = store.search(kit.legs("oak"), where)
    return {key.document_id for key in store.locate([one.id for one in dense])}


def test_what_facets_cannot_count_is_refused(filter_store, kit):
    for store in (MemoryStore(kit.config), filter_store):
        with pytest.raises(QueryError, match="'page' is of a passage; filter by it instead"):
            store.facets("page")
        with pytest.raises(QueryError, match="is not possible"):
            store.facets('a"b')
        with pytest.raises(QueryError, match="'kind' takes a string"):
            store.facets("language", Comparison("eq", "kind", 1))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    metadata=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
        st.one_of(
            st.text(st.characters(exclude_categories=["Cs"])),
            st.integers(-(2**63), 2**64 - 1),
            st.floats(allow_nan=False, allow_infinity=False),
            st.booleans(),
            st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=3),
        ),
        max_size=4,
    )
)
def test_metadata_comes_back_as_it_was_written(filter_store, kit, metadata):
    (passage,) = kit.passages(kit.document("m", metadata=metadata), "m", ["oak"])
    kit.write(filter_store, [passage])
    (back,) = filter_store.fetch([passage.chunk.id])
    assert back == passage
    kinds = {key: type(value) for key, value in back.document.metadata.items()}
    assert kinds == {key: type(value) for key, value in metadata.items()}


def test_numbers_no_store_can_keep_are_refused(filter_store, kit):
    memory = MemoryStore(kit.config)
    for value in (float("nan"), float("inf"), 2**64, [1.0, float("inf")]):
        passages = kit.passages(kit.document("m", metadata={"n": value}), "m", ["oak"])
        for store in (memory, filter_store):
            with pytest.raises(ValueError, match="numbers must be finite and within 64 bits"):
                kit.write(store, passages)
