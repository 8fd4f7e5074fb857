"""Indexes on metadata keys, made when a string is first written: a filter on a bare key reads every point."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import qdrant_edge as edge

from search.stores.fields import field_of, indexed_keys, to_index
from search.types import MetadataValue

BYTES = 3 * 2**20
"""What one such index may take on disk: 2 MiB in memory file systems, less where files may have holes."""

_KEYWORD = edge.PayloadSchemaType.Keyword


class MetadataIndexes:
    """Which keys of one shard have an index for their strings."""

    def __init__(self, shard: edge.EdgeShard) -> None:
        """See what there is."""
        self._shard = shard
        self._known = indexed_keys(shard.info().payload_schema)

    def lacking(self, written: Iterable[Mapping[str, MetadataValue]]) -> list[str]:
        """The keys about to be written that are to have an index and have none."""
        return to_index(written, self._known)

    def cover(self, keys: Iterable[str]) -> None:
        """Index these keys: some tenths of a second each at 100,000 points."""
        for key in keys:
            self._shard.update(edge.UpdateOperation.create_field_index(field_of(key), _KEYWORD))
            self._known.add(key)
