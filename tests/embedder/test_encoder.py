"""The packed encoder against transformers' own forward, for each family; and that packs never mix."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from random_encoders import MODELS, SIZES, VOCABULARY, built, closeness, plain, sequences
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
)

from latewood.embedder.encoder import attention
from latewood.embedder.encoder.attention import BlockedAttention, BlockedSdpa
from latewood.embedder.encoder.encoder import PackedEncoder
from latewood.embedder.encoder.padded import PaddedEncoder
from latewood.embedder.encoder.varlen import choose_attention
from latewood.embedder.models.adapters import Adapters, load_adapters
from latewood.embedder.models.checkpoint import find_checkpoint, load_model
from latewood.embedder.models.families import can_pack, read_weights
from latewood.embedder.quantization import linear
from latewood.embedder.quantization.linear import (
    FusedProduct,
    PlainProduct,
    has_fused_products,
    make_product,
)
from latewood.embedder.types import Task

# One alone, a pack of short ones, lengths around every rounding, more than one row block.
PACKS = [
    [1],
    [7],
    [128],
    [129],
    [1100],
    [40, 30, 20, 12, 5, 1],
    [600, 300, 129, 128, 100, 64, 33, 17, 16, 2, 1],
]


def packed(model, way=None):
    dtype = model.dtype
    way = way or (BlockedAttention() if dtype == torch.bfloat16 else BlockedSdpa())
    return PackedEncoder(read_weights(model, {}, partial(make_product, dtype=dtype)), way)


@pytest.mark.parametrize("lengths", PACKS, ids=str)
@pytest.mark.parametrize("kind", MODELS)
def test_each_family_gives_the_states_of_transformers_forward(kind, lengths):
    reference, encoder = built(kind), packed(built(kind))
    asked = sequences(lengths)
    for ids, states in zip(asked, encoder.states(Task.QUERY, asked), strict=True):
        torch.testing.assert_close(states, plain(reference, ids), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("lengths", PACKS, ids=str)
@pytest.mark.parametrize("kind", MODELS)
def test_bfloat16_is_no_further_from_float32_than_transformers_own(kind, lengths):
    reference, theirs, encoder = (
        built(kind),
        built(kind, torch.bfloat16),
        packed(built(kind, torch.bfloat16)),
    )
    asked = sequences(lengths)
    for ids, states in zip(asked, encoder.states(Task.QUERY, asked), strict=True):
        wanted, usual = plain(reference, ids), plain(theirs, ids)
        assert states.dtype == torch.float32
        assert 1 - closeness(states, wanted) <= 2 * (1 - closeness(usual, wanted)) + 2e-4
        assert closeness(states.float().mean(0), wanted.mean(0)) >= 0.9995


@pytest.mark.parametrize("kind", MODELS)
def test_the_last_layer_computes_only_what_is_kept(kind, monkeypatch):
    """For whole windows' worth, parts of them and single tokens: the same states, from fewer rows."""
    reference, encoder = built(kind), packed(built(kind))
    rows: list[int] = []
    down = encoder._weights.layers[-1].down
    counted = lambda x, **others: rows.append(len(x)) or down(x, **others)  # noqa: E731
    last = replace(encoder._weights.layers[-1], down=counted)
    layers = (*encoder._weights.layers[:-1], last)
    monkeypatch.setattr(encoder, "_weights", replace(encoder._weights, layers=layers))
    asked = sequences([400, 300, 40, 20, 3])
    for kept, computed in (
        ([(80, 320), (60, 300), (1, 39), (0, 20), (1, 2)], 640),
        ([(0, 1)] * 5, 16),
        ([(399, 400), (299, 300), (39, 40), (0, 20), (2, 3)], 32),
        ([(1, 399), (1, 299), (1, 39), (1, 19), (0, 3)], 768),
    ):
        rows.clear()
        given = encoder.states(Task.QUERY, asked, kept)
        assert rows == [computed]
        for ids, states, (start, end) in zip(asked, given, kept, strict=True):
            torch.testing.assert_close(states, plain(reference, ids)[start:end], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_what_is_kept_is_what_would_have_been_computed(dtype, jina_folder):
    """With a task's adapter in the last layer, and whatever computes."""
    checkpoint = find_checkpoint(str(jina_folder))
    source = load_model(checkpoint, dtype, "cpu")
    load_adapters(source, checkpoint)
    weights = read_weights(source, checkpoint.description.adapters, partial(make_product, dtype=dtype))
    encoder = PackedEncoder(weights, choose_attention(torch.device("cpu"), dtype))
    asked = [ids % 40 + 5 for ids in sequences([400, 130, 90, 40, 12])]
    kept = [(80, 320), (0, 1), (20, 90), (1, 39), (11, 12)]
    for task in Task:
        whole = encoder.states(task, asked)
        for part, states, (start, end) in zip(encoder.states(task, asked, kept), whole, kept, strict=True):
            torch.testing.assert_close(part, states[start:end], atol=2e-2, rtol=1e-2)
            assert closeness(part, states[start:end]) >= (0.999999 if dtype == torch.float32 else 0.9999)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_no_sequence_attends_to_another(dtype):
    encoder = packed(built("jina v3", dtype))
    lengths = [300, 130, 60, 40, 12, 3]
    asked = sequences(lengths)
    before = encoder.states(Task.QUERY, asked)
    for changed in range(len(lengths)):
        others = [ids if at == changed else ids[::-1].copy() for at, ids in enumerate(asked)]
        after = encoder.states(Task.QUERY, others)
        torch.testing.assert_close(after[changed], before[changed], atol=0, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_that_test_fails_when_the_separation_is_removed(dtype, monkeypatch):
    everyone = lambda block, width: torch.ones(width, width, dtype=torch.bool)  # noqa: E731
    monkeypatch.setattr(attention, "own_sequence", everyone)
    with pytest.raises(AssertionError, match="not equal"):
        test_no_sequence_attends_to_another(dtype)


def test_scores_out_of_range_take_the_careful_way():
    """Queries and keys so long that exponentials of their products overflow, or all underflow."""
    numbers = torch.Generator().manual_seed(2)
    qkv = torch.randn(160, 3, 2, 32, generator=numbers).to(torch.bfloat16)
    for factor in (1.0, 60.0, -60.0):
        qkv[:, 0] = factor
        qkv[:, 1] = qkv[:, 1].abs()
        for lengths in ([150], [60, 50, 10]):
            ours = BlockedAttention().prepare(lengths, qkv.device)(qkv)[: sum(lengths)]
            exact = BlockedSdpa().prepare(lengths, qkv.device)(qkv.float())[: sum(lengths)]
            assert torch.isfinite(ours).all()
            assert closeness(ours, exact) >= 0.99


@pytest.mark.parametrize("length", [2049, 2561, 3590])
def test_row_blocks_that_would_be_nothing_but_padding_are_left_out(length):
    """Rounding a long text's length may add more rows than one block of them has."""
    qkv = torch.randn(attention.padded_length(length), 3, 1, 8, generator=torch.Generator().manual_seed(1))
    states = BlockedAttention().prepare([length], qkv.device)(qkv)
    queries, keys, values = qkv[:length, :, 0].unbind(1)
    expected = (queries @ keys.T).softmax(-1) @ values
    torch.testing.assert_close(states[:length], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_fused_products_give_what_torch_gives(dtype):
    assert has_fused_products()
    numbers = torch.Generator().manual_seed(1)
    weight, bias = (torch.randn(*size, generator=numbers).to(dtype) for size in ((70, 50), (70,)))
    fused, ordinary = FusedProduct(weight, bias), PlainProduct(weight, bias)
    for tokens in (1, 16, 100):
        x = torch.randn(tokens, 50, generator=numbers).to(dtype)
        exact = (
            torch.testing.assert_close
            if dtype == torch.float32
            else partial(torch.testing.assert_close, atol=0.1, rtol=0.02)
        )
        exact(fused(x), ordinary(x))
        exact(fused(x, gelu=True), ordinary(x, gelu=True))


def test_without_fused_products_the_plain_ones_run(monkeypatch):
    monkeypatch.setattr(linear, "has_fused_products", lambda: False)
    reference, encoder = built("bert"), packed(built("bert"))
    (ids,) = sequences([50])
    torch.testing.assert_close(
        encoder.states(Task.QUERY, [ids])[0], plain(reference, ids), atol=2e-5, rtol=1e-4
    )


def test_every_task_gives_what_transformers_and_peft_give(jina_folder):
    checkpoint = find_checkpoint(str(jina_folder))
    reference, source = (load_model(checkpoint, torch.float32, "cpu") for _ in range(2))
    adapters = load_adapters(reference, checkpoint)
    load_adapters(source, checkpoint)
    weights = read_weights(
        source, checkpoint.description.adapters, partial(make_product, dtype=torch.float32)
    )
    encoder = PackedEncoder(weights, BlockedSdpa())
    ids = np.arange(5, 45, dtype=np.int32)
    for task in Task:
        adapters.activate(task)
        (states,) = encoder.states(task, [ids])
        torch.testing.assert_close(states, plain(reference, ids), atol=5e-5, rtol=1e-4)


def test_a_family_that_is_not_known_runs_through_transformers():
    torch.manual_seed(5)
    config = DistilBertConfig(vocab_size=VOCABULARY, dim=64, n_layers=2, n_heads=4, hidden_dim=96)
    model = DistilBertModel(config).eval()
    assert not can_pack(model)
    encoder = PaddedEncoder(model, Adapters(model, {}), 0, 512)
    asked = sequences([3, 200, 17, 16, 180, 1])
    for ids, states in zip(asked, encoder.states(Task.QUERY, asked), strict=True):
        torch.testing.assert_close(states, plain(model, ids), atol=2e-5, rtol=1e-4)
    kept = [(0, 1), (20, 180), (0, 17), (15, 16), (1, 179), (0, 1)]
    for ids, states, (start, end) in zip(asked, encoder.states(Task.QUERY, asked, kept), kept, strict=True):
        torch.testing.assert_close(states, plain(model, ids)[start:end], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "changes", [{"hidden_act": "relu"}, {"is_decoder": True}], ids=["another activation", "a decoder"]
)
def test_what_the_packed_encoder_would_compute_wrongly_is_left_to_transformers(changes):
    assert can_pack(built("bert"))
    assert not can_pack(BertModel(BertConfig(**SIZES, **changes)))
