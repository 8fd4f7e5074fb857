from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from embedder.packing import pack, padded_length

LENGTHS = st.lists(st.integers(1, 300))


@given(LENGTHS, st.integers(1, 600), st.floats(0, 1))
def test_every_sequence_is_in_exactly_one_batch(lengths, budget, waste):
    batches = pack(lengths, budget, waste)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))


@given(LENGTHS, st.integers(1, 600), st.floats(0, 1))
def test_a_batch_keeps_to_the_budget_and_to_the_share_of_padding(lengths, budget, waste):
    for batch in pack(lengths, budget, waste):
        padded = max(lengths[index] for index in batch) * len(batch)
        real = sum(lengths[index] for index in batch)
        assert len(batch) == 1 or padded_length(max(lengths[index] for index in batch)) * len(batch) <= budget
        assert padded - real <= waste * padded


def test_equal_lengths_fill_the_budget():
    assert [len(batch) for batch in pack([16] * 7, 48)] == [3, 3, 1]


def test_without_padding_only_equal_lengths_run_together():
    assert pack([5, 9, 5, 9], 100, waste=0) == [[1, 3], [0, 2]]


def test_nothing_makes_no_batch():
    assert pack([], 100) == []


@given(LENGTHS, st.integers(1, 600))
def test_a_batch_packed_again_stays_one_batch(lengths, budget):
    for batch in pack(lengths, budget):
        assert len(pack([lengths[index] for index in batch], budget)) == 1


@given(LENGTHS, st.integers(1, 10_000))
def test_batches_come_in_few_numbers_of_rows(lengths, budget):
    assert {len(batch) for batch in pack(lengths, budget)} <= {
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
