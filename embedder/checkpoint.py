"""Where weights come from, and the checks they pass before anything is embedded with them."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedder.models import JINA_V3, MINILM, describe
from embedder.types import CheckpointError, ModelDescription, ModelNotFoundError

if TYPE_CHECKING:
    import torch

WEIGHTS = "model.safetensors"
ORIGINAL_JINA = "jinaai/jina-embeddings-v3"
USE_NATIVE_JINA = (
    f"it is the original remote-code repository, which transformers 5 would load with random layers: "
    f"use {JINA_V3.name}, the same weights in transformers' own layout"
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model's files, found but not loaded.

    Attributes:
        description: as known by name, cut down to what the folder's configuration allows.
        folder: holds config.json, tokenizer.json, model.safetensors and the adapters' folders.
        checksum: sha256 of the weights, hexadecimal.
        hidden_size: length of a token state.
        pad_token: id to pad with.
    """

    description: ModelDescription
    folder: Path
    checksum: str
    hidden_size: int
    pad_token: int


def find_checkpoint(model: str) -> Checkpoint:
    """Find a model's files: a folder, an installed carrier package, or the local hub cache. Never a download.

    Args:
        model: a known name, or the path of a folder.

    Raises:
        ModelNotFoundError: the name is unknown, or its weights are not on this machine.
        CheckpointError: what was found is not the model it should be.
    """
    if model.rstrip("/") == ORIGINAL_JINA:
        raise CheckpointError(f"{model} cannot be used: {USE_NATIVE_JINA}")
    folder = Path(model).expanduser()
    if folder.is_dir():
        return _inspect(folder, known=None)
    description = describe(model)
    if description.package is not None:
        carried = _in_package(description.package)
        if carried is not None:
            return _inspect(carried, known=description)
    cached = _in_hub_cache(description)
    if cached is not None:
        return _inspect(cached, known=description)
    carrier = f"install the package {description.package}, or " if description.package else ""
    adapters = ", adapter folders" if description.adapters else ""
    raise ModelNotFoundError(
        f"no weights of {description.name} on this machine: {carrier}give the path of a folder with its "
        f"files (config.json, tokenizer.json, {WEIGHTS}{adapters}), or "
        f"fetch it into the hub cache with: hf download {description.name} (licence: {description.licence})"
    )


def sha256(path: Path) -> str:
    """Checksum of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_model(checkpoint: Checkpoint, dtype: torch.dtype, device: str) -> torch.nn.Module:
    """Load the base weights through transformers' native class, ready for inference.

    Raises:
        CheckpointError: a tensor the model needs is missing from the file or has another shape.
    """
    from safetensors import SafetensorError

    family, options = _native_class(checkpoint)
    try:
        with quiet_transformers():
            model, report = family.from_pretrained(
                checkpoint.folder,
                dtype=dtype,
                attn_implementation="sdpa",
                local_files_only=True,
                output_loading_info=True,
                # A shape that differs is reported below, with the missing ones.
                ignore_mismatched_sizes=True,
                **options,
            )
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{checkpoint.folder / WEIGHTS} cannot be read ({error}): copy it again from "
            f"{checkpoint.description.name}"
        ) from error
    wrong = sorted(report["missing_keys"]) + sorted(str(entry[0]) for entry in report["mismatched_keys"])
    # An unused tensor is as bad a sign as a missing one: another model's file. Poolers are never used.
    wrong += sorted(key for key in report["unexpected_keys"] if not key.startswith("pooler."))
    if wrong:
        raise CheckpointError(
            f"{checkpoint.folder / WEIGHTS} does not fit {type(model).__name__}: {len(wrong)} tensors are "
            f"missing, left over or of another shape (first: {wrong[0]}). Copy the file again from "
            f"{checkpoint.description.name}"
        )
    loaded: torch.nn.Module = model.to(device).eval().requires_grad_(False)
    return loaded


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers' load reports and progress bars: what they would say is checked here, strictly."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _native_class(checkpoint: Checkpoint) -> tuple[Any, dict[str, Any]]:
    # The model's own module, not AutoModel: that imports half of transformers first.
    if checkpoint.description.adapters:
        from transformers.models.jina_embeddings_v3.modeling_jina_embeddings_v3 import JinaEmbeddingsV3Model

        # The adapters touch the pooler, so it is loaded, though never run.
        return JinaEmbeddingsV3Model, {}
    from transformers.models.bert.modeling_bert import BertModel

    return BertModel, {"add_pooling_layer": False}


def _in_package(package: str) -> Path | None:
    # Found without importing it: the package is a mere carrier of files.
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "model"
    return folder if folder.is_dir() else None


def _in_hub_cache(description: ModelDescription) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    weights = try_to_load_from_cache(description.name, WEIGHTS, revision=description.revision)
    return Path(weights).parent if isinstance(weights, str) else None


def _inspect(folder: Path, known: ModelDescription | None) -> Checkpoint:
    config = _read_json(folder / "config.json")
    if "auto_map" in config or "lora_adaptations" in config:
        raise CheckpointError(f"{folder} cannot be used: {USE_NATIVE_JINA}")
    if not (folder / WEIGHTS).is_file():
        raise CheckpointError(
            f"{folder / WEIGHTS} is missing: copy it from the model's repository into that folder"
        )
    checksum = sha256(folder / WEIGHTS)
    described = _described(folder, config, checksum) if known is None else known
    if described.checksum is not None and checksum != described.checksum:
        raise CheckpointError(
            f"{folder / WEIGHTS} is not {described.name}: its sha256 is {checksum}, expected "
            f"{described.checksum}. Install {described.package} again, or give a folder with the right file"
        )
    hidden = int(config["hidden_size"])
    dimensions = (hidden, *(size for size in described.dimensions if size < hidden))
    positions = min(described.max_tokens, int(config["max_position_embeddings"]))
    description = replace(described, dimensions=dimensions, max_tokens=positions)
    return Checkpoint(description, folder, checksum, hidden, int(config.get("pad_token_id") or 0))


def _described(folder: Path, config: Mapping[str, Any], checksum: str) -> ModelDescription:
    kind = config.get("model_type")
    if kind == "jina_embeddings_v3":
        return JINA_V3
    if kind != "bert":
        raise CheckpointError(
            f"{folder} holds a model of type {kind!r}; known layouts are jina_embeddings_v3 ({JINA_V3.name}) "
            f"and bert with mean pooling ({MINILM.name})"
        )
    if checksum == MINILM.checksum:
        return MINILM
    pooling = folder / "1_Pooling" / "config.json"
    if not _read_json(pooling).get("pooling_mode_mean_tokens"):
        raise CheckpointError(f"{pooling} does not ask for mean pooling, the only kind supported for bert")
    name = folder.resolve().name
    return replace(
        MINILM, name=name, licence="unknown", languages="unknown", package=None, checksum=None, dimensions=()
    )


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} is missing: copy it from the model's repository into that folder"
        ) from None
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON ({error}): copy it again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} does not hold a JSON object: copy it again")
    return content
