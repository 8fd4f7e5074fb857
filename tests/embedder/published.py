"""Tiny random encoders in published layouts, written by sentence-transformers: for tests that compare."""

from __future__ import annotations

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertModel,
    ModernBertConfig,
    ModernBertModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3Model,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from benchmarks.checkpoints import CORPUS, xlm_roberta_like_tokenizer
from latewood.embedder.models.checkpoint import find_checkpoint
from latewood.embedder.models.registry import MINILM

POSITIONS = 160
END = "<|endoftext|>"
SIZES = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "initializer_range": 0.2,
}
FAMILIES = {
    "bert": (BertModel, BertConfig, {}),
    "xlm-roberta": (XLMRobertaModel, XLMRobertaConfig, {"max_position_embeddings": POSITIONS + 2}),
    "qwen3": (Qwen3Model, Qwen3Config, {"num_key_value_heads": 2, "head_dim": 16}),
    "modernbert": (ModernBertModel, ModernBertConfig, {"global_attn_every_n_layers": 2}),
}


def byte_level_tokenizer(*, ends: bool, starts: bool) -> Tokenizer:
    """BPE over bytes, as of GPT-2: a word behind a space is another token than the word alone."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<pad>", END, "<|start|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([CORPUS, *CORPUS.split(". ")] * 3, trainer)
    single = f"{'<|start|> ' if starts else ''}$A{f' {END}' if ends else ''}"
    template = processors.TemplateProcessing(single, special_tokens=[(END, 1), ("<|start|>", 2)])
    byte_level = processors.ByteLevel(trim_offsets=True)
    tokenizer.post_processor = processors.Sequence([byte_level, template])
    return tokenizer


def tokenizer_of(family: str) -> PreTrainedTokenizerFast:
    if family == "bert":
        path = find_checkpoint(MINILM.name).folder / "tokenizer.json"
        return PreTrainedTokenizerFast(
            tokenizer_file=str(path),
            pad_token="[PAD]",
            cls_token="[CLS]",
            sep_token="[SEP]",
            model_max_length=POSITIONS,
        )
    if family == "xlm-roberta":
        tokenizer = xlm_roberta_like_tokenizer()
        special = {"pad_token": "<pad>", "cls_token": "<s>", "sep_token": "</s>"}
    else:  # published decoders have a token at the end only
        tokenizer = byte_level_tokenizer(ends=True, starts=family == "modernbert")
        special = {"pad_token": "<pad>", "eos_token": END}
        if family == "modernbert":
            special["cls_token"] = "<|start|>"
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=POSITIONS, **special)


def publish(folder, family, pooling="mean", *, normalise=True, include_prompt=True, **options):
    """Write an encoder as sentence-transformers 6 does, and return it as it loads it."""
    torch.manual_seed(3)
    tokenizer = tokenizer_of(family)
    kind, config, more = FAMILIES[family]
    sizes = SIZES | {"max_position_embeddings": POSITIONS, "pad_token_id": tokenizer.pad_token_id} | more
    model = kind(config(vocab_size=len(tokenizer), **sizes))
    model.save_pretrained(folder / "bare")
    tokenizer.save_pretrained(folder / "bare")
    modules = [Transformer(str(folder / "bare")), Pooling(64, pooling, include_prompt=include_prompt)]
    modules += [Normalize()] if normalise else []
    SentenceTransformer(modules=modules, device="cpu", **options).save(str(folder / "model"))
    return folder / "model"


def reference(folder):
    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)
