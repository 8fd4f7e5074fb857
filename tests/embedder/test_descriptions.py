"""Encoders by description: each known one as a tiny random checkpoint in its published layout."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import AutoModel, BertConfig, BertModel, XLMRobertaConfig, XLMRobertaModel

from latewood.embedder.models.checkpoint import find_checkpoint
from latewood.embedder.models.registry import BGE_M3, E5_LARGE_INSTRUCT, E5_SMALL, MINILM
from latewood.embedder.models.sources import Source
from latewood.embedder.serving.engine import load_embedder
from latewood.embedder.types import CheckpointError, InputError, ModelDescription, ModelNotFoundError, Task

SIZES = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "initializer_range": 0.2,
}
TEXTS = ["Berlin is the capital of Germany.", "Über die Straße", "日本語のテキストを分割する。", "city " * 40]
POOLING_KEYS = {
    "mean": "pooling_mode_mean_tokens",
    "cls": "pooling_mode_cls_token",
    "last": "pooling_mode_lasttoken",
}


def write_json(path, content):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def build(folder, model, family, pooling, *, pickled=False):
    """Write a model the way sentence-transformers' repositories lay it out."""
    folder.mkdir()
    write_json(folder / "config.json", model.config.to_dict() | {"model_type": family})
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    if pickled:
        torch.save(state, folder / "pytorch_model.bin")
    else:
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    modes = {key: mode == pooling for mode, key in POOLING_KEYS.items()}
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 64} | modes)
    kinds = ["Transformer", "Pooling", "Normalize"]
    write_json(folder / "modules.json", [{"type": f"sentence_transformers.models.{kind}"} for kind in kinds])


def tiny(description, folder, vocabulary):
    """The checkpoint of one known model, with its published kind of file and its number of positions."""
    torch.manual_seed(3)
    if description is E5_SMALL:
        config = BertConfig(vocab_size=vocabulary, max_position_embeddings=512, **SIZES)
        build(folder, BertModel(config), "bert", "mean")
    else:
        positions = description.max_tokens + 2
        config = XLMRobertaConfig(vocab_size=vocabulary, max_position_embeddings=positions, **SIZES)
        model = XLMRobertaModel(config)
        build(folder, model, "xlm-roberta", description.pooling, pickled=description is BGE_M3)
    return folder


@pytest.fixture(scope="module", params=[E5_SMALL, E5_LARGE_INSTRUCT, BGE_M3], ids=lambda model: model.name)
def known(request, jina_folder, tmp_path_factory):
    """A known description and a folder with its tiny weights."""
    folder = tmp_path_factory.mktemp("known") / "model"
    vocabulary = Tokenizer.from_file(str(jina_folder / "tokenizer.json")).get_vocab_size()
    tiny(request.param, folder, vocabulary)
    shutil.copy(jina_folder / "tokenizer.json", folder / "tokenizer.json")
    return replace(request.param, folder=str(folder))


def load(description, **options):
    source = Source({description.name: description})
    return load_embedder(description.name, device="cpu", dtype="float32", source=source, **options)


