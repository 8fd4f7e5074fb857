"""The packed encoder: a transformers model's weights, run on sequences that stand one behind the other.

No token is padding. The module that transformers loads is where the weights come from, and the reference that
the tests hold this against; here a layer is four matrix products, one attention and two norms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from latewood.embedder.encoder.attention import Attend, Attention
from latewood.embedder.encoder.packing import padded_length
from latewood.embedder.quantization.linear import Change, Product, run
from latewood.embedder.types import Task

if TYPE_CHECKING:
    import torch


# Values that are added up and normalised at a time: in four bytes each they stay in the second-level cache.
_PART = 128 * 1024


class Norm(NamedTuple):
    """A layer norm over the last axis, in float32."""

    weight: torch.Tensor
    bias: torch.Tensor
    epsilon: float

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise (tokens, hidden) float32."""
        from torch.nn import functional

        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.epsilon)


@dataclass(frozen=True, slots=True)
class Layer:
    """One block of the post-norm encoder of BERT (arXiv 1810.04805)."""

    qkv: Product
    out: Product
    up: Product
    down: Product
    attention_norm: Norm
    norm: Norm


class LayerChange(NamedTuple):
    """What a task changes in a layer's products."""

    qkv: Change | None = None
    out: Change | None = None
    up: Change | None = None
    down: Change | None = None


@dataclass(frozen=True, slots=True)
class TaskChange:
    """What a task's adapter changes.

    Attributes:
        words: (vocabulary, rank), and `Change.up` of it: what is added to word embeddings; None for nothing.
        constant: (hidden,), added to every embedding (from the token types); None for nothing.
        layers: one each.
    """

    words: Change | None
    constant: torch.Tensor | None
    layers: tuple[LayerChange, ...]


class Rotary(NamedTuple):
    """Tables of rotary positions (arXiv 2104.09864): cosine and sine, (positions, size / 2) each."""

    cosine: torch.Tensor
    sine: torch.Tensor


class Pack(NamedTuple):
    """What the layers of one pass share: how its sequences attend, and the positions of their tokens."""

    attend: Attend
    turn: Rotary | None
    heads: int


@dataclass(frozen=True, slots=True)
class Weights:
    """An encoder's weights, made ready by `embedder.families`.

    Attributes:
        words: (vocabulary, hidden), token types added.
        positions: (positions, hidden), the first for the first token; None where positions are rotary.
        rotary: tables, or None.
        norm: of the embeddings.
        layers: from the first to the last.
        heads: attention heads.
        changes: for each task that has any.
    """

    words: torch.Tensor
    positions: torch.Tensor | None
    rotary: Rotary | None
    norm: Norm
    layers: tuple[Layer, ...]
    heads: int
    changes: Mapping[Task, TaskChange]


class PackedEncoder:
    """Runs packs of sequences. Nothing in it changes after it is made: any number of threads may share it."""

    def __init__(self, weights: Weights, attention: Attention) -> None:
        self._weights = weights
        self._attention = attention

    @property
    def attention(self) -> str:
        """Name of the way it attends."""
        return self._attention.name

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self._weights.words.device

    @property
    def dtype(self) -> torch.dtype:
        """What products take and give."""
        return self._weights.words.dtype

    def activate(self, task: Task) -> None:
        """Nothing to do: each pass is told its task."""

    def states(
        self,
        task: Task,
        sequences: Sequence[NDArray[np.int32]],
        kept: Sequence[tuple[int, int]] | None = None,
    ) -> list[torch.Tensor]:
        """Run sequences through the model in one pass.

        What the last layer computes behind its attention is computed for the tokens that are kept only: those
        of a window that another window gives better, or all but the first one, cost nothing there.

        Args:
            task: whose adapter counts.
            sequences: int32 ids of each, special tokens included. Sequences of like length should be
                neighbours.
            kept: first and last (exclusive) token of each whose states are asked for; without it, of all.

        Returns:
            For each (kept tokens, hidden) float32, views of one tensor.
        """
        import torch

        weights = self._weights
        change = weights.changes.get(task)
        changes = [LayerChange()] * len(weights.layers) if change is None else change.layers
        parts = [(0, len(ids)) for ids in sequences] if kept is None else kept
        with torch.inference_mode():
            states, pack = self.begin(task, sequences)
            *steps, last = zip(weights.layers, changes, strict=True)
            for layer, changed in steps:
                states = run_layer(layer, changed, states, pack)
            rows = self._kept_rows([len(ids) for ids in sequences], parts, len(states.exact))
            x = run_layer(*last, states, pack, rows).exact
            sizes = [end - start for start, end in parts]
            if rows is not None:
                return list(torch.split(x[: sum(sizes)], sizes))
            whole = torch.split(x[: sum(map(len, sequences))], [len(ids) for ids in sequences])
            return [own[start:end] for own, (start, end) in zip(whole, parts, strict=True)]

    def _kept_rows(
        self, lengths: Sequence[int], parts: Sequence[tuple[int, int]], rows: int
    ) -> torch.Tensor | None:
        """Which of a pack's rows are kept, rows of padding last; None where computing all is as much work."""
        import torch

        needed = sum(end - start for start, end in parts)
        count = padded_length(needed) if self.device.type == "cpu" else needed
        if count >= rows:
            return None
        firsts = np.cumsum([0, *lengths[:-1]])
        places = np.zeros(count, dtype=np.int64)
        own = [np.arange(at + start, at + end) for at, (start, end) in zip(firsts, parts, strict=True)]
        np.concatenate(own, out=places[:needed])
        return torch.from_numpy(places).to(self.device)

    def begin(self, task: Task, sequences: Sequence[NDArray[np.int32]]) -> tuple[States, Pack]:
        """What the first layer takes: embeddings, rows of padding last; and what all layers share."""
        import torch

        weights, lengths = self._weights, [len(ids) for ids in sequences]
        rows = self._rows(lengths)
        ids = np.zeros(rows, dtype=np.int64)
        places = np.zeros(rows, dtype=np.int64)
        np.concatenate(sequences, out=ids[: sum(lengths)], casting="safe")
        np.concatenate([np.arange(length) for length in lengths], out=places[: sum(lengths)])
        at = torch.from_numpy(places).to(self.device)
        x = self._embed(torch.from_numpy(ids).to(self.device), at, weights.changes.get(task))
        turn = None if weights.rotary is None else Rotary(*(table[at] for table in weights.rotary))
        pack = Pack(self._attention.prepare(lengths, self.device), turn, weights.heads)
        return States(x, x.to(self.dtype)), pack

    def _rows(self, lengths: Sequence[int]) -> int:
        """Rows of the pack: on a processor one of few numbers, since each new one costs compiled kernels."""
        needed = self._attention.rows_for(lengths)
        return padded_length(needed) if self.device.type == "cpu" else needed

    def _embed(self, ids: torch.Tensor, places: torch.Tensor, change: TaskChange | None) -> torch.Tensor:
        weights = self._weights
        x = weights.words[ids].float()
        if weights.positions is not None:
            x += weights.positions[places]
        if change is not None and change.words is not None:
            x += change.words.down[ids] @ change.words.up.T
        if change is not None and change.constant is not None:
            x += change.constant
        return weights.norm(x)


