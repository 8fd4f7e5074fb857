"""Transformers' own class for a checkpoint, and the checks that it computes what config.json states.

A repository on the hub may bring code of its own (`auto_map`). That code is never run. Where transformers has
a class for the architecture today, the weights load through it, if it computes all that config.json asks for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from latewood.embedder.models.sources import USE_NATIVE_JINA
from latewood.embedder.types import CheckpointError

if TYPE_CHECKING:
    import torch

JINA = "jina_embeddings_v3"
# Families whose configuration is read as it is written: importing transformers takes seconds.
_KNOWN = frozenset({"bert", "xlm-roberta", JINA})
_ABSOLUTE = frozenset({"bert", "xlm-roberta"})
# Types that only remote code uses, and the same architecture in transformers.
_RENAMED = {"new": "gte"}
# Settings of remote code, and what transformers' classes call them. The first of two for one thing counts.
_ALIASES = {
    "n_embd": "hidden_size",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "n_inner": "intermediate_size",
    "layer_norm_epsilon": "layer_norm_eps",
    "max_trained_positions": "max_position_embeddings",
    "n_positions": "max_position_embeddings",
    "rotary_emb_base": "rope_theta",
}
# Settings of remote code that transformers' classes do not have, and the one value that they compute.
_FIXED: Mapping[str, object] = MappingProxyType(
    {
        "prenorm": False,
        "parallel_block": False,
        "causal": False,
        "use_rms_norm": False,
        "activation_function": "swiglu",
        "rotary_emb_fraction": 1.0,
        "rotary_emb_interleaved": False,
        "rotary_emb_scale_base": None,
        "rotary_scaling_factor": None,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "layer_norm_type": "layer_norm",
        "logn_attention_scale": False,
        "logn_attention_clip1": False,
    }
)
_ROTARY = frozenset({"rotary", "rope"})
_POSITIONS = frozenset({"absolute", "relative_key", "relative_key_query", *_ROTARY})
# Decided here, whatever config.json says.
_IGNORED = frozenset({"auto_map", "attn_implementation", "_attn_implementation"})
# The scalings that keep the ratio of frequencies, which tells their base.
_SAME_RATIO = frozenset({"default", "linear", "dynamic"})
# A base derived from float32 frequencies is off by about 1e-5 of itself.
_BASE_MARGIN = 1e-3
_SIZES = ("hidden_size", "max_position_embeddings", "pad_token_id")


def native_config(folder: Path, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a configuration under the names of transformers' own class for its `model_type`.

    Args:
        folder: of the checkpoint, for messages.
        config: what config.json holds.

    Raises:
        CheckpointError: there is no such class, or a setting asks for something that it does not compute.
    """
    family = config.get("model_type")
    if not isinstance(family, str):
        raise CheckpointError(
            f"{folder / 'config.json'} names no model_type: copy it again from the model's repository"
        )
    if family == "xlm-roberta" and "lora_adaptations" in config:
        raise CheckpointError(f"{folder} cannot be used: {USE_NATIVE_JINA}")
    family = _RENAMED.get(family, family)
    _require_positions(folder, config, family)
    if family in _KNOWN:
        _require_fixed(folder, config, family, {"activation_function"})
        return config
    _require_class(folder, config, family)
    settings = _settings(folder, config, family)
    if getattr(settings, "is_encoder_decoder", False):
        raise CheckpointError(
            f"{folder} cannot be used: model_type {family!r} is an encoder with a decoder, whose states are "
            "those of another text. Use an encoder alone"
        )
    sizes = {name: getattr(settings, name) for name in _SIZES if hasattr(settings, name)}
    return {**config, **sizes, "model_type": family}


