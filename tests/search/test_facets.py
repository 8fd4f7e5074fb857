from __future__ import annotations

import pytest

from latewood.search.facets import FacetValue, check_key, count
from latewood.search.types import QueryError


def test_each_value_counts_once_a_document_most_first():
    facets = count("tag", ["b", ["a", "b", "b"], None, [], "b"])
    assert (facets.key, facets.documents) == ("tag", 5)
    assert facets.values == (FacetValue("b", 3), FacetValue("a", 1))


def test_values_are_equal_as_filters_have_it():
    facets = count("n", [1, 1.0, True, "1", 2**53 + 1, 2**53 + 2])
    assert [(type(one.value), one.value, one.documents) for one in facets.values] == [
        (int, 1, 2),
        (bool, True, 1),
        (int, 2**53 + 1, 1),
        (int, 2**53 + 2, 1),
        (str, "1", 1),
    ]


def test_ties_stand_in_the_order_of_their_values():
    assert [one.value for one in count("n", [10, 9, "z", "a"]).values] == [9, 10, "a", "z"]


@pytest.mark.parametrize("key", ["page", "", 'a"', "a\\"])
def test_a_key_no_document_can_have_is_refused(key):
    with pytest.raises(QueryError):
        check_key(key)
