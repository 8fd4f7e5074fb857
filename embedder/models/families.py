"""From the modules that transformers loads, or `embedder.plain`, to the weights of the packed encoder.

Three families: BERT (MiniLM, multilingual-e5-small), XLM-RoBERTa (e5-large, bge-m3) and Jina v3. Others run
through transformers' own forward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from latewood.embedder.encoder.encoder import Layer, LayerChange, Norm, Rotary, TaskChange, Weights
from latewood.embedder.quantization.linear import Change, Product
from latewood.embedder.serving.memory import FilePages, trim
from latewood.embedder.types import Task

if TYPE_CHECKING:
    import torch

# Rows of the table of words that are changed at a time: all of them in float32 would double the memory.
_PART = 4096

# Takes a weight and a bias in float32.
Make = Callable[["torch.Tensor", "torch.Tensor"], Product]
# Takes a layer as it was made, from the first to the last, and gives the one that is kept.
Finish = Callable[[Layer], Layer]


class _Parts(NamedTuple):
    """The modules of a layer, whatever their family calls them."""

    query: Any
    key: Any
    value: Any
    out: Any
    attention_norm: Any
    up: Any
    down: Any
    norm: Any


def can_pack(model: torch.nn.Module) -> bool:
    """Whether the packed encoder computes what this module computes."""
    config: Any = model.config
    if config.model_type == "jina_embeddings_v3":
        known = config.rope_parameters["rope_type"] == "default"
    else:
        positions = getattr(config, "position_embedding_type", None) or "absolute"
        known = config.model_type in {"bert", "xlm-roberta"} and positions == "absolute"
    return bool(known and config.hidden_act == "gelu" and not getattr(config, "is_decoder", False))


def read_weights(
    model: Any,
    adapters: Mapping[Task, str],
    make: Make,
    merged: Task = Task.PASSAGE,
    finish: Callable[[Weights], Finish] | None = None,
) -> Weights:
    """Take a module apart: its layers are freed as they are read, so that memory never holds them twice.

    The adapter of one task is merged into the weights, in float32 before they are rounded; the others stand
    beside them as what they change from there. So there is one copy of the weights, and the task that embeds
    documents costs nothing more than a model without adapters.

    Args:
        model: one that `can_pack` accepts, with its adapters, or of `read_plain`; unusable afterwards.
        adapters: the name of each task's adapter, or nothing.
        make: makes a product of a float32 weight (outer, inner) and bias (outer,).
        merged: the task to merge.
        finish: given the weights without a layer, says what becomes of each layer; as made when None.
    """
    return _Reader(model, adapters, make, merged).read(finish)


class _Reader:
    def __init__(self, model: Any, adapters: Mapping[Task, str], make: Make, merged: Task) -> None:
        self._model = model
        self._config = model.config
        self._make = make
        self._merged = adapters.get(merged)
        self._others = {task: name for task, name in adapters.items() if task != merged}
        self._dtype = model.dtype
        self._pages = FilePages(model.parameters() if hasattr(model, "parameters") else ())

    def read(self, finish: Callable[[Weights], Finish] | None) -> Weights:
        import torch

        with torch.no_grad():
            words, positions = self._embeddings()
            trim()
            stem = Weights(
                words=words,
                positions=positions,
                rotary=self._rotary(),
                norm=self._norm(self._model.embeddings.LayerNorm),
                layers=(),
                heads=self._config.num_attention_heads,
                changes={},
            )
            finished = None if finish is None else finish(stem)
            layers: list[Layer] = []
            changes: dict[Task, list[LayerChange]] = {task: [] for task in self._others}
            for parts in self._layers():
                for task, name in self._others.items():
                    changes[task].append(self._layer_change(parts, name))
                layer = self._layer(parts)
                self._let_go(parts)
                del parts  # what was read makes room before anything else is made
                layers.append(layer if finished is None else finished(layer))
                del layer
            told = {task: self._task_change(name, changes[task]) for task, name in self._others.items()}
            return replace(stem, layers=tuple(layers), changes=told)

    def _layers(self) -> Iterator[_Parts]:
        """Each layer's modules, which nobody else keeps."""
        import torch

        jina = self._config.model_type == "jina_embeddings_v3"
        layers = self._model.layers if jina else self._model.encoder.layer
        if isinstance(layers, torch.nn.ModuleList):  # else read from its file as it is asked for
            layers = _taken_out(layers)
        return map(_jina_parts if jina else _bert_parts, layers)

    def _let_go(self, parts: _Parts) -> None:
        for module in parts:
            self._pages.drop(_base(module).weight)

    def _layer(self, parts: _Parts) -> Layer:
        import torch

        weights = [self._weight(module) for module in (parts.query, parts.key, parts.value)]
        biases = [_bias(module) for module in (parts.query, parts.key, parts.value)]
        weights[0], biases[0] = weights[0] * self._scale, biases[0] * self._scale
        return Layer(
            qkv=self._make(torch.cat(weights), torch.cat(biases)),
            out=self._product(parts.out),
            up=self._product(parts.up),
            down=self._product(parts.down),
            attention_norm=self._norm(parts.attention_norm),
            norm=self._norm(parts.norm),
        )

    @property
    def _scale(self) -> float:
        """1 / sqrt(head size), the factor of attention's scores: queries carry it."""
        size = self._config.hidden_size // self._config.num_attention_heads
        return float(size**-0.5)

    def _product(self, module: Any) -> Product:
        return self._make(self._weight(module), _bias(module))

    def _weight(self, module: Any) -> torch.Tensor:
        """(outer, inner) float32, with the adapter that is merged."""
        import torch

        weight: torch.Tensor = _base(module).weight.float()
        low = _lora(module, self._merged)
        return weight if low is None else torch.addmm(weight, low.up, low.down)

    def _norm(self, module: Any) -> Norm:
        import torch

        # Copied: a view of the file would keep all of it mapped.
        weight, bias = (part.detach().to(torch.float32, copy=True) for part in (module.weight, module.bias))
        return Norm(weight, bias, module.eps)

    def _layer_change(self, parts: _Parts, name: str) -> LayerChange:
        scales = (self._scale, 1.0, 1.0)
        qkv = zip((parts.query, parts.key, parts.value), scales, strict=True)
        return LayerChange(
            qkv=self._stack([self._difference(module, name, scale) for module, scale in qkv]),
            out=self._stack([self._difference(parts.out, name)]),
            up=self._stack([self._difference(parts.up, name)]),
            down=self._stack([self._difference(parts.down, name)]),
        )

    def _difference(self, module: Any, name: str, scale: float = 1.0) -> Change:
        """From the merged adapter to another, in float32; of rank 0 where neither touches the module."""
        import torch

        base = _base(module).weight
        # A table is (words, hidden): what a product would call (inner, outer).
        outer, inner = base.shape if isinstance(_base(module), torch.nn.Linear) else base.shape[::-1]
        new, old = _lora(module, name), _lora(module, self._merged)
        downs = [change.down for change in (new, old) if change is not None]
        ups = [sign * scale * change.up for change, sign in ((new, 1), (old, -1)) if change is not None]
        nothing = Change(base.new_zeros(0, inner).float(), base.new_zeros(outer, 0).float())
        return Change(torch.cat(downs), torch.cat(ups, dim=1)) if downs else nothing

    def _stack(self, changes: Sequence[Change]) -> Change | None:
        """Changes of products that were fused, as the change of the fused product."""
        import torch

        down = torch.cat([change.down for change in changes])
        up: torch.Tensor = torch.block_diag(*[change.up for change in changes])  # type: ignore[no-untyped-call]
        return Change(down.to(self._dtype), up.to(self._dtype)) if len(down) else None

    def _embeddings(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Word and position embeddings; the token type, always the first, is added to one of them."""
        import torch

        embeddings = self._model.embeddings
        words: torch.Tensor = _base(embeddings.word_embeddings).weight.detach()
        kind = self._row(embeddings.token_type_embeddings, self._merged)
        if hasattr(embeddings, "position_embeddings"):
            first = 0 if self._config.model_type == "bert" else self._config.pad_token_id + 1
            return words, (embeddings.position_embeddings.weight[first:].float() + kind).to(self._dtype)
        low = _lora(embeddings.word_embeddings, self._merged)
        made = torch.empty_like(words) if words.device.type == "cpu" else words
        for part in range(0, len(words), _PART):
            rows = slice(part, part + _PART)
            merged = words[rows].float() + kind
            if low is not None:
                merged += (low.up @ low.down[:, rows]).T
            made[rows] = merged.to(self._dtype)
            self._pages.drop(words[rows])
        _base(embeddings.word_embeddings).weight.data = made  # what was read is not needed any more
        return made, None

    def _row(self, module: Any, name: str | None) -> torch.Tensor:
        """The first embedding of a table, (hidden,) float32, with an adapter."""
        row: torch.Tensor = _base(module).weight[0].float()
        low = _lora(module, name)
        return row if low is None else row + low.up @ low.down[:, 0]

    def _task_change(self, name: str, layers: Sequence[LayerChange]) -> TaskChange:
        embeddings = self._model.embeddings
        words = self._difference(embeddings.word_embeddings, name)
        kinds = embeddings.token_type_embeddings
        constant = self._row(kinds, name) - self._row(kinds, self._merged)
        stored = Change(words.down.T.contiguous().to(self._dtype), words.up.to(self._dtype))
        return TaskChange(
            words=stored if words.down.shape[0] else None,
            constant=constant.to(self._dtype) if bool(constant.any()) else None,
            layers=tuple(layers),
        )

    def _rotary(self) -> Rotary | None:
        import torch

        if not hasattr(self._model, "rotary_emb"):
            return None
        module = self._model.rotary_emb
        places = torch.arange(self._config.max_position_embeddings, device=module.inv_freq.device).float()
        angles = places[:, None] * module.inv_freq.float()
        scale = module.attention_scaling
        return Rotary((angles.cos() * scale).to(self._dtype), (angles.sin() * scale).to(self._dtype))


def _taken_out(layers: torch.nn.ModuleList) -> Iterator[Any]:
    while len(layers):
        yield layers.pop(0)
        trim()  # what the last one left behind


def _bert_parts(layer: Any) -> _Parts:
    attention, output = layer.attention.self, layer.attention.output
    return _Parts(
        query=attention.query,
        key=attention.key,
        value=attention.value,
        out=output.dense,
        attention_norm=output.LayerNorm,
        up=layer.intermediate.dense,
        down=layer.output.dense,
        norm=layer.output.LayerNorm,
    )


def _jina_parts(layer: Any) -> _Parts:
    attention = layer.self_attn
    return _Parts(
        query=attention.q_proj,
        key=attention.k_proj,
        value=attention.v_proj,
        out=attention.o_proj,
        attention_norm=layer.post_attention_layernorm,
        up=layer.mlp.fc1,
        down=layer.mlp.fc2,
        norm=layer.post_mlp_layernorm,
    )


def _base(module: Any) -> Any:
    """The module that peft wrapped, or the module itself."""
    return getattr(module, "base_layer", module)


def _bias(module: Any) -> torch.Tensor:
    import torch

    bias: torch.Tensor = _base(module).bias.to(torch.float32, copy=True)  # no view of the file: see `Norm`
    return bias


def _lora(module: Any, name: str | None) -> Change | None:
    """An adapter's change of a module, `weight + up @ down` (of a table: transposed), in float32."""
    if name is None or name not in getattr(module, "scaling", {}):
        return None
    scale = module.scaling[name]
    if name in module.lora_A:
        return Change(module.lora_A[name].weight.float(), module.lora_B[name].weight.float() * scale)
    return Change(module.lora_embedding_A[name].float(), module.lora_embedding_B[name].float() * scale)
