"""BERT and XLM-RoBERTa straight from their files, in the shape of transformers' modules but without them.

Importing transformers' modules takes three times as long as importing torch. What stands here has weights and
no forward pass: the packed encoder takes it apart as it would take theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from latewood.embedder.models.checkpoint import Checkpoint
from latewood.embedder.models.weights import Place, Stored, read_tensor, stored_tensors
from latewood.embedder.serving.memory import trim
from latewood.embedder.types import CheckpointError

if TYPE_CHECKING:
    import torch

FAMILIES = frozenset({"bert", "xlm-roberta"})
WORDS = "embeddings.word_embeddings.weight"
# Where the encoder begins in the file of a model with a head.
_PREFIXES = ("", "bert.", "roberta.")
# Tensors of older files and of heads that nobody asks for.
_IGNORED = ("pooler.", "embeddings.position_ids", "cls.", "lm_head.")
_TABLES = ("word_embeddings", "position_embeddings", "token_type_embeddings")
_PRODUCTS = (
    ("attention.self.query", "hidden", "hidden"),
    ("attention.self.key", "hidden", "hidden"),
    ("attention.self.value", "hidden", "hidden"),
    ("attention.output.dense", "hidden", "hidden"),
    ("intermediate.dense", "inner", "hidden"),
    ("output.dense", "hidden", "inner"),
)
_NORMS = ("attention.output.LayerNorm", "output.LayerNorm")
# Names that Jina's remote code gives to what transformers' native class has, in the order they are replaced.
_JINA_NAMES = (
    ("encoder.layers.", "encoder.layer."),
    ("emb_ln.", "embeddings.LayerNorm."),
    ("mixer.out_proj.", "attention.output.dense."),
    ("norm1.", "attention.output.LayerNorm."),
    ("mlp.fc1.", "intermediate.dense."),
    ("mlp.fc2.", "output.dense."),
    ("norm2.", "output.LayerNorm."),
)
_FUSED = "mixer.Wqkv."
_OLD_NAMES = (("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias"))


def is_plain(checkpoint: Checkpoint) -> bool:
    """Whether a model is what stands here: post-norm, absolute positions, GELU, no decoder, no adapters."""
    config = checkpoint.config
    return (
        checkpoint.family in FAMILIES
        and not checkpoint.description.adapters
        and config.get("hidden_act", "gelu") == "gelu"
        and (config.get("position_embedding_type") or "absolute") == "absolute"
        and not config.get("is_decoder")
    )


def read_plain(checkpoint: Checkpoint, dtype: torch.dtype, device: str) -> Any:
    """Read an encoder.

    Args:
        checkpoint: one that `is_plain`.
        dtype: of the weights in memory, but for those of norms, which are float32.
        device: where to.

    Returns:
        `embeddings`, `encoder.layer`, `config` and `dtype`, named as in transformers' modules.

    Raises:
        CheckpointError: a tensor is missing, left over or of another shape, or a file cannot be read.
    """
    import torch

    stored = stored_tensors(checkpoint.files)
    defaults = {"hidden_act": "gelu", "layer_norm_eps": 1e-12, "type_vocab_size": 2}
    known = {"model_type": checkpoint.family, "pad_token_id": checkpoint.pad_token}
    config = SimpleNamespace(**{**defaults, **checkpoint.config, **known})
    places = _places(name for name in stored if not checkpoint.apart or not name.startswith(checkpoint.apart))
    _require_fit(checkpoint, stored, places, _shapes(config))

    def read(name: str) -> SimpleNamespace:
        # Norms run in float32, and what rounding makes of their weights is the same for every token.
        precision = torch.float32 if name.endswith("LayerNorm") else dtype
        kinds = [kind for kind in ("weight", "bias") if f"{name}.{kind}" in places]
        found = {kind: read_tensor(stored, places[f"{name}.{kind}"], precision).to(device) for kind in kinds}
        return SimpleNamespace(**found, eps=config.layer_norm_eps)

    embeddings = {name: read(f"embeddings.{name}") for name in (*_TABLES, "LayerNorm")}
    layers = Layers(lambda number: _layer(read, f"encoder.layer.{number}."), config.num_hidden_layers)
    return SimpleNamespace(
        config=config,
        dtype=dtype,
        embeddings=SimpleNamespace(**embeddings),
        encoder=SimpleNamespace(layer=layers),
    )


@dataclass(frozen=True, slots=True)
class Layers:
    """The layers of an encoder, each read when it is asked for and kept by nobody.

    Attributes:
        read: of a layer's number.
        count: of them.
    """

    read: Callable[[int], SimpleNamespace]
    count: int

    def __iter__(self) -> Iterator[SimpleNamespace]:
        """From the first to the last."""
        for number in range(self.count):
            yield self.read(number)
            trim()  # what the last one left behind


def _require_fit(
    checkpoint: Checkpoint,
    stored: Mapping[str, Stored],
    places: Mapping[str, Place],
    shapes: Mapping[str, tuple[int, ...]],
) -> None:
    wrong = sorted(places.keys() ^ shapes.keys())
    there = places.keys() & shapes.keys()
    wrong += sorted(name for name in there if _shape(stored, places[name]) != shapes[name])
    if wrong:
        file, name = checkpoint.files[0], checkpoint.description.name
        raise CheckpointError(
            f"{file} does not fit its config.json: {len(wrong)} tensors are missing, left over or of another "
            f"shape (first: {wrong[0]}). Copy the file again from {name}"
        )


def _layer(read: Any, prefix: str) -> SimpleNamespace:
    """A layer's products and norms as a tree of names."""
    layer = SimpleNamespace()
    for name in (*(product for product, _, _ in _PRODUCTS), *_NORMS):
        *path, last = name.split(".")
        place = layer
        for part in path:
            if not hasattr(place, part):
                setattr(place, part, SimpleNamespace())
            place = getattr(place, part)
        setattr(place, last, read(prefix + name))
    return layer


