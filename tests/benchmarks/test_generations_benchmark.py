"""The benchmark of optimising runs and says what it measured; its numbers are nobody's promise here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_small_benchmark_searches_and_writes_through_a_switch() -> None:
    command = [sys.executable, "-m", "benchmarks.generations", "--small", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["during"]["queries"] > 0
    assert found["commits"] > 0
    assert found["chunks_after"] >= 500
