from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from latewood.embedder.encoder.packing import pack, pack_padded, padded_length, share_out

LENGTHS = st.lists(st.integers(1, 300))


@given(LENGTHS, st.integers(1, 600), st.floats(0, 1))
def test_every_sequence_is_in_exactly_one_batch(lengths, budget, waste):
    batches = pack_padded(lengths, budget, waste)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))


@given(LENGTHS, st.integers(1, 600), st.floats(0, 1))
def test_a_batch_keeps_to_the_budget_and_to_the_share_of_padding(lengths, budget, waste):
    for batch in pack_padded(lengths, budget, waste):
        padded = max(lengths[index] for index in batch) * len(batch)
        real = sum(lengths[index] for index in batch)
        assert len(batch) == 1 or padded_length(max(lengths[index] for index in batch)) * len(batch) <= budget
        assert padded - real <= waste * padded


def test_equal_lengths_fill_the_budget():
    assert [len(batch) for batch in pack_padded([16] * 7, 48)] == [3, 3, 1]


def test_without_padding_only_equal_lengths_run_together():
    assert pack_padded([5, 9, 5, 9], 100, waste=0) == [[1, 3], [0, 2]]


def test_nothing_makes_no_batch():
    assert pack_padded([], 100) == []
    assert pack([], 100) == []
    assert share_out([], 2) == []


@given(LENGTHS, st.integers(1, 600))
def test_packs_hold_every_sequence_once_and_keep_to_the_budget(lengths, budget):
    packs = pack(lengths, budget)
    assert sorted(index for one in packs for index in one) == list(range(len(lengths)))
    for one in packs:
        assert len(one) == 1 or sum(lengths[index] for index in one) <= budget
        assert [lengths[index] for index in one] == sorted((lengths[index] for index in one), reverse=True)


@given(LENGTHS, st.integers(1, 600))
def test_a_pack_packed_again_stays_one_pack(lengths, budget):
    for one in pack(lengths, budget):
        assert len(pack([lengths[index] for index in one], budget)) == 1


@given(LENGTHS, st.integers(1, 8))
def test_lanes_get_about_as_many_tokens_each(lengths, lanes):
    shares = share_out(lengths, lanes)
    assert sorted(index for share in shares for index in share) == list(range(len(lengths)))
    loads = [sum(lengths[index] for index in share) for share in shares]
    best = max([sum(lengths) / lanes, *lengths[:1], max(lengths, default=0)])
    assert max(loads, default=0) <= 4 / 3 * best + max(lengths, default=0) / 3


@given(LENGTHS, st.integers(1, 600))
def test_a_batch_packed_again_stays_one_batch(lengths, budget):
    for batch in pack_padded(lengths, budget):
        assert len(pack_padded([lengths[index] for index in batch], budget)) == 1


@given(LENGTHS, st.integers(1, 10_000))
def test_batches_come_in_few_numbers_of_rows(lengths, budget):
    assert {len(batch) for batch in pack_padded(lengths, budget)} <= {
        1,
        2,
        3,
        4,
        6,
        8,
        12,
        16,
        24,
        32,
        48,
        64,
        96,
        128,
        192,
        256,
    }


def test_lengths_are_rounded_up_to_few_values_and_never_down():
    padded = [padded_length(length) for length in range(1, 8193)]
    assert all(length <= rounded for length, rounded in enumerate(padded, 1))
    assert len(set(padded)) <= 8 + 12 + 12 + 12
    assert max(rounded / length for length, rounded in enumerate(padded, 1) if length > 64) <= 1.25
