"""What may be asked: the limits of a query, and filters read from the contract's JSON shape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from latewood.search.types import Comparison, Filter, Group, QueryError

OPERATORS = ("eq", "ne", "gt", "gte", "lt", "lte", "in", "nin")
GROUPS = ("and", "or")


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one query may ask for."""

    query_characters: int = 8192
    limit: int = 1000
    filter_depth: int = 8
    filter_conditions: int = 64
    filter_values: int = 1000
    expand: int = 10
    rerank_passages: int = 100


LIMITS = Limits()


def parse_filter(shape: Any, limits: Limits = LIMITS) -> Filter | None:
    """Read a filter: `{"type": "eq", "key": "lang", "value": "en"}`, nested in `and` / `or` by `filters`.

    None and an empty object mean no filter.

    Raises:
        QueryError: an unknown operator or field, a missing one, or more than the limits allow.
    """
    if shape is None or shape == {}:
        return None
    where = _parse(shape, limits, depth=1)
    check_filter(where, limits)
    return where


def check_filter(where: Filter, limits: Limits = LIMITS) -> None:
    """Hold a filter against the limits.

    Raises:
        QueryError: too deep, too many conditions or values, or an unknown operator.
    """
    conditions = 0
    for depth, node in _walk(where, 1):
        if depth > limits.filter_depth:
            raise _too_deep(limits)
        known = GROUPS if isinstance(node, Group) else OPERATORS
        if node.op not in known:
            raise QueryError(f"filter type {node.op!r} is not known; one of: {', '.join(OPERATORS + GROUPS)}")
        if isinstance(node, Comparison):
            conditions += 1
            _check_values(node, limits)
    if conditions > limits.filter_conditions:
        raise QueryError(
            f"the filter has {conditions} conditions; at most {limits.filter_conditions} are allowed "
            "(`in` takes a list of values and counts once)"
        )


def _walk(node: Filter, depth: int) -> Iterator[tuple[int, Filter]]:
    # A stack, not recursion: a filter made in code may be deeper than Python's own limit.
    stack = [(depth, node)]
    while stack:
        depth, node = stack.pop()
        yield depth, node
        if isinstance(node, Group):
            stack.extend((depth + 1, child) for child in node.filters)


def _check_values(comparison: Comparison, limits: Limits) -> None:
    if isinstance(comparison.value, list) and len(comparison.value) > limits.filter_values:
        raise QueryError(
            f"filter on {comparison.key!r} lists {len(comparison.value)} values; "
            f"at most {limits.filter_values} are allowed; ask in parts"
        )


def _too_deep(limits: Limits) -> QueryError:
    return QueryError(f"the filter is nested deeper than {limits.filter_depth} levels; flatten it")


def _parse(shape: Any, limits: Limits, depth: int) -> Filter:
    if depth > limits.filter_depth:
        raise _too_deep(limits)
    if not isinstance(shape, dict):
        raise QueryError(
            "a filter must be an object such as {'type': 'eq', 'key': 'kind', 'value': 'pdf'}, "
            f"not {shape!r:.80}"
        )
    kind = shape.get("type")
    if kind in GROUPS:
        _check_fields(shape, ("type", "filters"))
        children = shape["filters"]
        if not isinstance(children, list):
            raise QueryError(f"filters of {kind!r} must be a list, not {children!r:.80}")
        return Group(str(kind), tuple(_parse(child, limits, depth + 1) for child in children))
    if kind not in OPERATORS:
        raise QueryError(f"filter type {kind!r} is not known; one of: {', '.join(OPERATORS + GROUPS)}")
    _check_fields(shape, ("type", "key", "value"))
    if not isinstance(shape["key"], str):
        raise QueryError(f"a filter's key must be a string, not {shape['key']!r:.80}")
    value = shape["value"]
    scalars = value if isinstance(value, list) else [value]
    if not all(isinstance(scalar, str | int | float) for scalar in scalars):
        raise QueryError(
            f"filter on {shape['key']!r}: value must be a string, number, boolean or a list of them, "
            f"not {value!r:.80}"
        )
    return Comparison(str(kind), shape["key"], value)


def _check_fields(shape: dict[Any, Any], known: tuple[str, ...]) -> None:
    for field in shape:
        if field not in known:
            raise QueryError(
                f"filter {shape['type']!r} has no field {field!r}; its fields: {', '.join(known)}"
            )
    for field in known:
        if field not in shape:
            raise QueryError(f"filter {shape['type']!r} lacks {field!r}; its fields: {', '.join(known)}")