def plain(folder, description, text, task):
    """A plain transformers forward pass, pooled and normalised as the model's card says."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.tensor([tokenizer.encode(description.prompts.get(task, "") + text).ids])
    with torch.no_grad():
        states = model(input_ids=ids).last_hidden_state[0].numpy()
    pooled = {"mean": states.mean(axis=0), "cls": states[0], "last": states[-1]}[description.pooling]
    return pooled / np.linalg.norm(pooled)


@pytest.mark.parametrize("task", list(Task))
def test_a_known_model_gives_what_its_card_says(known, task, tmp_path):
    embedder = load(known)
    try:
        vectors = embedder.embed_texts(TEXTS, task)
        wanted = [plain(find(known), known, text, task) for text in TEXTS]
        np.testing.assert_allclose(vectors, wanted, atol=2e-5)
        assert embedder.description.max_tokens == known.max_tokens
    finally:
        embedder.close()


def find(description):
    return find_checkpoint(description.name, Source({description.name: description})).folder


def test_every_known_model_has_a_licence_a_pinned_revision_and_a_context():
    for model in (MINILM, E5_SMALL, E5_LARGE_INSTRUCT, BGE_M3):
        assert model.licence
        assert len(model.revision) == 40
        assert 0 <= model.context <= 1


@pytest.mark.parametrize("pooling", POOLING_KEYS)
def test_a_folder_says_itself_how_it_pools_and_what_prompts_it_wants(pooling, jina_folder, tmp_path):
    torch.manual_seed(5)
    vocabulary = Tokenizer.from_file(str(jina_folder / "tokenizer.json")).get_vocab_size()
    model = BertModel(BertConfig(vocab_size=vocabulary, max_position_embeddings=96, **SIZES))
    folder = tmp_path / "mine"
    build(folder, model, "bert", pooling)
    shutil.copy(jina_folder / "tokenizer.json", folder)
    prompts = {"query": "ask: ", "document": "text: "}
    write_json(folder / "config_sentence_transformers.json", {"prompts": prompts})
    embedder = load_embedder(str(folder), device="cpu", dtype="float32")
    try:
        assert embedder.description.prompts == {Task.QUERY: "ask: ", Task.PASSAGE: "text: "}
        assert embedder.description.max_tokens == 96
        described = replace(embedder.description, folder=str(folder))
        vectors = embedder.embed_texts(TEXTS[:3], Task.QUERY)
        wanted = [plain(folder, described, text, Task.QUERY) for text in TEXTS[:3]]
        np.testing.assert_allclose(vectors, wanted, atol=2e-5)
    finally:
        embedder.close()


def test_a_text_longer_than_the_window_is_pooled_from_every_window(known):
    text = ["Berlin is the capital and largest city. " * 40]
    whole, windowed = load(known), load(known, window=160)
    try:
        near = whole.embed_texts(text, Task.QUERY)[0] @ windowed.embed_texts(text, Task.QUERY)[0]
        assert 0.5 < float(near) < 0.99999
    finally:
        whole.close()
        windowed.close()


def test_a_layer_after_pooling_is_refused(known, tmp_path):
    folder = shutil.copytree(find(known), tmp_path / "dense")
    write_json(folder / "modules.json", [{"type": "sentence_transformers.models.Dense"}])
    with pytest.raises(CheckpointError, match="Dense"):
        find_checkpoint(str(folder))


def test_weights_in_parts_are_all_needed(known, tmp_path):
    folder = shutil.copytree(find(known), tmp_path / "parts")
    for file in ("model.safetensors", "pytorch_model.bin"):
        (folder / file).unlink(missing_ok=True)
    write_json(folder / "model.safetensors.index.json", {"weight_map": {"a": "part-1.safetensors"}})
    with pytest.raises(CheckpointError, match=r"part-1\.safetensors"):
        find_checkpoint(str(folder))


def test_a_pickled_file_that_is_cut_short_is_refused(known, tmp_path):
    folder = shutil.copytree(find(known), tmp_path / "cut")
    if not (folder / "pytorch_model.bin").exists():
        pytest.skip("this model's weights are not pickled")
    data = (folder / "pytorch_model.bin").read_bytes()
    (folder / "pytorch_model.bin").write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_embedder(str(folder), device="cpu")


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"pooling": "max"}, "pooling"), ({"context": 2.0}, "context"), ({"max_tokens": 0}, "max_tokens")],
)
def test_a_description_that_no_encoder_can_have_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        replace(MINILM, **changes)


def test_a_described_model_whose_folder_is_gone_says_which(tmp_path):
    lost = ModelDescription(
        "mine", "", "mean", 512, (), "unknown", "unknown", 0.5, folder=str(tmp_path / "gone")
    )
    with pytest.raises(ModelNotFoundError, match="gone"):
        find_checkpoint("mine", Source({"mine": lost}))


def test_the_hub_is_asked_only_when_that_was_wished_and_then_at_the_pinned_revision(monkeypatch, tmp_path):
    import huggingface_hub

    asked = []
    monkeypatch.setattr(
        huggingface_hub, "list_repo_files", lambda name, revision: asked.append((name, revision)) or []
    )

    def refuse(name, revision, allow_patterns):
        raise OSError("no network here")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(ModelNotFoundError, match=f"--revision {BGE_M3.revision}"):
        find_checkpoint(BGE_M3.name)
    assert asked == []
    with pytest.raises(ModelNotFoundError, match="no network here"):
        find_checkpoint(BGE_M3.name, Source(fetch=True))
    assert asked == [(BGE_M3.name, BGE_M3.revision)]
