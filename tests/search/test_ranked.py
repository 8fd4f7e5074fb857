from __future__ import annotations

from latewood.search.ranked_list import RankedList
from latewood.search.types import Candidate

THREE = [Candidate("a", 3.0), Candidate("b", 2.0), Candidate("c", 2.0)]


def test_columns_read_as_the_list_they_stand_for():
    ranked = RankedList(["a", "b", "c"], [3.0, 2.0, 2.0])
    assert list(ranked) == THREE
    assert (len(ranked), ranked[0], ranked[-1], ranked[1:]) == (3, THREE[0], THREE[2], THREE[1:])
    assert repr(ranked) == repr(THREE)


def test_it_equals_whatever_sequence_has_the_same_candidates():
    ranked = RankedList.of(THREE)
    assert ranked == THREE
    assert [ranked] == [THREE]
    plain = list(THREE)
    assert plain == ranked  # whichever side asks
    assert ranked == RankedList.of(tuple(THREE))
    assert ranked != THREE[:2]
    assert ranked != "abc"
    assert ranked != 3
    assert RankedList.of(ranked) is ranked


def test_an_empty_list_has_nothing():
    assert RankedList.of([]) == []
    assert not RankedList.of([])
