"""The throw-away index: passages of a judged set with vectors at both ends of the context dial, kept on disk.

Every context, dimension, fusion and BM25 setting is computed from what is kept; only another model, unit or
chunk size embeds again. Kept by block of documents, so that an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from latewood.embedder.encoder.pooling import blend
from latewood.embedder.types import Floats, ModelDescription, Offsets, Span, SpannedText, Task
from latewood.evaluation.dataset_files import DatasetError
from latewood.evaluation.datasets import Dataset, GoldSpan
from latewood.ingest.chunking.chunker import chunks_at, tile
from latewood.ingest.types import Document, ParseError
from latewood.search.stores.vectors import prefix
from latewood.search.types import Chunk

BLOCK_CHARACTERS = 200_000
BLOCK_DOCUMENTS = 64
TIMED_QUERIES = 16
_VERSION = "00000000-0000-0000-0000-000000000000"
# A cache must not outlive the code that fills it: these decide where chunks end and what their vectors are.
_CODE = (
    "latewood.embedder",
    "latewood.ingest.chunking.boundaries",
    "latewood.ingest.chunking.chunker",
    "latewood.ingest.chunking.sections",
)

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


class TwoEndedEmbedder(Protocol):
    """What the evaluation needs of a model; `embedder.engine.LocalEmbedder` is one."""

    @property
    def description(self) -> ModelDescription:
        """The model in use."""
        ...

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """What vectors that are compared must agree on."""
        ...

    @property
    def recorded(self) -> Mapping[str, str]:
        """Device, dtype and window, which vectors depend on a little."""
        ...

    def token_offsets(self, text: str) -> Offsets:
        """Character span of each token: (n, 2) int64, end exclusive."""
        ...

    def embed_documents_both(self, documents: Sequence[SpannedText]) -> list[tuple[Floats, Floats]]:
        """Return for each document (len(spans), dim) float32 unit rows at context 0 and at context 1.

        A model without late chunking gives those at context 0 twice.
        """
        ...

    def embed_texts(self, texts: Sequence[str], task: Task) -> Floats:
        """Embed each text by itself: (len(texts), dim) float32 unit rows."""
        ...


@dataclass(frozen=True, slots=True)
class Cutting:
    """Where passages begin and end: every `chunk_tokens` tokens as ingested, or (None) at the set's own."""

    unit: str
    chunk_tokens: int | None

    def __post_init__(self) -> None:
        if (self.unit == "passage") != (self.chunk_tokens is None):
            raise ValueError("a cut at the set's own passages has no chunk size; any other has one")


@dataclass(frozen=True, slots=True)
class Corpus:
    """The passages of a set, and every vector that ablations need.

    Attributes:
        chunks: in order of document and place; `places` says where, by the set's ids.
        judged: for each chunk the id its grades stand under: its document's, or its own as a passage.
        naive, late: (chunks, dim) float32 unit rows: each chunk by itself, and within its document.
        queries: (questions, dim) float32 unit rows, in the set's order.
        embed_ms: mean milliseconds to embed one question by itself, measured here.
    """

    cutting: Cutting
    chunks: tuple[Chunk, ...]
    places: tuple[GoldSpan, ...]
    judged: tuple[str, ...]
    naive: Floats
    late: Floats
    queries: Floats
    embed_ms: float

    def vectors(self, context: float, dimension: int) -> Floats:
        """(chunks, dimension) float32 unit rows, as an index with these settings would hold them."""
        if not len(self.chunks):
            return self.naive[:, :dimension]
        return prefix(blend(self.naive, self.late, context), dimension)


def build_corpus(
    dataset: Dataset, embedder: TwoEndedEmbedder, cutting: Cutting, cache: Path, progress: Progress
) -> Corpus:
    """Cut and embed a set, or read it from the cache.

    Args:
        dataset: what to index.
        embedder: called for what is not kept yet.
        cutting: where passages begin and end.
        cache: a folder; what is kept there is keyed by all that went into it.
        progress: told after each block of documents.

    Raises:
        DatasetError: the unit is `passage` and the set has no passages.
    """
    if cutting.unit == "passage" and not dataset.passages:
        raise DatasetError(f"{dataset.name} has no passages.jsonl; use the unit `document`")
    folder = cache / _key(dataset, embedder, cutting)
    folder.mkdir(parents=True, exist_ok=True)
    blocks = list(_blocks(dataset.documents))
    parts: list[Mapping[str, NDArray[np.generic]]] = []
    done = 0
    for number, keys in enumerate(blocks):
        path = folder / f"block-{number:05}.npz"
        if not path.exists():
            _write(path, _embed_block(dataset, keys, embedder, cutting))
        with np.load(path) as stored:
            parts.append({name: stored[name] for name in stored.files})
        done += len(keys)
        progress(f"embedding {dataset.name}", done, len(dataset.documents))
    queries, embed_ms = _embed_queries(dataset, embedder, cache)
    return _assemble(dataset, cutting, blocks, parts, (queries, embed_ms))


def _key(dataset: Dataset, embedder: TwoEndedEmbedder, cutting: Cutting) -> str:
    said = {
        "content": dataset.content_hash,
        "model": dict(embedder.fingerprint),
        "made": {name: value for name, value in embedder.recorded.items() if name != "context"},
        "cutting": [cutting.unit, cutting.chunk_tokens],
        "block": [BLOCK_CHARACTERS, BLOCK_DOCUMENTS],
        "code": [code_hash(name) for name in _CODE],
    }
    return f"{dataset.name[:40].replace('/', '_')}-{_hash(said)}"


