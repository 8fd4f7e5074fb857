"""Fields of metadata get an index of the embedded engine when they are first written."""

from __future__ import annotations

from dataclasses import replace

import pytest
import qdrant_edge as edge
from qdrant_client import models

from latewood.search.stores.edge.convert import to_filter
from latewood.search.stores.edge.index import EdgeIndex
from latewood.search.stores.qdrant import payload
from latewood.search.stores.qdrant.filters import to_qdrant
from latewood.search.stores.qdrant.payload_indexes import MOST
from latewood.search.types import Comparison, Group


def test_metadata_keys_are_indexed_when_first_written_and_stay_so(open_edge, kit, index_folder):
    store = open_edge()
    kit.write(
        store, kit.passages(kit.document("a", metadata={"team": "x", "n": 1, "ok": True}), "v", ["oak"])
    )
    kit.write(
        store, kit.passages(kit.document("b", metadata={"team": 7, "a.b c": "y", "none": []}), "w", ["elm"])
    )
    store.put_info(
        kit.document("a").id, "v", kit.document("a", metadata={"day": "2026-01-31", "x" * 99: 1.5, "odd": ""})
    )
    store.close()
    shard = edge.EdgeShard.load(str(index_folder / "index" / "shard"))
    parts = ("metadata.", "numbers.", "dates.")
    indexed = {name for name in shard.info().payload_schema if name.startswith(parts)}
    shard.close()
    words = {"metadata.team", 'metadata."a.b c"', "metadata.day", "metadata.odd"}
    assert indexed == {*words, "numbers.team", "numbers.n", f"numbers.{'x' * 99}", "dates.day"}
    again = open_edge()
    assert again.count(Comparison("eq", "team", 7)) == 1  # of another kind than the index
    assert again.count(Comparison("gte", "day", "2026-01-01")) == 1


def test_keys_beyond_the_most_that_are_indexed_are_filtered_by_all_the_same(open_edge, kit):
    store = open_edge()
    metadata = {f"key{number}": f"v{number}" for number in range(MOST + 3)}
    kit.write(store, kit.passages(kit.document("a", metadata=metadata), "v", ["oak"]))
    for number in (0, MOST + 2):
        assert store.count(Comparison("eq", f"key{number}", f"v{number}")) == 1
        assert store.count(Comparison("ne", f"key{number}", f"v{number}")) == 0


def test_the_engine_lets_an_index_of_numbers_answer_for_dates(open_edge, kit, index_folder):
    """Why numbers and dates lie in fields of their own: should this fail one day, they need not."""
    store = open_edge()
    kit.write(store, kit.passages(kit.document("a", metadata={"n": 3}), "v", ["oak"]))
    dates = Comparison("lt", "n", "2026-01-31")
    assert store.count(dates) == 0
    store.close()
    shard = edge.EdgeShard.load(str(index_folder / "index" / "shard"))
    shard.update(edge.UpdateOperation.create_field_index("metadata.n", edge.PayloadSchemaType.Float))
    where = models.Filter(must=[to_qdrant(dates, apart=False)])
    assert shard.count(edge.CountRequest(filter=to_filter(where), exact=True)) == 1
    shard.close()
    assert open_edge().count(dates) == 0


RANGES = [
    (Comparison("gte", "year", 2020), {"b", "mixed", "great"}),
    (Comparison("eq", "year", 1999), {"a"}),
    (Comparison("lt", "year", "2010-01-01"), {"dated"}),
    (Comparison("eq", "year", 2**53 + 1), {"great"}),
    (Comparison("nin", "year", [1999, 2021]), {"b", "dated", "great", "none"}),
]
YEARS = {
    "a": 1999,
    "b": 2021.5,
    "mixed": ["x", 2021],
    "dated": "2009-05-01",
    "great": 2**53 + 1,
    "none": "nothing",
}


@pytest.mark.parametrize("apart", [True, False], ids=["this format", "an older format"])
def test_an_index_of_an_older_format_is_filtered_as_rightly(kit, index_folder, monkeypatch, apart):
    if not apart:
        monkeypatch.setattr(payload, "ranged_fields", lambda metadata: {})
    index = EdgeIndex(index_folder, replace(kit.config, apart=apart), 0)
    for name, year in YEARS.items():
        passages = kit.passages(kit.document(name, metadata={"year": year}), "v", ["oak"])
        index.put_chunks(passages, kit.vectors(passages))
    for where, expected in RANGES:
        named = {name: Group("and", (Comparison("eq", "title", name), where)) for name in YEARS}
        assert {name for name, both in named.items() if index.count(both)} == expected, where
    schema = index._shard.info().payload_schema
    assert ("numbers.year" in schema, "dates.year" in schema) == (apart, apart)
    index.close()


PRICES = [0.1, 0.30000000000000004, 19.99, 1234.57, 2 / 3, 1e-7, 5.1e22, 123456.7]


@pytest.mark.parametrize("apart", [True, False], ids=["this format", "an older format"])
def test_fractions_are_found_at_their_own_bounds_after_points_were_written_anew(kit, index_folder, apart):
    index = EdgeIndex(index_folder, replace(kit.config, apart=apart), 0)
    for number, price in enumerate(PRICES * 2):
        info = kit.document(f"p{number}", metadata={"price": price})
        passages = kit.passages(info, f"v{number // len(PRICES)}", ["oak"])
        index.put_chunks(passages, kit.vectors(passages))
    for _ in range(2):
        index.optimise()
        index.sweep(["v1"])
        for one in index.list_chunks(None, 100, None):
            told = index.fetch([one.id])[0]
            index.put_info(one.document_id, one.version, payload.passage_from(told).document)
        for price in PRICES:
            above = sum(other > price for other in PRICES)
            counted = {
                op: index.count(Comparison(op, "price", price)) for op in ("eq", "gt", "gte", "lt", "lte")
            }
            below = len(PRICES) - above - 1
            assert counted == {"eq": 1, "gt": above, "gte": above + 1, "lt": below, "lte": below + 1}, price
    index.close()
