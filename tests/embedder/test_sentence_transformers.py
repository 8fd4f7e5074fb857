"""Folders in sentence-transformers' layout give the vectors that sentence-transformers gives."""

from __future__ import annotations

import json

import numpy as np
import pytest
from published import POSITIONS, publish, reference, tokenizer_of

from embedder.checkpoint import find_checkpoint
from embedder.engine import load_embedder
from embedder.types import CheckpointError, InputError, Span, SpannedText, Task

TEXTS = [
    "Berlin is the capital and largest city of Germany.",
    "city",
    "Über die Straße läuft ein Bär.",
    "日本語のテキストを分割する。",
    " The city, with a space before it",
    "\n\nThe city, with lines before it",
    "://late chunking",
    "Москва столица России. العربية لغة جميلة",
    "3.85 million inhabitants make it the most populous city.",
]
PROMPTS = {
    "ends with a space": "Represent the query: ",
    "ends with a mark": "query:",
    "ends within a word": "un",
    "ends with a line": "Instruct: find it\nQuery:\n",
    "nothing": "",
}


def load(folder, **options):
    return load_embedder(str(folder), device="cpu", dtype="float32", **options)


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def cosines(ours, theirs):
    theirs = theirs / np.linalg.norm(theirs, axis=1, keepdims=True)
    return (ours * theirs).sum(axis=1)


def assert_same(folder, texts, task, **options):
    embedder = load(folder)
    try:
        near = cosines(embedder.embed_texts(texts, task), reference(folder).encode(texts, **options))
    finally:
        embedder.close()
    assert near.min() >= 0.9999, near


@pytest.mark.parametrize("pooling", ["mean", "cls", "lasttoken"])
@pytest.mark.parametrize("family", ["bert", "xlm-roberta", "qwen3", "modernbert"])
def test_every_family_pooling_and_prompt_gives_the_same_vectors(family, pooling, tmp_path):
    folder = publish(tmp_path, family, pooling)
    for prompt in PROMPTS.values():
        edit(folder / "config_sentence_transformers.json", prompts={"query": prompt, "document": "text: "})
        assert_same(folder, TEXTS, Task.QUERY, prompt_name="query")
    assert_same(folder, TEXTS, Task.PASSAGE, prompt_name="document")
    assert_same(folder, TEXTS, Task.CLASSIFICATION)


@pytest.mark.parametrize("pooling", ["mean", "cls", "lasttoken"])
@pytest.mark.parametrize("family", ["bert", "xlm-roberta", "qwen3", "modernbert"])
def test_a_prompt_that_is_not_pooled_is_left_out(family, pooling, tmp_path):
    prompts = {"query": "Represent the query: ", "document": ""}
    folder = publish(tmp_path, family, pooling, include_prompt=False, prompts=prompts)
    assert_same(folder, TEXTS, Task.QUERY, prompt_name="query")
    assert_same(folder, TEXTS, Task.PASSAGE)
