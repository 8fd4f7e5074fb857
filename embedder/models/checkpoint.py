"""Where weights come from, and the checks they pass before anything is embedded with them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latewood.embedder.models.folders import describe_folder
from latewood.embedder.models.json_files import read_json
from latewood.embedder.models.native import JINA, load_native, native_config
from latewood.embedder.models.registry import JINA_V3, KNOWN_MODELS
from latewood.embedder.models.sources import LOCAL, Source, locate, weight_files
from latewood.embedder.models.weights import UNPICKLING
from latewood.embedder.types import CheckpointError, ModelDescription

if TYPE_CHECKING:
    import torch

# Families whose first position is the padding token's number plus one.
_OFFSET_POSITIONS = frozenset(
    {
        "camembert",
        "data2vec-text",
        "ibert",
        "lilt",
        "longformer",
        "luke",
        "markuplm",
        "mpnet",
        "roberta",
        "roberta-prelayernorm",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
    }
)
# Tensors of poolers and heads, which are never run: a file may have them, and a class may ask for them.
_HEADS = ("pooler.", "classifier.", "cls.", "lm_head.", "score.")
# Its id where a configuration does not say it.
_PAD = dict.fromkeys(_OFFSET_POSITIONS, 1)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model's files, found but not loaded.

    Attributes:
        description: as known by name, cut down to what the folder's configuration allows.
        folder: holds config.json, tokenizer.json, model.safetensors and the adapters' folders.
        family: transformers' name of the architecture, `model_type`.
        config: what config.json holds.
        files: of the base weights.
        checksum: sha256 of the weights, hexadecimal.
        hidden_size: length of a token state.
        pad_token: id to pad with.
        apart: how names begin in these files that are no part of the encoder and are read by someone else.
    """

    description: ModelDescription
    folder: Path
    family: str
    config: Mapping[str, Any]
    files: tuple[Path, ...]
    checksum: str
    hidden_size: int
    pad_token: int
    apart: tuple[str, ...] = ()


def find_checkpoint(model: str, source: Source = LOCAL) -> Checkpoint:
    """Find a model's files: a folder, a carrier package, the local hub cache, and the hub only when asked.

    Args:
        model: a name, or the path of a folder.
        source: models described in the settings, and whether missing weights may be fetched.

    Raises:
        ModelNotFoundError: the name is unknown, or its weights are not on this machine.
        CheckpointError: what was found is not the model it should be.
    """
    folder, known = locate(model, source)
    return _inspect(folder, known)


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

    file, name = checkpoint.files[0], checkpoint.description.name
    try:
        # A shape that differs is reported below, with the missing ones.
        model, report = load_native(
            checkpoint.folder, checkpoint.config, dtype=dtype, ignore_mismatched_sizes=True
        )
    except (SafetensorError, OSError, *UNPICKLING) as error:
        raise CheckpointError(f"{file} cannot be read ({error}): copy it again from {name}") from error
    except (ImportError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"transformers' class for model_type {checkpoint.family!r} does not load {checkpoint.folder} "
            f"({type(error).__name__}: {error}): copy the folder again from {name}, or use another model"
        ) from error
    wrong = sorted(key for key in report["missing_keys"] if not key.startswith(_HEADS))
    wrong += sorted(str(entry[0]) for entry in report["mismatched_keys"])
    # An unused tensor is as bad a sign as a missing one: another model's file.
    wrong += sorted(key for key in report["unexpected_keys"] if not key.startswith(_HEADS))
    if wrong:
        raise CheckpointError(
            f"{file} does not fit {type(model).__name__}: {len(wrong)} tensors are missing, left over or of "
            f"another shape (first: {wrong[0]}). Copy the file again from {name}"
        )
    loaded: torch.nn.Module = model.to(device).eval().requires_grad_(False)
    return loaded


def _inspect(folder: Path, known: ModelDescription | None) -> Checkpoint:
    config = native_config(folder, read_json(folder / "config.json"))
    family = str(config["model_type"])
    files = weight_files(folder)
    checksum = checksum_of(files)
    described = _described(folder, family, checksum) if known is None else known
    if described.checksum is not None and checksum != described.checksum:
        again = f"Install {described.package} again, or give" if described.package else "Give"
        raise CheckpointError(
            f"{files[0]} is not {described.name}: its sha256 is {checksum}, expected "
            f"{described.checksum}. {again} a folder with the right file"
        )
    if described.adapters and family != JINA:
        raise CheckpointError(
            f"{folder} holds a model of type {family!r}, not {described.name}: give a folder with its files"
        )
    hidden, pad, positions = sizes_of(folder, config, family)
    dimensions = (hidden, *(size for size in described.dimensions if size < hidden))
    description = replace(described, dimensions=dimensions, max_tokens=min(described.max_tokens, positions))
    return Checkpoint(description, folder, family, config, tuple(files), checksum, hidden, pad)


def sizes_of(folder: Path, config: Mapping[str, Any], family: str) -> tuple[int, int, int]:
    """Length of a token state, id to pad with, and tokens of an input at most.

    Raises:
        CheckpointError: the configuration does not say them.
    """
    try:
        hidden, stated = int(config["hidden_size"]), config.get("pad_token_id")
        pad = _PAD.get(family, 0) if stated is None else int(stated)
        positions = int(config["max_position_embeddings"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{folder / 'config.json'} does not describe a text encoder (model type {family!r}): {error!r}; "
            "use an encoder whose configuration has the numbers hidden_size and max_position_embeddings"
        ) from error
    return hidden, pad, positions - (pad + 1 if family in _OFFSET_POSITIONS else 0)


def checksum_of(files: list[Path]) -> str:
    """Sha256 of the one file, or over the checksums of all parts; hexadecimal."""
    if len(files) == 1:
        return sha256(files[0])
    return hashlib.sha256("".join(f"{file.name} {sha256(file)}\n" for file in files).encode()).hexdigest()


def _described(folder: Path, family: str, checksum: str) -> ModelDescription:
    """What a folder that was given by its path says of itself, in sentence-transformers' files."""
    if family == JINA:
        return JINA_V3
    for model in KNOWN_MODELS.values():
        if checksum == model.checksum:
            return model
    return describe_folder(folder)
