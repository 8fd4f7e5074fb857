"""Attention over packed sequences: each token attends to the tokens of its own sequence and to no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from latewood.embedder.encoder.packing import padded_length

if TYPE_CHECKING:
    import torch

# Sequences of up to so many tokens together share a block, under a mask: with a dozen tokens each, calling an
# operation would cost more than what it computes.
SHARED = 128
# Scores computed at a time: with two bytes each they stay in a core's second-level cache.
_SCORES = 512 * 1024
# Rows of scores at a time, at least: fewer make slow matrix products.
_FEWEST_ROWS = 128
# Between these, a row's sum of exponentials is exact without subtracting its largest score first.
_LEAST_SUM, _LARGEST_SUM = 1e-18, 1e37

# Takes (tokens, 3, heads, size), the queries, keys and values; gives (tokens, heads * size).
Attend = Callable[["torch.Tensor"], "torch.Tensor"]


class Attention(Protocol):
    """One way to attend. Queries come scaled: the encoder folds 1 / sqrt(size) into their weights."""

    name: str

    def rows_for(self, lengths: Sequence[int]) -> int:
        """Rows a pack of these sequences needs; those behind the last sequence may hold anything finite."""
        ...

    def prepare(self, lengths: Sequence[int], device: torch.device) -> Attend:
        """What all layers of one forward pass share: where each sequence stands, masks, work space."""
        ...


@dataclass(frozen=True, slots=True)
class Block:
    """Rows that attend together: one sequence, or several short ones under a mask.

    Attributes:
        start: first row in the pack.
        lengths: tokens of each sequence.
    """

    start: int
    lengths: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Of all its sequences."""
        return sum(self.lengths)

    @property
    def width(self) -> int:
        """Tokens, rounded up to one of few values: each new shape costs a compiled kernel that is kept."""
        return padded_length(self.tokens)


def plan_blocks(lengths: Sequence[int]) -> list[Block]:
    """Cut a pack into blocks: neighbours share one while they have `SHARED` tokens at most together."""
    blocks: list[Block] = []
    start, group = 0, list[int]()
    for length in lengths:
        if group and sum(group) + length > SHARED:
            blocks.append(Block(start, tuple(group)))
            start, group = start + sum(group), []
        group.append(length)
    return [*blocks, Block(start, tuple(group))] if group else blocks


def own_sequence(block: Block, width: int) -> torch.Tensor:
    """Which tokens of a block see each other: (width, width) bool, rows attend to columns."""
    import torch

    numbers = torch.full((width,), -1)
    numbers[: block.tokens] = torch.repeat_interleave(
        torch.arange(len(block.lengths)), torch.tensor(block.lengths)
    )
    return (numbers[:, None] == numbers) & (numbers >= 0)


class BlockedAttention:
    """For processors that multiply in bfloat16: matrix products with the exponentials between them.

    On one core, 12 heads of 32 and 256 tokens: 150 GFLOP/s against 64 for torch's own, which computes in
    float32 there. Whatever the length, scores are computed in row blocks that fit the cache. A softmax is the
    exponentials divided by their sum; that the largest score is subtracted first matters only where a sum
    leaves the range of the format, so the sums are looked at and the careful way is taken only then.
    """

    name = "blocked"

    def rows_for(self, lengths: Sequence[int]) -> int:
        """See `Attention`."""
        return max(block.start + block.width for block in plan_blocks(lengths))

    def prepare(self, lengths: Sequence[int], device: torch.device) -> Attend:
        """See `Attention`."""
        blocks = [_BlockRun(block) for block in plan_blocks(lengths)]

        def attend(qkv: torch.Tensor) -> torch.Tensor:
            states = qkv.new_zeros(qkv.shape[0], *qkv.shape[2:])
            for block in blocks:
                block.run(qkv, states)
            return states.flatten(1)

        return attend


class _BlockRun:
    """One block through `BlockedAttention`."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self._width = block.width
        self._mask = own_sequence(block, self._width) if len(block.lengths) > 1 else None

    def run(self, qkv: torch.Tensor, states: torch.Tensor) -> None:
        """Attend, from (tokens, 3, heads, size) into the block's rows of (tokens, heads, size)."""
        import torch

        first, width = self._block.start, self._width
        queries, keys, values = qkv[first : first + width].permute(1, 2, 0, 3)
        keys, values = keys.contiguous().transpose(1, 2), values.contiguous()
        out = states[first : first + self._block.tokens].transpose(0, 1)
        for heads, rows in _parts(len(queries), width, self._block.tokens):
            scores = torch.bmm(queries[heads, rows].contiguous(), keys[heads])
            weights, sums = self._weigh(scores, rows)
            real = slice(rows.start, min(rows.stop, self._block.tokens))
            sums = sums[:, : real.stop - real.start]
            least, largest = torch.aminmax(sums)
            if not (least > _LEAST_SUM and largest < _LARGEST_SUM):
                scores = torch.bmm(queries[heads, rows].contiguous(), keys[heads])
                weights, sums = self._softmax(scores, rows), torch.ones_like(sums)
            mixed = torch.bmm(weights, values[heads])
            torch.div(mixed[:, : sums.shape[1]], sums, out=out[heads, real])

    def _weigh(self, scores: torch.Tensor, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Exponentials of the scores, in their place, none for other sequences; and the sum of each row."""
        weights = scores.exp_()
        if self._mask is None:
            weights[:, :, self._block.tokens :] = 0
        else:
            weights *= self._mask[rows]
        return weights, weights.sum(dim=-1, keepdim=True)

    def _softmax(self, scores: torch.Tensor, rows: slice) -> torch.Tensor:
        if self._mask is None:
            scores[:, :, self._block.tokens :] = float("-inf")
        else:
            scores.masked_fill_(~self._mask[rows], float("-inf"))
        return scores.softmax(dim=-1)


def _parts(heads: int, width: int, tokens: int) -> Iterator[tuple[slice, slice]]:
    """Cut (heads, width, width) scores into parts of about `_SCORES`: by heads, then by rows.

    Each part begins before row `tokens`: what is behind it is padding.
    """
    rows = min(width, max(_FEWEST_ROWS, _SCORES // width))
    together = max(1, min(heads, _SCORES // (rows * width)))
    for head in range(0, heads, together):
        for row in range(0, tokens, rows):
            yield slice(head, min(heads, head + together)), slice(row, min(width, row + rows))


class BlockedSdpa:
    """torch's own attention, block by block: in float32 on a processor."""

    name = "sdpa"

    def rows_for(self, lengths: Sequence[int]) -> int:
        """See `Attention`."""
        return sum(lengths)

    def prepare(self, lengths: Sequence[int], device: torch.device) -> Attend:
        """See `Attention`."""
        from torch.nn import functional

        blocks = [
            (block, own_sequence(block, block.tokens) if len(block.lengths) > 1 else None)
            for block in plan_blocks(lengths)
        ]

        def attend(qkv: torch.Tensor) -> torch.Tensor:
            states = qkv.new_zeros(qkv.shape[0], *qkv.shape[2:])
            for block, mask in blocks:
                rows = slice(block.start, block.start + block.tokens)
                queries, keys, values = qkv[rows].permute(1, 2, 0, 3)[:, None]
                mixed = functional.scaled_dot_product_attention(
                    queries, keys, values, attn_mask=mask, scale=1.0
                )
                states[rows] = mixed[0].transpose(0, 1)
            return states.flatten(1)

        return attend
