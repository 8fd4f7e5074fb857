"""Packed attention on a GPU: borders, indices and the choice of a way, on kernels written out for a CPU."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from latewood.embedder.encoder import varlen
from latewood.embedder.encoder.attention import BlockedAttention, BlockedSdpa
from latewood.embedder.encoder.varlen import (
    PaddedAttention,
    VarlenAttention,
    agrees,
    choose_attention,
    kernels,
    padded_groups,
)

CPU = torch.device("cpu")
LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=12)


def numbers(lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(sum(lengths), 3, 2, 8, generator=generator)


def kernel(queries, keys, values, borders, longest):
    """What a varlen kernel computes, sequence by sequence."""
    assert borders.dtype == torch.int32
    assert borders[-1] == len(queries)
    assert longest == (borders[1:] - borders[:-1]).max()
    mixed = torch.empty_like(queries)
    for start, end in zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True):
        scores = torch.einsum("qhd,khd->hqk", queries[start:end], keys[start:end])
        mixed[start:end] = torch.einsum("hqk,khd->qhd", scores.softmax(-1), values[start:end])
    return mixed


WAYS = {"padded": PaddedAttention(), "varlen": VarlenAttention("varlen", kernel), "blocks": BlockedSdpa()}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@given(lengths=LENGTHS)
def test_every_way_attends_to_ones_own_sequence_alone(way, lengths):
    qkv = numbers(lengths)
    together = way.prepare(lengths, CPU)(qkv)
    start = 0
    for length in lengths:
        own = qkv[start : start + length]
        alone = kernel(*own.unbind(1), torch.tensor([0, length], dtype=torch.int32), length).flatten(1)
        torch.testing.assert_close(together[start : start + length], alone, atol=1e-5, rtol=1e-4)
        start += length


@given(lengths=LENGTHS)
def test_groups_hold_each_row_once_and_pad_with_rows_of_the_same_sequence(lengths):
    seen = []
    owner = np.repeat(np.arange(len(lengths)), lengths)
    for places, real in padded_groups(lengths):
        assert places.shape == real.shape
        assert (owner[places.numpy()] == owner[places[:, :1].numpy()]).all()
        assert real[:, 0].all()
        seen += places[real].tolist()
    assert sorted(seen) == list(range(sum(lengths)))


@pytest.mark.parametrize("error", [ImportError, OSError, RuntimeError])
def test_a_kernel_that_does_not_load_is_passed_over(error, monkeypatch):
    def broken():
        raise error("libcudart.so.12: cannot open shared object file")

    monkeypatch.setattr(varlen, "_flash_attn", broken)
    assert "flash-attn varlen" not in [way.name for way in kernels()]


def test_on_a_processor_the_format_decides():
    assert isinstance(choose_attention(CPU, torch.bfloat16), BlockedAttention)
    assert isinstance(choose_attention(CPU, torch.float32), BlockedSdpa)


def wrong(queries, keys, values, borders, longest):
    everyone = torch.tensor([0, len(queries)], dtype=torch.int32)
    return kernel(queries, keys, values, everyone, len(queries))


def absent(*arguments):
    raise RuntimeError("FlashAttention only supports Ampere GPUs or newer.")


def test_a_kernel_that_does_not_run_or_lets_sequences_leak_is_passed_over():
    assert agrees(VarlenAttention("good", kernel), CPU, torch.float32)
    assert not agrees(VarlenAttention("leaks", wrong), CPU, torch.float32)
    assert not agrees(VarlenAttention("absent", absent), CPU, torch.float32)


@pytest.mark.parametrize(
    ("installed", "dtype", "name"),
    [
        (["flash", "torch"], torch.bfloat16, "flash"),
        (["torch"], torch.bfloat16, "torch"),
        ([], torch.bfloat16, PaddedAttention.name),
        (["flash", "torch"], torch.float32, PaddedAttention.name),
    ],
)
def test_on_a_gpu_the_first_kernel_that_works_is_taken(installed, dtype, name, monkeypatch):
    monkeypatch.setattr(varlen, "kernels", lambda: [VarlenAttention(one, kernel) for one in installed])
    monkeypatch.setattr(varlen, "agrees", lambda way, device, dtype: True)
    assert choose_attention(torch.device("cuda"), dtype).name == name


def test_a_broken_kernel_leaves_the_choice_to_the_next(monkeypatch):
    monkeypatch.setattr(
        varlen, "kernels", lambda: [VarlenAttention("a", absent), VarlenAttention("b", kernel)]
    )
    monkeypatch.setattr(varlen, "agrees", lambda way, device, dtype: agrees(way, CPU, torch.float32))
    assert choose_attention(torch.device("cuda"), torch.bfloat16).name == "b"


def test_both_kernels_are_called_with_borders_lengths_and_no_scale_of_their_own(monkeypatch):
    calls = []

    def called(name):
        def call(q, k, v, borders_q, borders_k, longest_q, longest_k, **options):
            calls.append((name, options))
            assert borders_q is borders_k
            assert longest_q == longest_k
            return kernel(q, k, v, borders_q, longest_q)

        return call

    module = ModuleType("flash_attn")
    module.flash_attn_varlen_func = called("flash")
    monkeypatch.setitem(sys.modules, "flash_attn", module)
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", called("torch"))
    lengths = [5, 3]
    for way in kernels():
        torch.testing.assert_close(
            way.prepare(lengths, CPU)(numbers(lengths)),
            PaddedAttention().prepare(lengths, CPU)(numbers(lengths)),
        )
    assert calls == [("flash", {"softmax_scale": 1.0}), ("torch", {"scale": 1.0})]


def test_without_flash_attn_torchs_kernel_is_the_first(monkeypatch):
    monkeypatch.setitem(sys.modules, "flash_attn", None)
    assert [way.name for way in kernels()] == ["torch varlen"]
