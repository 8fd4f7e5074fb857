"""Which model is used when none is named."""

from __future__ import annotations

import contextlib

from embedder.models import JINA_V3, MINILM
from embedder.types import ModelNotFoundError


def default_model() -> str:
    """Jina v3 where its weights are already local and CUDA is there, else MiniLM.

    Nothing is fetched: a model with a non-commercial licence is only used where someone put it.
    """
    import torch

    from embedder.checkpoint import find_checkpoint

    if torch.cuda.is_available():
        with contextlib.suppress(ModelNotFoundError):
            find_checkpoint(JINA_V3.name)
            return JINA_V3.name
    return MINILM.name
