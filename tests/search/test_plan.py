"""The dense leg's plan is a value: read, printed, written down, and refused where it makes no sense."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from latewood.search.index_config import DensePlan, plan_from, plan_shape, read_stages
from latewood.search.types import IndexConfig


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        (DensePlan(), "hnsw (m 16, ef_construct 100, ef 100), float32 in memory"),
        (DensePlan(graph=False, dtype="float16", on_disk=True), "flat, float16 on disk"),
        (
            DensePlan(quantization="int8", m=32),
            "hnsw (m 32, ef_construct 100, ef 100), int8 quantised, 3 times oversampled, rescored, "
            "float32 in memory",
        ),
        (
            DensePlan(stages=(64, 256, 1024), oversampling=1.5),
            "64→256→1024 (m 16, ef_construct 100, ef 100), 1.5 times oversampled, float32 in memory",
        ),
        (DensePlan(stages=(256, 1024), graph=False), "256→1024 flat, 3 times oversampled, float32 in memory"),
    ],
)
def test_a_plan_says_what_it_is(plan, told):
    assert str(plan) == told


@pytest.mark.parametrize(
    "plan", [DensePlan(), DensePlan((8, 16), False, "float16", "turbo", True, 8, 50, 2, 7)]
)
def test_a_plan_is_written_down_and_read_again_losing_nothing(plan):
    again = plan_from(json.loads(json.dumps(plan_shape(plan))))
    assert (again, again.oversampling, again.ef) == (plan, plan.oversampling, plan.ef)


def test_an_index_of_before_there_were_plans_has_the_plain_one():
    assert plan_from({}) == DensePlan()


def test_how_an_index_is_asked_does_not_make_it_another():
    plan = DensePlan()
    assert replace(plan, ef=300, oversampling=1.5) == plan
    assert all(
        replace(plan, **change) != plan
        for change in (
            {"m": 8},
            {"ef_construct": 50},
            {"graph": False},
            {"on_disk": True},
            {"dtype": "float16"},
            {"quantization": "int8"},
            {"stages": (8, 16)},
        )
    )


def test_the_stages_of_a_plan_are_stored_sizes_and_end_with_the_largest():
    assert DensePlan().sizes((16, 8)) == (16,)
    assert DensePlan(stages=(4, 16)).sizes((16, 8, 4)) == (4, 16)
    for stages in ((4, 16), (8, 12), (4, 8)):
        with pytest.raises(ValueError, match="among them and end with the largest"):
            IndexConfig((16, 8), {}, DensePlan(stages=stages))


def test_stages_are_read_with_a_dash_or_an_arrow():
    assert read_stages("256-1024") == read_stages("256→1024") == read_stages("256 - 1024") == (256, 1024)
    assert read_stages("64-256-1024") == (64, 256, 1024)
    for text in ("", "hsnw", "256", "256-", "a-b", "1024-256", "0-4", "4-4"):
        with pytest.raises(ValueError, match=r"use hnsw, flat, or sizes that grow|must grow"):
            read_stages(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "int4"}, "dtype is 'int4'; it must be one of float32, float16"),
        ({"quantization": "int4"}, "quantization is 'int4'; it must be one of none, int8, turbo, binary"),
        ({"m": 1}, "m is 1; it must be from 2 to 512"),
        ({"oversampling": float("nan")}, "oversampling is nan; it must be from 1 to 100"),
        ({"ef": 0}, "ef is 0; it must be from 1 to 10000"),
        ({"ef_construct": 5000}, "ef_construct is 5000; it must be from 4 to 4096"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_with_those_that_are(change, message):
    with pytest.raises(ValueError, match=message):
        DensePlan(**change)


@pytest.mark.parametrize("sizes", [(), (8, 16), (8, 8), (8, 0)])
def test_sizes_of_vectors_stand_in_order(sizes):
    with pytest.raises(ValueError, match="the largest first, none twice"):
        IndexConfig(sizes, {})


def test_the_same_vectors_may_be_kept_by_different_plans():
    config = IndexConfig((16, 8), {"model": "a"})
    assert config.same_vectors(replace(config, plan=DensePlan(graph=False)))
    assert not config.same_vectors(replace(config, dimensions=(16,)))
    assert not config.same_vectors(replace(config, fingerprint={"model": "b"}))
