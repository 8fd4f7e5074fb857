"""Indexes on metadata keys, made when a string is first written: a filter on a bare key reads every point."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import qdrant_edge as edge

from search.types import MetadataValue

MOST = 64
"""Keys with an index: each takes memory. Filters on others are right, and slow."""

_PREFIX = "metadata."
_KEYWORD = edge.PayloadSchemaType.Keyword


class MetadataIndexes:
    """Which keys of one shard have an index for their strings."""

    def __init__(self, shard: edge.EdgeShard) -> None:
        """See what there is."""
        self._shard = shard
        fields = shard.info().payload_schema
        self._known = {one.removeprefix(_PREFIX).strip('"') for one in fields if one.startswith(_PREFIX)}

    def cover(self, written: Iterable[Mapping[str, MetadataValue]]) -> None:
        """Index the keys about to be written that are not yet: some tenths of a second at 100,000 points."""
        for metadata in written:
            for key, value in metadata.items():
                if key in self._known or len(self._known) >= MOST or not _are_words(value):
                    continue
                if '"' not in key and "\\" not in key:
                    made = edge.UpdateOperation.create_field_index(f'{_PREFIX}"{key}"', _KEYWORD)
                    self._shard.update(made)
                    self._known.add(key)


def _are_words(value: MetadataValue) -> bool:
    """Whether to index: only for strings, because the engine lets an index of numbers answer for dates, too.

    A key may hold a number here and a date there, and with such an index a range of one finds the other.
    """
    return isinstance(value, str) or (isinstance(value, list) and bool(value) and isinstance(value[0], str))
