"""A model's own description in its folder: the files that sentence-transformers writes next to the weights.

modules.json lists the modules. 1_Pooling/config.json sets how states become a vector.
sentence_bert_config.json and tokenizer_config.json limit the length. config_sentence_transformers.json holds
prompts and the similarity.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latewood.embedder.models.json_files import read_any_json, read_json
from latewood.embedder.models.registry import MINILM
from latewood.embedder.types import CheckpointError, ModelDescription, Task

# Modes of sentence-transformers, and the flags that stood for them before its version 6.
_POOLING = {"mean": "mean", "cls": "cls", "lasttoken": "last"}
_POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_PROMPT_NAMES = {
    Task.QUERY: ("query", "retrieval.query"),
    Task.PASSAGE: ("passage", "document", "corpus", "retrieval.passage"),
    Task.SEPARATION: ("clustering", "separation"),
    Task.CLASSIFICATION: ("classification",),
    Task.TEXT_MATCHING: ("sts", "text-matching"),
}
_TRANSFORMER_CONFIGS = tuple(
    f"sentence_{family}_config.json"
    for family in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
_MODEL_CONFIG = "config_sentence_transformers.json"
# Similarities that rank vectors of length 1 as the cosine does.
_AS_COSINE_AT_LENGTH_1 = ("dot", "euclidean")
# Where nothing else limits the length; the model's positions do.
_MOST_TOKENS = 1_000_000


def describe_folder(folder: Path) -> ModelDescription:
    """Return what a folder states about its model.

    Raises:
        CheckpointError: a file is broken, or asks for what the embedder does not compute.
    """
    modules = _modules(folder)
    pooling, include_prompt = _pooling(folder / modules.get("Pooling", "1_Pooling") / "config.json")
    path = folder / _MODEL_CONFIG
    stated = read_json(path) if path.is_file() else {}
    _require_cosine(path, stated, normalised="Normalize" in modules)
    return ModelDescription(
        name=folder.resolve().name,
        revision="",
        pooling=pooling,
        max_tokens=most_tokens(folder),
        dimensions=(),
        licence="unknown",
        languages="unknown",
        # As for the other models with a short window; late chunking is for mean pooling only.
        context=MINILM.context if pooling == "mean" else 0.0,
        prompts=_prompts(path, stated),
        include_prompt=include_prompt,
        lowercase=bool(_transformer_config(folder).get("do_lower_case")),
    )


def _modules(folder: Path) -> dict[str, str]:
    """Return the kinds of modules and the folder of each; nothing where no file lists them.

    Raises:
        CheckpointError: vectors need more than pooling and normalising.
    """
    path = folder / "modules.json"
    if not path.is_file():
        return {}
    listed = [module for module in read_any_json(path) if isinstance(module, dict)]
    kinds = {str(one.get("type", "")).rpartition(".")[2]: str(one.get("path") or "") for one in listed}
    odd = sorted(kinds.keys() - {"Transformer", "Pooling", "Normalize"})
    if odd:
        raise CheckpointError(
            f"{path} asks for {', '.join(odd)} after the encoder; only pooling and normalising are supported"
        )
    return {kind: place for kind, place in kinds.items() if place or kind != "Pooling"}


def _pooling(path: Path) -> tuple[str, bool]:
    """Return how states are pooled, and whether those of the prompt count."""
    config = read_json(path)
    stated = config.get("pooling_mode")
    if stated is None:
        modes = [mode for flag, mode in _POOLING_FLAGS.items() if config.get(flag)]
    else:
        modes = stated if isinstance(stated, list) else [stated]
    if len(modes) != 1 or modes[0] not in _POOLING:
        raise CheckpointError(
            f"{path} asks for pooling by {', '.join(map(str, modes)) or 'nothing'}; one of "
            f"{', '.join(_POOLING)} is supported. Use a model that pools so"
        )
    return _POOLING[modes[0]], bool(config.get("include_prompt", True))


def _require_cosine(path: Path, stated: Mapping[str, Any], *, normalised: bool) -> None:
    """Refuse a model whose vectors are compared by their length, too: an index holds vectors of length 1."""
    name = stated.get("similarity_fn_name")
    if name in (None, "cosine") or (normalised and name in _AS_COSINE_AT_LENGTH_1):
        return
    raise CheckpointError(
        f"{path} sets similarity_fn_name to {name!r}; Latewood stores vectors of length 1 and compares them "
        "by cosine, which would rank differently. Use a model made for cosine, or set similarity_fn_name to "
        "'cosine' there if this one was trained for it"
    )


def _transformer_config(folder: Path) -> Mapping[str, Any]:
    """Return the settings of the first module: those of the first of its files that is there."""
    paths = (folder / name for name in _TRANSFORMER_CONFIGS)
    return next((read_json(path) for path in paths if path.is_file()), {})


def most_tokens(folder: Path) -> int:
    """Return the tokens of an input at most, as far as a folder's files limit them.

    Raises:
        CheckpointError: the limit is no number of tokens.
    """
    transformer = _transformer_config(folder)
    name, path = "max_seq_length", folder / _TRANSFORMER_CONFIGS[0]
    options = transformer.get("processor_kwargs", transformer.get("tokenizer_args"))
    most = options.get("model_max_length") if isinstance(options, dict) else None
    most = transformer.get("max_seq_length") if most is None else most
    if most is None:
        name, path = "model_max_length", folder / "tokenizer_config.json"
        most = read_json(path).get(name) if path.is_file() else None
    if most is None:
        return _MOST_TOKENS
    if isinstance(most, bool) or not isinstance(most, int | float) or most < 1:
        raise CheckpointError(f"{path} sets {name} to {most!r}; it must be a number of tokens, 1 at least")
    return min(int(most), _MOST_TOKENS)


def default_prompt(folder: Path) -> str:
    """Return the prompt before every question of a cross-encoder; nothing where its folder names none.

    Raises:
        CheckpointError: the file that names it is broken.
    """
    path = folder / _MODEL_CONFIG
    return _named_prompts(path, read_json(path))[1] or "" if path.is_file() else ""


def _named_prompts(path: Path, stated: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """Return the prompts by their names, and the default one."""
    given = stated.get("prompts") or {}
    if not isinstance(given, dict):
        raise CheckpointError(f"{path} holds prompts that are no object: copy it again")
    default = stated.get("default_prompt_name")
    if default is None:
        return given, None
    if not isinstance(default, str) or default not in given:
        raise CheckpointError(
            f"{path} sets default_prompt_name to {default!r}; its prompts are {', '.join(given) or 'none'}. "
            "Name one of them, or set it to null"
        )
    return given, str(given[default] or "")


def _prompts(path: Path, stated: Mapping[str, Any]) -> dict[Task, str]:
    """Return the prompt of each task that has one.

    A name that the file has for a task counts, also with an empty prompt, and else `default_prompt_name`. Of
    several names for one task the first with a prompt counts: sentence-transformers adds empty ones
    (`document`) to what it saves.
    """
    given, default = _named_prompts(path, stated)
    found = {}
    for task, names in _PROMPT_NAMES.items():
        own = [given[name] for name in names if isinstance(given.get(name), str)]
        prompt = next(filter(None, own), "") if own else default
        if prompt:
            found[task] = prompt
    return found
