"""Matrix products in eight bits: weights rounded per output, states per token (arXiv 2208.07339).

A token's scale is its own largest value, so no token's vector depends on what else is in its pack, and sums
are of whole numbers, exact in any order. What a product takes and gives is in the
encoder's own dtype.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latewood.embedder.quantization.linear import make_product

if TYPE_CHECKING:
    import torch

# The processor multiplies unsigned states by signed weights: a state's zero stands in the middle.
_ZERO = 128
# Steps on either side of zero: a scale is rounded to the encoder's dtype first, and must still reach 127.
_STEPS = 126.5
# Added to a number below 2**22 it leaves that number, rounded to a whole one, in the lowest byte of the sum.
_ROUND = 2.0**23 + _ZERO
# The least scale: rows of nothing but zeros have one, too.
_LEAST = 1e-30
# Values rounded at a time: with four bytes each they stay in a core's second-level cache.
_PART = 2**19
# Rows that are multiplied at a time.
_ROWS = 512
# Without one of these, products of eight bits are slow or, from sums of 16 bits that overflow, wrong.
_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})


class QuantisedProduct:
    """A linear layer in eight bits. See `embedder.products.Product`.

    Some channels of a model's states are many times louder than the rest, which one scale for a whole token
    would round away. Those few are multiplied in the encoder's own dtype.

    Measured on one core with AVX-512 VNNI, 2048 x 1024 x 4096: 910 GFLOP/s against 470 in bfloat16.
    """

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor, dtype: torch.dtype, loud: torch.Tensor | None = None
    ) -> None:
        """Round a weight.

        Args:
            weight: (outer, inner) float32.
            bias: (outer,) float32.
            dtype: of states and results.
            loud: int64 numbers of the inner channels that are not rounded, or nothing.
        """
        import torch

        self._ops = _onednn()
        self._loud = loud if loud is not None and len(loud) else None
        self._heard = every_channel(weight.shape[1], dtype)
        self._bias = bias.to(dtype)
        if self._loud is not None:
            self._heard[self._loud] = 0
            self._apart = make_product(weight[:, self._loud], bias, dtype)
        self._scales, levels = torch.empty(len(weight)), torch.empty(weight.shape, dtype=torch.int8)
        step = max(1, _PART // weight.shape[1])
        for start in range(0, len(weight), step):  # in parts: a copy of it all would be most of the memory
            rows = slice(start, start + step)
            part = weight[rows].clone()
            if self._loud is not None:
                part[:, self._loud] = 0
            scales = self._scales[rows] = part.abs().amax(dim=1).div_(127).clamp_(min=_LEAST)
            levels[rows] = part.div_(scales[:, None]).round_()
        self._weight = self._ops.qlinear_prepack(levels, [_ROWS, weight.shape[1]])
        self._zeros = torch.zeros(len(weight), dtype=torch.int32)

    def __call__(self, x: torch.Tensor, *, gelu: bool = False) -> torch.Tensor:
        """See `Product`."""
        y = x.new_empty(len(x), len(self._bias))
        for start in range(0, len(x), _ROWS):
            rows = slice(start, start + _ROWS)
            self._run(x[rows], y[rows], gelu=gelu)
        return y

    def _run(self, x: torch.Tensor, y: torch.Tensor, *, gelu: bool) -> None:
        """Fill `y`, a few rows at a time: what is read again is still in the cache."""
        import torch

        levels, scales = quantise(x, self._heard)
        weight = (self._weight, self._scales, self._zeros)
        # No bias yet, and no rounding of the result.
        kept: tuple[Any, ...] = (None, 1.0, 0, y.dtype, "none", [], "")
        sums = self._ops.qlinear_pointwise(levels, 1.0, _ZERO, *weight, *kept)
        rest = self._bias
        if self._loud is not None:
            rest = self._apart(x.gather(1, self._loud.expand(len(x), -1)))
        torch.addcmul(rest, sums, scales, out=y)
        if gelu:
            torch.ops.aten.gelu.out(y, out=y)


def quantise(x: torch.Tensor, heard: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Round states to eight bits.

    Args:
        x: (tokens, inner) bfloat16 or float32.
        heard: (inner,) whole numbers as wide as those of `x`: the mask of all bits but the sign; 0 for a
            channel that no scale heeds, and whose levels mean nothing.

    Returns:
        (tokens, inner) uint8 levels and (tokens, 1) scales in the dtype of `x`: `x` is about
        `(levels - 128) * scale`. The scale of a token that is not finite is not finite.
    """
    import torch

    tokens, inner = x.shape
    levels = torch.empty(tokens, inner, dtype=torch.uint8)
    scales = torch.empty(tokens, 1, dtype=x.dtype)
    # Without their sign, floating-point numbers are in the order of their bits: one pass finds the largest.
    bits = x.view(heard.dtype)
    rows = min(tokens, max(1, _PART // inner))
    sizes, values = torch.empty(rows, inner, dtype=heard.dtype), torch.empty(rows, inner)
    middle = torch.full((inner,), _ROUND)
    for start in range(0, tokens, rows):
        part = slice(start, min(tokens, start + rows))
        count = part.stop - start
        torch.bitwise_and(bits[part], heard, out=sizes[:count])
        largest = sizes[:count].amax(dim=1, keepdim=True).view(x.dtype).float()
        scales[part] = largest.div_(_STEPS).clamp_(min=_LEAST)
        inverse = scales[part].float().reciprocal()
        filled = values[:count].copy_(x[part])
        torch.addcmul(middle, filled, inverse, out=filled)
        levels[part] = filled.view(torch.int32)
    return levels, scales


def every_channel(inner: int, dtype: torch.dtype) -> torch.Tensor:
    """What `quantise` takes to heed all channels of states in this dtype."""
    import torch

    whole = torch.int16 if dtype.itemsize == 2 else torch.int32
    return torch.full((inner,), torch.iinfo(whole).max, dtype=whole)


def processor_flags() -> set[str]:
    """What an x86 processor can do, in Linux's words; nothing where they cannot be read."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return set(next((line for line in lines if line.startswith("flags")), "").split())


@cache
def missing_for_int8() -> str:
    """What this machine lacks for products of eight bits; nothing where it has all."""
    if not _FLAGS & processor_flags():
        return f"a processor with one of {', '.join(sorted(_FLAGS))}"
    return "" if _works() else "a torch whose oneDNN multiplies unsigned by signed bytes"


def _works() -> bool:
    """Whether the product is there and right: it is what torch.compile calls, but no public interface."""
    import torch

    numbers = torch.Generator().manual_seed(1)
    weight, x = (torch.randn(*size, generator=numbers) for size in ((48, 64), (16, 64)))
    bias = torch.randn(48, generator=numbers)
    try:
        ours = QuantisedProduct(weight, bias, torch.float32)(x)
    except (AttributeError, RuntimeError, TypeError, NotImplementedError):
        return False
    exact = torch.nn.functional.linear(x, weight, bias)
    return bool((ours - exact).norm() < 0.03 * exact.norm())


def _onednn() -> Any:
    import torch

    return torch.ops.onednn
