"""Opening the embedded engine's shard: made whole or not at all, and held against what was acknowledged."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import qdrant_edge as edge
from qdrant_client import models

from latewood.search.stores.durable import sync_folders
from latewood.search.stores.edge import convert
from latewood.search.stores.edge.convert import to_filter
from latewood.search.stores.edge.disk_space import EMPTY_BYTES, check_space
from latewood.search.stores.edge.faults import REMEDY, EngineErrors
from latewood.search.stores.edge.manifests import manifests
from latewood.search.stores.qdrant.payload import CHUNK, INDEXED
from latewood.search.stores.qdrant.requests import SPARSE, keyword, vector_params
from latewood.search.types import IndexConfig, StoreDamagedError

INDEXING_KIB = 10_000
"""Fewer KiB of vectors than this get no graph when an index is optimised: the engine's own default."""

INDEX_TYPES = {
    "keyword": edge.PayloadSchemaType.Keyword,
    "integer": edge.PayloadSchemaType.Integer,
    "float": edge.PayloadSchemaType.Float,
    "datetime": edge.PayloadSchemaType.Datetime,
}


class Marks:
    """Two small files beside the shard.

    `clean.json` holds the number of points and exists only while nothing was written since a clean close, so
    that an index which lost points on disk is noticed. `swept` exists once chunks were removed, or moved out
    of a built segment: from then on the engine's own BM25 statistics still count them and a query must name
    its corpus, until an optimisation clears them out.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._clean = directory / "clean.json"
        self._swept = directory / "swept"
        self.swept = self._swept.exists()
        self._dirty = not self._clean.exists()

    @property
    def clean(self) -> bool:
        """Whether nothing was written since a clean close."""
        return not self._dirty

    def clean_points(self) -> int | None:
        """The number of points at the last clean close; None when anything was written since."""
        if not self._clean.exists():
            return None
        try:
            points = json.loads(self._clean.read_text(encoding="ascii"))["points"]
        except (ValueError, KeyError, TypeError) as error:
            raise StoreDamagedError(f"{self._clean} cannot be read ({error}); {REMEDY}") from error
        return int(points)

    def before_write(self) -> None:
        """To be called before anything is written."""
        if not self._dirty:
            self._clean.unlink(missing_ok=True)
            _sync(self._directory)
            self._dirty = True

    def before_removal(self) -> None:
        """To be called before chunks are removed, or written again where indexes are built."""
        if not self.swept:
            self._swept.touch()
            _sync(self._directory)
            self.swept = True

    def after_vacuum(self) -> None:
        """To be called when the engine holds nothing any more of what was removed."""
        self._swept.unlink(missing_ok=True)
        _sync(self._directory)
        self.swept = False

    def closed(self, points: int) -> None:
        """To be called when everything is on disk and nothing will be written any more."""
        if not self._dirty:
            return  # the note is there; after an open that was not checked it may tell of more points
        aside = self._clean.with_suffix(".partial")
        with aside.open("w", encoding="ascii") as file:
            json.dump({"points": points}, file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(self._clean)
        _sync(self._directory)
        self._dirty = False


def open_shard(directory: Path, config: IndexConfig, floor: int) -> edge.EdgeShard:
    """Open `directory/shard`, which is made when it does not exist.

    Raises:
        StoreDamagedError: the engine cannot read it.
        StoreUnavailableError: another process has it open.
        DiskFullError: too little space to make it.
    """
    path = directory / "shard"
    if not path.exists():
        check_space(directory, floor, EMPTY_BYTES)
        aside = directory / "shard.partial"
        shutil.rmtree(aside, ignore_errors=True)  # left by a process that died while making it
        with EngineErrors(f"making an index in {directory}"):
            _make(aside, config)
        sync_folders(aside)  # the engine syncs what is in its files, and not every folder that names them
        aside.rename(path)
        _sync(directory)
    return _load(directory, config)


def recounted(shard: edge.EdgeShard, directory: Path, config: IndexConfig, marks: Marks) -> edge.EdgeShard:
    """The shard with BM25 statistics of what it holds, after an end that was not a clean close.

    Killed in the middle of a flush, the engine has vectors on disk under numbers it does not know of. It
    takes those points from its journal when it is opened, but does not count them: N is too small, and every
    score with it, until it is opened once more with everything in its place.

    Raises:
        StoreDamagedError: the engine cannot read it.
    """
    with EngineErrors(f"reading the index in {directory}", opening=True):
        if marks.clean or marks.swept or counts_only_chunks(shard):
            return shard
        shard.flush()
        shard.close()
    again = _load(directory, config)
    with EngineErrors(f"reading the index in {directory}", opening=True):
        if not counts_only_chunks(again):
            marks.before_removal()  # whatever it counts, no query relies on it
    return again


def _load(directory: Path, config: IndexConfig) -> edge.EdgeShard:
    with EngineErrors(f"opening the index in {directory}", opening=True):
        return edge.EdgeShard.load(str(directory / "shard"), _engine_config(config))


def check_whole(shard: edge.EdgeShard, directory: Path, clean_points: int | None) -> None:
    """Compare what the shard holds with what was acknowledged: the engine loads some damage silently.

    Raises:
        StoreDamagedError: fewer or more points than at the last clean close, or documents with fewer chunks
            than their manifests say.
    """
    points = shard.count(edge.CountRequest())
    if clean_points is not None and points != clean_points:
        raise StoreDamagedError(
            f"the index in {directory} holds {points} points but was closed with {clean_points}; {REMEDY}"
        )
    chunks = to_filter(models.Filter(must=[keyword("type", CHUNK)]))
    counted = {
        str(hit.value): hit.count
        for hit in shard.facet(edge.FacetRequest("version", limit=points + 1, exact=True, filter=chunks)).hits
    }
    short, missing, example = 0, 0, ""
    for payload in manifests(shard, ["live", "chunks", "document_id"]):
        lacking = payload["chunks"] - counted.get(str(payload["live"]), 0)
        if payload["live"] is not None and lacking > 0:
            short, missing, example = short + 1, missing + lacking, payload["document_id"]
    if short:
        raise StoreDamagedError(
            f"{short} document(s) of the index in {directory} are short of {missing} chunk(s), for example "
            f"{example}; {REMEDY}"
        )


def counts_only_chunks(shard: edge.EdgeShard) -> bool:
    """Whether the engine's own BM25 statistics are those of the chunks that are there: measured."""
    chunks = to_filter(models.Filter(must=[keyword("type", CHUNK)]))
    points, _ = shard.scroll(edge.ScrollRequest(limit=100, filter=chunks, with_vector=[SPARSE]))
    for point in points:
        vectors: Any = point.vector or {}
        if SPARSE not in vectors:
            continue
        query = edge.Query.Nearest(vectors[SPARSE], using=SPARSE)
        named = edge.SearchParams(idf=edge.IdfParams(corpus=chunks))
        own, exact = (
            shard.query(edge.QueryRequest(limit=10, query=query, params=params)) for params in (None, named)
        )
        return [one.score for one in own] == [one.score for one in exact]
    return not points


def _engine_config(config: IndexConfig) -> edge.EdgeConfig:
    return edge.EdgeConfig(
        vectors={name: convert.vector_params(one) for name, one in vector_params(config).items()},
        sparse_vectors={SPARSE: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
        # Optimising, which happens when asked only, then leaves nothing of what was removed: by default it
        # does not mind a fifth, and BM25 statistics would go on counting it.
        optimizers=edge.EdgeOptimizersConfig(
            deleted_threshold=0.0, vacuum_min_vector_number=0, indexing_threshold=INDEXING_KIB
        ),
        wal_enabled=True,  # without it, a kill -9 loses what was acknowledged since the last flush
    )


def _make(path: Path, config: IndexConfig) -> None:
    shard = edge.EdgeShard.create(str(path), _engine_config(config))
    for kind, fields in INDEXED.items():
        for field in fields:
            shard.update(edge.UpdateOperation.create_field_index(field, INDEX_TYPES[kind]))
    shard.flush()
    shard.close()


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
