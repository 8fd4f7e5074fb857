"""The benchmark of plans runs and says what it measured; its numbers are nobody's promise here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.index import read_plan
from benchmarks.vectors import synthetic, tiled
from latewood.search.index_config import DensePlan

ROOT = Path(__file__).resolve().parents[2]


def test_the_small_benchmark_builds_and_asks_every_kind_of_plan() -> None:
    command = [sys.executable, "-m", "benchmarks.index", "--small"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["plans"]
    assert [row["plan"] for row in rows] == ["flat", "hnsw:int8", "hnsw:turbo:float16", "16-64:int8:disk"]
    for row in rows:
        assert row["recall@10"] >= 0.95  # so few are searched without a graph
        assert row["score_off"] < (1e-3 if "float16" in row["plan"] else 1e-6)
        assert min(row["p50"], row["disk_mib"], row["own_mib"], row["write_s"]) > 0


def test_a_plan_is_read_from_the_command_line() -> None:
    wanted = DensePlan(stages=(256, 1024), quantization="int8", dtype="float16", on_disk=True)
    found = read_plan("256-1024:int8:float16:disk:x1.5")
    assert (found, found.oversampling) == (wanted, 1.5)
    assert read_plan("flat") == DensePlan(graph=False)
    with pytest.raises(ValueError, match="'int4' in 'hnsw:int4' is none of float32"):
        read_plan("hnsw:int4")


def test_synthetic_vectors_say_half_of_it_in_the_first_quarter_of_their_numbers() -> None:
    rows = synthetic(2_000, 1024, 1).rows.astype(np.float64)
    assert np.square(rows[:, :256]).sum(1).mean() == pytest.approx(0.5, abs=0.02)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


def test_copies_of_real_vectors_stand_as_far_off_as_the_nearest_other_text() -> None:
    random = np.random.default_rng(0)
    texts = random.standard_normal((500, 32)).astype(np.float32)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    made = tiled(texts, texts[:20], 1_300, 10)
    assert (made.rows.shape, made.questions.shape) == ((1_300, 32), (10, 32))
    nearest = np.sort(texts @ texts.T, axis=1)[:, -2]
    copies = (texts * made.rows[500:1_000]).sum(1)
    assert np.median(copies) == pytest.approx(np.median(nearest), abs=0.03)
