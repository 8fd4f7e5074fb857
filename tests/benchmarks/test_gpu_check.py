"""`make gpu-check` without a GPU: it says so; and its logic, on the processor."""

from __future__ import annotations

import pytest
import torch

from benchmarks import gpu
from benchmarks.random_models import jina_size


def test_without_a_gpu_it_refuses_and_says_what_to_do(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 3
    told = capsys.readouterr()
    assert "NVIDIA GPU" in told.err
    assert told.out == ""


def test_every_way_that_runs_is_held_against_the_processor(capsys):
    rows = gpu.check(lambda: jina_size(2, hidden=128), torch.device("cpu"), lengths=(32, 64), pack=128)
    assert [(row.way, row.dtype) for row in rows] == [
        ("sdpa, padded groups", torch.bfloat16),
        ("sdpa, padded groups", torch.float32),
    ]
    assert all(row.passed for row in rows)
    assert "torch varlen in torch.bfloat16 does not run here" in capsys.readouterr().err
    printed = gpu.table(rows).splitlines()
    assert printed[0].startswith("| way | dtype | cosine | tokens/s at 32 | tokens/s at 64 | GiB at 32 |")
    assert len(printed) == 4
    assert all(line.count("|") == printed[0].count("|") for line in printed)


@pytest.mark.parametrize(("dtype", "cosine"), [(torch.bfloat16, 0.9998), (torch.float32, 0.9999)])
def test_a_way_that_differs_does_not_pass(dtype, cosine):
    assert not gpu.Row("any", dtype, cosine, {}, {}).passed
    assert gpu.Row("any", dtype, 0.999999, {}, {}).passed
