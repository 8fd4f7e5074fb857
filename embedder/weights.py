"""Single tensors out of a checkpoint's files, without the model they belong to."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

from embedder.types import CheckpointError

if TYPE_CHECKING:
    import torch

# What torch raises for a pickled file (read without running anything in it) that is cut short or foreign.
UNPICKLING = (UnpicklingError, EOFError, RuntimeError)


def tensor_names(files: Sequence[Path]) -> list[str]:
    """Names of all tensors in these files, of safetensors or pickled, in no order.

    Raises:
        CheckpointError: a file cannot be read.
    """
    return [name for file in files for name in _open(file)[0]]


def read_tensors(files: Sequence[Path], wanted: Collection[str]) -> dict[str, torch.Tensor]:
    """Read some tensors, as they are stored.

    Args:
        files: of safetensors or pickled; nothing in a pickled one is run.
        wanted: their names.

    Raises:
        CheckpointError: a tensor is not there, or a file cannot be read.
    """
    found: dict[str, torch.Tensor] = {}
    for file in files:
        found |= _open(file, wanted)[1]
    missing = sorted(set(wanted) - found.keys())
    if missing:
        raise CheckpointError(
            f"{files[0]} lacks {len(missing)} tensors (first: {missing[0]}): copy it again from the model's "
            "repository"
        )
    return found


def _open(file: Path, wanted: Collection[str] = ()) -> tuple[list[str], dict[str, torch.Tensor]]:
    """Names of all tensors, and those of them that are wanted."""
    with _readable(file):
        if file.suffix != ".safetensors":
            import torch

            state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
            return list(state), {name: state[name] for name in wanted if name in state}
        from safetensors import safe_open

        with safe_open(file, framework="pt") as opened:
            names = list(opened.keys())
            return names, {name: opened.get_tensor(name) for name in wanted if name in names}


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except (SafetensorError, OSError, *UNPICKLING) as error:
        raise CheckpointError(
            f"{file} cannot be read ({error}): copy it again from the model's repository"
        ) from error
