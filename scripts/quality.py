"""Scores the shipped set, and development sets beside the repository where there are any, against floors.

    python scripts/quality.py [--write]

Embeds afresh each time (a cache would hide what changed). Ends with 1 when nDCG@10 of any mode fell by more
than .01. `--write` keeps what was measured as the new floors.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from latewood.embedder.models.registry import MINILM  # noqa: E402
from latewood.embedder.serving.engine import LocalEmbedder, load_embedder  # noqa: E402
from latewood.evaluation.datasets import read_dataset  # noqa: E402
from latewood.evaluation.regression_floors import (  # noqa: E402
    CONFIGURATIONS,
    FLOORS,
    METRIC,
    Floor,
    drops,
    floors_json,
    gains,
    read_floors,
)
from latewood.evaluation.workbench import Workbench  # noqa: E402


def measure(floor: Floor, embedder: LocalEmbedder) -> dict[str, float]:
    """The metric of each configuration on a set."""
    with tempfile.TemporaryDirectory() as cache:
        bench = Workbench(read_dataset(ROOT / floor.folder), embedder, Path(cache), floor.unit)
        return {name: bench.row(one).scores[METRIC] for name, one in CONFIGURATIONS.items()}


def main() -> int:
    """Score every set; how many floors were broken decides the exit code."""
    # float32, so that a processor with bfloat16 is held to the same figures.
    embedder = load_embedder(MINILM.name, device="cpu", dtype="float32")
    floors = read_floors()
    fallen: list[str] = []
    for name, floor in floors.items():
        if not (ROOT / floor.folder).is_dir():
            print(f"{name}: skipped: no data")
            continue
        measured = measure(floor, embedder)
        for one, score in measured.items():
            print(f"{name} {floor.unit:<9} {one:<14} {METRIC} {score:.4f}  floor {floor.scores[one]:.4f}")
        fallen += [f"{name}: {what}" for what in drops(floor, measured)]
        for what in gains(floor, measured):
            print(f"{name}: {what}")
        floors[name] = replace(floor, scores=measured)
    embedder.close()
    if "--write" in sys.argv[1:]:
        FLOORS.write_text(floors_json(floors), encoding="utf-8")
        return 0
    for what in fallen:
        print(what, file=sys.stderr)
    return 1 if fallen else 0


if __name__ == "__main__":
    sys.exit(main())
