"""From weights to eight bits, layer by layer: a few sentences show which channels are too loud for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from latewood.embedder.encoder.attention import Attention
from latewood.embedder.encoder.encoder import Layer, LayerChange, PackedEncoder, Weights, run_layer
from latewood.embedder.quantization.int8 import QuantisedProduct
from latewood.embedder.quantization.linear import PlainProduct, Product
from latewood.embedder.types import Task

if TYPE_CHECKING:
    import torch

SENTENCES = (
    'The quick brown fox jumps over the lazy dog. In 1998, Dr. Smith (of Boston, MA) wrote: "prices rose '
    '3.5 % - why?"; see https://example.org/a_b for the rest of what the committee found.',
    "Les enfants jouent dans la rue; Über die Straße geht niemand; привет, мир; 東京は日本の首都です。",
    "def total(items):\n    return sum(item.price * (1 + item.tax) for item in items)  # in cents",
)
"""What a model is shown. Loud channels are the same few whatever is said, so little is enough."""

# A channel is loud when its largest value is so many times the median channel's; so many count at most.
_LOUD, _MOST = 2.0, 32


class DraftProduct:
    """A product that is yet to be rounded: runs in float32 and notes how loud each channel becomes."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        self._weight, self._bias = weight, bias
        self._plain = PlainProduct(weight, bias)
        self._peaks = weight.new_zeros(weight.shape[1])

    def __call__(self, x: torch.Tensor, *, gelu: bool = False) -> torch.Tensor:
        """See `Product`."""
        import torch

        self._peaks = torch.maximum(self._peaks, x.abs().amax(dim=0).float())
        return self._plain(x.float(), gelu=gelu).to(x.dtype)

    def rounded(self, dtype: torch.dtype) -> QuantisedProduct:
        """The product in eight bits, for states of this dtype. This one is of no use afterwards."""
        loudest = self._peaks.topk(min(_MOST, len(self._peaks)))
        loud = loudest.indices[loudest.values > _LOUD * self._peaks.median()]
        weight = self._weight
        del self._weight, self._plain
        return QuantisedProduct(weight, self._bias, dtype, loud.sort().values)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Rounds a model that is read with `DraftProduct`.

    Attributes:
        sample: int32 ids of each text that is run through the model, special tokens included.
        attention: how it attends meanwhile.
    """

    sample: Sequence[NDArray[np.int32]]
    attention: Attention

    def __call__(self, stem: Weights) -> Callable[[Layer], Layer]:
        """What rounds the layers on `stem`, in their order; it keeps the states between one and the next."""
        import torch

        with torch.inference_mode():
            states, pack = PackedEncoder(stem, self.attention).begin(Task.PASSAGE, self.sample)

        def finish(layer: Layer) -> Layer:
            nonlocal states
            with torch.inference_mode():
                states = run_layer(layer, LayerChange(), states, pack)
            return _rounded(layer, stem.words.dtype)

        return finish


def _rounded(layer: Layer, dtype: torch.dtype) -> Layer:
    def round_one(product: Product) -> Product:
        return product.rounded(dtype) if isinstance(product, DraftProduct) else product

    return replace(
        layer,
        qkv=round_one(layer.qkv),
        out=round_one(layer.out),
        up=round_one(layer.up),
        down=round_one(layer.down),
    )
