"""Where a model's files are: a folder, an installed carrier package, the hub's cache, the hub when asked."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from latewood.embedder.models.registry import JINA_V3, describe
from latewood.embedder.types import (
    CheckpointError,
    ModelDescription,
    ModelNotFoundError,
    RerankerDescription,
)

SAFE = "model.safetensors"
SHARDS = "model.safetensors.index.json"
PICKLED = "pytorch_model.bin"
ORIGINAL_JINA = "jinaai/jina-embeddings-v3"
USE_NATIVE_JINA = (
    f"it is the original remote-code repository, which transformers 5 would load with random layers: "
    f"use {JINA_V3.name}, the same weights in transformers' own layout"
)
_NEEDED = ("config.json", "tokenizer.json", "*_config.json", "modules.json", "1_Pooling/*")

Description = ModelDescription | RerankerDescription


@dataclass(frozen=True, slots=True)
class Source:
    """Where models may come from beyond what is known and installed.

    Attributes:
        described: models described in the settings, by name; they stand above those known here.
        fetch: download what is nowhere on this machine from the hub, at the pinned revision.
    """

    described: Mapping[str, ModelDescription] = field(default_factory=dict)
    fetch: bool = False


LOCAL = Source()
"""The models known here, from this machine only."""


def locate(model: str, source: Source = LOCAL) -> tuple[Path, ModelDescription | None]:
    """Find a model's folder; nothing is downloaded unless asked.

    Args:
        model: a name, or the path of a folder.
        source: what else is known, and whether the hub may be asked.

    Returns:
        The folder, and the description it was found by; None for a folder that describes itself.

    Raises:
        ModelNotFoundError: the name is unknown, or its weights are not on this machine.
        CheckpointError: the original Jina repository is named.
    """
    if model.rstrip("/") == ORIGINAL_JINA:
        raise CheckpointError(f"{model} cannot be used: {USE_NATIVE_JINA}")
    folder = Path(model).expanduser()
    if model not in source.described and folder.is_dir():
        return folder, None
    description = describe(model, source.described)
    return folder_of(description, fetch=source.fetch), description


def folder_of(description: Description, *, fetch: bool) -> Path:
    """Find the files of a model that is known: its folder, a carrier package, the hub's cache, the hub.

    Args:
        description: of the model.
        fetch: whether the hub may be asked.

    Raises:
        ModelNotFoundError: they are not on this machine; the message says what to put where.
    """
    found = _on_this_machine(description)
    if found is None and fetch:
        found = _fetched(description)
    if found is None:
        raise ModelNotFoundError(_what_to_put_where(description))
    return found


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the base weights, in the order transformers looks for them.

    Raises:
        CheckpointError: there are none, or a part is missing.
    """
    for name in (SAFE, PICKLED):
        if (folder / name).is_file():
            return [folder / name]
        if name == SAFE and (folder / SHARDS).is_file():
            return _shards(folder)
    raise CheckpointError(f"{folder / SAFE} is missing: copy it from the model's repository into that folder")


def _shards(folder: Path) -> list[Path]:
    try:
        index = json.loads((folder / SHARDS).read_text(encoding="utf-8"))
        parts = sorted({folder / str(name) for name in index["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder / SHARDS} cannot be read ({error}): copy it again") from error
    missing = [part for part in parts if part.parent != folder or not part.is_file()]
    if missing or not parts:
        raise CheckpointError(
            f"{folder / SHARDS} names {len(missing)} files that are not there (first: "
            f"{missing[0] if missing else 'none at all'}): copy them from the model's repository"
        )
    return parts


def _on_this_machine(description: Description) -> Path | None:
    if description.folder is not None:
        folder = Path(description.folder).expanduser()
        if not folder.is_dir():
            raise ModelNotFoundError(
                f"the folder of {description.name}, {folder}, is not there: put the model's files into it, "
                "or mend `folder` in latewood.toml"
            )
        return folder
    package = _package(description)
    carried = None if package is None else _in_package(package)
    return carried or _in_hub_cache(description)


def _package(description: Description) -> str | None:
    return description.package if isinstance(description, ModelDescription) else None


def _adapters(description: Description) -> list[str]:
    return list(description.adapters.values()) if isinstance(description, ModelDescription) else []


def _in_package(package: str) -> Path | None:
    # Found without importing it: the package is a mere carrier of files.
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "model"
    return folder if folder.is_dir() else None


def _in_hub_cache(description: Description) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    for name in (SAFE, SHARDS, PICKLED):
        weights = try_to_load_from_cache(description.name, name, revision=description.revision)
        if isinstance(weights, str):
            return Path(weights).parent
    return None


def _fetched(description: Description) -> Path:
    """Download at the pinned revision into the hub's cache; pickled weights only where there are no others.

    Raises:
        ModelNotFoundError: the hub cannot be reached, or does not have it.
    """
    import httpx
    from huggingface_hub import list_repo_files, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    name, revision = description.name, description.revision
    try:
        offered = list_repo_files(name, revision=revision)
        safe = any(file in {SAFE, SHARDS} for file in offered)
        wanted = [*_NEEDED, *(["model*.safetensors", SHARDS] if safe else [PICKLED])]
        wanted += [f"{adapter}/*" for adapter in _adapters(description)]
        return Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
    except (HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, httpx.HTTPError, OSError) as error:
        raise ModelNotFoundError(
            f"{name} cannot be fetched from the hub ({type(error).__name__}: {str(error)[:200]}); "
            + _what_to_put_where(description)
        ) from error


def _what_to_put_where(description: Description) -> str:
    package = _package(description)
    carrier = f"install the package {package}, or " if package else ""
    adapters = ", adapter folders" if _adapters(description) else ""
    return (
        f"no weights of {description.name} on this machine: {carrier}give the path of a folder with its "
        f"files (config.json, tokenizer.json, {SAFE}{adapters}), or fetch it into the hub cache with: "
        f"hf download {description.name} --revision {description.revision} (licence: {description.licence}); "
        "LATEWOOD_FETCH=true does that when the model is first needed"
    )
