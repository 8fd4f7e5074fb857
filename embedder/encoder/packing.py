"""Which sequences share a forward pass.

On a CPU every new shape of a matrix product costs a compiled kernel and a few megabytes that are kept, so
lengths are rounded up to few values, and padded batches have 1, 2, 3, 4, 6, 8, 12, 16, … rows.
"""

from __future__ import annotations

from collections.abc import Sequence

STEPS = ((128, 16), (512, 32), (2048, 128))
LONGEST_STEP = 512


def padded_length(length: int) -> int:
    """A length rounded up: at most a quarter longer above 64 tokens, one of few values."""
    step = next((step for most, step in STEPS if length <= most), LONGEST_STEP)
    return -(-length // step) * step


def pack(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Group sequences into packs of at most `budget` tokens, the longest first, without padding.

    A sequence longer than the budget runs alone.

    Args:
        lengths: tokens of each sequence, at least 1 each.
        budget: tokens of a pack, at most.

    Returns:
        Indices into `lengths`: each exactly once, in a pack from the longest to the shortest.
    """
    packs: list[list[int]] = []
    room = 0
    for index in sorted(range(len(lengths)), key=lambda item: -lengths[item]):
        if not packs or lengths[index] > room:
            packs.append([])
            room = budget
        packs[-1].append(index)
        room -= lengths[index]
    return packs


def share_out(lengths: Sequence[int], lanes: int) -> list[list[int]]:
    """Deal sequences to lanes that run side by side, so that each gets about as many tokens.

    The longest goes first, each to the lane with the fewest tokens (Graham 1969: at most 4/3 of the best).

    Returns:
        For each lane that has any, indices into `lengths` from the longest to the shortest.
    """
    shares: list[list[int]] = [[] for _ in range(lanes)]
    loads = [0] * lanes
    for index in sorted(range(len(lengths)), key=lambda item: -lengths[item]):
        lane = loads.index(min(loads))
        shares[lane].append(index)
        loads[lane] += lengths[index]
    return [share for share in shares if share]


def pack_padded(lengths: Sequence[int], budget: int, waste: float = 0.1) -> list[list[int]]:
    """Group sequences into padded batches of at most `budget` tokens, padding included.

    Longest first, so that neighbours are of nearly the same length; a batch also ends before the share
    of padding in it exceeds `waste` (what rounding its longest sequence adds does not count). A sequence
    longer than the budget runs alone.

    Args:
        lengths: tokens of each sequence, at least 1 each.
        budget: tokens of a padded batch, at most.
        waste: share of a batch that may be padding, 0 to 1.

    Returns:
        Indices into `lengths`: each exactly once.
    """
    batches: list[list[int]] = []
    batch: list[int] = []
    used = 0
    for index in sorted(range(len(lengths)), key=lambda item: -lengths[item]):
        rows = len(batch) + 1
        if batch:
            longest = lengths[batch[0]]
            full = padded_length(longest) * rows > budget
            if full or longest * rows - used - lengths[index] > waste * longest * rows:
                batches += _few_shapes(batch)
                batch, used = [], 0
        batch.append(index)
        used += lengths[index]
    return batches + _few_shapes(batch)


def _few_shapes(batch: Sequence[int]) -> list[list[int]]:
    """Cut a batch into numbers of rows that come again and again: 2^k and 3 * 2^k."""
    parts: list[list[int]] = []
    start = 0
    while start < len(batch):
        power = 1 << ((len(batch) - start).bit_length() - 1)
        rows = power + power // 2 if power > 1 and power + power // 2 <= len(batch) - start else power
        parts.append(list(batch[start : start + rows]))
        start += rows
    return parts
