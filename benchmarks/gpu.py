"""Every way to attend on this machine's GPU: parity with the processor, tokens per second, peak memory.

    make gpu-check
    python -m benchmarks.gpu [--layers 24]

A model of Jina v3's size with random weights, so nothing is downloaded. Ends with 3 where there is no GPU,
and with 1 where the cosine to the processor in float32 is below 0.9999 (half formats) or 0.99999 (float32).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from torch.nn import functional

from benchmarks.random_models import VOCABULARY, jina_size, packed
from latewood.embedder.encoder.attention import Attention, BlockedSdpa
from latewood.embedder.encoder.encoder import PackedEncoder
from latewood.embedder.encoder.varlen import PaddedAttention, choose_attention, kernels
from latewood.embedder.types import Task

NO_GPU = (
    "torch sees no CUDA device, so there is nothing to check: run this on a machine with an NVIDIA GPU and "
    "torch's CUDA build (pip install torch, without --index-url). Its logic is tested without one: "
    "python -m pytest tests/embedder/test_varlen.py"
)
PARITY_LENGTHS = (512, 200, 64, 12, 3)
SPEED_LENGTHS = (512, 2048, 8192)
PACK = 32768  # tokens of a pass
LEAST = {torch.float32: 0.99999, torch.bfloat16: 0.9999, torch.float16: 0.9999}

Sequences = Sequence[np.ndarray]


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of one way in one format.

    Attributes:
        cosine: the least, of sequences' mean states, to the processor in float32.
        speeds: tokens per second at each length.
        peak_bytes: memory of the device, at most, at each length.
    """

    way: str
    dtype: torch.dtype
    cosine: float
    speeds: dict[int, float]
    peak_bytes: dict[int, int]

    @property
    def passed(self) -> bool:
        """Whether it agrees with the processor."""
        return self.cosine >= LEAST[self.dtype]


def sequences(lengths: Sequence[int]) -> list[np.ndarray]:
    """Random ids, the same every time."""
    numbers = np.random.default_rng(1)
    return [numbers.integers(5, VOCABULARY, length).astype(np.int32) for length in lengths]


def means(encoder: PackedEncoder, asked: Sequences) -> torch.Tensor:
    """Mean state of each sequence, then of each one's middle when only that is kept; float32 on the CPU."""
    middles = [(len(ids) // 4, len(ids) - len(ids) // 4) for ids in asked]
    given = encoder.states(Task.PASSAGE, asked) + encoder.states(Task.PASSAGE, asked, middles)
    return torch.stack([states.mean(0).cpu() for states in given])


def measure(
    encoder: PackedEncoder, way: Attention, reference: torch.Tensor, lengths: Sequence[int], pack: int
) -> Row:
    """Parity, then speed and memory at each length."""
    cosine = functional.cosine_similarity(means(encoder, sequences(PARITY_LENGTHS)), reference, dim=-1)
    speeds, peaks = {}, {}
    for length in lengths:
        asked = sequences([length] * max(1, pack // length))
        speeds[length], peaks[length] = _timed(encoder, asked)
    return Row(way.name, encoder.dtype, float(cosine.min()), speeds, peaks)


def _timed(encoder: PackedEncoder, asked: Sequences, rounds: int = 3) -> tuple[float, int]:
    """Tokens per second of the best round, and bytes of the device at most."""
    on_gpu = encoder.device.type == "cuda"
    wait = torch.cuda.synchronize if on_gpu else _nothing
    encoder.states(Task.PASSAGE, asked)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    best = float("inf")
    for _ in range(rounds):
        wait()
        started = perf_counter()
        encoder.states(Task.PASSAGE, asked)
        wait()
        best = min(best, perf_counter() - started)
    peak = torch.cuda.max_memory_allocated() if on_gpu else 0
    return sum(map(len, asked)) / best, peak


def _nothing() -> None:
    """There is nothing to wait for on a processor."""


def check(
    build: Callable[[], torch.nn.Module],
    device: torch.device,
    lengths: Sequence[int] = SPEED_LENGTHS,
    pack: int = PACK,
) -> list[Row]:
    """Each way in bfloat16, and the padded one in float32, held against the processor in float32."""
    reference = means(packed(build(), BlockedSdpa()), sequences(PARITY_LENGTHS))
    ways: list[tuple[Attention, torch.dtype]] = [(way, torch.bfloat16) for way in kernels()]
    ways += [(PaddedAttention(), torch.bfloat16), (PaddedAttention(), torch.float32)]
    rows = []
    for way, dtype in ways:
        encoder = packed(build().to(device, dtype), way)
        try:
            rows.append(measure(encoder, way, reference, lengths, pack))
        except (RuntimeError, NotImplementedError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            print(f"{way.name} in {dtype} does not run here: {reason}", file=sys.stderr)
    return rows


def table(rows: Sequence[Row]) -> str:
    """As Markdown: a line for each way, tokens per second and peak GiB at each length."""
    lengths = list(rows[0].speeds) if rows else []
    heads = [
        "way",
        "dtype",
        "cosine",
        *(f"tokens/s at {n}" for n in lengths),
        *(f"GiB at {n}" for n in lengths),
    ]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in rows:
        speeds = [f"{row.speeds[length]:,.0f}" for length in lengths]
        peaks = [f"{row.peak_bytes[length] / 2**30:.2f}" for length in lengths]
        cells = [row.way, str(row.dtype).removeprefix("torch."), f"{row.cosine:.6f}", *speeds, *peaks]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check this machine's GPU; the exit code says how it went."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--layers", type=int, default=24)
    chosen = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print(NO_GPU, file=sys.stderr)
        return 3
    device = torch.device("cuda")
    rows = check(lambda: jina_size(chosen.layers), device)
    print(
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {chosen.layers} layers of Jina v3's size"
    )
    print(table(rows))
    taken = choose_attention(device, torch.bfloat16).name
    print(f"chosen in bfloat16: {taken}")
    ran = (taken, torch.bfloat16) in {(row.way, row.dtype) for row in rows}
    if not ran:
        print(f"{taken} is what the engine takes, and it did not run: see above", file=sys.stderr)
    for row in rows:
        if not row.passed:
            print(
                f"{row.way} in {row.dtype}: cosine {row.cosine:.6f} is below {LEAST[row.dtype]}",
                file=sys.stderr,
            )
    return 0 if ran and all(row.passed for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
