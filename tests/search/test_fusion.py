from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qdrant_client import models
from qdrant_client.hybrid.fusion import distribution_based_score_fusion, reciprocal_rank_fusion

from latewood.search.fusion import METHODS, SHIPPED, Fusion, alone, convex, dbsf, fuse, rrf
from latewood.search.types import Candidate, QueryError


def ranked(**scores: float) -> list[Candidate]:
    return [Candidate(one, score) for one, score in scores.items()]


LISTS = {"dense": ranked(a=0.9, b=0.8, c=0.4), "bm25": ranked(b=12.0, d=6.0)}


def scores(fused):
    return {one.id: one.score for one in fused}


def test_rrf_adds_the_inverse_of_k_plus_rank():
    fused = rrf(LISTS, {})
    assert scores(fused) == pytest.approx(
        {"b": 1 / (60 + 2) + 1 / (60 + 1), "a": 1 / (60 + 1), "d": 1 / (60 + 2), "c": 1 / (60 + 3)}
    )
    assert [one.id for one in fused] == ["b", "a", "d", "c"]
    assert fused[0].score == pytest.approx(0.032522, abs=1e-6)


def test_rrf_weighs_its_legs_and_takes_another_k():
    fused = rrf(LISTS, {"dense": 3.0, "bm25": 0.5}, k=1)
    assert scores(fused) == pytest.approx({"a": 3 / 2, "b": 3 / 3 + 0.5 / 2, "c": 3 / 4, "d": 0.5 / 3})


def test_dbsf_sets_scores_between_three_deviations_around_the_mean():
    mean = (0.9 + 0.8 + 0.4) / 3
    deviation = math.sqrt(((0.9 - mean) ** 2 + (0.8 - mean) ** 2 + (0.4 - mean) ** 2) / 2)
    low = mean - 3 * deviation
    spread = math.sqrt(((12 - 9) ** 2 + (6 - 9) ** 2) / 1)
    fused = scores(dbsf(LISTS, {"bm25": 2.0}))
    assert fused == pytest.approx(
        {
            "a": (0.9 - low) / (6 * deviation),
            "b": (0.8 - low) / (6 * deviation) + 2 * (12 - (9 - 3 * spread)) / (6 * spread),
            "c": (0.4 - low) / (6 * deviation),
            "d": 2 * (6 - (9 - 3 * spread)) / (6 * spread),
        }
    )


def test_dbsf_counts_a_list_that_says_nothing_as_half():
    assert scores(dbsf({"dense": ranked(a=0.1, b=0.1, c=0.1), "bm25": ranked(a=3.0)}, {})) == {
        "a": 0.5 + 0.5,
        "b": 0.5,
        "c": 0.5,
    }


def test_dbsf_keeps_apart_what_lies_beyond_three_deviations():
    """A rare word finds two passages far above the rest of a BM25 list: their order must not be lost."""
    outliers = {
        "bm25": ranked(z=40.0, a=39.0, **{f"n{number:02}": 1.0 + number / 1e4 for number in range(60)})
    }
    assert [one.id for one in dbsf(outliers, {})[:2]] == ["z", "a"]
    assert dbsf(outliers, {})[0].score > 1


SCORES = st.lists(st.integers(1, 10**6).map(lambda n: n / 1024), min_size=1, max_size=12)


@given(
    dense=SCORES,
    bm25=SCORES,
    overlap=st.integers(0, 12),
    method=st.sampled_from(["rrf", "dbsf"]),
    k=st.integers(1, 100),
)
def test_rrf_and_dbsf_are_qdrants_own(dense, bm25, overlap, method, k):
    """The ids of the second list begin before the first's end; qdrant-client counts ranks from zero."""
    first = dict(zip(range(1, 99), sorted(dense, reverse=True), strict=False))
    second = dict(zip(range(max(1, len(first) + 1 - overlap), 99), sorted(bm25, reverse=True), strict=False))
    theirs = [
        [models.ScoredPoint(id=one, version=0, score=score) for one, score in scored.items()]
        for scored in (first, second)
    ]
    lists = {"dense": ranked_list(first), "bm25": ranked_list(second)}
    if method == "rrf":
        expected = reciprocal_rank_fusion(theirs, limit=99, ranking_constant_k=k + 1)
    else:
        expected = distribution_based_score_fusion(theirs, limit=99)
    found = {one.id: one.score for one in fuse(Fusion(method, k=k), lists)}
    assert found == pytest.approx({one.id: one.score for one in expected}, rel=1e-9, abs=1e-12)