def _shapes(config: SimpleNamespace) -> dict[str, tuple[int, ...]]:
    """Every parameter and its shape."""
    hidden, inner = config.hidden_size, config.intermediate_size
    rows = (config.vocab_size, config.max_position_embeddings, config.type_vocab_size)
    shapes: dict[str, tuple[int, ...]] = {
        f"embeddings.{table}.weight": (count, hidden) for table, count in zip(_TABLES, rows, strict=True)
    }
    sizes = {"hidden": hidden, "inner": inner}
    norms = ["embeddings.LayerNorm"]
    for number in range(config.num_hidden_layers):
        layer = f"encoder.layer.{number}."
        for name, outer, across in _PRODUCTS:
            shapes[f"{layer}{name}.weight"] = sizes[outer], sizes[across]
            shapes[f"{layer}{name}.bias"] = (sizes[outer],)
        norms += [layer + name for name in _NORMS]
    return shapes | {f"{norm}.{kind}": (hidden,) for norm in norms for kind in ("weight", "bias")}


def _shape(stored: Mapping[str, Stored], place: Place) -> tuple[int, ...]:
    shape = stored[place.name].shape
    whole = bool(shape) and shape[0] % place.parts == 0
    return (shape[0] // place.parts, *shape[1:]) if whole else shape


def _places(names: Iterable[str]) -> dict[str, Place]:
    """Where each parameter stands, by transformers' names."""
    names = list(names)
    prefix = next((prefix for prefix in _PREFIXES if prefix + WORDS in names), "")
    places: dict[str, Place] = {}
    for name in names:
        native = name.removeprefix(prefix)
        if native.startswith(_IGNORED):
            continue
        for theirs, ours in (*_JINA_NAMES, *_OLD_NAMES):
            native = native.replace(theirs, ours)
        if _FUSED in native:
            for part, piece in enumerate(("query", "key", "value")):
                places[native.replace(_FUSED, f"attention.self.{piece}.")] = Place(name, part, 3)
        else:
            places[native] = Place(name)
    return places
