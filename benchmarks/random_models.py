"""Models of a published size with random weights: as fast as the real ones, and nothing to download."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from transformers.models.jina_embeddings_v3.configuration_jina_embeddings_v3 import JinaEmbeddingsV3Config
from transformers.models.jina_embeddings_v3.modeling_jina_embeddings_v3 import JinaEmbeddingsV3Model

from latewood.embedder.encoder.attention import Attention
from latewood.embedder.encoder.encoder import PackedEncoder
from latewood.embedder.models.families import read_weights
from latewood.embedder.quantization.calibration import Calibration, DraftProduct
from latewood.embedder.quantization.linear import make_product

# The words' table is a look-up: its size changes nothing here but the memory.
VOCABULARY = 20_000


def jina_size(layers: int, hidden: int = 1024) -> JinaEmbeddingsV3Model:
    """Jina v3 with this many of its 24 layers, float32, on the CPU; the same weights every time."""
    torch.manual_seed(5)
    config = JinaEmbeddingsV3Config(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        intermediate_size=4 * hidden,
    )
    return JinaEmbeddingsV3Model(config, add_pooling_layer=False).eval().requires_grad_(False)


def rounded(model: torch.nn.Module, attention: Attention) -> PackedEncoder:
    """As `packed`, with products in eight bits, calibrated on random words."""
    sample = np.random.default_rng(3).integers(5, VOCABULARY, 128).astype(np.int32)
    finish = Calibration([sample], attention)
    return PackedEncoder(read_weights(model, {}, DraftProduct, finish=finish), attention)


def packed(model: torch.nn.Module, attention: Attention) -> PackedEncoder:
    """The packed encoder of a module, which is unusable afterwards."""
    return PackedEncoder(read_weights(model, {}, partial(make_product, dtype=model.dtype)), attention)
