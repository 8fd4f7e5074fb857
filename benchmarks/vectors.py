"""Vectors to search, with questions and the exact answers: clustered synthetic ones, and real ones tiled.

The same seed gives the same vectors. Synthetic ones stand around a centre for every two hundred; like those
of a model trained for it (Matryoshka), their first numbers say the most: the n-th varies as n to the power
of -1/4, so that the first quarter of the numbers has half of the length squared. Real ones are of MiniLM, of
passages as they are ingested, copied with noise until there are enough: a copy stands as far from its
original as the nearest other passage does in the middle.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latewood.embedder.serving.engine import load_embedder
from latewood.embedder.types import Floats, SparseVector, Vectors
from latewood.evaluation.datasets import read_dataset
from latewood.evaluation.embedding_cache import Cutting, build_corpus
from latewood.evaluation.workbench import DEFAULT_CHUNK_TOKENS
from latewood.search.stores.base import Store
from latewood.search.types import Chunk, DocumentInfo, Passage

CHUNKS = 10  # of a document
_TOGETHER = 2_000
_NOISE = 1.1  # of a vector around its centre, in lengths of the centre
_SEED = 7
_EMPTY = SparseVector(np.empty(0, np.uint32), np.empty(0, np.float32))


@dataclass(frozen=True)
class VectorSet:
    """What is searched.

    Attributes:
        rows: (n, dim) float32 unit.
        questions: (q, dim) float32 unit.
    """

    name: str
    rows: Floats
    questions: Floats

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""
        return int(self.rows.shape[1])

    @cached_property
    def ids(self) -> list[str]:
        """Of the passages, in the order of the rows."""
        return [_passage(place).chunk.id for place in range(len(self.rows))]

    def exact(self, limit: int) -> tuple[list[list[str]], Floats]:
        """For each question the ids of the nearest, in order, and their cosines (q, limit), in float64."""
        found, scores = [], []
        for question in self.questions:
            rough = self.rows @ question
            some = np.argpartition(-rough, limit + 50)[: limit + 50]
            cosines = self.rows[some].astype(np.float64) @ question.astype(np.float64)
            order = np.argsort(-cosines, kind="stable")[:limit]
            found.append([self.ids[place] for place in some[order].tolist()])
            scores.append(cosines[order])
        return found, np.array(scores, np.float32)

    def write(self, store: Store) -> None:
        """All of them, each with a few words of text and none for BM25."""
        for first in range(0, len(self.rows), _TOGETHER):
            rows = self.rows[first : first + _TOGETHER]
            passages = [_passage(place) for place in range(first, first + len(rows))]
            store.put_chunks(passages, Vectors(rows, (_EMPTY,) * len(rows)))


def synthetic(points: int, dimension: int, questions: int) -> VectorSet:
    """Clusters whose first numbers say the most; questions are drawn as the vectors are."""
    random = np.random.default_rng(_SEED)
    spectrum = (np.arange(1, dimension + 1) ** -0.25).astype(np.float32)
    centres = random.standard_normal((max(2, points // 200), dimension), np.float32)

    def drawn(count: int) -> Floats:
        rows = centres[random.integers(0, len(centres), count)]
        rows = rows + np.float32(_NOISE) * random.standard_normal((count, dimension), np.float32)
        return _unit(rows * spectrum)

    return VectorSet("synthetic", drawn(points), drawn(questions))


def real(folders: Sequence[Path], points: int, questions: int, cache: Path) -> VectorSet:
    """MiniLM's vectors of these sets' passages and questions, kept in `cache` as evaluation does, tiled."""
    return tiled(*_embedded(folders, cache), points, questions)


def tiled(texts: Floats, asked: Floats, points: int, questions: int) -> VectorSet:
    """Texts (n, dim), copied with noise until there are enough, and some of the questions (q, dim)."""
    random = np.random.default_rng(_SEED)
    noise = _distance(texts[random.permutation(len(texts))[:2_000]], texts)
    rows = [texts[random.permutation(len(texts))[:points]]]
    while sum(map(len, rows)) < points:
        part = texts[: points - sum(map(len, rows))]
        aside = _unit(random.standard_normal(part.shape, np.float32))
        rows.append(_unit(part + np.float32(noise) * aside))
    return VectorSet("real", np.concatenate(rows), asked[random.permutation(len(asked))[:questions]])


def _distance(some: Floats, texts: Floats) -> float:
    """How much noise puts a copy as far from its original as the nearest other text is, in the middle."""
    nearest = np.partition(some @ texts.T, -2, axis=1)[:, -2]
    cosine = float(np.median(nearest))
    return float(np.sqrt(1 / cosine**2 - 1))


def _embedded(folders: Sequence[Path], cache: Path) -> tuple[Floats, Floats]:
    """Passages (n, dim) as they are ingested, and questions (q, dim), of all sets."""
    embedder = load_embedder("sentence-transformers/all-MiniLM-L6-v2")
    cutting = Cutting("document", DEFAULT_CHUNK_TOKENS)
    try:
        made = [
            build_corpus(read_dataset(folder), embedder, cutting, cache, lambda *_: None)
            for folder in folders
        ]
        context, size = embedder.description.context, embedder.dimension
    finally:
        embedder.close()
    texts = np.concatenate([corpus.vectors(context, size) for corpus in made])
    return texts, np.concatenate([corpus.queries for corpus in made])


def _unit(rows: NDArray[np.float32]) -> Floats:
    unit: Floats = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


def _passage(place: int) -> Passage:
    document, ordinal = divmod(place, CHUNKS)
    key = str(uuid.uuid5(uuid.NAMESPACE_URL, f"vectors {document}"))
    info = DocumentInfo(key, f"file:///bench/{document}.txt", "file:///bench/", "", "txt", "en", "", "")
    text = f"passage {place}"
    return Passage(Chunk(key, key, ordinal, 0, len(text), text), info)
