"""The benchmark of the service runs; what must hold on any machine holds in its small run, too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_small_load_breaks_nothing_and_a_restart_loses_nothing() -> None:
    command = [sys.executable, "-m", "benchmarks.service", "--small"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found["capacity"]["statuses"]) == {"200"}
    half = found["half"]
    assert (set(half["statuses"]), half["broken"], half["ingests_failed"]) == ({"200"}, {}, 0)
    assert half["ingests"] >= 1
    twice = found["twice"]
    assert set(twice["statuses"]) <= {"200", "429", "503"}
    assert (twice["without_retry_after"], twice["broken"]) == (0, {})
    assert set(twice["after"]["statuses"]) == {"200"}
    restart = found["restart"]
    assert restart["acknowledged"] > 0
    assert restart["lost"] == 0
    assert set(restart["statuses"]) <= {"200", "503"}
