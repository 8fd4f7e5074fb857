"""One batch through the model: device, precision, threads, forward pass, sums of token states."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from latewood.embedder.encoder.bert_modules import is_plain, read_plain
from latewood.embedder.encoder.encoder import PackedEncoder
from latewood.embedder.encoder.packing import share_out
from latewood.embedder.encoder.padded import PaddedEncoder
from latewood.embedder.encoder.rows import Row
from latewood.embedder.encoder.varlen import choose_attention
from latewood.embedder.models.adapters import ADAPTER_WEIGHTS, load_adapters
from latewood.embedder.models.checkpoint import Checkpoint, load_model
from latewood.embedder.models.families import can_pack, read_weights
from latewood.embedder.models.weights import require_weights
from latewood.embedder.quantization.calibration import Calibration, DraftProduct
from latewood.embedder.quantization.int8 import missing_for_int8, processor_flags
from latewood.embedder.quantization.linear import make_product
from latewood.embedder.serving.memory import trim
from latewood.embedder.types import Floats, InputError, Task

if TYPE_CHECKING:
    import torch

INT8 = "int8"
DTYPES = ("auto", "float32", "bfloat16", INT8)
# Tokens of one forward pass. On a CPU more gains nothing, and a query waits for one pass.
CPU_BUDGET = 2048
# Tokens below which a second thread gains nothing.
SMALL = 256
GPU_BUDGET = 32768


class Encoder(Protocol):
    """A model that gives the state of every token."""

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """What its products take and give."""
        ...

    @property
    def attention(self) -> str:
        """Name of the way it attends."""
        ...

    def activate(self, task: Task) -> None:
        """Get ready for a task, while nothing runs."""
        ...

    def states(
        self,
        task: Task,
        sequences: Sequence[NDArray[np.int32]],
        kept: Sequence[tuple[int, int]] | None = None,
    ) -> list[torch.Tensor]:
        """The states of each sequence's tokens, or of those kept, (tokens, hidden) floating point.

        See `PackedEncoder.states`. Several lanes may call it at once.
        """
        ...


class Backbone:
    """A loaded model. Not safe to share: only the thread that owns it may run it.

    On a CPU the rows of a batch are shared out to one single-threaded lane per core. Threads inside an
    operation wait for each other at its end, so one busy neighbour would slow all of them down several times;
    lanes meet once per batch (MiniLM, 2 cores: 1.2 times as fast alone, 5 times beside a busy process).
    """

    def __init__(self, encoder: Encoder, dtype: str = "") -> None:
        """Run `encoder`; `dtype` names what it multiplies in where that is not `encoder.dtype`."""
        self._encoder = encoder
        self._dtype = dtype or str(encoder.dtype).removeprefix("torch.")
        self._cores = available_cores() if self.device == "cpu" else 1
        self._lanes = ThreadPoolExecutor(self._cores, thread_name_prefix="embedder-lane")

    @property
    def budget(self) -> int:
        """Tokens that one turn should have at most."""
        return CPU_BUDGET * self._cores if self.device == "cpu" else GPU_BUDGET

    @property
    def device(self) -> str:
        """Where the model lives: `cpu` or `cuda`."""
        return self._encoder.device.type

    @property
    def dtype(self) -> str:
        """What it multiplies in: `float32`, `bfloat16` or `int8`."""
        return self._dtype

    @property
    def attention(self) -> str:
        """How it attends: see `embedder.attention`; `transformers` where its own forward runs."""
        return self._encoder.attention

    def close(self) -> None:
        """End the lanes."""
        self._lanes.shutdown()

    def run(self, task: Task, rows: Sequence[Row]) -> list[Floats]:
        """Run rows together.

        Returns:
            For each row (pieces, dim) float32: the states of each piece's tokens added up.
        """
        self._encoder.activate(task)
        lengths = [len(row.ids) for row in rows]
        few = sum(lengths) <= SMALL
        shares = share_out(lengths, 1 if few else self._cores)
        if len(shares) == 1:
            parts = [self._forward(task, [rows[index] for index in shares[0]], 1 if few else self._cores)]
        else:
            futures = [
                self._lanes.submit(self._forward, task, [rows[index] for index in share], 1)
                for share in shares
            ]
            wait(futures)  # all of them, also when one fails: the next turn may switch adapters
            parts = [future.result() for future in futures]
        values: list[Floats] = [np.empty(0, dtype=np.float32)] * len(rows)
        for share, part in zip(shares, parts, strict=True):
            for index, value in zip(share, part, strict=True):
                values[index] = value
        return values

    def _forward(self, task: Task, rows: Sequence[Row], threads: int) -> list[Floats]:
        """One pass through the model."""
        import torch

        if self.device == "cpu":
            torch.set_num_threads(threads)
        pieces: list[list[list[int]]] = [row.pieces.tolist() for row in rows]
        kept = [(min(start for start, _, _ in own), max(end for _, end, _ in own)) for own in pieces]
        states = self._encoder.states(task, [row.ids for row in rows], kept)
        with torch.inference_mode():
            # Slicing in a loop beats a matrix product and index_add (8192 tokens, 40 spans: 3, 11 and 64 ms).
            sums = [
                own[start - first : end - first].sum(dim=0, dtype=torch.float32)
                for own, parts, (first, _) in zip(states, pieces, kept, strict=True)
                for start, end, _ in parts
            ]
            values: Floats = torch.stack(sums).cpu().numpy()
        ends = accumulate(len(row.pieces) for row in rows)
        return [values[end - len(row.pieces) : end] for end, row in zip(ends, rows, strict=True)]


def load_backbone(
    checkpoint: Checkpoint, device: str, dtype: str, sample: Sequence[NDArray[np.int32]] = ()
) -> Backbone:
    """Load weights and adapters, checked, onto a device.

    Args:
        checkpoint: from `find_checkpoint`.
        device: `auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`.
        dtype: `auto` (bfloat16 where the processor computes in it, else float32), `float32`, `bfloat16`, or
            `int8`: matrix products in eight bits, everything else as with `auto`.
        sample: with int8, ids of the texts that show which channels are too loud for it.

    Raises:
        InputError: no such device or dtype here, or a model whose products cannot be rounded.
        CheckpointError: the files are not what they claim to be.
    """
    import torch

    place = _choose_device(device)
    precision: torch.dtype = getattr(torch, _choose_dtype(dtype, place))
    description = checkpoint.description
    if place == "cpu":
        # Starting torch's thread pool costs more than it gains here; each pass sets its own number.
        torch.set_num_threads(1)
    model: Any
    if is_plain(checkpoint):
        model = read_plain(checkpoint, precision, place)
    else:
        adapted = [checkpoint.folder / name / ADAPTER_WEIGHTS for name in description.adapters.values()]
        require_weights([*checkpoint.files, *filter(Path.is_file, adapted)])
        model = load_model(checkpoint, precision, place)
        adapters = load_adapters(model, checkpoint)
        if not can_pack(model):
            if dtype == INT8:
                raise InputError(
                    f"{description.name} ({checkpoint.family}) runs through transformers, which has no int8: "
                    "use dtype auto, float32 or bfloat16"
                )
            return Backbone(PaddedEncoder(model, adapters, checkpoint.pad_token, description.max_tokens))
    attention = choose_attention(torch.device(place), precision)
    if dtype == INT8:
        finish = Calibration(sample, attention)
        weights = read_weights(model, description.adapters, DraftProduct, finish=finish)
    else:
        weights = read_weights(model, description.adapters, partial(make_product, dtype=precision))
    trim()
    return Backbone(PackedEncoder(weights, attention), INT8 if dtype == INT8 else "")


def available_cores() -> int:
    """Cores this process may use: its affinity, cut down to a container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.is_file():
        limit, _, period = quota.read_text(encoding="ascii").partition(" ")
        if limit != "max":
            cores = min(cores, max(1, -(-int(limit) // int(period))))
    return cores


def _choose_device(device: str) -> str:
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = device.partition(":")
    if kind == "cpu" and not number:
        return device
    if kind != "cuda" or not (number == "" or number.isdecimal()):
        raise InputError(f"unknown device {device!r}: use auto, cpu, cuda or cuda:N")
    if int(number or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device {device!r} is not there: torch sees {torch.cuda.device_count()} CUDA devices; "
            "use cpu, or install torch's CUDA build"
        )
    return device


def _choose_dtype(dtype: str, device: str) -> str:
    """What stands between products."""
    if dtype not in DTYPES:
        raise InputError(f"unknown dtype {dtype!r}: use one of {', '.join(DTYPES)}")
    if dtype == INT8:
        if device != "cpu":
            raise InputError(f"dtype int8 runs on a processor, not on {device}: use device cpu, or bfloat16")
        if missing_for_int8():
            raise InputError(f"dtype int8 needs {missing_for_int8()}: use auto, float32 or bfloat16 here")
    elif dtype != "auto":
        return dtype
    return native_dtype(device)


def native_dtype(device: str) -> str:
    """`bfloat16` where the processor or GPU multiplies in it (MiniLM: 3.3 times as fast, cosine 0.9999)."""
    import torch

    if device == "cpu":
        native = not {"amx_bf16", "avx512_bf16"}.isdisjoint(processor_flags())
    else:
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if native else "float32"
