"""Indexes on metadata, made when a key is first written: a filter on a bare field reads every point."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import qdrant_edge as edge

from latewood.search.stores.edge.shard import INDEX_TYPES
from latewood.search.stores.qdrant.payload_indexes import Field, indexed_fields, to_index
from latewood.search.types import MetadataValue

BYTES = 3 * 2**20
"""What one such index may take on disk: 2 MiB in memory file systems, less where files may have holes."""


class MetadataIndexes:
    """Which fields of one shard's metadata have an index."""

    def __init__(self, shard: edge.EdgeShard, apart: bool) -> None:
        """See what there is; `apart` as in `IndexConfig`."""
        self._shard = shard
        self._apart = apart
        self._known = indexed_fields(shard.info().payload_schema)

    def lacking(self, written: Iterable[Mapping[str, MetadataValue]]) -> list[Field]:
        """The fields about to be written that are to have an index and have none."""
        return to_index(written, self._known, self._apart)

    def cover(self, fields: Iterable[Field]) -> None:
        """Index these: some tenths of a second each at 100,000 points."""
        for field in fields:
            self._shard.update(edge.UpdateOperation.create_field_index(field.path, INDEX_TYPES[field.kind]))
            self._known.add(field)
