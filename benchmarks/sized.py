"""Jina v3's size with random weights, packed without padding, beside transformers' own padded batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from benchmarks.random_models import VOCABULARY, jina_size, packed, rounded
from benchmarks.turns import best
from latewood.embedder.encoder.backbone import native_dtype
from latewood.embedder.encoder.encoder import PackedEncoder
from latewood.embedder.encoder.varlen import choose_attention
from latewood.embedder.quantization.int8 import missing_for_int8
from latewood.embedder.types import Task

LAYERS = 24  # of Jina v3
BATCH = 32  # texts that sentence-transformers takes at a time
PACK = 4096  # tokens of a pack, as many as the engine takes on two cores


class Sized:
    """Some layers of Jina v3's size with the same random weights: transformers' module, and packed ones."""

    HEADS = (
        "packed in",
        "transformers float32, tokens per CPU second",
        "packed",
        "times",
        "share of the product rate",
        "least cosine",
    )

    def __init__(self, layers: int, hidden: int) -> None:
        torch.set_num_threads(1)
        self._layers, self._hidden = layers, hidden
        self._reference = jina_size(layers, hidden)
        self._native = native_dtype("cpu")
        dtype: torch.dtype = getattr(torch, self._native)
        way = choose_attention(torch.device("cpu"), dtype)
        self._encoders = {self._native: packed(jina_size(layers, hidden).to(dtype), way)}
        if not missing_for_int8():
            self._encoders["int8"] = rounded(jina_size(layers, hidden).to(dtype), way)
        self._rate = product_rate(hidden, dtype)

    def texts(self, lengths: Sequence[int]) -> list[NDArray[np.int32]]:
        """Random words, (length,) each."""
        numbers = np.random.default_rng(sum(lengths))
        return [numbers.integers(5, VOCABULARY, length).astype(np.int32) for length in lengths]

    def beside(self, asked: Sequence[NDArray[np.int32]], rounds: int) -> list[tuple[str, ...]]:
        """A row for each way to pack, scaled to 24 layers."""
        by_length = sorted(range(len(asked)), key=lambda number: -len(asked[number]))
        batches = [by_length[first : first + BATCH] for first in range(0, len(asked), BATCH)]

        def theirs() -> list[torch.Tensor]:
            return [_padded_means(self._reference, [asked[number] for number in batch]) for batch in batches]

        def ours(encoder: PackedEncoder) -> torch.Tensor:
            means = [encoder.states(Task.PASSAGE, pack) for pack in _packs(asked)]
            return torch.stack([states.mean(0) for states in chain.from_iterable(means)])

        sides = {name: partial(ours, encoder) for name, encoder in self._encoders.items()}
        seconds = best({"theirs": theirs, **sides}, rounds=rounds)
        exact = torch.empty(len(asked), self._hidden)
        exact[by_length] = torch.cat(theirs())
        tokens = sum(map(len, asked))
        done = self._layers * operations(self._hidden, [len(one) for one in asked])
        scaled = tokens * self._layers / LAYERS
        rows = []
        for name, run in sides.items():
            cosine = functional.cosine_similarity(run(), exact, dim=-1).min()
            share = 100 * done / seconds[name] / self._rate
            rows.append(
                (
                    name,
                    f"{scaled / seconds['theirs']:,.0f}",
                    f"{scaled / seconds[name]:,.0f}",
                    f"{seconds['theirs'] / seconds[name]:.2f}",
                    f"{share:.0f} %",
                    f"{cosine:.6f}",
                )
            )
        return rows

    def told(self) -> None:
        """What the numbers of the tables stand for."""
        print(
            f"\n{self._layers} of {LAYERS} layers, scaled to {LAYERS}; "
            f"plain {self._native} products: {self._rate / 1e9:.0f} GFLOP/s"
        )


def _packs(asked: Sequence[NDArray[np.int32]]) -> Iterator[list[NDArray[np.int32]]]:
    """In the order given, `PACK` tokens or one text at a time."""
    pack: list[NDArray[np.int32]] = []
    for one in asked:
        if pack and sum(map(len, pack)) + len(one) > PACK:
            yield pack
            pack = []
        pack.append(one)
    yield pack


def _padded_means(reference: torch.nn.Module, batch: Sequence[NDArray[np.int32]]) -> torch.Tensor:
    """Mean states of texts of nearly equal length, (batch, hidden): padded to the longest, as batches are."""
    longest = max(map(len, batch))
    ids = torch.full((len(batch), longest), 1, dtype=torch.long)
    mask = torch.zeros(len(batch), longest, dtype=torch.long)
    for row, one in enumerate(batch):
        ids[row, : len(one)] = torch.from_numpy(one)
        mask[row, : len(one)] = 1
    kwargs = {} if bool(mask.all()) else {"attention_mask": mask}  # without padding attention is quicker
    with torch.inference_mode():
        states: torch.Tensor = reference(input_ids=ids, **kwargs).last_hidden_state
    return (states * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)


def operations(hidden: int, lengths: Sequence[int]) -> int:
    """Of one layer on texts of so many tokens.

    Products with 12 hidden² weights, two operations each, and of attention with the whole text.
    """
    return sum(length * (24 * hidden**2 + 4 * hidden * length) for length in lengths)


def product_rate(hidden: int, dtype: torch.dtype) -> float:
    """Operations per CPU second of torch's own product of an encoder's largest shape."""
    x, weight = torch.randn(2048, hidden).to(dtype), torch.randn(4 * hidden, hidden).to(dtype)
    seconds = best({"product": lambda: functional.linear(x, weight)}, rounds=5)["product"]
    return 2 * 2048 * 4 * hidden**2 / seconds
