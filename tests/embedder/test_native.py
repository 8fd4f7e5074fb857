"""Models that load through transformers' own class: random weights in the layouts their authors published."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch.nn import functional
from transformers import (
    CONFIG_MAPPING,
    MODEL_MAPPING,
    DistilBertConfig,
    DistilBertModel,
    GteConfig,
    GteModel,
    MPNetConfig,
    MPNetModel,
    NomicBertConfig,
    NomicBertModel,
    Qwen2Config,
    Qwen2Model,
)

from benchmarks.checkpoints import build_jina
from latewood.embedder import defaults
from latewood.embedder.models import native
from latewood.embedder.models.checkpoint import find_checkpoint, load_model, sizes_of
from latewood.embedder.models.native import native_config, rotary_base
from latewood.embedder.models.registry import JINA_V3, MINILM
from latewood.embedder.serving.engine import load_embedder
from latewood.embedder.types import CheckpointError, Span, SpannedText, Task

HIDDEN, HEADS, INNER, LAYERS = 64, 4, 96, 2
TEXTS = ["Berlin is the capital of Germany.", "Über die Straße", "日本語のテキストを分割する。", "city " * 40]

# config.json of nomic-ai/nomic-embed-text-v1.5 before it had the keys of transformers' class, for this size.
NOMIC_OLD = {
    "activation_function": "swiglu",
    "architectures": ["NomicBertModel"],
    "attn_pdrop": 0.0,
    "auto_map": {
        "AutoConfig": "nomic-ai/nomic-bert-2048--configuration_hf_nomic_bert.NomicBertConfig",
        "AutoModel": "nomic-ai/nomic-bert-2048--modeling_hf_nomic_bert.NomicBertModel",
    },
    "bos_token_id": None,
    "causal": False,
    "dense_seq_output": True,
    "embd_pdrop": 0.0,
    "eos_token_id": None,
    "fused_bias_fc": True,
    "fused_dropout_add_ln": True,
    "initializer_range": 0.02,
    "layer_norm_epsilon": 1e-12,
    "max_trained_positions": 2048,
    "mlp_fc1_bias": False,
    "mlp_fc2_bias": False,
    "model_type": "nomic_bert",
    "n_embd": HIDDEN,
    "n_head": HEADS,
    "n_inner": INNER,
    "n_layer": LAYERS,
    "n_positions": 8192,
    "pad_vocab_size_multiple": 64,
    "parallel_block": False,
    "parallel_block_tied_norm": False,
    "prenorm": False,
    "qkv_proj_bias": False,
    "reorder_and_upcast_attn": False,
    "resid_pdrop": 0.0,
    "rotary_emb_base": 1000,
    "rotary_emb_fraction": 1.0,
    "rotary_emb_interleaved": False,
    "rotary_emb_scale_base": None,
    "rotary_scaling_factor": None,
    "scale_attn_by_inverse_layer_idx": False,
    "scale_attn_weights": True,
    "torch_dtype": "float32",
    "type_vocab_size": 2,
    "use_cache": True,
    "use_flash_attn": True,
    "use_rms_norm": False,
    "use_xentropy": True,
}
# And with them.
NOMIC_NEW = NOMIC_OLD | {
    "hidden_act": "silu",
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 2048,
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "pad_token_id": 0,
    "rope_parameters": {"rope_theta": 1000.0, "rope_type": "default"},
}
# Snowflake/snowflake-arctic-embed-m-v2.0.
GTE = {
    "architectures": ["GteModel"],
    "attention_probs_dropout_prob": 0.0,
    "auto_map": {
        "AutoConfig": "configuration_hf_alibaba_nlp_gte.GteConfig",
        "AutoModel": "modeling_hf_alibaba_nlp_gte.GteModel",
    },
    "classifier_dropout": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": HIDDEN,
    "initializer_range": 0.02,
    "intermediate_size": INNER,
    "layer_norm_eps": 1e-12,
    "layer_norm_type": "layer_norm",
    "logn_attention_clip1": False,
    "logn_attention_scale": False,
    "max_position_embeddings": 8192,
    "model_type": "gte",
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "pack_qkv": True,
    "pad_token_id": 1,
    "position_embedding_type": "rope",
    "rope_scaling": None,
    "rope_theta": 160000,
    "torch_dtype": "float32",
    "type_vocab_size": 1,
    "unpad_inputs": "true",
    "use_memory_efficient_attention": "true",
}
# Alibaba-NLP/gte-multilingual-base: a name of its own, a fixed NTK scaling, and a head in the file.
NEW = GTE | {
    "architectures": ["NewModel"],
    "auto_map": {
        "AutoConfig": "Alibaba-NLP/new-impl--configuration.NewConfig",
        "AutoModel": "Alibaba-NLP/new-impl--modeling.NewModel",
    },
    "classifier_dropout": 0.0,
    "model_type": "new",
    "rope_scaling": {"factor": 8.0, "type": "ntk"},
    "rope_theta": 20000,
}
SIZES = {"hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS}
SIZES |= {"intermediate_size": INNER, "initializer_range": 0.2}
MPNET = {
    "architectures": ["MPNetForMaskedLM"],
    "bos_token_id": 0,
    "eos_token_id": 2,
    "hidden_act": "gelu",
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 514,
    "model_type": "mpnet",
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "pad_token_id": 1,
    "relative_attention_num_buckets": 32,
}
DISTILBERT = {
    "activation": "gelu",
    "architectures": ["DistilBertModel"],
    "dim": HIDDEN,
    "hidden_dim": INNER,
    "max_position_embeddings": 512,
    "model_type": "distilbert",
    "n_heads": HEADS,
    "n_layers": LAYERS,
    "pad_token_id": 0,
    "sinusoidal_pos_embds": False,
    "tie_weights_": True,
}


def write_json(path, content):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def random_model(family, vocabulary):
    torch.manual_seed(13)
    if family == "nomic_bert":
        return NomicBertModel(NomicBertConfig(vocab_size=vocabulary, **SIZES))
    if family == "gte":
        return GteModel(GteConfig(vocab_size=vocabulary, **SIZES))
    if family == "qwen2":
        return Qwen2Model(Qwen2Config(vocab_size=vocabulary, num_key_value_heads=2, **SIZES))
    if family == "mpnet":
        sizes = SIZES | {"max_position_embeddings": 514, "layer_norm_eps": 1e-5, "pad_token_id": 1}
        return MPNetModel(MPNetConfig(vocab_size=vocabulary, **sizes))
    return DistilBertModel(
        DistilBertConfig(
            vocab_size=vocabulary,
            dim=HIDDEN,
            hidden_dim=INNER,
            n_heads=HEADS,
            n_layers=LAYERS,
            initializer_range=0.2,
        )
    )


@pytest.fixture
def build(tmp_path, jina_folder):
    """Makes a folder of a configuration, with tensors under the names of the published file."""

    def make(config, family, prefix="", head=None):
        folder = tmp_path / "model"
        vocabulary = Tokenizer.from_file(str(jina_folder / "tokenizer.json")).get_vocab_size()
        # Saving turns the names of transformers' class back into the published ones.
        random_model(family, vocabulary).save_pretrained(folder)
        tensors = load_file(folder / "model.safetensors")
        renamed = {f"{prefix}{name}": value for name, value in tensors.items()} | (head or {})
        save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
        write_json(folder / "config.json", config | {"vocab_size": vocabulary})
        shutil.copy(jina_folder / "tokenizer.json", folder)
        shutil.copy(jina_folder / "tokenizer_config.json", folder)
        shutil.copy(jina_folder / "modules.json", folder)
        pooling = {"word_embedding_dimension": HIDDEN, "pooling_mode_mean_tokens": True}
        write_json(folder / "1_Pooling" / "config.json", pooling)
        write_json(folder / "2_Normalize" / "config.json", {})
        return folder

    return make


def ids_of(folder, text):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer.encode(text).ids


def ours(folder, texts=TEXTS):
    embedder = load_embedder(str(folder), device="cpu", dtype="float32")
    try:
        return embedder.embed_texts(texts, Task.PASSAGE)
    finally:
        embedder.close()


# What the names of the published files mean, by family: of a fused product, its part is given.
NAMES = {
    "nomic_bert": {
        "norm": "emb_ln",
        "layer": "encoder.layers.{}.",
        "qkv": "attn.Wqkv",
        "out": "attn.out_proj",
        "norm1": "norm1",
        "up": ("mlp.fc11", 0, 1),
        "gate": ("mlp.fc12", 0, 1),
        "down": "mlp.fc2",
        "norm2": "norm2",
    },
    "gte": {
        "norm": "embeddings.LayerNorm",
        "layer": "encoder.layer.{}.",
        "qkv": "attention.qkv_proj",
        "out": "attention.o_proj",
        "norm1": "attn_ln",
        "up": ("mlp.up_gate_proj", 0, 2),
        "gate": ("mlp.up_gate_proj", 1, 2),
        "down": "mlp.down_proj",
        "norm2": "mlp_ln",
    },
}


class Reference:
    """The published architectures of nomic and gte in float64, straight from the file."""

    def __init__(self, file, family, frequencies, prefix=""):
        self.tensors = {name.removeprefix(prefix): value.double() for name, value in load_file(file).items()}
        self.names = NAMES[family]
        self.act = functional.silu if family == "nomic_bert" else functional.gelu
        self.frequencies = frequencies

    def linear(self, states, name, part=0, parts=1):
        weight = self.tensors[f"{name}.weight"].chunk(parts)[part]
        bias = self.tensors.get(f"{name}.bias")
        return functional.linear(states, weight, None if bias is None else bias.chunk(parts)[part])

    def norm(self, states, name):
        return functional.layer_norm(
            states, (HIDDEN,), self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"], 1e-12
        )

    def turned(self, heads):
        angles = torch.arange(heads.shape[1]).double()[:, None] * self.frequencies
        first, second = heads.chunk(2, dim=-1)
        turn = (first * angles.cos() - second * angles.sin(), second * angles.cos() + first * angles.sin())
        return torch.cat(turn, dim=-1)

    def layer(self, states, number):
        names, stem = self.names, self.names["layer"].format(number)
        parts = [self.linear(states, stem + names["qkv"], part, 3) for part in range(3)]
        query, key, value = (part.view(-1, HEADS, HIDDEN // HEADS).transpose(0, 1) for part in parts)
        scores = self.turned(query) @ self.turned(key).transpose(1, 2) / (HIDDEN // HEADS) ** 0.5
        mixed = (scores.softmax(dim=-1) @ value).transpose(0, 1).reshape(-1, HIDDEN)
        states = self.norm(states + self.linear(mixed, stem + names["out"]), stem + names["norm1"])
        up, gate = (self.linear(states, stem + names[key][0], *names[key][1:]) for key in ("up", "gate"))
        down = self.linear(self.act(gate) * up, stem + names["down"])
        return self.norm(states + down, stem + names["norm2"])

    def vector(self, ids):
        words = self.tensors["embeddings.word_embeddings.weight"][ids]
        states = self.norm(
            words + self.tensors["embeddings.token_type_embeddings.weight"][0], self.names["norm"]
        )
        for number in range(LAYERS):
            states = self.layer(states, number)
        return functional.normalize(states.mean(dim=0), dim=0).numpy()


def default_frequencies(base):
    size = HIDDEN // HEADS
    return base ** -(torch.arange(0, size, 2).double() / size)


def fixed_ntk(base, factor):
    """Su Jianlin's fixed NTK scaling, as in Alibaba-NLP/new-impl: https://kexue.fm/archives/9706."""
    return default_frequencies(base * factor) / factor ** (2 / (HIDDEN // HEADS))


HEAD = {"classifier.weight": torch.ones(1, HIDDEN), "classifier.bias": torch.ones(1)}


@pytest.mark.parametrize(
    ("config", "family", "prefix", "head", "frequencies", "positions"),
    [
        (NOMIC_OLD, "nomic_bert", "", None, default_frequencies(1000), 2048),
        (NOMIC_NEW, "nomic_bert", "", None, default_frequencies(1000), 2048),
        (NOMIC_OLD | {"rotary_emb_base": 50}, "nomic_bert", "", None, default_frequencies(50), 2048),
        (GTE, "gte", "", None, default_frequencies(160_000), 8192),
        (NEW, "gte", "new.", HEAD, fixed_ntk(20_000, 8), 8192),
    ],
    ids=["nomic", "nomic with native keys", "nomic with another base", "arctic 2.0", "gte-multilingual"],
)
def test_a_remote_code_repository_loads_through_the_native_class(
    config, family, prefix, head, frequencies, positions, build
):
    folder = build(config, family, prefix, head)
    checkpoint = find_checkpoint(str(folder))
    assert (checkpoint.family, checkpoint.hidden_size) == (family, HIDDEN)
    assert checkpoint.description.max_tokens == positions
    reference = Reference(folder / "model.safetensors", family, frequencies, prefix)
    wanted = [reference.vector(ids_of(folder, text)) for text in TEXTS]
    np.testing.assert_allclose(ours(folder), wanted, atol=5e-6)


@pytest.mark.parametrize(
    ("config", "family", "positions"),
    [
        (MPNET, "mpnet", 512),
        (DISTILBERT, "distilbert", 512),
        (NOMIC_NEW, "nomic_bert", 2048),
        (GTE, "gte", 8192),
    ],
    ids=["mpnet", "distilbert", "nomic", "gte"],
)
def test_a_folder_gives_what_sentence_transformers_gives(config, family, positions, build):
    from sentence_transformers import SentenceTransformer

    folder = build(config, family)
    assert find_checkpoint(str(folder)).description.max_tokens == positions
    texts = [*TEXTS, "capital " * 600] if family == "mpnet" else TEXTS
    found = ours(folder, texts)
    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    model.max_seq_length = 400
    tokens = [len(ids_of(folder, text)) for text in TEXTS]
    assert max(tokens) <= 400
    np.testing.assert_allclose(found[: len(TEXTS)], model.encode(TEXTS), atol=5e-6)
    assert np.isfinite(found).all()


def test_no_code_of_a_repository_is_run(build, tmp_path):
    folder = build(NOMIC_NEW, "nomic_bert")
    code = {"AutoConfig": "evil.NomicBertConfig", "AutoModel": "evil.NomicBertModel"}
    write_json(folder / "config.json", json.loads((folder / "config.json").read_text()) | {"auto_map": code})
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    assert len(ours(folder)) == len(TEXTS)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model_type": "made_up"}, "model_type is 'made_up' and brings code of its own"),
        ({"model_type": None}, "names no model_type"),
        ({"prenorm": True}, "sets prenorm to True"),
        ({"rotary_emb_interleaved": True}, "sets rotary_emb_interleaved to True"),
        ({"rotary_emb_fraction": 0.5}, "sets rotary_emb_fraction to 0.5"),
        ({"rotary_scaling_factor": 2}, "sets rotary_scaling_factor to 2"),
        ({"activation_function": "gelu"}, "sets activation_function to 'gelu'"),
        ({"position_embedding_type": "alibi"}, "sets position_embedding_type to 'alibi'"),
        ({"hidden_size": "many"}, "does not describe a model of type 'nomic_bert'"),
        ({"rope_parameters": {"rope_type": "ntk", "factor": 2.0}}, "scales RoPE by 'ntk'"),
        ({"rotary_emb_base": 500}, "states rotary_emb_base 500, and NomicBertModel computes with 1000"),
        ({"num_hidden_layers": 3}, "tensors are missing"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_what_the_native_class_does_not_compute_is_refused_with_its_value(changes, named, build):
    folder = build(NOMIC_NEW | changes, "nomic_bert")
    with pytest.raises(CheckpointError, match=named) as caught:
        ours(folder)
    assert JINA_V3.name not in str(caught.value)


DECODER = {"model_type": "qwen2", "num_key_value_heads": 2, "max_position_embeddings": 512, **SIZES}


def test_a_decoder_with_code_of_its_own_must_state_which_way_it_reads(build):
    """Alibaba-NLP/gte-Qwen2-7B-instruct does, with `is_causal`."""
    folder = build(DECODER, "qwen2")
    causal = ours(folder)
    remote = {"auto_map": {"AutoModel": "modeling_qwen.Qwen2Model"}}
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", config | remote)
    with pytest.raises(CheckpointError, match=r"modeling_qwen\.Qwen2Model.*sets no is_causal"):
        find_checkpoint(str(folder))
    write_json(folder / "config.json", config | remote | {"is_causal": True})
    np.testing.assert_array_equal(ours(folder), causal)
    write_json(folder / "config.json", config | remote | {"is_causal": False})
    assert np.abs(ours(folder) - causal).max() > 0.01


def test_an_encoder_with_a_decoder_is_refused(jina_copy):
    config = {"model_type": "bart", "d_model": HIDDEN, "vocab_size": 200}
    write_json(jina_copy / "config.json", config)
    with pytest.raises(CheckpointError, match="'bart' is an encoder with a decoder"):
        find_checkpoint(str(jina_copy))


ABSOLUTE = "albert bert camembert data2vec-text distilbert electra ernie lilt longformer luke markuplm mpnet "
ABSOLUTE += "roberta roberta-prelayernorm xlm-roberta xlm-roberta-xl xmod"


@pytest.mark.parametrize("family", ABSOLUTE.split())
def test_a_text_has_as_many_tokens_as_the_table_of_its_family_has_positions(family, tmp_path):
    sizes = SIZES | {"vocab_size": 40, "max_position_embeddings": 60, "num_hidden_layers": 1}
    # MPNet counts from the same position whatever pad_token_id says.
    for pad in (
        ({}, {"pad_token_id": 1}) if family == "mpnet" else ({}, {"pad_token_id": 0}, {"pad_token_id": 3})
    ):
        config = CONFIG_MAPPING[family](**sizes, **pad)
        table = MODEL_MAPPING[type(config)](config).embeddings.position_embeddings
        first = 0 if table.padding_idx is None else table.padding_idx + 1
        stated = native_config(tmp_path, sizes | pad | {"model_type": family})
        assert sizes_of(tmp_path, stated, family)[2] == 60 - first


def test_remote_code_under_a_native_name_is_refused(jina_copy):
    """jinaai/jina-embeddings-v2-base-en calls itself bert and computes ALiBi."""
    config = json.loads((jina_copy / "config.json").read_text())
    remote = {"AutoModel": "jinaai/jina-bert-implementation--modeling_bert.JinaBertModel"}
    changes = {"model_type": "bert", "auto_map": remote, "position_embedding_type": "alibi"}
    write_json(jina_copy / "config.json", config | changes)
    with pytest.raises(
        CheckpointError, match=r"'alibi'.*modeling_bert\.JinaBertModel\) is never run"
    ) as caught:
        find_checkpoint(str(jina_copy))
    assert "same weights" not in str(caught.value)


def test_remote_settings_under_the_name_bert_are_refused(jina_copy):
    config = json.loads((jina_copy / "config.json").read_text())
    changes = {"model_type": "bert", "position_embedding_type": "absolute", "prenorm": True}
    write_json(jina_copy / "config.json", config | changes)
    with pytest.raises(CheckpointError, match="sets prenorm to True"):
        find_checkpoint(str(jina_copy))


def test_both_published_layouts_of_jina_give_equal_vectors(jina, jina_folder, tmp_path):
    folder = tmp_path / "native"
    build_jina(folder, layout="native")
    shutil.copy(jina_folder / "tokenizer.json", folder)  # two that are trained alike may differ
    assert "layers.0.self_attn.q_proj.weight" in load_file(folder / "model.safetensors")
    document = SpannedText("Berlin is the capital. Its inhabitants are many.", (Span(0, 22), Span(23, 48)))
    embedder = load_embedder(str(folder), device="cpu", dtype="float32")
    try:
        for task in Task:
            np.testing.assert_array_equal(embedder.embed_texts(TEXTS, task), jina.embed_texts(TEXTS, task))
        found, wanted = embedder.embed_documents([document])[0], jina.embed_documents([document])[0]
        np.testing.assert_array_equal(found, wanted)
    finally:
        embedder.close()


def test_jina_has_the_published_keys_names_and_limits(jina_folder):
    config = json.loads((jina_folder / "config.json").read_text())
    published = {
        "lora_adaptations",
        "task_instructions",
        "matryoshka_dimensions",
        "rotary_emb_base",
        "lora_rank",
    }
    assert published <= set(config)
    assert "auto_map" not in config
    assert "rope_parameters" not in config
    assert "encoder.layers.0.mixer.Wqkv.weight" in load_file(jina_folder / "model.safetensors")
    for name in JINA_V3.adapters.values():
        lora = json.loads((jina_folder / name / "adapter_config.json").read_text())
        assert (lora["r"], lora["lora_alpha"]) == (4, 1)
    assert find_checkpoint(str(jina_folder)).description.max_tokens == 8192


def test_jinas_rotary_base_is_the_one_its_configuration_states(jina_copy):
    path = jina_copy / "config.json"
    config = json.loads(path.read_text())
    for base in (20_000.0, 300.0):
        write_json(path, config | {"rotary_emb_base": base})
        model = load_model(find_checkpoint(str(jina_copy)), torch.float32, "cpu")
        assert rotary_base(model.rotary_emb.inv_freq) == pytest.approx(base, rel=1e-4)
    write_json(path, config | {"rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0}})
    with pytest.raises(
        CheckpointError, match="rotary_emb_base 20000, and JinaEmbeddingsV3Model computes with 10000"
    ):
        load_embedder(str(jina_copy), device="cpu")


def test_a_class_that_ignores_the_stated_base_is_noticed(jina_copy, monkeypatch):
    """As transformers does with `rotary_emb_base`, where nobody translates it."""
    monkeypatch.setattr(native, "_ALIASES", {})
    path = jina_copy / "config.json"
    write_json(path, json.loads(path.read_text()) | {"rotary_emb_base": 10_000.0})
    with pytest.raises(CheckpointError, match=r"states rotary_emb_base 10000, and .* computes with 20000"):
        load_embedder(str(jina_copy), device="cpu")


class TestTheDefaultModel:
    @pytest.fixture(autouse=True)
    def _cuda(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    @pytest.fixture
    def cached(self, jina_copy, monkeypatch):
        """Jina's weights where the hub's cache would have them."""
        from latewood.embedder.models import sources

        monkeypatch.setattr(sources, "_in_hub_cache", lambda description: jina_copy)
        return jina_copy

    def test_is_jina_where_its_published_files_are(self, cached):
        assert defaults.default_model() == JINA_V3.name

    def test_is_minilm_where_they_are_not(self, monkeypatch, caplog):
        caplog.set_level("INFO")
        assert defaults.default_model() == MINILM.name
        assert f"no weights of {JINA_V3.name}" in caplog.text

    @pytest.mark.parametrize(
        "file", ["config.json", "model.safetensors", "classification/adapter_model.safetensors"]
    )
    def test_is_minilm_where_a_file_is_missing_and_the_log_has_the_reason(self, file, cached, caplog):
        (cached / file).unlink()
        assert defaults.default_model() == MINILM.name
        assert f"{cached / file} is missing" in caplog.text

    @pytest.mark.parametrize(
        "content", ["", "[]", "{}", '{"model_type": "xlm-roberta", "lora_adaptations": []}']
    )
    def test_is_minilm_where_the_configuration_is_of_no_use(self, content, cached, caplog):
        (cached / "config.json").write_text(content)
        assert defaults.default_model() == MINILM.name
        assert str(cached) in caplog.text

    def test_is_minilm_whatever_goes_wrong(self, monkeypatch, caplog):
        def broken(*_):
            raise RuntimeError("the disk is on fire")

        monkeypatch.setattr("latewood.embedder.models.checkpoint.find_checkpoint", broken)
        assert defaults.default_model() == MINILM.name
        assert "the disk is on fire" in caplog.text
