from __future__ import annotations

import pytest

from latewood.search.filters import Limits, check_filter, parse_filter
from latewood.search.types import Comparison, Group, QueryError


def test_a_filter_is_read_from_the_contracts_shape():
    shape = {
        "type": "and",
        "filters": [
            {"type": "eq", "key": "lang", "value": "en"},
            {"type": "or", "filters": [{"type": "nin", "key": "page", "value": [1, 2]}]},
        ],
    }
    assert parse_filter(shape) == Group(
        "and", (Comparison("eq", "lang", "en"), Group("or", (Comparison("nin", "page", [1, 2]),)))
    )


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("kind=pdf", "a filter must be an object"),
        ({"key": "a"}, "filter type None is not known; one of: eq, ne, gt, gte, lt, lte, in, nin, and, or"),
        ({"type": ["and"]}, "is not known"),
        ({"type": "like", "key": "a", "value": "b"}, "'like' is not known; one of: eq, ne"),
        ({"type": "eq", "key": "a"}, "'eq' lacks 'value'"),
        (
            {"type": "eq", "key": "a", "value": 1, "boost": 2},
            "no field 'boost'; its fields: type, key, value",
        ),
        ({"type": "eq", "key": 3, "value": 1}, "key must be a string"),
        ({"type": "eq", "key": "a", "value": None}, "value must be a string, number, boolean"),
        ({"type": "in", "key": "a", "value": [{}]}, "value must be a string, number, boolean"),
        ({"type": "and", "filters": {}}, "must be a list"),
        ({"type": "or"}, "'or' lacks 'filters'"),
    ],
)
def test_a_shape_that_is_no_filter_is_refused(shape, message):
    with pytest.raises(QueryError, match=message):
        parse_filter(shape)


def test_a_filter_deeper_than_the_limit_is_refused_however_deep():
    leaf = {"type": "eq", "key": "a", "value": 1}
    shape = leaf
    for _ in range(7):
        shape = {"type": "and", "filters": [shape]}
    assert parse_filter(shape)
    for _ in range(100_000):
        shape = {"type": "and", "filters": [shape]}
    with pytest.raises(QueryError, match="deeper than 8 levels"):
        parse_filter(shape)


def test_a_filter_made_in_code_is_held_against_the_same_limits():
    leaf = Comparison("eq", "a", 1)
    check_filter(Group("or", (leaf,) * 64))
    with pytest.raises(QueryError, match="65 conditions; at most 64"):
        check_filter(Group("or", (leaf,) * 65))
    with pytest.raises(QueryError, match="lists 4 values; at most 3"):
        check_filter(Comparison("in", "a", [1, 2, 3, 4]), Limits(filter_values=3))
    with pytest.raises(QueryError, match="'xor' is not known"):
        check_filter(Group("xor", ()))