def load_native(
    folder: Path, config: Mapping[str, Any], **options: Any
) -> tuple[torch.nn.Module, Mapping[str, Any]]:
    """Load a checkpoint's weights into the class of its family.

    Args:
        folder: of the checkpoint.
        config: of `native_config`.
        options: of `from_pretrained`.

    Returns:
        The module, and transformers' report of tensors that were missing, left over or of another shape.

    Raises:
        CheckpointError: the module computes other positions than the configuration states.
    """
    family = str(config["model_type"])
    settings = _settings(folder, config, family)
    kind, more = _class_of(family)
    with quiet_transformers():
        # No `attn_implementation`: transformers takes sdpa where the class has it, and what it has otherwise.
        model, report = kind.from_pretrained(
            folder, config=settings, local_files_only=True, output_loading_info=True, **more, **options
        )
    _require_rotary(folder, config, model)
    return model, report


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers' load reports and progress bars: the checks of this package replace them."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _class_of(family: str) -> tuple[Any, dict[str, Any]]:
    """Return the class to load with, and its options."""
    # The model's own module where it is known, not AutoModel: that imports half of transformers first.
    if family == JINA:
        from transformers.models.jina_embeddings_v3.modeling_jina_embeddings_v3 import JinaEmbeddingsV3Model

        # The adapters touch the pooler, so it is loaded, though never run.
        return JinaEmbeddingsV3Model, {}
    if family == "bert":
        from transformers.models.bert.modeling_bert import BertModel

        return BertModel, {"add_pooling_layer": False}
    if family == "xlm-roberta":
        from transformers.models.xlm_roberta.modeling_xlm_roberta import XLMRobertaModel

        return XLMRobertaModel, {"add_pooling_layer": False}
    from transformers import AutoModel

    return AutoModel, {"trust_remote_code": False}


def _settings_class(family: str) -> Any:
    if family in _KNOWN:
        return _class_of(family)[0].config_class
    from transformers import CONFIG_MAPPING

    return CONFIG_MAPPING[family]


def _require_class(folder: Path, config: Mapping[str, Any], family: str) -> None:
    import transformers
    from transformers import CONFIG_MAPPING, MODEL_FOR_MASKED_LM_MAPPING, MODEL_MAPPING

    remote = config.get("auto_map")
    if family in CONFIG_MAPPING and CONFIG_MAPPING[family] in MODEL_MAPPING:
        # Authors bring code for a decoder to make it read both ways, and not all state that in config.json.
        decoder = CONFIG_MAPPING[family] not in MODEL_FOR_MASKED_LM_MAPPING
        if decoder and remote and "is_causal" not in config:
            raise CheckpointError(
                f"{folder} cannot be used: it brings code of its own ({_entry(remote)}) for the decoder "
                f"{family!r}, and its config.json sets no is_causal: transformers' class then reads from "
                "left to right. Set is_causal to false if the model reads both ways, else to true"
            )
        return
    brings = f" and brings code of its own ({_entry(remote)}), which is never run" if remote else ""
    raise CheckpointError(
        f"{folder} cannot be used: its model_type is {family!r}{brings}; transformers "
        f"{transformers.__version__} has no class for it. Use a model of another type, such as bert, "
        "xlm-roberta, mpnet, modernbert, nomic_bert or gte, or a conversion of this one to transformers' own "
        "layout, where its authors offer one"
    )


def _entry(remote: Any) -> str:
    return str(remote.get("AutoModel", "auto_map")) if isinstance(remote, Mapping) else "auto_map"


def _require_positions(folder: Path, config: Mapping[str, Any], family: str) -> None:
    """Refuse positions that transformers' class of this name does not compute."""
    stated = config.get("position_embedding_type") or "absolute"
    if stated not in (_POSITIONS if family not in _ABSOLUTE else {"absolute"}):
        _refuse(folder, config, family, "position_embedding_type", stated, "absolute")


def _require_fixed(folder: Path, config: Mapping[str, Any], family: str, but: set[str]) -> None:
    """Refuse settings of remote code that transformers' class does not have, `but` for those that it has."""
    for name, computed in _FIXED.items():
        if name in config and name not in but and config[name] != computed:
            _refuse(folder, config, family, name, config[name], computed)


def _refuse(
    folder: Path, config: Mapping[str, Any], family: str, name: str, stated: Any, computed: Any
) -> None:
    remote = config.get("auto_map")
    brings = f" The code that computes it ({_entry(remote)}) is never run." if remote else ""
    raise CheckpointError(
        f"{folder} cannot be used: its config.json sets {name} to {stated!r}, and transformers' class for "
        f"model_type {family!r} computes {computed!r} only.{brings} Use a model with settings that the class "
        "computes, or a conversion of this one to transformers' own layout, where its authors offer one"
    )


