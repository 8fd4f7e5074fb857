from __future__ import annotations

import subprocess
import sys

import pytest

from latewood.embedder.models.registry import JINA_V3, KNOWN_MODELS, MINILM, describe
from latewood.embedder.types import ModelNotFoundError, Task


def test_a_model_is_found_by_its_hub_name():
    assert describe("sentence-transformers/all-MiniLM-L6-v2") is MINILM
    assert describe("jinaai/jina-embeddings-v3-hf") is JINA_V3


def test_an_unknown_name_lists_those_that_are_known():
    with pytest.raises(ModelNotFoundError) as caught:
        describe("all-MiniLM")
    assert all(name in str(caught.value) for name in KNOWN_MODELS)


def test_jina_has_an_adapter_for_every_task_and_says_its_licence():
    assert set(JINA_V3.adapters) == set(Task)
    assert "CC BY-NC 4.0" in JINA_V3.licence


def test_importing_the_embedder_loads_neither_torch_nor_transformers():
    code = (
        "import latewood.embedder.serving.engine, latewood.embedder.encoder.pooling, sys;"
        "heavy = {'torch', 'transformers', 'peft', 'sentence_transformers', 'huggingface_hub'};"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
