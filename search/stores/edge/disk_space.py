"""How much a write may take on disk, and the refusal that comes before the engine dies of a full one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from latewood.embedder.types import Vectors
from latewood.search.stores.qdrant.payload import Payload
from latewood.search.stores.records import Row
from latewood.search.types import DiskFullError

OVERHEAD = 4
"""How many times a write's own size it may take on disk: journal, storage, indexes, slack."""

POINT_BYTES = 2048
"""What a point takes beside its vectors and texts."""

_TOLD = ("uri", "source", "title", "metadata", "numbers", "dates", "truths", "exact_metadata")
"""Fields of any length that a document's passages carry, each of them."""

EMPTY_BYTES = 96 * 2**20
"""What an index without points may take: 84 MiB in memory file systems, less where files may have holes."""

REMOVAL_FLOOR = 16 * 2**20
"""Bytes that stay free when a document is removed: the engine's journal and flags must find room."""

_ROW_BYTES = 16 * 1024  # a few pages of the record file and its journal


def check_space(directory: Path, floor: int, size: int) -> None:
    """Refuse a write that could fill the disk: the engine dies of that, it does not raise.

    Raises:
        DiskFullError: fewer than `floor` bytes would be left free after writing `size`.
    """
    free = shutil.disk_usage(directory).free
    if free < floor + size:
        raise DiskFullError(
            f"{free / 2**20:.0f} MiB are free at {directory}; writing {size / 2**20:.1f} MiB must leave "
            f"{floor / 2**20:.0f} MiB free; free some space and try again; nothing was written"
        )


def chunks_bytes(payloads: Sequence[Payload], vectors: Vectors, dimensions: Sequence[int]) -> int:
    """Bytes that these chunks may take, with a vector of each of these sizes."""
    # Every passage carries what is said of its document: measured once for each.
    documents = {one["document_id"]: one for one in payloads}
    told = {
        key: sum(len(json.dumps(one[name])) for name in _TOLD if name in one)
        for key, one in documents.items()
    }
    words = sum(
        4 * (len(one["text"]) + len(one["context"])) + told[one["document_id"]] + POINT_BYTES
        for one in payloads
    )
    sparse = sum(8 * len(one.indices) for one in vectors.sparse)
    dense = 2 * vectors.dense.nbytes * sum(dimensions) // max(dimensions)
    return OVERHEAD * (words + dense + sparse)


def manifests_bytes(payloads: Sequence[Payload]) -> int:
    """Bytes that these manifests may take."""
    return OVERHEAD * sum(len(one["manifest"]) + POINT_BYTES for one in payloads)


def rows_bytes(rows: Sequence[Row]) -> int:
    """Bytes that these records may take."""
    return sum(OVERHEAD * (len(row.manifest) + len(row.chunks)) + _ROW_BYTES for row in rows)


def disk_bytes(directory: Path) -> int:
    """Bytes really taken: the engine's files are sparse."""
    total = 0
    for folder, _, files in os.walk(directory):
        for name in files:
            try:
                total += (Path(folder) / name).stat().st_blocks * 512
            except FileNotFoundError:  # the engine replaces files while it works
                continue
    return total