class States(NamedTuple):
    """What goes from block to block: as products take it, and unrounded, which is what is added up.

    Rounding it there was most of what bfloat16 cost in accuracy (residual connections in float32, as training
    in mixed precision has them, arXiv 1710.03740).

    Attributes:
        exact: (rows, hidden) float32.
        rounded: the same in the encoder's dtype; the same tensor where that is float32.
    """

    exact: torch.Tensor
    rounded: torch.Tensor


def run_layer(
    layer: Layer, changed: LayerChange, states: States, pack: Pack, kept: torch.Tensor | None = None
) -> States:
    """One block; the states that come in are used up. With `kept`, row numbers, only those rows come out."""
    qkv = run(layer.qkv, states.rounded, changed.qkv).view(len(states.rounded), 3, pack.heads, -1)
    if pack.turn is not None:
        rotate(qkv, pack.turn)
    attended = pack.attend(qkv)
    del qkv  # what is read no more makes room for the widest product
    if kept is not None:
        attended, states = attended[kept], _rows_of(states, kept)
    states = _settle(layer.attention_norm, states, run(layer.out, attended, changed.out))
    del attended
    inner = run(layer.up, states.rounded, changed.up, gelu=True)
    return _settle(layer.norm, states, run(layer.down, inner, changed.down))


def _rows_of(states: States, kept: torch.Tensor) -> States:
    """Some rows; what is rounded is written before it is read again, so only its room is taken."""
    exact = states.exact[kept]
    return States(exact, exact if states.rounded is states.exact else states.rounded[: len(kept)])


def _settle(norm: Norm, states: States, more: torch.Tensor) -> States:
    """Normalise `states.exact + more`, in the place of `states`.

    On a processor some rows at a time, so that they are in the cache from the sum to the rounding: as fast as
    if all of it were in bfloat16, where whole tensors take 5 % of a pass more (4096 x 1024).
    """
    exact, rounded = states
    alike = rounded is exact
    if exact.device.type != "cpu":
        exact = norm(exact.add_(more))
        return States(exact, exact if alike else rounded.copy_(exact))
    step = max(1, _PART // exact.shape[1])
    for start in range(0, len(exact), step):
        rows = slice(start, start + step)
        exact[rows] = norm(exact[rows].add_(more[rows]))
        if not alike:
            rounded[rows] = exact[rows]
    return states


def rotate(qkv: torch.Tensor, turn: Rotary) -> None:
    """Turn queries and keys by their positions, in place.

    Args:
        qkv: (tokens, 3, heads, size).
        turn: (tokens, size / 2) each.
    """
    half = qkv.shape[-1] // 2
    first, second = qkv[:, :2, :, :half], qkv[:, :2, :, half:]
    cosine, sine = (table[:, None, None] for table in turn)
    turned = first * cosine
    turned.addcmul_(second, sine, value=-1)
    second.mul_(cosine).addcmul_(first, sine)
    first.copy_(turned)
