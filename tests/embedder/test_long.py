"""Documents of any length: memory grows by what a token needs to be known, not by its states."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel

from latewood.embedder.models.registry import MINILM

SCRIPT = """
import json, resource, sys, time
from latewood.embedder.serving.engine import load_embedder
from latewood.embedder.types import Span, SpannedText

model, *sentences = sys.argv[1:]
embedder = load_embedder(model, device="cpu", context=1)
sentence = "Berlin is the capital and largest city of Germany. "
each = len(embedder.token_offsets(sentence))
told = []
for count in map(int, sentences):
    text = sentence * count
    step = len(sentence) * 20
    spans = tuple(Span(start, min(start + step, len(text))) for start in range(0, len(text), step))
    begun = time.perf_counter()
    (vectors,) = embedder.embed_documents([SpannedText(text, spans)])
    lengths = (vectors * vectors).sum(axis=1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    told.append({"tokens": each * count, "vectors": len(vectors), "worst": float(abs(lengths - 1).max()),
                 "peak": peak, "seconds": time.perf_counter() - begun})
embedder.close()
print(json.dumps(told))
"""


def embed(model, *sentences):
    """Embed documents of so many sentences one after the other in a process of their own."""
    command = [sys.executable, "-c", SCRIPT, str(model), *map(str, sentences)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


@pytest.fixture
def wide(jina_folder, tmp_path):
    """One layer of 512 values: a token's state takes 2 kB."""
    folder = tmp_path / "wide"
    (folder / "1_Pooling").mkdir(parents=True)
    shutil.copy(jina_folder / "tokenizer.json", folder)
    vocabulary = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size()
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=512,
        num_hidden_layers=1,
        num_attention_heads=8,
        intermediate_size=64,
        max_position_embeddings=256,
    )
    save_file(
        {key: value.contiguous() for key, value in BertModel(config).state_dict().items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    (folder / "config.json").write_text(json.dumps(config.to_dict()), encoding="utf-8")
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}', encoding="utf-8")
    return folder


def test_memory_does_not_grow_with_the_states_of_a_long_document(wide):
    short, long = embed(wide, 500, 3500)
    tokens = long["tokens"] - short["tokens"]
    assert tokens >= 60_000
    assert long["vectors"] == 175
    assert long["worst"] < 1e-5
    # Ids, offsets and rows take some 200 bytes a token; its state alone would take 2048.
    assert (long["peak"] - short["peak"]) / tokens < 700


@pytest.mark.soak
def test_a_document_of_a_million_tokens_embeds_in_flat_memory():
    short, long = embed(MINILM.name, 2_000, 101_000)
    assert long["tokens"] >= 1_000_000
    assert long["vectors"] == 5050
    assert long["worst"] < 1e-5
    sys.stderr.write(f"{short}\n{long}\n")  # the figures, with `-s`
    assert long["peak"] - short["peak"] < 400 * 2**20
