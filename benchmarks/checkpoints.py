"""A random checkpoint in Jina v3's real layout, tiny or of its size: what loads it cannot tell."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers.models.jina_embeddings_v3.configuration_jina_embeddings_v3 import JinaEmbeddingsV3Config
from transformers.models.jina_embeddings_v3.modeling_jina_embeddings_v3 import JinaEmbeddingsV3Model

from embedder.models import JINA_V3

CORPUS = """Late chunking embeds all tokens of the whole text first and chunks after the transformer.
Berlin is the capital and largest city of Germany. Its more than 3.85 million inhabitants make it the most
populous city. The city is one of the states of Germany, and the third smallest in terms of area.
Über die Straße läuft ein Bär. Москва столица России. 日本語のテキストを分割する。 العربية لغة جميلة
Represent the query for retrieving evidence documents: Represent the document for retrieval: """
RANK, ALPHA = 4, 8


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
    """The names the published file uses: queries, keys and values fused."""
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
    return {key: value.to(torch.bfloat16).contiguous() for key, value in renamed.items()}


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
        tensors[f"{stem}A{end}"] = torch.randn(RANK, inner, generator=generator) * 0.2
        tensors[f"{stem}B{end}"] = torch.randn(outer, RANK, generator=generator) * 0.2
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


def build_jina(folder: Path, size: Size = TINY) -> None:
    """Write a random model in the layout of jinaai/jina-embeddings-v3-hf, the same each time."""
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
    settings = config.to_dict() | {"architectures": ["JinaEmbeddingsV3Model"]}
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    save_file(old_names(state), folder / "model.safetensors", metadata={"format": "pt"})
    generator = torch.Generator().manual_seed(11)
    for name in JINA_V3.adapters.values():
        (folder / name).mkdir()
        save_file(adapter_tensors(state, generator), folder / name / "adapter_model.safetensors")
        targets = ["word_embeddings", "token_type_embeddings", "q_proj", "k_proj", "v_proj", "o_proj", "fc1"]
        lora = {
            "peft_type": "LORA",
            "r": RANK,
            "lora_alpha": ALPHA,
            "lora_dropout": 0.1,
            "bias": "none",
            "inference_mode": True,
            "init_lora_weights": True,
            "target_modules": [*targets, "fc2", "dense"],
            "task_type": None,
        }
        (folder / name / "adapter_config.json").write_text(json.dumps(lora), encoding="utf-8")
