"""Indexes on metadata keys, made when a key is first written: a filter on a bare one reads every point."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import qdrant_edge as edge

from search.stores.filters import parse_date
from search.types import MetadataValue

MOST = 64
"""Keys with an index: each takes memory. Filters on others are right, and slow."""

_PREFIX = "metadata."
_Kind = edge.PayloadSchemaType


class MetadataIndexes:
    """What is indexed in one shard. The first value of a key decides for which kind of values."""

    def __init__(self, shard: edge.EdgeShard) -> None:
        """See what there is."""
        self._shard = shard
        fields = shard.info().payload_schema
        self._known = {one.removeprefix(_PREFIX).strip('"') for one in fields if one.startswith(_PREFIX)}

    def cover(self, written: Iterable[Mapping[str, MetadataValue]]) -> None:
        """Index the keys about to be written that are not yet: some tenths of a second at 100,000 points."""
        for metadata in written:
            for key, value in metadata.items():
                if key in self._known or len(self._known) >= MOST:
                    continue
                kind = _kind(value)
                if kind is not None and '"' not in key and "\\" not in key:
                    self._shard.update(edge.UpdateOperation.create_field_index(f'{_PREFIX}"{key}"', kind))
                    self._known.add(key)


def _kind(value: MetadataValue) -> edge.PayloadSchemaType | None:
    """None for what tells nothing: no value, or a boolean, which is asked for by `truths`."""
    first = value[0] if isinstance(value, list) and value else value
    if isinstance(first, str):
        return _Kind.Keyword if parse_date(first) is None else _Kind.Datetime
    return _Kind.Float if isinstance(first, int | float) and not isinstance(first, bool) else None
