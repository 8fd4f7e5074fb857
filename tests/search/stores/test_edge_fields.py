"""Metadata keys get an index of the embedded engine when they are first written."""

from __future__ import annotations

import qdrant_edge as edge

from search.stores.edge_fields import MOST
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
    assert indexed == {
        "metadata.team",
        "metadata.n",
        'metadata."a.b c"',
        "metadata.day",
        f"metadata.{'x' * 99}",
        "metadata.odd",
    }
    again = open_edge()
    assert again.count(Comparison("eq", "team", 7)) == 1  # of another kind than the index
    assert again.count(Comparison("gte", "day", "2026-01-01")) == 1


def test_keys_beyond_the_most_that_are_indexed_are_filtered_by_all_the_same(open_edge, kit):
    store = open_edge()
    metadata = {f"key{number}": number for number in range(MOST + 3)}
    kit.write(store, kit.passages(kit.document("a", metadata=metadata), "v", ["oak"]))
    for number in (0, MOST + 2):
        assert store.count(Comparison("eq", f"key{number}", number)) == 1
        assert store.count(Comparison("gt", f"key{number}", number)) == 0
