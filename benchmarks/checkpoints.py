"""A random checkpoint in Jina v3's real layout, tiny or of its size: what loads it cannot tell."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers.models.jina_embeddings_v3.configuration_jina_embeddings_v3 import JinaEmbeddingsV3Config
from transformers.models.jina_embeddings_v3.modeling_jina_embeddings_v3 import JinaEmbeddingsV3Model

from latewood.embedder.models.registry import JINA_V3
from latewood.embedder.types import Task

CORPUS = """Late chunking embeds all tokens of the whole text first and chunks after the transformer.
Berlin is the capital and largest city of Germany. Its more than 3.85 million inhabitants make it the most
populous city. The city is one of the states of Germany, and the third smallest in terms of area.
Über die Straße läuft ein Bär. Москва столица России. 日本語のテキストを分割する。 العربية لغة جميلة
Represent the query for retrieving evidence documents: Represent the document for retrieval: """
# As published. Random weights of this size change the states about as much as a trained adapter does.
RANK, ALPHA = 4, 1
ADAPTER_STD = 0.57
TARGETS = [
    "word_embeddings",
    "token_type_embeddings",
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "fc1",
    "fc2",
    "dense",
]

Layout = Literal["published", "native"]
"""`published`: the keys of jinaai/jina-embeddings-v3-hf, tensors named and fused as in Jina's own code.
`native`: the keys and names of transformers' class."""


def xlm_roberta_like_tokenizer() -> Tokenizer:
    """A few hundred words and their parts, with the special tokens of XLM-RoBERTa."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always"),
        ]
    )
    trainer = trainers.UnigramTrainer(
        vocab_size=300,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator([CORPUS, *CORPUS.split(". ")], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    # As shipped by many models; whoever loads it must not cut texts there.
    tokenizer.enable_truncation(16)
    tokenizer.enable_padding(length=16, pad_id=1, pad_token="<pad>")
    return tokenizer


def old_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors under the names of the published file: queries, keys and values fused."""
    renamed: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        new = key.replace("embeddings.LayerNorm", "emb_ln").replace("layers.", "encoder.layers.")
        new = new.replace("self_attn.o_proj", "mixer.out_proj")
        new = new.replace("post_attention_layernorm", "norm1").replace("post_mlp_layernorm", "norm2")
        if "q_proj" in new:
            fused = [state[key.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")]
            renamed[new.replace("self_attn.q_proj", "mixer.Wqkv")] = torch.cat(fused)
        elif "k_proj" not in new and "v_proj" not in new:
            renamed[new] = value
    return renamed


def adapter_tensors(state: dict[str, torch.Tensor], generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Random LoRA weights for every matrix of the model, named as peft writes them."""
    tensors: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        if value.ndim != 2:
            continue
        rows, columns = value.shape
        embedding = "embeddings" in key
        stem = f"base_model.model.{key.removesuffix('.weight')}.lora_{'embedding_' if embedding else ''}"
        end = "" if embedding else ".weight"
        # peft keeps embeddings transposed: A is (rank, vocabulary), B is (hidden, rank).
        outer, inner = (columns, rows) if embedding else (rows, columns)
        tensors[f"{stem}A{end}"] = torch.randn(RANK, inner, generator=generator) * ADAPTER_STD
        tensors[f"{stem}B{end}"] = torch.randn(outer, RANK, generator=generator) * ADAPTER_STD
    return tensors


@dataclass(frozen=True, slots=True)
class Size:
    """Of a model; `words` None is as many as its tokenizer knows, some hundreds."""

    hidden: int
    layers: int
    heads: int
    inner: int
    words: int | None = None


TINY = Size(64, 2, 4, 64)
JINA_SIZE = Size(1024, 24, 16, 4096, 250_002)


def published_config(config: JinaEmbeddingsV3Config) -> dict[str, Any]:
    """Return config.json as in jinaai/jina-embeddings-v3-hf at revision d18862d9, for another size."""
    return {
        "architectures": ["JinaEmbeddingsV3Model"],
        "attention_probs_dropout_prob": 0.1,
        "bos_token_id": 0,
        "classifier_dropout": None,
        "emb_pooler": None,
        "eos_token_id": 2,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": config.hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": config.intermediate_size,
        "layer_norm_eps": 1e-05,
        "load_trained_adapters": True,
        "lora_adaptations": [str(task) for task in Task],
        "lora_alpha": ALPHA,
        "lora_dropout_p": 0.0,
        "lora_main_params_trainable": False,
        "lora_rank": RANK,
        "matryoshka_dimensions": sorted(JINA_V3.dimensions),
        "max_position_embeddings": 8194,
        "model_type": "jina_embeddings_v3",
        "num_attention_heads": config.num_attention_heads,
        "num_hidden_layers": config.num_hidden_layers,
        "output_past": True,
        "pad_token_id": 1,
        "position_embedding_type": "rotary",
        "rotary_emb_base": 20000.0,
        "task_instructions": {str(task): JINA_V3.prompts.get(task, "") for task in Task},
        "torch_dtype": "bfloat16",
        "truncate_dim": None,
        "type_vocab_size": 1,
        "use_cache": True,
        "use_flash_attn": True,
        "use_reentrant": False,
        "vocab_size": config.vocab_size,
    }


def build_jina(folder: Path, size: Size = TINY, layout: Layout = "published") -> None:
    """Write a random model in the layout of jinaai/jina-embeddings-v3-hf, the same weights each time."""
    folder.mkdir(parents=True)
    tokenizer = xlm_roberta_like_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = JinaEmbeddingsV3Config(
        vocab_size=size.words or tokenizer.get_vocab_size(),
        hidden_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=size.inner,
        initializer_range=0.2,
    )
    torch.manual_seed(7)
    state = JinaEmbeddingsV3Model(config).state_dict()
    native = config.to_dict() | {"architectures": ["JinaEmbeddingsV3Model"]}
    write_json(folder / "config.json", native if layout == "native" else published_config(config))
    tensors = state if layout == "native" else old_names(state)
    rounded = {key: value.to(torch.bfloat16).contiguous() for key, value in tensors.items()}
    save_file(rounded, folder / "model.safetensors", metadata={"format": "pt"})
    write_sentence_transformers_files(folder, size.hidden)
    generator = torch.Generator().manual_seed(11)
    for name in JINA_V3.adapters.values():
        (folder / name).mkdir()
        save_file(adapter_tensors(state, generator), folder / name / "adapter_model.safetensors")
        lora = {
            "peft_type": "LORA",
            "r": RANK,
            "lora_alpha": ALPHA,
            "lora_dropout": 0.0,
            "bias": "none",
            "inference_mode": True,
            "init_lora_weights": True,
            "target_modules": TARGETS,
            "task_type": None,
        }
        write_json(folder / name / "adapter_config.json", lora)


def write_sentence_transformers_files(folder: Path, hidden: int) -> None:
    """Write the files that are there for sentence-transformers and for transformers' tokenizer."""
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(kinds.items())
    ]
    write_json(folder / "modules.json", modules)
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": hidden, "pooling_mode_mean_tokens": True}
    write_json(folder / "1_Pooling" / "config.json", pooling)
    special = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>"}
    special |= {"pad_token": "<pad>", "unk_token": "<unk>"}
    settings = {"model_max_length": 8194, "tokenizer_class": "XLMRobertaTokenizer"}
    write_json(folder / "tokenizer_config.json", special | settings)


def write_json(path: Path, content: object) -> None:
    """Write a JSON file."""
    path.write_text(json.dumps(content), encoding="utf-8")
