"""From importing torch to MiniLM's first answer, and the memory that loading takes, in fresh processes.

    python -m benchmarks.loading [--each 5]    beside sentence-transformers with the same files
    python -m benchmarks.loading --weights     peak over weights, libraries and tokenizer not counted
    python -m benchmarks.loading --weights --jina 24    the same of a random Jina v3 with so many layers, too

Medians of `--each` runs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.checkpoints import JINA_SIZE, build_jina
from benchmarks.measuring import environment
from latewood.embedder.models.checkpoint import find_checkpoint
from latewood.embedder.models.registry import MINILM
from latewood.embedder.quantization.int8 import missing_for_int8

MEMORY = """
import json, sys, time
from pathlib import Path

def told(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))

"""
# What both begin with: the clock starts, then torch is imported; memory is counted from there.
BEGIN = """
wall, cpu = time.perf_counter(), time.process_time()
import torch
imported = time.process_time() - cpu
import numpy, safetensors, tokenizers
base = told("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
"""
END = """
spent = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "torch_s": imported}
print(json.dumps(spent | {"peak_mb": told("VmHWM") - base}))
"""
OURS = """
from latewood.embedder.serving.engine import load_embedder
from latewood.embedder.types import Task
embedder = load_embedder(sys.argv[1], device="cpu")
embedder.embed_texts(["How many litres of fuel did the fleet burn?"], Task.QUERY)
"""
THEIRS = """
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[2], device="cpu", local_files_only=True)
model.encode(["How many litres of fuel did the fleet burn?"])
"""
PROGRAMS = {"latewood": OURS, "sentence-transformers": THEIRS}
# Peak and settled memory beside what the process held before: its libraries and the tokenizer.
WEIGHTS = """
import torch
from latewood.embedder.encoder.backbone import load_backbone
from latewood.embedder.quantization.calibration import SENTENCES
from latewood.embedder.models.checkpoint import find_checkpoint
from latewood.embedder.serving.engine import load_embedder
from latewood.embedder.serving.memory import trim
from latewood.embedder.models.tokenizer import TextTokenizer
name, dtype, libraries = sys.argv[1:]
load_embedder(libraries, device="cpu", dtype=dtype).close()  # a tiny model has everything imported
checkpoint = find_checkpoint(name)
sample = [tokens.ids for tokens in TextTokenizer(checkpoint.folder).encode_all(SENTENCES)]
trim()

Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
before = told("VmRSS")
backbone = load_backbone(checkpoint, "cpu", dtype, sample)
print(json.dumps({"peak_mb": told("VmHWM") - before, "settled_mb": told("VmRSS") - before}))
"""


def run(program: str, *arguments: str) -> dict[str, float]:
    """One fresh process."""
    command = [sys.executable, "-c", MEMORY + program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


def first_answers(each: int) -> None:
    """Print a line for each program."""
    folder = str(find_checkpoint(MINILM.name).folder)
    told: dict[str, list[dict[str, float]]] = {name: [] for name in PROGRAMS}
    for _ in range(each):
        for name, program in PROGRAMS.items():
            told[name].append(run(BEGIN + program + END, MINILM.name, folder))
    for name, runs in told.items():
        print(name, _middle(runs))


def weights(each: int, jina_layers: int) -> None:
    """Print a line for each model and dtype."""
    with tempfile.TemporaryDirectory() as work:
        tiny, large = Path(work) / "tiny", Path(work) / "jina"
        build_jina(tiny)
        models = {"MiniLM": MINILM.name}
        if jina_layers:
            build_jina(large, replace(JINA_SIZE, layers=jina_layers))
            models[f"Jina v3, {jina_layers} layers"] = str(large)
        for name, place in models.items():
            for dtype in ("bfloat16",) if missing_for_int8() else ("bfloat16", "int8"):
                runs = [run(WEIGHTS, place, dtype, str(tiny)) for _ in range(each)]
                middle = _middle(runs)
                print(name, dtype, middle, "times:", round(middle["peak_mb"] / middle["settled_mb"], 2))


def _middle(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: round(statistics.median(one[key] for one in runs), 2) for key in runs[0]}


def main() -> None:
    """Print one line for each program, or for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--each", type=int, default=5, help="runs of each, turn by turn")
    parser.add_argument("--weights", action="store_true", help="what the weights take, and their peak")
    parser.add_argument("--jina", type=int, default=0, metavar="LAYERS", help="of its 24")
    chosen = parser.parse_args()
    if chosen.jina and not chosen.weights:
        parser.error("--jina goes with --weights")
    if chosen.weights:
        weights(chosen.each, chosen.jina)
    else:
        first_answers(chosen.each)


if __name__ == "__main__":
    main()
