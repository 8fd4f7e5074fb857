"""Tensors out of a checkpoint's files, one at a time, without the model they belong to.

What is read is converted piece by piece on its way, so that memory holds the wanted tensor and one piece.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

from latewood.embedder.types import CheckpointError

if TYPE_CHECKING:
    import torch

# What torch raises for a pickled file (read without running anything in it) that is cut short or foreign.
UNPICKLING = (UnpicklingError, EOFError, RuntimeError)
PIECE = 2**15  # values converted at a time: below what torch starts its threads for
_LONGEST_HEADER = 100_000_000  # bytes, as the format says
# Names of the formats that weights are read in, in safetensors and in torch.
_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
# Formats of tensors that are no weights: positions and masks that older files hold.
_NO_WEIGHTS = frozenset({"I64", "I32", "U8", "BOOL", "int64", "int32", "uint8", "bool"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor stands in the files: under a name, or as one of equal parts of its rows."""

    name: str
    part: int = 0
    parts: int = 1


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor of a file.

    Attributes:
        name: of the file and the tensor, for messages.
        shape: of it.
        dtype: the file's name for its format.
        fill: copies values `[first, first + n)` into a flat tensor of n values, of any dtype.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    fill: Callable[[int, torch.Tensor], None]


def stored_tensors(files: Sequence[Path]) -> dict[str, Stored]:
    """All tensors of these files by name, of safetensors or pickled; nothing in a pickled one is run.

    Raises:
        CheckpointError: a file cannot be read.
    """
    found: dict[str, Stored] = {}
    for file in files:
        with _readable(file):
            found |= _safe(file) if file.suffix == ".safetensors" else _pickled(file)
    return found


def read_tensor(stored: Mapping[str, Stored], place: Place, dtype: torch.dtype) -> torch.Tensor:
    """Read one tensor into memory of its own.

    Args:
        stored: from `stored_tensors`.
        place: which one; it must be there.
        dtype: of the result.

    Raises:
        CheckpointError: it is stored in a format whose values are no weights by themselves.
    """
    import torch

    whole = stored[place.name]
    _require_known(whole, _DTYPES.keys() | _DTYPES.values())
    shape = (whole.shape[0] // place.parts, *whole.shape[1:]) if place.parts > 1 else whole.shape
    tensor = torch.empty(shape, dtype=dtype)
    flat = tensor.view(-1)
    start = place.part * len(flat)
    for first in range(0, len(flat), PIECE):
        whole.fill(start + first, flat[first : first + PIECE])
    return tensor


def require_weights(files: Sequence[Path]) -> None:
    """Refuse files with a tensor in a quantised or unknown format.

    Raises:
        CheckpointError: there is one, or a file cannot be read.
    """
    allowed = _DTYPES.keys() | _DTYPES.values() | _NO_WEIGHTS
    for file in files:  # one by one: adapters have the same names in all their files
        for stored in stored_tensors([file]).values():
            _require_known(stored, allowed)


def _require_known(stored: Stored, dtypes: Container[str]) -> None:
    if stored.dtype not in dtypes:
        raise CheckpointError(
            f"{stored.name} is stored as {stored.dtype}; weights must be one of {', '.join(_DTYPES)}. Use "
            "the model's files that are not quantised, or convert these to one of them"
        )


def _safe(file: Path) -> dict[str, Stored]:
    """The tensors of a safetensors file (header: 8 bytes of length, JSON with types, shapes and offsets)."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if length > min(size - 8, _LONGEST_HEADER):
            raise ValueError(f"its header claims {length} bytes of {size}")
        header = json.loads(opened.read(length))
    header.pop("__metadata__", None)
    return {name: _in_file(file, name, range(8 + length, size), entry) for name, entry in header.items()}


def _in_file(file: Path, name: str, data: range, entry: Mapping[str, object]) -> Stored:
    import torch

    shape = tuple(map(int, entry["shape"]))  # type: ignore[call-overload]
    start, end = (data.start + int(offset) for offset in entry["data_offsets"])  # type: ignore[attr-defined]
    stated = str(entry["dtype"])
    # What has no dtype here is never filled: `read_tensor` refuses it.
    dtype: torch.dtype = getattr(torch, _DTYPES.get(stated, "uint8"))
    width = dtype.itemsize
    fits = stated not in _DTYPES or end - start == width * math.prod(shape)
    if not data.start <= start <= end <= data.stop or not fits:
        raise ValueError(f"a tensor of shape {shape} is said to take bytes {start} to {end} of {data.stop}")

    def fill(first: int, target: torch.Tensor) -> None:
        buffer = bytearray(len(target) * width)
        with file.open("rb", buffering=0) as opened:
            opened.seek(start + first * width)
            if opened.readinto(buffer) != len(buffer):
                raise CheckpointError(f"{file} changed while it was read: start again")
        target.copy_(torch.frombuffer(buffer, dtype=dtype))

    return Stored(f"{name} in {file}", shape, stated, fill)


def _pickled(file: Path) -> dict[str, Stored]:
    import torch

    state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    return {name: _in_memory(f"{name} in {file}", tensor) for name, tensor in state.items()}


def _in_memory(name: str, tensor: torch.Tensor) -> Stored:
    def fill(first: int, target: torch.Tensor) -> None:
        target.copy_(tensor.reshape(-1)[first : first + len(target)])

    return Stored(name, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), fill)


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError, *UNPICKLING) as error:
        raise CheckpointError(
            f"{file} cannot be read ({error}): copy it again from the model's repository"
        ) from error
