"""What every store promises."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from latewood.embedder.types import Vectors
from latewood.search.types import (
    ChunkKey,
    Comparison,
    DenseQuery,
    Failure,
    FileStamp,
    Group,
    Leg,
    Manifest,
    ManifestWrite,
    QueryError,
    StoreUnavailableError,
)


def texts_of(passages):
    return [passage.chunk.text for passage in passages]


def found(store, kit, text, where=None):
    """Texts that each leg finds."""
    lists = store.search(kit.legs(text), where)
    return [set(texts_of(store.fetch([one.id for one in ranked]))) for ranked in lists]


def test_a_real_server_is_held_to_the_contract_too(request):
    """The tests below run against one where they can; here it is said when they do not."""
    if "container" not in request.getfixturevalue("places"):
        pytest.skip("no Docker engine answers here: the contract was not held against a real Qdrant server")
    assert request.getfixturevalue("shared_container").count() >= 0


def test_a_manifest_is_written_only_over_the_revision_that_was_read(store, kit):
    first = Manifest(kit.document("a"), "r1")
    second = replace(first, revision="r2")
    assert store.put_manifests([ManifestWrite(first.id, None, first)]) == [True]
    assert store.put_manifests([ManifestWrite(first.id, None, second)]) == [False]
    assert store.put_manifests([ManifestWrite(first.id, "r0", second)]) == [False]
    assert store.get_manifests([first.id]) == [first]
    assert store.put_manifests([ManifestWrite(first.id, "r1", second)]) == [True]
    assert store.get_manifests([first.id]) == [second]


def test_a_write_that_already_stands_counts_as_taken(store, kit):
    write = ManifestWrite(kit.document("a").id, None, Manifest(kit.document("a"), "r1"))
    assert store.put_manifests([write]) == [True]
    assert store.put_manifests([write]) == [True]
    removal = ManifestWrite(write.document_id, "r1", None)
    assert store.put_manifests([removal]) == [True]
    assert store.put_manifests([removal]) == [True]
    assert store.get_manifests([write.document_id]) == []


def test_a_manifest_is_not_made_when_one_was_expected(store, kit):
    manifest = Manifest(kit.document("a"), "r2")
    assert store.put_manifests([ManifestWrite(manifest.id, "r1", manifest)]) == [False]
    assert store.get_manifests([manifest.id]) == []


def test_each_write_of_a_call_is_taken_or_refused_by_itself(store, kit):
    a, b = Manifest(kit.document("a"), "a1"), Manifest(kit.document("b"), "b1")
    again = replace(a, revision="a2")
    writes = [
        ManifestWrite(a.id, None, a),
        ManifestWrite(b.id, "nothing", b),
        ManifestWrite(a.id, "a1", again),
        ManifestWrite(a.id, "a1", replace(a, revision="a3")),
    ]
    assert store.put_manifests(writes) == [True, False, True, False]
    assert store.get_manifests([b.id, a.id]) == [again]


def test_chunks_are_located_as_they_are_fetched(store, kit):
    passages = kit.commit(store, "a", ["oak", "elm", "ash"])
    hidden = kit.passages(kit.document("b"), "hidden", ["fir"])
    flying = Manifest(kit.document("b"), "b1", pending=("hidden",))
    store.put_manifests([ManifestWrite(flying.id, None, flying)])
    kit.write(store, hidden)
    asked = [passages[2].chunk.id, hidden[0].chunk.id, flying.id, passages[0].chunk.id, "no id"]
    located = store.locate(asked)
    assert located == [
        ChunkKey(one.chunk.id, one.chunk.document_id, one.chunk.version, one.chunk.ordinal)
        for one in store.fetch(asked)
    ]
    assert [one.ordinal for one in located] == [2, 0]


def test_one_of_many_writers_wins(store, kit):
    start = Manifest(kit.document("a"), "r0")
    store.put_manifests([ManifestWrite(start.id, None, start)])
    taken: list[str] = []

    def write(name: str) -> None:
        if store.put_manifests([ManifestWrite(start.id, "r0", replace(start, revision=name))]) == [True]:
            taken.append(name)

    threads = [threading.Thread(target=write, args=(f"w{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.get_manifests([start.id])[0].revision] == taken


def test_a_manifest_comes_back_as_it_was_written(store, kit):
    stamp = FileStamp(2**40, 1_769_860_800_123_456_789, 2**63 - 1, 2**64 - 1, 2**63 + 11)
    metadata = {"größe": "ß", "n": 2**63 - 1, "x": 0.1, "yes": True, "tags": ["a", "b"], "empty": []}
    whole = Manifest(
        document=kit.document("日本語 🌲", metadata=metadata, title="a\x00b \ud83c"),
        revision="r1",
        content_hash="0" * 64,
        stamp=stamp,
        live="v1",
        pending=("v2", "v3"),
        replaced=("v0",),
        chunks=7,
        characters=2**40,
        recorded={"dtype": "float32"},
        notes=("page 3 has no text",),
        failure=Failure("encrypted", "line\nbreak", "2026-01-31T12:00:00Z", "", stamp, "pdf-1", True),
    )
    store.put_manifests([ManifestWrite(whole.id, None, whole)])
    assert store.get_manifests([whole.id]) == [whole]
    assert store.list_manifests() == [whole]
    assert store.in_flight() == [whole]


def test_manifests_are_listed_by_pages_in_order_of_id(store, kit):
    made = [Manifest(kit.document(f"d{number}"), "r") for number in range(7)]
    other = Manifest(kit.document("other", source="uploads:"), "r")
    store.put_manifests([ManifestWrite(one.id, None, one) for one in [*made, other]])
    expected = sorted(one.id for one in made)
    pages, after = [], None
    while page := store.list_manifests(source="file:///notes/", after=after, limit=3):
        assert len(page) <= 3
        pages += [one.id for one in page]
        after = page[-1].id
    assert pages == expected
    assert [one.id for one in store.list_manifests(source="uploads:")] == [other.id]
    assert len(store.list_manifests()) == 8
    with pytest.raises(QueryError, match="cursor 'nonsense'"):
        store.list_manifests(after="nonsense")


def test_documents_are_listed_newest_first_by_pages_that_neither_repeat_nor_skip(store, kit):
    moments = [*(f"2026-03-01T00:00:0{second}Z" for second in range(4)), *["2026-03-01T00:00:09Z"] * 6]
    for number, moment in enumerate(moments):
        kit.commit(store, f"n{number}", ["first words", "more words"], ingested=moment)
    ids = [kit.document(f"n{number}").id for number in range(len(moments))]
    expected = [("2026-03-01T00:00:09Z", one) for one in sorted(ids[4:])]
    expected += [(moments[second], ids[second]) for second in (3, 2, 1, 0)]
    assert store.newest() == expected
    for limit in (1, 3, 4):
        pages, after = [], None
        while page := store.newest(after=after, limit=limit):
            assert len(page) <= limit
            pages += page
            after = page[-1]
        assert pages == expected, limit
    removed = store.get_manifests([ids[3]])[0]
    hidden = replace(removed, revision="gone", live=None, replaced=(removed.live,))
    assert store.put_manifests([ManifestWrite(removed.id, removed.revision, hidden)]) == [True]
    assert store.newest() == [row for row in expected if row[1] != removed.id]
    with pytest.raises(QueryError, match="no ISO 8601 moment"):
        store.newest(after=("nonsense", ids[0]))


def test_manifests_come_in_the_order_asked_and_strangers_are_left_out(store, kit):
    made = [Manifest(kit.document(name), "r") for name in "ab"]
    store.put_manifests([ManifestWrite(one.id, None, one) for one in made])
    asked = [made[1].id, "no id at all", kit.document("c").id, made[0].id]
    assert store.get_manifests(asked) == [made[1], made[0]]


@pytest.mark.parametrize("where_hidden", ["pending", "replaced"])
def test_a_hidden_version_is_seen_nowhere(store, kit, where_hidden):
    kit.commit(store, "old", ["red apple", "green apple"])
    document = kit.document("new")
    hidden = kit.passages(document, "v-hidden", ["blue apple", "apple pie"])
    manifest = Manifest(document, "r1", **{where_hidden: ("v-hidden",)})
    store.put_manifests([ManifestWrite(document.id, None, manifest)])
    kit.write(store, hidden)
    assert found(store, kit, "apple") == [{"red apple", "green apple"}] * 2
    assert store.count() == 2
    assert store.count(Comparison("eq", "title", "new")) == 0
    assert store.fetch([one.chunk.id for one in hidden]) == []
    assert store.chunks_of(document.id) == []
    stats = store.stats()
    assert (stats.documents, stats.chunks, stats.hidden) == (1, 2, 2)
    assert store.in_flight() == [manifest]


def test_the_flip_of_a_manifest_shows_the_new_version_and_hides_the_old(store, kit):
    old = kit.commit(store, "a", ["apple one", "apple two"])
    before = store.get_manifests([kit.document("a").id])[0]
    new = kit.passages(before.document, "v2", ["apple three"])
    flying = replace(before, revision="f", pending=("v2",))
    store.put_manifests([ManifestWrite(before.id, before.revision, flying)])
    kit.write(store, new)
    assert texts_of(store.chunks_of(before.id)) == ["apple one", "apple two"]
    flipped = replace(before, revision="n", live="v2", replaced=(before.live,), chunks=1)
    store.put_manifests([ManifestWrite(before.id, "f", flipped)])
    assert found(store, kit, "apple") == [{"apple three"}] * 2
    assert texts_of(store.chunks_of(before.id)) == ["apple three"]
    assert store.sweep([before.live]) == 2
    store.put_manifests([ManifestWrite(before.id, "n", replace(flipped, revision="c", replaced=()))])
    assert found(store, kit, "apple") == [{"apple three"}] * 2
    assert store.fetch([old[0].chunk.id]) == []
    assert store.stats().hidden == 0


def test_sweep_removes_exactly_the_versions_named(store, kit):
    document = kit.document("a")
    for version in ("v1", "v2", "v3", "v"):
        kit.write(store, kit.passages(document, version, [f"text of {version}", "more"]))
    assert store.sweep(["v1", "v3", "absent"]) == 4
    assert store.sweep(["v1", "v3"]) == 0
    assert store.sweep([]) == 0
    assert store.count() == 4
    assert found(store, kit, "text")[1] == {"text of v2", "text of v"}


def test_ties_are_broken_by_id_even_at_the_cut(store, kit):
    passages = kit.passages(kit.document("a"), "v", ["same words here"] * 40)
    kit.write(store, list(reversed(passages)))
    expected = sorted(one.chunk.id for one in passages)
    for limit in (1, 7, 39, 40, 50):
        for ranked in store.search(kit.legs("same words here", limit)):
            assert [one.id for one in ranked] == expected[:limit]


def test_the_same_query_gives_the_same_lists_twice(store, kit):
    words = ["oak", "elm", "ash", "fir"]
    texts = [f"{words[n % 4]} {words[n % 3]} tree" for n in range(60)]
    kit.commit(store, "a", texts)
    first = store.search(kit.legs("oak tree", 20))
    kit.write(store, store.chunks_of(kit.document("a").id))
    assert store.search(kit.legs("oak tree", 20)) == first


def test_writing_the_same_chunks_twice_changes_nothing(store, kit):
    passages = kit.commit(store, "a", ["one oak", "two oaks", "no tree"])
    before = store.search(kit.legs("oak")), store.stats().chunks
    for _ in range(3):
        kit.write(store, passages)
    assert (store.search(kit.legs("oak")), store.stats().chunks) == before


def test_scores_do_not_remember_what_was_removed(store, kit):
    kit.commit(store, "a", ["oak leaf", "elm leaf", "ash leaf"])
    fresh = store.search(kit.legs("oak leaf"))[1]
    other = kit.document("b")
    store.put_manifests([ManifestWrite(other.id, None, Manifest(other, "r1", pending=("vb",)))])
    kit.write(store, kit.passages(other, "vb", ["oak"] * 20))
    while_flying = store.search(kit.legs("oak leaf"))[1]
    store.sweep(["vb"])
    store.put_manifests([ManifestWrite(other.id, "r1", None)])
    after = store.search(kit.legs("oak leaf"))[1]
    for ranked in (while_flying, after):
        assert [one.id for one in ranked] == [one.id for one in fresh]
        assert [one.score for one in ranked] == pytest.approx([one.score for one in fresh], rel=1e-6)


def test_a_threshold_leaves_out_what_scores_below_it(store, kit):
    kit.commit(store, "a", [f"oak {'leaf ' * number}" for number in range(1, 9)])
    for leg, ranked in zip(kit.legs("oak"), store.search(kit.legs("oak")), strict=True):
        edge = ranked[3].score
        assert store.search([replace(leg, threshold=edge)]) == [[one for one in ranked if one.score >= edge]]


def test_a_passage_comes_back_as_it_was_written(store, kit):
    metadata = {"größe": "ß", "n": 2**63 - 1, "x": 0.1, "yes": True, "tags": ["a", "b"], "a.b": "c", "e": []}
    document = kit.document("日本語 🌲", metadata=metadata)
    texts = ["العربية ", "हिन्दी में", "👩‍👩‍👧 \r\n\t", "x" * 300_000]
    passages = kit.passages(document, "v", texts)
    passages[1] = replace(
        passages[1],
        chunk=replace(
            passages[1].chunk, context="Titel › Kopf", headings=("H1", "H2"), page_start=3, page_end=5
        ),
    )
    kit.write(store, passages)
    ids = [one.chunk.id for one in passages]
    assert store.fetch([*reversed(ids), "no id", kit.document("x").id]) == list(reversed(passages))
    assert found(store, kit, "हिन्दी")[1] == {"हिन्दी में"}


def test_chunks_are_found_by_their_place_in_the_document(store, kit):
    passages = kit.commit(store, "a", [f"part {number}" for number in range(6)])
    whole = store.chunks_of(kit.document("a").id)
    assert whole == passages
    assert store.chunks_of(kit.document("a").id, first=2, last=4) == passages[2:5]
    assert store.chunks_of(kit.document("a").id, first=4, last=99) == passages[4:]
    assert store.chunks_of(kit.document("absent").id) == []


def test_an_index_without_anything_answers_with_nothing(store, kit):
    assert store.search(kit.legs("oak")) == [[], []]
    assert (store.count(), store.fetch([]), store.list_manifests(), store.in_flight()) == (0, [], [], [])
    store.put_chunks([], kit.vectors([]))
    assert store.stats().chunks == 0


def test_a_passage_without_words_is_found_by_its_dense_vector_alone(store, kit):
    kit.commit(store, "a", ["!!! ???", "oak"])
    assert found(store, kit, "!!! ???") == [{"!!! ???", "oak"}, set()]
    alone = store.search(kit.legs("oak"))[1]
    assert len(alone) == 1


MOMENTS = {
    "utc": "2025-02-03T12:45:46Z",
    "offset": "2025-02-03T13:45:46+01:00",
    "milliseconds": "2025-02-03T12:45:46.000Z",
}


def test_dates_compare_as_moments_however_they_are_written(store, kit):
    for name, moment in MOMENTS.items():
        kit.commit(store, name, [name], metadata={"when": moment})
    kit.commit(store, "later", ["later"], metadata={"when": "2025-02-03T12:46:00Z"})
    kit.commit(store, "minutes", ["minutes"], metadata={"when": "2025-02-03T12:46"})
    for moment in MOMENTS.values():
        assert store.count(Comparison("eq", "when", moment)) == 3
        assert store.count(Comparison("ne", "when", moment)) == 2
        assert store.count(Comparison("in", "when", [moment])) == 3
        assert store.count(Comparison("nin", "when", [moment])) == 2
    assert store.count(Comparison("eq", "when", "2025-02-03T12:46:00+00:00")) == 2
    assert store.count(Comparison("gte", "when", "2025-02-03T12:46")) == 2


def test_normal_forms_of_one_text_are_one(store, kit):
    composed, decomposed = "Zo\u00eb", "Zoe\u0308"
    for name, written in (("nfc", composed), ("nfd", decomposed)):
        kit.commit(store, name, [name], metadata={"author": written})
    for asked in (composed, decomposed):
        assert store.count(Comparison("eq", "author", asked)) == 2
        assert store.count(Comparison("ne", "author", asked)) == 0


def test_an_empty_or_matches_nothing_and_an_empty_and_everything(store, kit):
    kit.commit(store, "a", ["oak", "elm"])
    assert store.count(Group("or", ())) == 0
    assert store.count(Group("and", ())) == 2
    assert store.search(kit.legs("oak"), Group("or", ())) == [[], []]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (Comparison("eq", "kind", 3), "'kind' takes a string"),
        (Comparison("gt", "title", "a"), "'gt' does not apply to 'title'"),
        (Comparison("gt", "modified", "soon"), "takes a date such as"),
        (Comparison("eq", "page", 1.5), "takes a whole number"),
        (Comparison("eq", "page", True), "takes a whole number"),
        (Comparison("lt", "price", True), "takes a number or a date"),
        (Comparison("lt", "price", "cheap"), "takes a date"),
        (Comparison("in", "price", 3), "takes a list"),
        (Comparison("eq", "price", [3]), "use 'in' or 'nin'"),
        (Comparison("eq", "price", float("nan")), "finite number"),
        (Comparison("eq", "price", 2**70), "64 bits"),
        (Comparison("eq", 'a"b', 1), "no quotes"),
        (Group("or", (Comparison("eq", "kind", 3),)), "'kind' takes a string"),
    ],
)
def test_a_value_of_the_wrong_type_is_a_query_error(store, kit, where, message):
    with pytest.raises(QueryError, match=message):
        store.search(kit.legs("oak"), where)
    with pytest.raises(QueryError, match=message):
        store.count(where)


def test_vectors_that_do_not_fit_are_refused(store, kit):
    passages = kit.passages(kit.document("a"), "v", ["oak", "elm"])
    vectors = kit.vectors(passages)
    with pytest.raises(ValueError, match="1 passages and 2 vectors"):
        store.put_chunks(passages[:1], vectors)
    row = np.zeros((1, 4), np.float32)
    row[0, 0] = 1
    with pytest.raises(ValueError, match="dimension 4 do not fit an index of 16"):
        store.put_chunks(passages[:1], Vectors(row, vectors.sparse[:1]))
    with pytest.raises(ValueError, match="shape"):
        store.search([Leg("dense", DenseQuery(row[0]), 3)])
    with pytest.raises(ValueError, match="not finite"):
        store.search([Leg("dense", DenseQuery(np.full(16, np.nan, np.float32)), 3)])
    assert store.count() == 0


def test_a_closed_store_says_so(both):
    for store in both:
        assert store.languages() == []
        store.close()
        for ask in (store.count, store.languages):
            with pytest.raises(StoreUnavailableError, match="closed"):
                ask()
        store.close()


def test_languages_are_those_that_chunks_are_analysed_in_and_are_gone_with_the_last(store, kit):
    def passages(name, language, texts):
        made = kit.passages(kit.document(name), f"v-{name}", texts)
        return [replace(one, chunk=replace(one.chunk, language=language)) for one in made]

    assert store.languages() == []
    kit.write(store, passages("a", "en", ["the trees", "the rings"]))
    kit.write(store, passages("b", "de", ["die Häuser"]))
    kit.write(store, passages("c", "", ["4711"]))
    assert store.languages() == ["", "de", "en"]
    kept = store.read_points([passages("b", "de", ["die Häuser"])[0].chunk.id])[0]
    assert [one.chunk.language for one in kept] == ["de"]
    store.sweep(["v-b"])
    assert store.languages() == ["", "en"]
