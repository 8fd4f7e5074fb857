"""Small random models in the layouts that are packed, and what is asked of them: for the tests of packing."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional
from transformers import BertConfig, BertModel, XLMRobertaConfig, XLMRobertaModel
from transformers.models.jina_embeddings_v3.configuration_jina_embeddings_v3 import JinaEmbeddingsV3Config
from transformers.models.jina_embeddings_v3.modeling_jina_embeddings_v3 import JinaEmbeddingsV3Model

VOCABULARY = 200
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "initializer_range": 0.2,
}
MODELS = {
    "bert": lambda: BertModel(BertConfig(**SIZES, max_position_embeddings=1200), add_pooling_layer=False),
    "xlm-roberta": lambda: XLMRobertaModel(
        XLMRobertaConfig(**SIZES, max_position_embeddings=1202), add_pooling_layer=False
    ),
    "jina v3": lambda: JinaEmbeddingsV3Model(
        JinaEmbeddingsV3Config(**SIZES, max_position_embeddings=1200), add_pooling_layer=False
    ),
}


def built(kind, dtype=torch.float32):
    """The same random model every time."""
    torch.manual_seed(5)
    model = MODELS[kind]().eval().requires_grad_(False)
    for name, weight in model.named_parameters():
        if name.endswith("bias"):
            weight.normal_(std=0.1)
    return model.to(dtype)


def sequences(lengths, seed=0):
    numbers = np.random.default_rng(seed)
    return [numbers.integers(5, VOCABULARY, length).astype(np.int32) for length in lengths]


def plain(model, ids):
    with torch.inference_mode():
        return model(input_ids=torch.from_numpy(ids)[None].long()).last_hidden_state[0]


def closeness(ours, theirs):
    return functional.cosine_similarity(ours.float(), theirs.float(), dim=-1).min().item()
