"""Indexes on metadata keys, made when a string is first written: a filter on a bare key reads every point."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import qdrant_edge as edge

from search.types import MetadataValue

MOST = 64
"""Keys with an index: each takes memory. Filters on others are right, and slow."""

BYTES = 3 * 2**20
"""What one such index may take on disk: 2 MiB in memory file systems, less where files may have holes."""

_PREFIX = "metadata."
_KEYWORD = edge.PayloadSchemaType.Keyword


class MetadataIndexes:
    """Which keys of one shard have an index for their strings."""

    def __init__(self, shard: edge.EdgeShard) -> None:
        """See what there is."""
        self._shard = shard
        fields = shard.info().payload_schema
        self._known = {one.removeprefix(_PREFIX).strip('"') for one in fields if one.startswith(_PREFIX)}

    def lacking(self, written: Iterable[Mapping[str, MetadataValue]]) -> list[str]:
        """The keys about to be written that are to have an index and have none."""
        keys = dict.fromkeys(
            key
            for metadata in written
            for key, value in metadata.items()
            if key not in self._known and _are_words(value) and '"' not in key and "\\" not in key
        )
        return list(keys)[: max(0, MOST - len(self._known))]

    def cover(self, keys: Iterable[str]) -> None:
        """Index these keys: some tenths of a second each at 100,000 points."""
        for key in keys:
            self._shard.update(edge.UpdateOperation.create_field_index(f'{_PREFIX}"{key}"', _KEYWORD))
            self._known.add(key)


def _are_words(value: MetadataValue) -> bool:
    """Whether to index: only for strings, because the engine lets an index of numbers answer for dates, too.

    A key may hold a number here and a date there, and with such an index a range of one finds the other.
    """
    return isinstance(value, str) or (isinstance(value, list) and bool(value) and isinstance(value[0], str))
