"""Cross-encoders as files: an encoder with a head of one label, as bge-reranker and jina-reranker lay it out.

Jina's second reranker computes what XLM-RoBERTa computes, under names of its own (those of its remote code,
which is never run): the tensors are read under transformers' names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latewood.embedder.models.checkpoint import Checkpoint, checksum_of, sizes_of
from latewood.embedder.models.folders import default_prompt, most_tokens
from latewood.embedder.models.json_files import read_json
from latewood.embedder.models.registry import KNOWN_RERANKERS, describe_reranker
from latewood.embedder.models.sources import LOCAL, Source, folder_of, weight_files
from latewood.embedder.models.weights import Place, read_tensor, stored_tensors
from latewood.embedder.types import CheckpointError, Floats, ModelDescription, RerankerDescription

_ARCHITECTURE = "XLMRobertaForSequenceClassification"
_FAMILY = "xlm-roberta"
_HEAD = "classifier."
_PARTS = tuple(f"{_HEAD}{part}.{kind}" for part in ("dense", "out_proj") for kind in ("weight", "bias"))


@dataclass(frozen=True, slots=True)
class CrossEncoder:
    """A cross-encoder's files, found but not loaded.

    Attributes:
        description: as known by name, cut down to what the configuration allows.
        encoder: the part below the head.
        prompt: before every question.
    """

    description: RerankerDescription
    encoder: Checkpoint
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """From the state of the first token to one number.

    Attributes:
        dense: (hidden, hidden) float32 and its bias (hidden,).
        out: (hidden,) float32 and its bias, a number.
    """

    dense: tuple[Floats, Floats]
    out: tuple[Floats, float]

    def logits(self, states: Floats) -> NDArray[np.float64]:
        """States of first tokens (n, hidden) float32 to logits (n,), unbounded."""
        weight, bias = self.dense
        inner = np.tanh(states @ weight.T + bias)
        return np.asarray(inner @ self.out[0], dtype=np.float64) + self.out[1]


def find_cross_encoder(model: str, source: Source = LOCAL) -> CrossEncoder:
    """Find a cross-encoder's files, where an embedding model's are looked for.

    Args:
        model: a name of `embedder.models.KNOWN_RERANKERS`, or the path of a folder.
        source: whether missing weights may be fetched.

    Raises:
        ModelNotFoundError: the name is unknown, or its weights are not on this machine.
        CheckpointError: what was found is no cross-encoder that can be run.
    """
    folder = Path(model).expanduser()
    known = None
    if not folder.is_dir():
        known = describe_reranker(model)
        folder = folder_of(known, fetch=source.fetch)
    config = read_json(folder / "config.json")
    _require_native(folder, config)
    files = tuple(weight_files(folder))
    hidden, pad, positions = sizes_of(folder, config, _FAMILY)
    if known is None:
        name, most = folder.resolve().name, most_tokens(folder)
        known = RerankerDescription(name, "", most, "unknown", "unknown", str(folder))
    known = replace(known, max_tokens=min(known.max_tokens, positions))
    encoder = Checkpoint(
        description=_as_encoder(known, hidden),
        folder=folder,
        family=_FAMILY,
        config=config,
        files=files,
        checksum=checksum_of(list(files)),
        hidden_size=hidden,
        pad_token=pad,
        apart=(_HEAD,),
    )
    return CrossEncoder(known, encoder, default_prompt(folder))


def read_head(cross: CrossEncoder) -> Head:
    """Read the head, in float32.

    Raises:
        CheckpointError: the file has none, or one with another number of labels.
    """
    import torch

    file, hidden = cross.encoder.files[0], cross.encoder.hidden_size
    stored = stored_tensors(cross.encoder.files)
    missing = [name for name in _PARTS if name not in stored]
    if missing:
        raise CheckpointError(
            f"{file} lacks {len(missing)} tensors of a cross-encoder's head (first: {missing[0]}): copy it "
            f"again from {cross.description.name}"
        )
    tensors = [read_tensor(stored, Place(name), torch.float32).numpy() for name in _PARTS]
    weight, bias, out, out_bias = tensors
    if weight.shape != (hidden, hidden) or bias.shape != (hidden,) or out.shape != (1, hidden):
        raise CheckpointError(
            f"the head in {file} has shapes {weight.shape} and {out.shape}; a reranker has "
            f"({hidden}, {hidden}) and one label, (1, {hidden}). Use a cross-encoder made for reranking"
        )
    return Head((weight, bias), (out[0], float(out_bias[0])))


def _as_encoder(known: RerankerDescription, hidden: int) -> ModelDescription:
    return ModelDescription(
        name=known.name,
        revision=known.revision,
        pooling="cls",
        max_tokens=known.max_tokens,
        dimensions=(hidden,),
        licence=known.licence,
        languages=known.languages,
        context=0.0,
    )


def _require_native(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse what transformers' native class would not compute as its authors meant it."""
    architectures = config.get("architectures") or []
    absolute = config.get("position_embedding_type") in (None, "absolute")
    if _ARCHITECTURE in architectures and absolute and config.get("hidden_act", "gelu") == "gelu":
        return
    found = ", ".join(architectures) or "no architecture"
    remote = " and code of its own, which is never run" if "auto_map" in config else ""
    raise CheckpointError(
        f"{folder} holds {found}{remote}; a reranker is {_ARCHITECTURE} with absolute positions and GELU: "
        f"use one of {', '.join(KNOWN_RERANKERS)}"
    )
