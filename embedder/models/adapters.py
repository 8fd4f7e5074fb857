"""One backbone, several tasks: LoRA adapters loaded, checked and switched (arXiv 2106.09685)."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latewood.embedder.models.checkpoint import Checkpoint, sha256
from latewood.embedder.models.native import quiet_transformers
from latewood.embedder.serving.memory import FilePages
from latewood.embedder.types import CheckpointError, Task

if TYPE_CHECKING:
    import torch

ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
# Hub files may use the names of the first implementation.
OLD_NAMES = {"encoder.layers.": "layers.", "mixer.out_proj": "self_attn.o_proj"}


class Adapters:
    """The tasks of one backbone. Not safe to share: only the thread that runs the model may call it.

    Switching sets attributes on every adapted module, so a forward pass in another thread would see a mix.
    """

    def __init__(self, model: torch.nn.Module, names: Mapping[Task, str]) -> None:
        self._model: Any = model
        self._names = names
        self._active: str | None = None
        self._weights = [weight for name, weight in model.named_parameters() if ".lora_" in name]

    def activate(self, task: Task) -> None:
        """Make the model compute `task`. A model without adapters computes all tasks alike."""
        name = self._names.get(task)
        if name is None or name == self._active:
            return
        # If the switch is cut short, none is active for sure.
        self._active = None
        self._model.set_adapter(name)
        # Switching turns gradients back on.
        for weight in self._weights:
            weight.requires_grad_(False)
        self._active = name


def load_adapters(model: torch.nn.Module, checkpoint: Checkpoint) -> Adapters:
    """Load every adapter of the description into `model` and prove that each is in place.

    Raises:
        CheckpointError: an adapter's files are missing, a tensor in memory differs from its file, or an
            adapter does not change what the model computes.
    """
    names = checkpoint.description.adapters
    if not names:
        return Adapters(model, {})
    loader: Any = model
    for name in names.values():
        folder = checkpoint.folder / name
        require_adapter_files(folder)
        _load_adapter(loader, folder, name)
        _compare_with_file(model, folder, name)
    loader.pooler = None
    model.eval().requires_grad_(False)
    adapters = Adapters(model, names)
    _require_effect(loader, adapters, checkpoint)
    return adapters


def adapter_checksum(checkpoint: Checkpoint) -> str:
    """One sha256 over all adapters' weights and settings; empty when the model has none."""
    if not checkpoint.description.adapters:
        return ""
    digest = hashlib.sha256()
    for task, name in sorted(checkpoint.description.adapters.items()):
        for file in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
            digest.update(f"{task} {file} {sha256(checkpoint.folder / name / file)}\n".encode())
    return digest.hexdigest()


def _load_adapter(model: Any, folder: Path, name: str) -> None:
    from safetensors import SafetensorError

    try:
        with quiet_transformers(), warnings.catch_warnings():
            # Several adapters in one model are what is wanted.
            warnings.filterwarnings("ignore", message="Already found a `peft_config`")
            model.load_adapter(str(folder), adapter_name=name)
    except (SafetensorError, OSError, ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            f"the adapter in {folder} does not load ({error}): copy the folder again"
        ) from error


def require_adapter_files(folder: Path) -> None:
    """Refuse an adapter's folder that lacks a file.

    Raises:
        CheckpointError: with the name of the file.
    """
    for file in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        if not (folder / file).is_file():
            raise CheckpointError(
                f"{folder / file} is missing: copy the adapter's folder from the model's repository"
            )


def _compare_with_file(model: torch.nn.Module, folder: Path, name: str) -> None:
    import torch
    from safetensors.torch import load_file

    file = folder / ADAPTER_WEIGHTS
    ends = (f".{name}", f".{name}.weight")
    in_memory = {key: value for key, value in model.named_parameters() if key.endswith(ends)}
    in_file = {_name_in_memory(key, name): value for key, value in load_file(file).items()}
    if in_file.keys() != in_memory.keys():
        odd = sorted(in_file.keys() ^ in_memory.keys())
        raise CheckpointError(
            f"{file} and the loaded model disagree on {len(odd)} tensors (first: {odd[0]}): "
            "copy the folder again"
        )
    for key, value in in_file.items():
        if not torch.isfinite(value).all():
            raise CheckpointError(f"{key} in {file} has values that are not finite: copy the folder again")
        loaded = in_memory[key]
        if loaded.shape != value.shape or not torch.equal(loaded.cpu(), value.to(loaded.dtype)):
            raise CheckpointError(f"{key} was not loaded as it stands in {file}: copy the folder again")


def _name_in_memory(key: str, adapter: str) -> str:
    key = key.removeprefix("base_model.model.").removeprefix("roberta.")
    for old, new in OLD_NAMES.items():
        key = key.replace(old, new)
    if key.endswith(".weight"):
        return f"{key.removesuffix('.weight')}.{adapter}.weight"
    return f"{key}.{adapter}"


@contextmanager
def _one_layer_in_memory(model: torch.nn.Module) -> Iterator[None]:
    """Let go of what is read of the file once a module has run: all layers at once would be the peak."""
    pages = FilePages(model.parameters())
    wrapped = [module for module in model.modules() if hasattr(module, "base_layer")]
    hooks = [
        module.register_forward_hook(lambda own, *_: pages.drop(own.base_layer.weight)) for module in wrapped
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _require_effect(model: Any, adapters: Adapters, checkpoint: Checkpoint) -> None:
    import torch

    probe = torch.arange(5, 13, device=model.device)[None] % model.config.vocab_size
    with _one_layer_in_memory(model), torch.inference_mode():
        model.disable_adapters()
        plain = model(input_ids=probe).last_hidden_state
        model.enable_adapters()
        for task, name in checkpoint.description.adapters.items():
            adapters.activate(task)
            if torch.allclose(model(input_ids=probe).last_hidden_state, plain, rtol=0, atol=1e-5):
                raise CheckpointError(
                    f"the adapter in {checkpoint.folder / name} changes nothing: its weights are empty. "
                    f"Copy the folder again from {checkpoint.description.name}"
                )
