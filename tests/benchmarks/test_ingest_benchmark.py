"""The ingest benchmark runs and says what it measured; its numbers are nobody's promise here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def benchmark(out: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    command = [sys.executable, "-m", "benchmarks.ingest", "--small", "--out", str(out), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text(encoding="utf-8")), done.stdout


def test_the_small_benchmark_measures_workers_memory_and_a_sync_without_changes(tmp_path: Path) -> None:
    found, printed = benchmark(tmp_path / "found.json")
    assert set(found) == {"machine", "files", "workers", "many"}
    assert sum(found["files"].values()) > 2
    for row in found["workers"].values():
        assert row["documents"] == sum(found["files"].values())
        assert row["chunks"] >= row["documents"]
        assert row["cpu_s"] > 0
    assert found["many"]["unchanged"] == 50
    assert "| 2 parser(s) |" in printed


@pytest.mark.soak
def test_the_small_benchmark_runs_beside_the_script_and_an_owner(tmp_path: Path) -> None:
    found, printed = benchmark(tmp_path / "found.json", "--parts", "script", "fresh")
    assert found["script"]["latewood"]["documents"] == found["script"]["script"]["documents"]
    assert found["fresh"]["both_s"] > 0
    assert "| latewood |" in printed


@pytest.mark.soak
def test_memory_hardly_grows_with_the_number_of_files(tmp_path: Path) -> None:
    """Beside a model in memory (400 MiB and more), 20,000 files then take less than 1.2 times 2,000."""
    found, _ = benchmark(tmp_path / "found.json", "--parts", "many", "--many", "20000")
    assert found["many"]["bytes for one more file"] < 2048
