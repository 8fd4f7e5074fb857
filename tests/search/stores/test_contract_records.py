"""What every store promises of records, of chunks for repair, and of rewriting what a document is called."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from latewood.embedder.types import SparseVector, Vectors
from latewood.search.types import (
    Chunk,
    ChunkKey,
    Comparison,
    Manifest,
    ManifestWrite,
    Passage,
    QueryError,
    Record,
)

AWKWARD = {"größe": "ß", "n": 2**63 - 1, "x": 0.1, "yes": True, "tags": ["a", "b"], "a.b": "c", "e": []}


def record_of(kit, name, version, texts, **changes) -> Record:
    passages = kit.passages(kit.document(name, **changes), version, texts)
    manifest = Manifest(
        passages[0].document,
        f"{version}-r",
        content_hash="0" * 64,
        live=version,
        chunks=len(texts),
        characters=len("".join(texts)),
        recorded={"dtype": "float32"},
        notes=("a note",),
    )
    return Record(manifest, tuple(one.chunk for one in passages))


def key_of(passage: Passage) -> ChunkKey:
    chunk = passage.chunk
    return ChunkKey(chunk.id, chunk.document_id, chunk.version, chunk.ordinal)


def terms_of(sparse):
    return dict(zip(sparse.indices.tolist(), sparse.values.tolist(), strict=True))


def test_a_record_comes_back_as_it_was_written(store, kit):
    texts = ["العربية ", "हिन्दी में", "👩‍👩‍👧 \r\n\t", "lone \ud83c", "x" * 300_000]
    whole = record_of(kit, "日本語 🌲", "v1", texts, metadata=AWKWARD)
    chunks = list(whole.chunks)
    chunks[1] = replace(chunks[1], context="Titel › Kopf", headings=("H1", "H2"), page_start=3, page_end=5)
    whole = replace(whole, chunks=tuple(chunks))
    empty = Record(Manifest(kit.document("none"), "r", live="v0"), ())
    store.put_records([whole, empty])
    assert store.get_records([empty.document_id, whole.document_id]) == [empty, whole]
    store.put_records([whole])
    assert store.get_records([whole.document_id, "no id", kit.document("x").id]) == [whole]


def test_records_are_kept_by_version_and_listed_by_pages(store, kit):
    made = [record_of(kit, name, version, ["oak", "elm"]) for name in "cab" for version in ("v2", "v1")]
    store.put_records(made)
    wanted = sorted((one.document_id, one.version) for one in made)
    pages, after = [], None
    while page := store.list_records(after=after, limit=4):
        assert len(page) <= 4
        pages += page
        after = page[-1]
    assert pages == wanted
    b, a = kit.document("b").id, kit.document("a").id
    found = [(one.document_id, one.version) for one in store.get_records([b, a])]
    assert found == [(b, "v1"), (b, "v2"), (a, "v1"), (a, "v2")]
    assert (store.count(), store.stats().documents, store.stats().hidden) == (0, 0, 0)


def test_a_record_of_the_same_version_is_replaced(store, kit):
    first = record_of(kit, "a", "v1", ["oak"])
    second = replace(first, manifest=replace(first.manifest, notes=("another",)))
    store.put_records([first])
    store.put_records([second])
    assert store.get_records([first.document_id]) == [second]


def test_sweeping_a_version_takes_its_records_too(store, kit):
    kept, gone = record_of(kit, "a", "v1", ["oak"]), record_of(kit, "a", "v2", ["elm"])
    alone = record_of(kit, "b", "v2", ["a record whose chunks were never written"])
    store.put_records([kept, gone, alone])
    kit.write(store, [Passage(one, gone.manifest.document) for one in gone.chunks])
    assert store.sweep(["v2"]) == 1
    assert store.list_records() == [(kept.document_id, "v1")]
    assert store.sweep(["v1"]) == 0
    assert store.list_records() == []


def test_a_record_must_tell_of_one_whole_version(kit):
    whole = record_of(kit, "a", "v1", ["oak", "elm"])
    with pytest.raises(ValueError, match="has 1 chunks for a manifest with live version v1 of 2"):
        Record(whole.manifest, whole.chunks[:1])
    with pytest.raises(ValueError, match="live version None"):
        Record(replace(whole.manifest, live=None), whole.chunks)
    with pytest.raises(ValueError, match=r"chunk 1 of version v1 .* is not chunk 0"):
        Record(whole.manifest, whole.chunks[::-1])
    stranger = Chunk(whole.document_id, "v9", 1, 3, 6, "elm")
    with pytest.raises(ValueError, match=r"version v9 .* is not chunk 1 of version v1"):
        Record(whole.manifest, (whole.chunks[0], stranger))


def test_chunks_are_read_with_the_vectors_they_were_written_with(store, kit):
    texts = [f"part {number} of oak" for number in range(6)]
    texts[2] = "!!! ???"  # no words: no sparse vector
    passages = kit.commit(store, "a", texts, metadata=AWKWARD)
    for first, limit, wanted in [(0, 256, passages), (2, 3, passages[2:5]), (5, 9, passages[5:]), (6, 9, [])]:
        got, vectors = store.read_chunks(kit.document("a").id, first=first, limit=limit)
        written = kit.vectors(wanted)
        assert got == wanted
        assert vectors.dense.dtype == np.float32
        assert vectors.dense.shape == (len(wanted), kit.config.dimensions[0])
        np.testing.assert_allclose(vectors.dense, written.dense, atol=1e-6)
        assert [terms_of(one) for one in vectors.sparse] == [terms_of(one) for one in written.sparse]


def test_chunks_are_read_of_the_live_version_only(store, kit):
    kit.commit(store, "a", ["oak one", "oak two"])
    old = store.get_manifests([kit.document("a").id])[0]
    store.put_manifests([ManifestWrite(old.id, old.revision, replace(old, revision="p", pending=("v9",)))])
    kit.write(store, kit.passages(old.document, "v9", ["elm one", "elm two", "elm three"]))
    got, vectors = store.read_chunks(old.id)
    assert [one.chunk.text for one in got] == ["oak one", "oak two"]
    assert len(vectors) == 2
    got, vectors = store.read_chunks(kit.document("absent").id)
    assert (got, len(vectors)) == ([], 0)


def test_chunks_are_read_by_id_whatever_version_they_are_of(store, kit):
    passages = kit.commit(store, "a", ["oak one", "!!!"]) + kit.commit(store, "b", ["elm one"])
    old = store.get_manifests([kit.document("a").id])[0]
    store.put_manifests([ManifestWrite(old.id, old.revision, replace(old, revision="p", pending=("v9",)))])
    hidden = kit.passages(old.document, "v9", ["yew one"])
    kit.write(store, hidden)
    wanted = [hidden[0], passages[2], passages[1]]
    ids = [one.chunk.id for one in wanted]
    got, vectors = store.read_points([ids[0], old.id, kit.document("absent").id, *ids[1:]])
    assert got == wanted
    written = kit.vectors(wanted)
    np.testing.assert_allclose(vectors.dense, written.dense, atol=1e-6)
    assert [terms_of(one) for one in vectors.sparse] == [terms_of(one) for one in written.sparse]
    got, vectors = store.read_points([])
    assert (got, len(vectors)) == ([], 0)


def test_what_was_read_can_be_written_again(store, kit):
    kit.commit(store, "a", ["oak leaf", "elm leaf", "!!!"])
    before = store.search(kit.legs("oak leaf"))
    for _ in range(3):
        store.put_chunks(*store.read_chunks(kit.document("a").id))
    assert store.search(kit.legs("oak leaf")) == before


def test_all_chunks_are_listed_by_pages_visible_or_not(store, kit):
    shown = kit.commit(store, "a", ["oak", "elm", "ash"])
    hidden = kit.document("b")
    store.put_manifests([ManifestWrite(hidden.id, None, Manifest(hidden, "r", pending=("vb",)))])
    orphans = kit.passages(kit.document("c"), "vc", ["fir"])
    flying = kit.passages(hidden, "vb", ["yew", "box"])
    kit.write(store, [*flying, *orphans])
    wanted = sorted((key_of(one) for one in [*shown, *flying, *orphans]), key=lambda one: one.id)
    assert store.list_chunks() == wanted
    for limit in (1, 2, 3, 6):
        pages, after = [], None
        while page := store.list_chunks(after=after, limit=limit):
            assert len(page) <= limit
            pages += page
            after = page[-1].id
        assert pages == wanted
    with pytest.raises(QueryError, match="cursor 'nonsense'"):
        store.list_chunks(after="nonsense")


def test_chunks_are_removed_by_id_and_nothing_else_is(store, kit):
    passages = kit.commit(store, "a", ["oak one", "oak two", "oak three"])
    manifest = store.get_manifests([kit.document("a").id])[0]
    fresh = store.search(kit.legs("oak"))[1]
    extra = kit.passages(kit.document("b"), "vb", ["oak"] * 4)
    kit.write(store, extra)
    assert store.remove_chunks([]) == 0
    assert store.remove_chunks([manifest.id, "no id", kit.document("x").id]) == 0
    assert store.get_manifests([manifest.id]) == [manifest]
    assert store.remove_chunks([one.chunk.id for one in extra]) == 4
    assert store.remove_chunks([one.chunk.id for one in extra]) == 0
    after = store.search(kit.legs("oak"))[1]
    assert [one.id for one in after] == [one.id for one in fresh]
    assert [one.score for one in after] == pytest.approx([one.score for one in fresh], rel=1e-6)
    assert store.remove_chunks([passages[1].chunk.id, passages[1].chunk.id]) == 1
    assert [one.chunk.ordinal for one in store.chunks_of(manifest.id)] == [0, 2]
    assert [one.chunk.ordinal for one in store.read_chunks(manifest.id)[0]] == [0, 2]


def test_what_is_told_of_a_document_is_rewritten_whole_and_scores_stay(store, kit):
    passages = kit.commit(store, "a", ["oak one", "oak two", "oak three"], metadata=AWKWARD)
    others = kit.commit(store, "b", ["oak four"], metadata={"yes": True})
    manifest = store.get_manifests([kit.document("a").id])[0]
    record = Record(manifest, tuple(one.chunk for one in passages))
    store.put_records([record])
    before = store.search(kit.legs("oak one"))
    info = replace(
        manifest.document,
        uri="file:///else/a.md",
        source="file:///else/",
        title="Another",
        kind="md",
        language="de",
        modified="",
        ingested="2026-03-01T00:00:00Z",
        metadata={"yes": False, "fresh": [1, 2]},
    )
    for _ in range(2):
        store.put_info(manifest.id, manifest.live, info)
        assert store.search(kit.legs("oak one")) == before
        told = [replace(one, document=info) for one in passages]
        assert store.chunks_of(manifest.id) == told
        assert store.read_chunks(manifest.id)[0] == told
        assert store.get_records([manifest.id]) == [
            replace(record, manifest=replace(manifest, document=info))
        ]
    assert store.chunks_of(kit.document("b").id) == others
    assert store.get_manifests([manifest.id]) == [manifest]
    expected = {
        ("yes", True): 1,
        ("yes", False): 3,
        ("fresh", 2): 3,
        ("x", 0.1): 0,
        ("tags", "a"): 0,
        ("title", "Another"): 3,
        ("kind", "md"): 3,
        ("source", "file:///else/"): 3,
        ("language", "en"): 1,
        ("ingested", "2026-02-01"): 1,
        ("ingested", "2026-03-01"): 3,
        ("modified", "2026-01-31T12:00:00Z"): 1,
    }
    assert {key: store.count(Comparison("eq", *key)) for key in expected} == expected
    store.put_info(manifest.id, manifest.live, replace(info, metadata={"x": 0.1, "due": "2026-04-01"}))
    assert store.chunks_of(manifest.id)[0].document.metadata == {"x": 0.1, "due": "2026-04-01"}
    assert store.count(Comparison("gte", "due", "2026-03-31")) == 3
    store.put_info(manifest.id, manifest.live, replace(info, metadata={"x": 2**64 - 1}))
    wheres = [
        Comparison("eq", "yes", False),
        Comparison("eq", "fresh", 2),
        Comparison("gt", "due", "2000-01-01"),
    ]
    assert [store.count(where) for where in wheres] == [0, 0, 0]
    assert [store.count(Comparison("gt", "x", number)) for number in (2.0**63, 0.1, 2.0**64)] == [3, 3, 0]


def test_only_the_version_named_is_rewritten(store, kit):
    document = kit.document("a")
    for version in ("v1", "v2"):
        kit.write(store, kit.passages(document, version, [f"oak of {version}"]))
    store.put_records([record_of(kit, "a", version, ["oak"]) for version in ("v1", "v2")])
    store.put_info(document.id, "v2", replace(document, title="new"))
    store.put_info(document.id, "absent", replace(document, title="never"))
    store.put_info(kit.document("x").id, "v1", kit.document("x", title="never"))
    assert (store.count(Comparison("eq", "title", "new")), store.count()) == (1, 2)
    assert [one.manifest.document.title for one in store.get_records([document.id])] == ["a", "new"]
    with pytest.raises(ValueError, match="cannot be said of document"):
        store.put_info(document.id, "v1", kit.document("b"))


def test_optimising_changes_no_answer(store, kit):
    kit.commit(store, "a", [f"oak {'leaf ' * (number % 5)}{number}" for number in range(40)])
    kit.commit(store, "b", ["oak"] * 7)
    store.sweep([store.get_manifests([kit.document("b").id])[0].live])
    before = store.search(kit.legs("oak leaf"))
    store.optimise()
    after = store.search(kit.legs("oak leaf"))
    for old, new in zip(before, after, strict=True):
        assert [one.id for one in new] == [one.id for one in old]
        assert [one.score for one in new] == pytest.approx([one.score for one in old], rel=1e-6)
    assert store.count() == 40


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 2**64, [1.0, float("inf")]])
def test_a_number_that_is_none_gets_in_by_no_door(store, kit, value):
    passages = kit.commit(store, "a", ["oak"])
    manifest = store.get_manifests([kit.document("a").id])[0]
    bad = replace(manifest.document, metadata={"n": value})
    wrong = replace(manifest, revision="bad", document=bad)
    message = "metadata 'n' of .* numbers must be finite and within 64 bits"
    with pytest.raises(ValueError, match=message):
        kit.write(store, [Passage(passages[0].chunk, bad)])
    with pytest.raises(ValueError, match=message):
        store.put_info(manifest.id, manifest.live, bad)
    with pytest.raises(ValueError, match=message):
        store.put_records([Record(wrong, (passages[0].chunk,))])
    with pytest.raises(ValueError, match=message):
        store.put_manifests([ManifestWrite(manifest.id, manifest.revision, wrong)])
    assert store.chunks_of(manifest.id) == passages
    assert store.get_manifests([manifest.id]) == [manifest]
    assert store.list_records() == []


def test_a_document_whose_chunks_are_to_be_told_something_is_in_flight_and_answers(store, kit):
    kit.commit(store, "a", ["apple one", "apple two"])
    key = kit.document("a").id
    before = store.get_manifests([key])[0]
    wish = replace(before, revision="w", amended={"team": "deck", "old": None}, retelling=True)
    store.put_manifests([ManifestWrite(key, before.revision, wish)])
    assert store.in_flight() == [wish]
    assert len(store.chunks_of(key)) == 2
    assert store.count() == 2
    told = replace(wish, revision="t", retelling=False)
    store.put_manifests([ManifestWrite(key, "w", told)])
    assert (store.in_flight(), store.get_manifests([key])) == ([], [told])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_vector_with_a_value_that_is_no_number_is_not_written(store, kit, value):
    passages = kit.passages(kit.document("a"), "v", ["oak leaf", "elm leaf"])
    made = kit.vectors(passages)
    with pytest.raises(ValueError, match="finite"):
        Vectors(np.where(made.dense == made.dense[1, 3], value, made.dense), made.sparse)
    with pytest.raises(ValueError, match="finite"):
        SparseVector(made.sparse[0].indices, made.sparse[0].values * np.float32(value))
    for array in (made.dense[1], made.sparse[1].values):  # changed after it was looked at
        kept = array[0].copy()
        array[0] = value
        with pytest.raises(ValueError, match="not finite"):
            store.put_chunks(passages, made)
        array[0] = kept
    assert store.count() == 0
    store.put_chunks(passages, made)
    assert store.count() == 2
    store.sweep(["v"])


def test_chunks_that_match_are_listed_and_whole_ones_are_sound(store, kit):
    kit.commit(store, "a", ["oak", "elm", "ash"])
    kit.commit(store, "b", ["oak"], kind="pdf")
    hidden = kit.passages(kit.document("b"), "v2", ["elm"])
    kit.write(store, hidden)
    (live,) = store.get_manifests([kit.document("b").id])
    flying = replace(live, revision="flying", pending=("v2",))
    assert store.put_manifests([ManifestWrite(live.id, live.revision, flying)]) == [True]
    listed = store.list_chunks(where=Comparison("eq", "kind", "pdf"))
    assert [(one.document_id, one.version) for one in listed] == [(live.id, live.live)]
    everything = store.list_chunks(where=Comparison("ne", "kind", "none"))
    assert len(everything) == 4
    pages = [store.list_chunks(where=Comparison("ne", "kind", "none"), after=one.id) for one in everything]
    assert pages == [everything[place + 1 :] for place in range(4)]
    assert store.unsound([one.id for one in store.list_chunks()]) == []
