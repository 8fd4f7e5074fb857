"""Metadata keys get an index of the embedded engine when they are first written."""

from __future__ import annotations

import qdrant_edge as edge

from search.stores.fields import MOST
from search.types import Comparison


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
    indexed = {name for name in shard.info().payload_schema if name.startswith("metadata")}
    shard.close()
    assert indexed == {"metadata.team", 'metadata."a.b c"', "metadata.day", "metadata.odd"}
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
    """Why numbers have none: should this fail one day, they can."""
    store = open_edge()
    kit.write(store, kit.passages(kit.document("a", metadata={"n": 3}), "v", ["oak"]))
    dates = Comparison("lt", "n", "2026-01-31")
    assert store.count(dates) == 0
    store.close()
    shard = edge.EdgeShard.load(str(index_folder / "index" / "shard"))
    shard.update(edge.UpdateOperation.create_field_index("metadata.n", edge.PayloadSchemaType.Float))
    shard.close()
    assert open_edge().count(dates) == 1