def _hash(said: object) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:24]


def code_hash(module: str) -> str:
    """sha256 of a module's source; of a package, of everything in it.

    Raises:
        ModuleNotFoundError: there is no such module, or no source of it.
    """
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"no source of {module}, which the cache is keyed by", name=module)
    if found.submodule_search_locations is None:
        return hashlib.sha256(Path(found.origin).read_bytes()).hexdigest()
    digest = hashlib.sha256()
    for path in sorted(Path(found.origin).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _blocks(documents: Mapping[str, Document]) -> Iterator[list[str]]:
    block: list[str] = []
    characters = 0
    for key, document in documents.items():
        if block and (characters + len(document.text) > BLOCK_CHARACTERS or len(block) >= BLOCK_DOCUMENTS):
            yield block
            block, characters = [], 0
        block.append(key)
        characters += len(document.text)
    if block:
        yield block


def _embed_block(
    dataset: Dataset, keys: Sequence[str], embedder: TwoEndedEmbedder, cutting: Cutting
) -> dict[str, NDArray[np.generic]]:
    """Starts of the chunks of each document, how many each has, and their vectors at both ends."""
    starts = [_starts(dataset, key, embedder, cutting) for key in keys]
    spanned = [
        _spanned(document, begins)
        for document, begins in zip((dataset.documents[key] for key in keys), starts, strict=True)
        if begins
    ]
    ends = embedder.embed_documents_both(spanned)
    width = ends[0][0].shape[1] if ends else 0
    empty = np.zeros((0, width), dtype=np.float32)
    return {
        "counts": np.array([len(begins) for begins in starts], dtype=np.int64),
        "starts": np.array([start for begins in starts for start in begins], dtype=np.int64),
        "naive": np.concatenate([empty, *(naive for naive, _ in ends)]),
        "late": np.concatenate([empty, *(late for _, late in ends)]),
    }


def _spanned(document: Document, begins: Sequence[int]) -> SpannedText:
    chunks = chunks_at(document, _VERSION, [*begins, len(document.text)])
    spans = tuple(Span(chunk.start, chunk.end) for chunk in chunks)
    return SpannedText(document.text, spans, tuple(chunk.context for chunk in chunks))


def _starts(dataset: Dataset, key: str, embedder: TwoEndedEmbedder, cutting: Cutting) -> list[int]:
    """Where each chunk of a document begins; none for a text in which the model finds nothing."""
    if cutting.chunk_tokens is None:
        return [0, *(passage.start for passage in dataset.passages[key][1:])]
    try:
        chunks = tile(
            dataset.documents[key],
            version=_VERSION,
            token_offsets=embedder.token_offsets,
            max_tokens=cutting.chunk_tokens,
        )
    except ParseError:  # no token at all: an ingest names it as failed and goes on, too
        return []
    return [chunk.start for chunk in chunks]


def _write(path: Path, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """All of it or nothing: a killed run leaves no half block behind under its name."""
    draft = path.with_name(f".{path.stem}-{os.getpid()}-{uuid.uuid4().hex[:8]}.npz")
    try:
        np.savez(draft, allow_pickle=False, **arrays)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _embed_queries(dataset: Dataset, embedder: TwoEndedEmbedder, cache: Path) -> tuple[Floats, float]:
    texts = list(dataset.queries.values())
    said = [texts, dict(embedder.fingerprint), dict(embedder.recorded), [code_hash(one) for one in _CODE]]
    path = cache / f"queries-{_hash(said)}.npz"
    if not path.exists():
        timed = texts[:TIMED_QUERIES]
        embedder.embed_texts(timed[:1], Task.QUERY)  # what is loaded at first use is not timed
        begun = time.perf_counter()
        for text in timed:
            embedder.embed_texts([text], Task.QUERY)
        each = (time.perf_counter() - begun) * 1e3 / len(timed)
        _write(path, {"vectors": embedder.embed_texts(texts, Task.QUERY), "each_ms": np.array(each)})
    with np.load(path) as stored:
        return stored["vectors"], float(stored["each_ms"])


def _assemble(
    dataset: Dataset,
    cutting: Cutting,
    blocks: Sequence[Sequence[str]],
    parts: Sequence[Mapping[str, NDArray[np.generic]]],
    queries: tuple[Floats, float],
) -> Corpus:
    chunks: list[Chunk] = []
    places: list[GoldSpan] = []
    judged: list[str] = []
    for keys, part in zip(blocks, parts, strict=True):
        borders = np.split(part["starts"], np.cumsum(part["counts"])[:-1])
        for key, starts in zip(keys, borders, strict=True):
            document = dataset.documents[key]
            cut = chunks_at(document, _VERSION, [*starts.tolist(), len(document.text)]) if len(starts) else []
            chunks += cut
            places += [GoldSpan(key, chunk.start, chunk.end) for chunk in cut]
            own = [passage.id for passage in dataset.passages.get(key, ())]
            judged += own if cutting.unit == "passage" else [key] * len(cut)
    naive, late = (
        np.concatenate([part[name] for part in parts]).astype(np.float32) for name in ("naive", "late")
    )
    return Corpus(cutting, tuple(chunks), tuple(places), tuple(judged), naive, late, *queries)
