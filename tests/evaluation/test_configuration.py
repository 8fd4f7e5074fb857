"""A configuration is checked, has one name for one meaning, and survives being written down."""

from __future__ import annotations

import json
from typing import Any

import pytest

from latewood.evaluation.configuration import Configuration, ConfigurationError, from_json
from latewood.search.fusion import SHIPPED, Fusion


def test_a_configuration_comes_back_from_json_as_it_was() -> None:
    made = Configuration(
        method="convex", weights=(("dense", 0.75), ("bm25", 0.25)), context=0.5, dimensions=256, k1=0.9, b=0.4
    )
    assert from_json(json.loads(json.dumps(made.to_json()))) == made
    assert from_json({}) == Configuration()


def test_the_order_of_weights_does_not_matter() -> None:
    one = Configuration(weights=(("dense", 1.0), ("bm25", 2.0)))
    other = Configuration(weights=(("bm25", 2.0), ("dense", 1.0)))
    assert (one, hash(one), one.key) == (other, hash(other), other.key)
    assert one.fusion.weights == {"dense": 1.0, "bm25": 2.0}


def test_without_a_method_what_ships_fills_in_what_is_not_given() -> None:
    assert Configuration().fusion == from_json({}).fusion == SHIPPED
    assert Configuration(weights=(("dense", 2.0),)).fusion == Fusion(
        SHIPPED.method, weights={"dense": 2.0}, foreign=SHIPPED.foreign
    )
    assert Configuration(method="convex").fusion == Fusion("convex")


def test_what_was_kept_before_questions_had_a_language_takes_them_alike() -> None:
    before = {"mode": "hybrid", "method": "convex", "k": 60.0, "weights": {"dense": 0.7, "bm25": 0.3}}
    assert from_json(before).fusion == Fusion("convex", weights={"dense": 0.7, "bm25": 0.3})


def test_what_a_mode_does_not_use_is_not_essential() -> None:
    full = {
        "method": "rrf",
        "k": 10.0,
        "weights": (("bm25", 2.0),),
        "context": 1.0,
        "chunk_tokens": 128,
        "dimensions": 256,
        "k1": 2.0,
        "b": 0.5,
        "language": "de",
    }
    assert Configuration(mode="hybrid", **full).essential == Configuration(mode="hybrid", **full)
    assert Configuration(mode="bm25", **full).essential == Configuration(
        mode="bm25", chunk_tokens=128, k1=2.0, b=0.5, language="de"
    )
    assert Configuration(mode="dense", **full).essential == Configuration(
        mode="dense", chunk_tokens=128, context=1.0, dimensions=256
    )
    assert Configuration(method="dbsf", k=10.0).essential == Configuration(method="dbsf")


@pytest.mark.parametrize(
    ("made", "label"),
    [
        (Configuration(), "hybrid convex bm25=0.6 dense=0.4 foreign=0.25"),
        (Configuration(method="rrf"), "hybrid rrf"),
        (Configuration(mode="bm25", method="convex", k1=0.9), "bm25 k1=0.9"),
        (Configuration(mode="dense", context=0.0, language="de"), "dense context=0"),
        (
            Configuration(method="convex", weights=(("dense", 0.7), ("bm25", 0.3)), k=5.0),
            "hybrid convex bm25=0.3 dense=0.7",
        ),
        (Configuration(method="rrf", k=10.0, language="de"), "hybrid rrf k=10 language=de"),
    ],
)
def test_a_label_says_what_differs(made: Configuration, label: str) -> None:
    assert made.label == label


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"mode": "sparse"}, "mode 'sparse' is not known; one of: hybrid, dense, bm25"),
        ({"method": "sum"}, "fusion method 'sum' is not known"),
        ({"k": 0}, "fusion k is 0; it must be a number above 0"),
        ({"weights": {"dense": -1}}, "fusion weight of 'dense' is -1"),
        ({"weights": {"dense": 0, "bm25": 0}}, "every fusion weight is 0"),
        ({"weights": {"colbert": 1}}, "weights name the leg 'colbert'; one of: dense, bm25"),
        ({"weights": [1, 2]}, "weights is .*; it must be an object"),
        ({"context": 1.5}, "context is 1.5; it must be from 0 to 1"),
        ({"chunk_tokens": 4}, "chunk_tokens is 4; it must be from 16 to 4096"),
        ({"k1": -0.1}, "k1 is -0.1; it must be at least 0"),
        ({"b": float("nan")}, "b is nan; it must be from 0 to 1"),
        ({"k": "60"}, "a field has the wrong type"),
        ({"depth": 3}, "unknown field depth; known: mode, method"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_what_can(value: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        from_json(value)
