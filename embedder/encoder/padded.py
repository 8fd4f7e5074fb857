"""Any encoder that transformers knows, through its own forward, on padded batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from latewood.embedder.encoder.packing import pack_padded, padded_length
from latewood.embedder.models.adapters import Adapters
from latewood.embedder.types import Task

if TYPE_CHECKING:
    import torch


class PaddedEncoder:
    """Runs sequences of like length together. The path for families the packed encoder does not know."""

    attention = "transformers"

    def __init__(self, model: torch.nn.Module, adapters: Adapters, pad_token: int, most: int) -> None:
        self._model: Any = model
        self._adapters = adapters
        self._pad_token = pad_token
        self._most = most

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        place: torch.device = self._model.device
        return place

    @property
    def dtype(self) -> torch.dtype:
        """Of the states."""
        precision: torch.dtype = self._model.dtype
        return precision

    def activate(self, task: Task) -> None:
        """Switch adapters, while nothing runs."""
        self._adapters.activate(task)

    def states(
        self,
        task: Task,
        sequences: Sequence[NDArray[np.int32]],
        kept: Sequence[tuple[int, int]] | None = None,
    ) -> list[torch.Tensor]:
        """As `PackedEncoder.states`, for the task that is active, and in the model's own dtype."""
        lengths = [len(ids) for ids in sequences]
        found: dict[int, torch.Tensor] = {}
        for batch in pack_padded(lengths, sum(map(padded_length, lengths))):
            states = self._forward([sequences[index] for index in batch])
            for row, index in enumerate(batch):
                start, end = (0, lengths[index]) if kept is None else kept[index]
                found[index] = states[row, start:end]
        return [found[index] for index in range(len(sequences))]

    def _forward(self, sequences: Sequence[NDArray[np.int32]]) -> torch.Tensor:
        import torch

        longest = max(len(ids) for ids in sequences)
        if self.device.type == "cpu":
            longest = min(padded_length(longest), self._most)
        ids = np.full((len(sequences), longest), self._pad_token, dtype=np.int64)
        real = np.zeros((len(sequences), longest), dtype=np.int64)
        for row, own in enumerate(sequences):
            ids[row, : len(own)] = own
            real[row, : len(own)] = 1
        with torch.inference_mode():
            # Without padding no mask: attention has a faster path then.
            mask = None if real.all() else torch.from_numpy(real).to(self.device)
            inputs = torch.from_numpy(ids).to(self.device)
            states: torch.Tensor = self._model(input_ids=inputs, attention_mask=mask).last_hidden_state
            return states
