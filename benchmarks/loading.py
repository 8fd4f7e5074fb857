"""From importing torch to MiniLM's first answer, and the memory that takes, in fresh processes.

Beside it sentence-transformers doing the same with the same files. Medians of `--each` runs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys

from benchmarks.measuring import environment
from embedder.checkpoint import find_checkpoint
from embedder.models import MINILM

# What both begin with: the clock starts, then torch is imported; memory is counted from there.
BEGIN = """
import json, resource, sys, time
wall, cpu = time.perf_counter(), time.process_time()
import torch
imported = time.process_time() - cpu
import numpy, safetensors, tokenizers
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
"""
END = """
told = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "torch_s": imported}
print(json.dumps(told | {"peak_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) / 1024}))
"""
OURS = """
from embedder.engine import load_embedder
from embedder.types import Task
embedder = load_embedder(sys.argv[1], device="cpu")
embedder.embed_texts(["How many litres of fuel did the fleet burn?"], Task.QUERY)
"""
THEIRS = """
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[2], device="cpu", local_files_only=True)
model.encode(["How many litres of fuel did the fleet burn?"])
"""
PROGRAMS = {"latewood": OURS, "sentence-transformers": THEIRS}


def run(program: str, folder: str) -> dict[str, float]:
    """One fresh process."""
    command = [sys.executable, "-c", BEGIN + program + END, MINILM.name, folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


def main() -> None:
    """Print one line for each program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=5, help="runs of each, turn by turn")
    each = parser.parse_args().each
    folder = str(find_checkpoint(MINILM.name).folder)
    told: dict[str, list[dict[str, float]]] = {name: [] for name in PROGRAMS}
    for _ in range(each):
        for name, program in PROGRAMS.items():
            told[name].append(run(program, folder))
    for name, runs in told.items():
        middle = {key: statistics.median(one[key] for one in runs) for key in runs[0]}
        print(name, {key: round(value, 2) for key, value in middle.items()})


if __name__ == "__main__":
    main()
