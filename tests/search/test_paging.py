from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latewood.search.fusion import METHODS, Fusion, fuse
from latewood.search.paging import Look, depths, page
from latewood.search.types import Candidate

MOST = 1000


@dataclass
class Legs:
    """Two long ranked lists, looked at as deep as asked."""

    dense: list[str]
    bm25: list[str]
    method: str = "rrf"
    asked: list[int] = field(default_factory=list)

    def look(self, depth: int) -> Look:
        self.asked.append(depth)
        lists = {
            name: [Candidate(one, 1000.0 - at) for at, one in enumerate(ids[:depth])]
            for name, ids in (("dense", self.dense), ("bm25", self.bm25))
        }
        whole = len(self.dense) < depth and len(self.bm25) < depth
        return Look(fuse(Fusion(self.method), lists), whole)


def passages(ids):
    return zip(ids, ids, strict=True)


def documents_of(size):
    """Each document has `size` passages in a row."""
    return lambda ids: ((one, f"document {int(one) // size}") for one in ids)


def shuffled(length, seed):
    ids = [f"{number:05}" for number in range(length)]
    random.Random(seed).shuffle(ids)
    return ids


def test_depths_oversample_by_four_and_go_as_deep_as_can_be_asked():
    assert list(depths(1000)) == [(50, 200), (250, 1000), (1250, 5000)]
    assert list(depths(10)) == [(50, 200)]
    assert all(depth >= 4 * places for places, depth in depths(20_000))


def test_a_page_looks_no_deeper_than_it_must():
    legs = Legs(shuffled(3000, 1), shuffled(3000, 2))
    for end, asked in ((10, [200]), (50, [200]), (51, [200, 1000]), (1000, [200, 1000, 5000])):
        legs.asked.clear()
        assert len(page(legs.look, passages, end - 10, end, MOST)) == 10
        assert legs.asked == asked


def test_legs_that_have_nothing_deeper_are_looked_at_once():
    legs = Legs(shuffled(150, 1), shuffled(150, 2))
    assert len(page(legs.look, passages, 0, 1000, MOST)) == 150
    assert legs.asked == [200]


SIZES = st.sampled_from([0, 3, 180, 199, 200, 201, 400, 1100])


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.tuples(SIZES, SIZES),
    seed=st.integers(0, 10**6),
    size=st.sampled_from([1, 2, 7, 60]),
    step=st.integers(7, 90),
    method=st.sampled_from(METHODS),
)
def test_pages_neither_repeat_nor_skip_however_deep(lengths, seed, size, step, method):
    legs = Legs(shuffled(lengths[0], seed), shuffled(lengths[1], seed + 1), method)
    keys = documents_of(size)
    found, start = [], 0
    while places := page(legs.look, keys, start, start + step, MOST):
        assert [one.score for one in places] == sorted((one.score for one in places), reverse=True)
        found += [key for _, key in keys([one.id for one in places])]
        start += step
    everything = {key for _, key in keys(set(legs.dense) | set(legs.bm25))}
    assert len(found) == len(set(found))
    if start + step <= MOST:
        assert set(found) == everything
    assert len(found) == min(len(everything), start)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), end=st.integers(1, 50), method=st.sampled_from(METHODS))
def test_the_first_places_are_the_fused_list_itself(seed, end, method):
    legs = Legs(shuffled(500, seed), shuffled(500, seed + 1), method)
    assert page(legs.look, passages, 0, end, MOST) == legs.look(200).ranking[:end]


def test_one_large_document_does_not_hide_the_others():
    """Its 240 passages fill both legs' first 200; ten more documents stand behind."""
    ids = [f"{number:05}" for number in range(240 + 10 * 240)]
    legs = Legs(ids[:240] + ids[240::240], ids[:240] + ids[240::240])
    found = page(legs.look, documents_of(240), 0, 5, MOST)
    assert [int(one.id) // 240 for one in found] == [0, 1, 2, 3, 4]
    assert legs.asked == [200, 1000]


@pytest.mark.parametrize("size", [1, 7])
def test_a_group_stands_where_its_best_passage_stands(size):
    legs = Legs(shuffled(300, 5), shuffled(300, 6))
    best = {}
    for one in legs.look(200).ranking:
        best.setdefault(int(one.id) // size, one)
    assert page(legs.look, documents_of(size), 0, 20, MOST) == list(best.values())[:20]
