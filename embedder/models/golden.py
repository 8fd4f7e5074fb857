"""Published token states of Jina Embeddings v3, and what the weights on this machine give for the same text.

The numbers are facts of huggingface/transformers, from the class JinaEmbeddingsV3ModelIntegrationTest of its
tests/models/jina_embeddings_v3/test_modeling_jina_embeddings_v3.py, for jinaai/jina-embeddings-v3-hf. It
tokenises TEXT with special tokens and without a prompt, runs the model in float32 without and with each
adapter, and compares values 1 to 9 of the last hidden states of the second to the fourth token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from latewood.embedder.encoder.backbone import load_backbone
from latewood.embedder.encoder.rows import Row
from latewood.embedder.models.adapters import require_adapter_files
from latewood.embedder.models.checkpoint import Checkpoint
from latewood.embedder.models.tokenizer import TextTokenizer
from latewood.embedder.types import Floats, Task

TEXT = "Jina Embeddings V3 is great for semantic search."
TOKENS = 17
ROWS = slice(1, 4)
COLUMNS = slice(1, 10)
# As in transformers' test: rtol=1e-4, atol=1e-4.
TOLERANCE = 1e-4
BASE = "base"

_Rows = tuple[tuple[float, ...], ...]
STATES: Mapping[str, _Rows] = MappingProxyType(
    {
        BASE: (
            (-3.1011, 0.8560, -0.2491, 0.9427, 1.4015, -1.1527, 1.3804, -0.5453, -1.8164),
            (-3.1108, 1.0107, -0.2097, 1.3495, 0.9984, -0.9518, 1.3189, -0.6295, -2.1128),
            (-2.7095, 0.6469, -0.4475, 1.1364, 1.5975, -0.7545, 1.0803, 0.5199, -2.3569),
        ),
        Task.QUERY: (
            (-1.9765, 0.7356, -0.4414, 0.5823, 2.1507, -0.8906, 0.0233, -0.2389, -1.5708),
            (-2.0078, 0.9562, -0.3315, 1.0080, 1.8247, -0.6678, -0.2505, -0.3441, -1.9328),
            (-1.9107, 0.7120, -0.4675, 0.9436, 2.1607, -0.4170, -0.1513, 1.0063, -2.0103),
        ),
        Task.PASSAGE: (
            (-1.7028, 0.5688, -0.8541, 0.4696, 2.5396, -0.8374, -0.1404, -0.3123, -1.4636),
            (-1.6631, 0.6571, -0.8641, 0.9177, 2.3502, -0.6578, -0.3763, -0.3975, -1.7684),
            (-1.4739, 0.4739, -0.8745, 0.8812, 2.6848, -0.4496, -0.4964, 0.6403, -2.0821),
        ),
        Task.SEPARATION: (
            (-3.0336, 1.4392, 0.2875, 0.7660, 0.7054, -1.1701, 1.6121, -0.6325, -1.5177),
            (-3.0875, 1.5134, 0.3620, 1.0281, 0.4895, -1.0484, 1.6574, -0.7636, -1.6736),
            (-2.7605, 1.2920, 0.2223, 0.9895, 0.8515, -0.9050, 1.5558, 0.1410, -1.8531),
        ),
        Task.CLASSIFICATION: (
            (-2.7150, 0.2485, 1.2297, 0.6988, 0.9804, -1.2831, 1.3446, -0.1663, -0.6874),
            (-2.8101, 0.1711, 1.2010, 0.9873, 0.5092, -1.3312, 1.4633, -0.2467, -0.7835),
            (-2.6067, 0.2362, 0.6945, 1.0134, 0.7105, -1.3767, 0.9999, 0.4427, -1.1153),
        ),
        Task.TEXT_MATCHING: (
            (-1.5888, 1.0527, 0.1237, -0.0822, 1.6507, -1.0371, -0.8815, -0.8082, -0.6564),
            (-1.6529, 1.3143, 0.1957, 0.2914, 1.4897, -0.8735, -1.0067, -0.7544, -1.0513),
            (-1.5308, 1.4805, -0.1393, 0.3879, 1.4373, -0.6064, -1.6436, 0.4793, -1.3388),
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison with the published states found.

    Attributes:
        tokens: of TEXT here, special tokens included; TOKENS where the tokenizer is the published one.
        differences: by the names of STATES, the largest difference of a value from the published one, as a
            multiple of what is allowed: at most 1 where it agrees.
    """

    tokens: int
    differences: Mapping[str, float]

    @property
    def wrong(self) -> tuple[str, ...]:
        """Names of what does not agree: `tokens`, `base`, or a task."""
        off = [name for name, difference in self.differences.items() if not difference <= 1]
        return (*(["tokens"] if self.tokens != TOKENS else []), *off)


def compare(checkpoint: Checkpoint) -> Comparison:
    """Compare a Jina v3 checkpoint with the published states, in float32 on the processor.

    The weights are loaded twice, without and with adapters: for the published size 10 seconds and 5 GB.

    Raises:
        CheckpointError: the files are not what they claim to be.
    """
    ids = _input_ids(checkpoint.folder)
    for name in checkpoint.description.adapters.values():
        require_adapter_files(checkpoint.folder / name)
    bare = replace(checkpoint, description=replace(checkpoint.description, adapters={}))
    states = {BASE: _states(bare, ids, (Task.PASSAGE,))[Task.PASSAGE]}
    states |= _states(checkpoint, ids, tuple(checkpoint.description.adapters))
    return Comparison(len(ids), {name: _difference(own, STATES[name]) for name, own in states.items()})


def _input_ids(folder: Path) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    tokenizer = TextTokenizer(folder)
    return np.concatenate([tokenizer.head, tokenizer.encode(TEXT).ids, tokenizer.tail])


def _states(
    checkpoint: Checkpoint, ids: np.ndarray[tuple[int], np.dtype[np.int32]], tasks: tuple[Task, ...]
) -> dict[str, Floats]:
    """Return the compared states of each task, (3, 9), from the encoder that embeds documents."""
    pieces = [[token, token + 1, slot] for slot, token in enumerate(range(ROWS.start, ROWS.stop))]
    row = Row(ids, np.array(pieces, dtype=np.int64))
    backbone = load_backbone(checkpoint, "cpu", "float32")
    try:
        return {task: backbone.run(task, [row])[0][:, COLUMNS] for task in tasks}
    finally:
        backbone.close()


def _difference(own: Floats, published: _Rows) -> float:
    wanted = np.array(published)
    return float((np.abs(own - wanted) / (TOLERANCE + TOLERANCE * np.abs(wanted))).max())
