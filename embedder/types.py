"""What flows in and out of the embedder. Imports neither torch nor transformers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Offsets = NDArray[np.int64]

LEAD = "lead"
"""In `Embedder.recorded` where leads stand before windows: then vectors depend on them."""


class EmbedderError(Exception):
    """Base of every error the embedder raises on purpose."""


class ModelNotFoundError(EmbedderError):
    """No usable weights where they were looked for; the message says what to put where."""


class CheckpointError(EmbedderError):
    """Weights or adapters are not what they claim to be."""


class InputError(EmbedderError, ValueError):
    """A text, span, task or dimension that cannot be embedded."""


class StoppedError(EmbedderError):
    """The caller's own `stop` ended the work; nothing is returned."""


class Task(StrEnum):
    """The five tasks of Jina Embeddings v3 (arXiv 2409.10173); other models map them to prompts."""

    QUERY = "retrieval.query"
    PASSAGE = "retrieval.passage"
    SEPARATION = "separation"
    CLASSIFICATION = "classification"
    TEXT_MATCHING = "text-matching"


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A piece of a text: str indices (code points), end exclusive, never empty."""

    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise InputError(f"span [{self.start}, {self.end}) must satisfy 0 <= start < end")


@dataclass(frozen=True, slots=True)
class SpannedText:
    """A whole document and the spans to embed from it.

    Attributes:
        leads: for each span what a reader knows from the pages before it (title, heading path), or nothing at
            all. An embedder that is told to puts it before each window; it attends and is not pooled.

    Raises:
        InputError: spans out of order, overlapping, or past the end of the text; not one lead for each.
    """

    text: str
    spans: tuple[Span, ...]
    leads: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.leads and len(self.leads) != len(self.spans):
            raise InputError(
                f"{len(self.leads)} leads for {len(self.spans)} spans: give one for each or none"
            )
        before = 0
        for span in self.spans:
            if span.start < before:
                raise InputError(
                    f"span [{span.start}, {span.end}) begins before {before}, the end of the one before"
                )
            before = span.end
        if before > len(self.text):
            raise InputError(f"span ends at {before}, past the end of the text ({len(self.text)} characters)")


@dataclass(frozen=True, slots=True)
class SparseVector:
    """Term weights. `indices`: (n,) uint32, distinct; `values`: (n,) float32, finite."""

    indices: NDArray[np.uint32]
    values: Floats

    def __post_init__(self) -> None:
        if self.indices.shape != self.values.shape or self.indices.ndim != 1:
            raise ValueError(
                f"indices {self.indices.shape} and values {self.values.shape} must be equal and flat"
            )
        if not np.isfinite(self.values).all():
            raise ValueError("a sparse vector has a value that is not finite")


@dataclass(frozen=True, slots=True)
class Vectors:
    """What is indexed for n passages.

    Attributes:
        dense: (n, dim) float32, every row of length 1 (within 1e-3), at the largest stored dimension.
        sparse: n BM25 vectors.

    Raises:
        ValueError: lengths differ, a value is not finite, or a row is not a unit vector.
    """

    dense: Floats
    sparse: tuple[SparseVector, ...]

    def __post_init__(self) -> None:
        if self.dense.ndim != 2 or len(self.dense) != len(self.sparse):
            raise ValueError(
                f"dense {self.dense.shape} and {len(self.sparse)} sparse vectors do not belong together"
            )
        norms = np.linalg.norm(self.dense, axis=1)
        if not np.isfinite(norms).all() or (len(norms) and float(np.abs(norms - 1).max()) > 1e-3):
            raise ValueError("dense rows must be finite unit vectors")

    @classmethod
    def joined(cls, parts: Sequence[Vectors]) -> Vectors:
        """Those of all parts, at least one, in order."""
        if len(parts) == 1:
            return parts[0]
        sparse = tuple(chain.from_iterable(part.sparse for part in parts))
        return cls(np.concatenate([part.dense for part in parts]), sparse)

    def __len__(self) -> int:
        return len(self.dense)


POOLINGS = ("mean", "cls", "last")


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """Everything that must be known about an encoder to use it rightly.

    Attributes:
        name: the hub name, also what the user types in `MODEL`.
        revision: the hub's commit (or branch) that is meant.
        pooling: how a text by itself becomes a vector: `mean` of all its tokens, `cls` (the first one) or
            `last`. Late chunking, which pools the mean of a chunk's content tokens, is for `mean` only.
        max_tokens: positions of the model, special tokens included.
        dimensions: the Matryoshka sizes it was trained for, largest first.
        context: the default of the late-chunking dial, 0 (each chunk alone) to 1 (late chunking).
        prompts: text put before the input, per task; a task that is absent has no prompt.
        adapters: folder of the LoRA adapter per task; empty when the model has none.
        package: an installed package that carries the weights, if there is one.
        checksum: sha256 of the weights in that package.
        folder: where the files lie, for a model that is described in the settings; None: looked for by name.
        knows: ISO 639-1 codes of all languages it can be asked in; empty: very many, or nobody said.
        include_prompt: whether the prompt's tokens count when a text by itself is pooled by `mean` or `cls`.
        lowercase: whether texts are lowercased before they are tokenised.

    Raises:
        InputError: a value that no encoder can have.
    """

    name: str
    revision: str
    pooling: str
    max_tokens: int
    dimensions: tuple[int, ...]
    licence: str
    languages: str
    context: float
    prompts: Mapping[Task, str] = field(default_factory=dict)
    adapters: Mapping[Task, str] = field(default_factory=dict)
    package: str | None = None
    checksum: str | None = None
    folder: str | None = None
    knows: tuple[str, ...] = ()
    include_prompt: bool = True
    lowercase: bool = False

    @property
    def late_chunking(self) -> bool:
        """Return whether the model was trained to be pooled as late chunking pools."""
        return self.pooling == "mean"

    def __post_init__(self) -> None:
        if self.pooling not in POOLINGS:
            raise InputError(
                f"pooling {self.pooling!r} of {self.name} is unknown; use one of {', '.join(POOLINGS)}"
            )
        if self.max_tokens < 1 or any(size < 1 for size in self.dimensions):
            raise InputError(
                f"{self.name} has max_tokens {self.max_tokens} and dimensions {self.dimensions}; "
                "they must be at least 1"
            )
        self.check_context(self.context)

    def check_context(self, context: float) -> None:
        """Hold a context against what the model can have.

        Raises:
            InputError: it is out of range, or not 0 with a model that late chunking is not for.
        """
        if not 0 <= context <= 1:
            raise InputError(
                f"context {context:g} is not between 0 (each chunk alone) and 1 (late chunking): {self.name}"
            )
        if context and not self.late_chunking:
            raise InputError(
                f"context {context:g} is for models that pool by the mean, and {self.name} pools by "
                f"{self.pooling!r}: use context 0 (leave CONTEXT and late_chunking out), or another model"
            )


@dataclass(frozen=True, slots=True)
class RerankerDescription:
    """Everything that must be known about a cross-encoder to use it rightly.

    Attributes:
        name: the hub name, also what the user types.
        revision: the hub's commit that is meant.
        max_tokens: tokens of a pair at most: question, passage and special tokens.
        folder: where the files lie; None: looked for by name.

    Raises:
        InputError: a value that no cross-encoder can have.
    """

    name: str
    revision: str
    max_tokens: int
    licence: str
    languages: str
    folder: str | None = None

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise InputError(f"max_tokens {self.max_tokens} of {self.name} must be at least 1")


BATCH_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Sizes that `Load.batches` tells apart, in rows."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a model has done since it was loaded, and what waits for it.

    Attributes:
        waiting: requests that wait.
        tokens: that were read, prompts included.
        rows: texts and windows that ran.
        batches: how many ran, by their rows: at most each of `BATCH_ROWS`, and more.
    """

    waiting: int
    tokens: int
    rows: int
    batches: tuple[int, ...]


