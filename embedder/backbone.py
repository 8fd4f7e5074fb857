"""One batch through the model: device, precision, threads, forward pass, sums of token states."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from embedder.adapters import Adapters, load_adapters
from embedder.checkpoint import Checkpoint, load_model
from embedder.packing import padded_length
from embedder.rows import Row
from embedder.types import Floats, InputError, Task

if TYPE_CHECKING:
    import torch

DTYPES = ("auto", "float32", "bfloat16")
# Padded tokens of one forward pass. On a CPU more gains nothing, and a query waits for one pass.
CPU_BUDGET = 2048
# Tokens below which a second thread gains nothing.
SMALL = 256
GPU_BUDGET = 32768


class Backbone:
    """A loaded model. Not safe to share: only the thread that owns it may run it.

    On a CPU the rows of a batch are shared out to one single-threaded lane per core. Threads inside an
    operation wait for each other at its end, so one busy neighbour would slow all of them down several times;
    lanes meet once per batch (MiniLM, 2 cores: 1.2 times as fast alone, 5 times beside a busy process).
    """

    def __init__(self, model: torch.nn.Module, adapters: Adapters, pad_token: int, most: int) -> None:
        self._model: Any = model
        self._adapters = adapters
        self._pad_token = pad_token
        self._most = most
        self._cores = available_cores() if self.device == "cpu" else 1
        self._lanes = ThreadPoolExecutor(self._cores, thread_name_prefix="embedder-lane")

    @property
    def budget(self) -> int:
        """Padded tokens that one turn should have at most."""
        return CPU_BUDGET * self._cores if self.device == "cpu" else GPU_BUDGET

    @property
    def device(self) -> str:
        """Where the model lives: `cpu` or `cuda`."""
        return str(self._model.device.type)

    @property
    def dtype(self) -> str:
        """What it computes in: `float32` or `bfloat16`."""
        return str(self._model.dtype).removeprefix("torch.")

    def close(self) -> None:
        """End the lanes."""
        self._lanes.shutdown()

    def run(self, task: Task, rows: Sequence[Row]) -> list[Floats]:
        """Run rows together.

        Returns:
            For each row (pieces, dim) float32: the states of each piece's tokens added up.
        """
        self._adapters.activate(task)
        tokens = sum(len(row.ids) for row in rows)
        lanes = min(self._cores, len(rows)) if tokens > SMALL else 1
        if lanes == 1:
            return self._forward(rows, threads=self._cores if tokens > SMALL else 1)
        # The longest come first: dealt in turn, every lane gets about the same work.
        futures = [self._lanes.submit(self._forward, rows[lane::lanes], 1) for lane in range(lanes)]
        wait(futures)  # all of them, also when one fails: the next turn may switch adapters
        values: list[Floats] = [np.empty(0, dtype=np.float32)] * len(rows)
        for lane, future in enumerate(futures):
            values[lane::lanes] = future.result()
        return values

    def _forward(self, rows: Sequence[Row], threads: int) -> list[Floats]:
        """One padded batch through the model."""
        import torch

        longest = max(len(row.ids) for row in rows)
        if self.device == "cpu":
            torch.set_num_threads(threads)
            longest = min(padded_length(longest), self._most)
        ids = np.full((len(rows), longest), self._pad_token, dtype=np.int64)
        real = np.zeros((len(rows), longest), dtype=np.int64)
        for index, row in enumerate(rows):
            ids[index, : len(row.ids)] = row.ids
            real[index, : len(row.ids)] = 1
        with torch.inference_mode():
            # Without padding no mask: attention has a faster path then.
            mask = None if real.all() else torch.from_numpy(real).to(self._model.device)
            inputs = torch.from_numpy(ids).to(self._model.device)
            states = self._model(input_ids=inputs, attention_mask=mask).last_hidden_state
            # Slicing in a loop beats a matrix product and index_add (8192 tokens, 40 spans: 3, 11 and 64 ms).
            sums = [
                states[index, start:end].sum(dim=0, dtype=torch.float32)
                for index, row in enumerate(rows)
                for start, end, _ in row.pieces.tolist()
            ]
            values: Floats = torch.stack(sums).cpu().numpy()
        return np.split(values, np.cumsum([len(row.pieces) for row in rows])[:-1])


def load_backbone(checkpoint: Checkpoint, device: str, dtype: str) -> Backbone:
    """Load weights and adapters, checked, onto a device.

    Args:
        checkpoint: from `find_checkpoint`.
        device: `auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`.
        dtype: `auto` (bfloat16 where the processor computes in it, else float32), `float32` or `bfloat16`.

    Raises:
        InputError: no such device or dtype here.
        CheckpointError: the files are not what they claim to be.
    """
    import torch

    place = _choose_device(device)
    precision = _choose_dtype(dtype, place)
    model = load_model(checkpoint, getattr(torch, precision), place)
    adapters = load_adapters(model, checkpoint)
    return Backbone(model, adapters, checkpoint.pad_token, checkpoint.description.max_tokens)


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
    import torch

    if dtype not in DTYPES:
        raise InputError(f"unknown dtype {dtype!r}: use one of {', '.join(DTYPES)}")
    if dtype != "auto":
        return dtype
    native = (
        _cpu_has_bfloat16() if device == "cpu" else torch.cuda.is_bf16_supported(including_emulation=False)
    )
    return "bfloat16" if native else "float32"


def _cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies in bfloat16 (MiniLM: 3.3 times as fast, cosine 0.9999)."""
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return False
    flags = next((line for line in info.read_text().splitlines() if line.startswith("flags")), "").split()
    return "amx_bf16" in flags or "avx512_bf16" in flags
