"""The search benchmark runs and says what it measured; its numbers are nobody's promise here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_small_benchmark_measures_every_part_and_draws_the_curve(tmp_path: Path) -> None:
    picture = tmp_path / "curve.png"
    command = [sys.executable, "-m", "benchmarks.search", "--small", "--plot", str(picture)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["hybrid"]["recall@10"] == 1.0  # so few are searched exactly
    assert {"p50", "p95", "cpu_ms", "owner_python_ms", "worker_python_ms"} <= set(found["hybrid"])
    parts = {"tenth", "percent", "tenth_by_number", "percent_by_number"}
    assert {"all", *parts, *(f"{name}_times" for name in parts)} == set(found["filtered"])
    assert found["searchers"]["searchers_8"]["a_second"] > 0
    assert found["bm25"]["rank_bm25_times"] > 0
    assert found["local"]["local_times"] > 0
    assert [row["points"] for row in found["curve"]] == [200, 400]
    assert picture.read_bytes().startswith(b"\x89PNG")
