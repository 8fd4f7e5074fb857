"""Which model is used when none is named."""

from __future__ import annotations

import logging

from latewood.embedder.models.registry import JINA_V3, MINILM
from latewood.embedder.types import ModelNotFoundError

logger = logging.getLogger(__name__)


def default_model() -> str:
    """Return the name of the model to use: Jina v3 where its weights and CUDA are there, else MiniLM.

    Nothing is fetched: a model with a non-commercial licence is only used where someone put it. Where Jina's
    weights cannot be used, the reason is logged.
    """
    import torch

    from latewood.embedder.models.adapters import require_adapter_files
    from latewood.embedder.models.checkpoint import find_checkpoint

    if not torch.cuda.is_available():
        return MINILM.name
    try:
        checkpoint = find_checkpoint(JINA_V3.name)
        for name in JINA_V3.adapters.values():
            require_adapter_files(checkpoint.folder / name)
    except ModelNotFoundError:
        logger.info("MODEL auto: %s is used: no weights of %s on this machine", MINILM.name, JINA_V3.name)
        return MINILM.name
    except Exception as error:  # noqa: BLE001 - no fault of the larger model may stop an automatic choice
        logger.warning("MODEL auto: %s is used: %s cannot be: %s", MINILM.name, JINA_V3.name, error)
        return MINILM.name
    return JINA_V3.name
