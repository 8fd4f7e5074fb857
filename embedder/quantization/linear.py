"""Matrix products of the packed encoder: `x @ weight.T + bias`, with GELU fused where it can be."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

# Rows of the batch that oneDNN is told to lay weights out for; any number of rows may follow.
_ROWS = 1024


class Product(Protocol):
    """One linear layer, ready to run."""

    def __call__(self, x: torch.Tensor, *, gelu: bool = False) -> torch.Tensor:
        """Multiply.

        Args:
            x: (tokens, inner), in the encoder's dtype.
            gelu: apply GELU (by the error function) to the result.

        Returns:
            (tokens, outer), in the dtype of `x`.
        """
        ...


class PlainProduct:
    """As torch does it: for a GPU, and for processors whose torch has no oneDNN."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        self._weight, self._bias = weight, bias

    def __call__(self, x: torch.Tensor, *, gelu: bool = False) -> torch.Tensor:
        """See `Product`."""
        from torch.nn import functional

        y = functional.linear(x, self._weight, self._bias)
        return functional.gelu(y) if gelu else y


class FusedProduct:
    """oneDNN, on weights laid out for it once.

    Measured on one core with AVX-512 BF16, 2048 x 384 x 1536: bfloat16 5.0 ms against 6.1 ms (and GELU costs
    0.8 ms, not a pass of its own); float32 10 ms against 23 ms, because torch's own choice is slow on AMD.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        self._ops = _onednn()
        self._weight, self._bias = self._ops._reorder_linear_weight(weight.contiguous(), _ROWS), bias

    def __call__(self, x: torch.Tensor, *, gelu: bool = False) -> torch.Tensor:
        """See `Product`."""
        kind, algorithm = ("gelu", "none") if gelu else ("none", "")
        y: torch.Tensor = self._ops._linear_pointwise(x, self._weight, self._bias, kind, [], algorithm)
        return y


@dataclass(frozen=True, slots=True)
class Change:
    """What a task's adapter adds to a product, of low rank (LoRA, arXiv 2106.09685): `weight + up @ down`.

    Attributes:
        down: (rank, inner).
        up: (outer, rank), scaled.
    """

    down: torch.Tensor
    up: torch.Tensor


def run(product: Product, x: torch.Tensor, change: Change | None, *, gelu: bool = False) -> torch.Tensor:
    """A product, with a task's change beside it where there is one. Arguments and result as `Product`."""
    if change is None:
        return product(x, gelu=gelu)
    from torch.nn import functional

    y = product(x)
    y.addmm_(x @ change.down.T, change.up.T)
    return functional.gelu(y) if gelu else y


def make_product(weight: torch.Tensor, bias: torch.Tensor, dtype: torch.dtype) -> Product:
    """Choose how a product runs where its weight lies.

    Args:
        weight: (outer, inner) float32.
        bias: (outer,) float32.
        dtype: what to compute in.
    """
    weight, bias = weight.to(dtype), bias.to(dtype)
    if weight.device.type == "cpu" and has_fused_products():
        return FusedProduct(weight, bias)
    return PlainProduct(weight, bias)


@cache
def has_fused_products() -> bool:
    """Whether this torch has oneDNN's fused products, and they give what torch's own give.

    They are what torch.compile calls, but not part of torch's public interface: so they are tried first.
    """
    import torch

    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    numbers = torch.Generator().manual_seed(1)
    weight, bias, x = (torch.randn(*size, generator=numbers) for size in ((48, 32), (48,), (16, 32)))
    plain = PlainProduct(weight, bias)
    try:
        fused = FusedProduct(weight, bias)
        pairs = [(fused(x), plain(x)), (fused(x, gelu=True), plain(x, gelu=True))]
    except (AttributeError, RuntimeError, TypeError, NotImplementedError):
        return False
    return all(torch.allclose(ours, theirs, atol=1e-4) for ours, theirs in pairs)


def _onednn() -> Any:
    import torch

    return torch.ops.mkldnn