def _settings(folder: Path, config: Mapping[str, Any], family: str) -> Any:
    """Return the settings object of transformers' class.

    Raises:
        CheckpointError: a setting is of the wrong kind, or the class does not compute what it asks for.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    kind = _settings_class(family)
    _require_fixed(folder, config, family, {name for name in _FIXED if hasattr(kind, name)})
    try:
        with quiet_transformers():
            settings = kind.from_dict(_translated(config, kind))
    except (StrictDataclassError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{folder / 'config.json'} does not describe a model of type {family!r} ({error}): copy it again"
        ) from error
    rope = getattr(settings, "rope_parameters", None) or {}
    scaling = rope.get("rope_type", "default") if isinstance(rope, Mapping) else "default"
    if scaling != "default" and scaling not in ROPE_INIT_FUNCTIONS:
        known = ", ".join(["default", *ROPE_INIT_FUNCTIONS])
        raise CheckpointError(
            f"{folder / 'config.json'} scales RoPE by {scaling!r}, which transformers does not compute: use "
            f"a model with one of {known}"
        )
    return settings


def _translated(config: Mapping[str, Any], kind: Any) -> dict[str, Any]:
    """Return a configuration under the names that a settings class has."""
    settings = {name: value for name, value in config.items() if name not in _IGNORED}
    for theirs, ours in _ALIASES.items():
        if theirs in settings and not hasattr(kind, theirs):
            settings.setdefault(ours, settings[theirs])
    if "rope_theta" in (settings.get("rope_parameters") or {}):
        settings.pop("rope_theta", None)
    return _fixed_ntk(settings)


def _fixed_ntk(settings: dict[str, Any]) -> dict[str, Any]:
    """Write the fixed NTK scaling of Alibaba's remote code as transformers' linear one: the same frequencies.

    theta_i = (base * factor) ^ (-2i/d) / factor ^ (2/d), for i from 0 to d/2 (https://kexue.fm/archives/9706).
    """
    scaling = settings.get("rope_scaling")
    if not isinstance(scaling, Mapping) or scaling.get("type") != "ntk" or scaling.get("mixed_b") is not None:
        return settings
    size = int(settings["hidden_size"]) // int(settings["num_attention_heads"])
    factor = float(scaling["factor"])
    linear = {
        "rope_type": "linear",
        "rope_theta": float(settings["rope_theta"]) * factor,
        "factor": factor ** (2 / size),
    }
    kept = {name: value for name, value in settings.items() if name not in {"rope_scaling", "rope_theta"}}
    return {**kept, "rope_parameters": linear}


def _require_rotary(folder: Path, config: Mapping[str, Any], model: Any) -> None:
    """Compare the rotary base that a module computes with to every base that config.json states.

    Raises:
        CheckpointError: they differ, or the module has no rotary positions although config.json states them.
    """
    stated = config.get("position_embedding_type")
    if stated in _ROTARY and not hasattr(model, "rotary_emb"):
        _refuse(folder, config, str(config["model_type"]), "position_embedding_type", stated, "absolute")
    frequencies = getattr(getattr(model, "rotary_emb", None), "inv_freq", None)
    if frequencies is None or (model.config.rope_parameters or {}).get("rope_type") not in _SAME_RATIO:
        return
    computed = rotary_base(frequencies)
    for name, base in _stated_bases(config).items():
        if abs(computed - base) > _BASE_MARGIN * computed:
            raise CheckpointError(
                f"{folder / 'config.json'} states {name} {base:g}, and {type(model).__name__} computes with "
                f"{computed:g}: its vectors would be wrong. Copy the file again from the model's repository"
            )


def _stated_bases(config: Mapping[str, Any]) -> dict[str, float]:
    """Return every rotary base in a configuration, by the name of its setting."""
    settings = _fixed_ntk(dict(config))
    names = ("rotary_emb_base", "rope_theta")
    stated = {name: float(settings[name]) for name in names if settings.get(name) is not None}
    for name in ("rope_parameters", "rope_scaling"):
        within = settings.get(name)
        if isinstance(within, Mapping) and within.get("rope_theta") is not None:
            stated[f"{name}.rope_theta"] = float(within["rope_theta"])
    return stated


def rotary_base(frequencies: torch.Tensor) -> float:
    """Return the base b of rotary frequencies c * b^(-2i/d), (d/2,), whatever the constant c."""
    first, second = frequencies[:2].double().tolist()
    return float((first / second) ** len(frequencies))