def test_convex_sets_scores_between_least_and_greatest():
    assert scores(convex(LISTS, {})) == pytest.approx(
        {
            "a": 0.5 * 1,
            "b": 0.5 * (0.8 - 0.4) / (0.9 - 0.4) + 0.5 * 1,
            "c": 0.5 * 0,
            "d": 0.5 * 0,
        }
    )
    assert scores(convex(LISTS, {"dense": 3.0}))["a"] == pytest.approx(3 / 4)


def test_convex_counts_a_list_of_equal_scores_as_one():
    assert scores(convex({"dense": ranked(a=0.1, b=0.1), "bm25": []}, {})) == {"a": 0.5, "b": 0.5}


def test_ties_are_broken_by_id():
    for method in METHODS:
        fused = fuse(Fusion(method), {"dense": ranked(b=1.0), "bm25": ranked(a=1.0)})
        assert [one.id for one in fused] == ["a", "b"]


def test_a_trace_names_rank_and_raw_score():
    b = rrf(LISTS, {})[0]
    assert {leg: (trace.rank, trace.score) for leg, trace in b.legs.items()} == {
        "dense": (2, 0.8),
        "bm25": (1, 12.0),
    }


@given(
    method=st.sampled_from(METHODS),
    lists=st.dictionaries(
        st.sampled_from(["dense", "bm25", "third"]),
        st.dictionaries(st.text(max_size=2), st.floats(-1e6, 1e6), max_size=8),
    ),
    weights=st.dictionaries(st.sampled_from(["dense", "bm25"]), st.floats(0.01, 10)),
)
def test_contributions_add_up_and_give_the_same_order(method, lists, weights):
    made = {
        leg: sorted(ranked_list(scored), key=lambda one: (-one.score, one.id))
        for leg, scored in lists.items()
    }
    fused = fuse(Fusion(method, weights=weights), made)
    assert {one.id for one in fused} == {one.id for found in made.values() for one in found}
    assert len(fused) == len(set(fused.ids))
    sums = {one.id: sum(trace.contribution for trace in one.legs.values()) for one in fused}
    for one in fused:
        assert sums[one.id] == pytest.approx(one.score, abs=1e-6)
        for name, trace in one.legs.items():
            assert made[name][trace.rank - 1] == Candidate(one.id, trace.score)
    assert sorted(sums, key=lambda one: (-sums[one], one)) == fused.ids
    assert fused[1:3] == list(fused)[1:3]


def test_a_leg_alone_keeps_its_list_and_scores():
    found = alone("bm25", LISTS["bm25"])
    assert [(one.id, one.score, one.legs["bm25"].contribution) for one in found] == [
        ("b", 12.0, 12.0),
        ("d", 6.0, 6.0),
    ]


def ranked_list(scored):
    return [Candidate(one, score) for one, score in scored.items()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "magic"}, "'magic' is not known; one of: rrf, dbsf, convex"),
        ({"k": 0}, "k is 0"),
        ({"k": math.nan}, "k is nan"),
        ({"weights": {"dense": -1.0}}, "weight of 'dense' is -1"),
        ({"weights": {"dense": math.inf}}, "weight of 'dense' is inf"),
        ({"weights": {"dense": 0.0, "bm25": 0.0}}, "every fusion weight is 0"),
        ({"foreign": 0.0}, "foreign is 0.0; it must be above 0 and at most 1"),
        ({"foreign": 1.5}, "foreign is 1.5"),
        ({"foreign": math.nan}, "foreign is nan"),
    ],
)
def test_a_fusion_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(QueryError, match=message):
        Fusion(**{"method": "rrf", **arguments})


def test_a_question_in_an_unknown_language_takes_weight_from_the_dense_leg_alone():
    held = Fusion("rrf", 10, {"bm25": 2.0}, foreign=0.25)
    assert held.for_question(foreign=True) == Fusion("rrf", 10, {"bm25": 2.0, "dense": 1.0 * 0.25})
    assert held.for_question(foreign=False) == Fusion("rrf", 10, {"bm25": 2.0})
    assert SHIPPED.for_question(foreign=True).weights == {"dense": pytest.approx(0.1), "bm25": 0.6}


def test_what_words_alone_find_first_stands_above_all_that_only_vectors_find():
    """A code that one passage has: a list of one, that no other leg may outvote."""
    others = {f"n{number:02}": 0.3 + number / 1e4 for number in range(60)}
    lists = {"dense": ranked(a=0.9, **others), "bm25": ranked(code=9.0)}
    assert fuse(SHIPPED, lists).ids[0] == "code"
    assert dbsf(lists, SHIPPED.weights).ids[0] != "code"
