"""Packed attention on a GPU, and which way is taken on which device.

In this order: flash-attn's kernel for sequences of any lengths, the same kernel as torch carries it, and
torch's fused attention on sequences padded in groups of like length. Positions alone do not separate the
sequences of a pack: the kernels get the borders, and the padded way a mask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from latewood.embedder.encoder.attention import Attend, Attention, BlockedAttention, BlockedSdpa
from latewood.embedder.encoder.packing import pack_padded, padded_length

if TYPE_CHECKING:
    import torch

# Takes queries, keys and values, (tokens, heads, size) each, the borders of the sequences, (sequences + 1)
# int32, and the longest sequence's length; gives (tokens, heads, size).
Kernel = Callable[
    ["torch.Tensor", "torch.Tensor", "torch.Tensor", "torch.Tensor", int],
    "torch.Tensor",
]

# Padded tokens of a group, and the share of them that may be padding.
_GROUP, _WASTE = 32768, 0.1
# How far two ways may differ on numbers around 1 in the half formats.
_MARGIN = 0.05


class VarlenAttention:
    """A kernel that is told where each sequence of a pack begins and ends."""

    def __init__(self, name: str, kernel: Kernel) -> None:
        self.name = name
        self._kernel = kernel

    def rows_for(self, lengths: Sequence[int]) -> int:
        """See `Attention`."""
        return sum(lengths)

    def prepare(self, lengths: Sequence[int], device: torch.device) -> Attend:
        """See `Attention`."""
        import torch

        borders = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)
        longest = max(lengths)

        def attend(qkv: torch.Tensor) -> torch.Tensor:
            queries, keys, values = (part.contiguous() for part in qkv.unbind(dim=1))
            return self._kernel(queries, keys, values, borders, longest).flatten(1)

        return attend


class PaddedAttention:
    """torch's fused attention on padded groups of like length: for float32, and where no kernel runs."""

    name = "sdpa, padded groups"

    def rows_for(self, lengths: Sequence[int]) -> int:
        """See `Attention`."""
        return sum(lengths)

    def prepare(self, lengths: Sequence[int], device: torch.device) -> Attend:
        """See `Attention`."""
        from torch.nn import functional

        groups = [
            (places.to(device), real.to(device), None if bool(real.all()) else real[:, None, None].to(device))
            for places, real in padded_groups(lengths)
        ]

        def attend(qkv: torch.Tensor) -> torch.Tensor:
            states = qkv.new_zeros(qkv.shape[0], *qkv.shape[2:])
            for places, real, mask in groups:
                queries, keys, values = qkv[places].permute(2, 0, 3, 1, 4)
                mixed = functional.scaled_dot_product_attention(
                    queries, keys, values, attn_mask=mask, scale=1.0
                )
                states[places[real]] = mixed.transpose(1, 2)[real]
            return states.flatten(1)

        return attend


def padded_groups(lengths: Sequence[int]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Cut a pack into groups of sequences of like length, each padded to its longest.

    Yields:
        For each group, (sequences, longest) int64 rows of the pack, and (sequences, longest) bool, False
        where a row is padding; such a row is its sequence's first one, so that no other sequence is read.
    """
    import torch

    starts = [0, *accumulate(lengths)]
    for group in pack_padded(lengths, max(_GROUP, padded_length(max(lengths))), _WASTE):
        longest = max(lengths[index] for index in group)
        steps = np.arange(longest)
        real = steps < np.array([lengths[index] for index in group])[:, None]
        places = np.array([starts[index] for index in group])[:, None] + np.where(real, steps, 0)
        yield torch.from_numpy(places), torch.from_numpy(real)


def choose_attention(device: torch.device, dtype: torch.dtype) -> Attention:
    """The first way that runs on a device in a dtype, and gives what the plain way gives."""
    import torch

    if device.type == "cpu":
        return BlockedAttention() if dtype == torch.bfloat16 else BlockedSdpa()
    if dtype in {torch.bfloat16, torch.float16}:
        for way in kernels():
            if agrees(way, device, dtype):
                return way
    return PaddedAttention()


def kernels() -> Iterator[VarlenAttention]:
    """Those that are installed, the best first."""
    for name, load in (("flash-attn varlen", _flash_attn), ("torch varlen", _torch_varlen)):
        try:
            yield VarlenAttention(name, load())
        except (ImportError, OSError, RuntimeError):  # absent, or built for another torch or CUDA
            continue


def agrees(way: Attention, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a way runs on this device, and gives on three short sequences what the padded way gives."""
    import torch

    lengths = [33, 16, 1]
    numbers = torch.Generator().manual_seed(1)
    qkv = torch.randn(sum(lengths), 3, 2, 64, generator=numbers)
    qkv[:, 0] /= 8
    qkv = qkv.to(device, dtype)
    plain = PaddedAttention().prepare(lengths, device)(qkv)
    try:
        ours = way.prepare(lengths, device)(qkv)
        return bool(torch.allclose(ours.float(), plain.float(), atol=_MARGIN))
    except (RuntimeError, NotImplementedError, TypeError, ValueError):  # no such kernel here, or an older one
        return False


def _flash_attn() -> Kernel:
    """Dao 2023, arXiv 2307.08691."""
    from flash_attn import flash_attn_varlen_func

    return partial(_with_borders, partial(flash_attn_varlen_func, softmax_scale=1.0))


def _torch_varlen() -> Kernel:
    from torch.nn.attention.varlen import varlen_attn

    return partial(_with_borders, partial(varlen_attn, scale=1.0))


def _with_borders(
    call: Any,
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    borders: torch.Tensor,
    longest: int,
) -> torch.Tensor:
    """Both kernels take the borders and the longest length of queries and of keys: here they are the same."""
    mixed: torch.Tensor = call(queries, keys, values, borders, borders, longest, longest)
    return mixed