class Embedder(Protocol):
    """One loaded model. Safe to call from many threads; one owner thread runs the model."""

    @property
    def description(self) -> ModelDescription:
        """The model in use."""
        ...

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """What an index must agree on: model, revision, adapters, prompts, pooling."""
        ...

    @property
    def recorded(self) -> Mapping[str, str]:
        """What is noted per document and never fatal: dtype, device, window, context."""
        ...

    @property
    def dimension(self) -> int:
        """Length of the vectors returned."""
        ...

    def token_offsets(self, text: str) -> Offsets:
        """Character span of each token of `text`, without special tokens: (n, 2) int64, end exclusive."""
        ...

    def embed_documents(
        self,
        documents: Sequence[SpannedText],
        stop: Callable[[], bool] = ...,
        context: float | None = ...,
        progress: Callable[[float], object] | None = ...,
    ) -> list[Floats]:
        """Embed whole documents: for each, (len(spans), dimension) float32 unit rows.

        `context`, 0 (each span alone) to 1 (late chunking), stands in for the embedder's own.
        `stop` is asked now and then; once it says True the work leaves the queue and StoppedError is raised.
        `progress` is called now and then with the part of the tokens that is embedded, from 0 to 1.
        """
        ...

    def embed_texts(self, texts: Sequence[str], task: Task, stop: Callable[[], bool] = ...) -> Floats:
        """Embed each text by itself: (len(texts), dimension) float32 unit rows. `stop` as above."""
        ...

    def close(self) -> None:
        """Finish what is running, refuse what comes after."""
        ...


class Reranker(Protocol):
    """One loaded cross-encoder. Safe to call from many threads; one owner thread runs the model."""

    @property
    def description(self) -> RerankerDescription:
        """The model in use."""
        ...

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """What decides its scores: model, revision, weights."""
        ...

    def score(self, query: str, passages: Sequence[str], stop: Callable[[], bool] = ...) -> Floats:
        """How well each passage answers: (len(passages),) float32 from 0 to 1, higher is better.

        Nothing is cut off: a passage longer than the model can take counts as its best window. One without
        a token scores 0.
        `stop` is asked now and then; once it says True the work leaves the queue and StoppedError is raised.

        Raises:
            InputError: the query holds no token, or leaves no room for a passage.
            StoppedError: `stop` said True.
            EmbedderError: the reranker is closed, or the model gave values that are not finite.
        """
        ...

    def count_tokens(self, texts: Sequence[str]) -> int:
        """Return the number of tokens of all texts."""
        ...

    def close(self) -> None:
        """Finish what is running, refuse what comes after."""
        ...
