"""Weights read without transformers are those that transformers reads."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM, BertModel, XLMRobertaConfig, XLMRobertaModel

from latewood.embedder.encoder.backbone import load_backbone
from latewood.embedder.encoder.bert_modules import Layers, is_plain, read_plain
from latewood.embedder.models.checkpoint import find_checkpoint
from latewood.embedder.models.registry import MINILM
from latewood.embedder.models.weights import PIECE, Place, read_tensor, stored_tensors
from latewood.embedder.types import CheckpointError

SIZES = {
    "vocab_size": 300,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "max_position_embeddings": 130,
}


def write(folder, model, state=None, **changes):
    (folder / "1_Pooling").mkdir(parents=True, exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}', encoding="utf-8")
    config = model.config.to_dict() | changes
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    state = model.state_dict() if state is None else state
    tensors = {key: value.clone() for key, value in state.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture
def bert():
    torch.manual_seed(2)
    return BertModel(BertConfig(**SIZES), add_pooling_layer=False).eval()


def parameters(read):
    """All tensors of what `read_plain` gave, by transformers' names."""
    found = {}

    def walk(name, value):
        if isinstance(value, torch.Tensor):
            found[name] = value
        elif isinstance(value, Layers):
            for number, item in enumerate(value):
                walk(f"{name}.{number}", item)
        elif hasattr(value, "__dict__"):
            for key, item in vars(value).items():
                walk(f"{name}.{key}".removeprefix("."), item)

    walk("embeddings", read.embeddings)
    walk("encoder", read.encoder)
    return found


def assert_equal(read, model):
    found = parameters(read)
    wanted = {name: value for name, value in model.named_parameters() if not name.startswith("pooler.")}
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert torch.equal(found[name], value), name


def plain(folder, dtype=torch.float32):
    checkpoint = find_checkpoint(str(folder))
    assert is_plain(checkpoint)
    return read_plain(checkpoint, dtype, "cpu")


@pytest.mark.parametrize("family", ["bert", "xlm-roberta"])
def test_every_parameter_is_the_one_transformers_reads(family, tmp_path):
    torch.manual_seed(1)
    known = {"bert": (BertConfig, BertModel), "xlm-roberta": (XLMRobertaConfig, XLMRobertaModel)}
    config, model = known[family]
    built = model(config(**SIZES))
    assert_equal(plain(write(tmp_path / "model", built)), built)


def test_a_file_of_a_model_with_a_head_and_with_old_names_is_read(tmp_path):
    torch.manual_seed(1)
    whole = BertForMaskedLM(BertConfig(**SIZES))
    state = {
        key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for key, value in whole.state_dict().items()
    }
    assert_equal(plain(write(tmp_path / "model", whole, state)), whole.bert)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_formats_are_converted_on_their_way(dtype, bert, tmp_path):
    state = {key: value.to(dtype) for key, value in bert.state_dict().items()}
    found = parameters(plain(write(tmp_path / "model", bert, state), torch.bfloat16))
    for name, value in state.items():
        wanted = torch.float32 if "LayerNorm" in name else torch.bfloat16  # norms run in float32
        assert found[name].dtype == wanted
        assert torch.equal(found[name], value.to(wanted)), name


@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize(
    ("dtype", "name"),
    [(torch.float8_e4m3fn, "F8_E4M3|float8_e4m3fn"), (torch.int8, "I8|int8"), (torch.int64, "I64|int64")],
)
def test_weights_in_a_format_whose_values_are_no_weights_are_refused(dtype, name, pickled, bert, tmp_path):
    state = dict(bert.state_dict())
    key = "encoder.layer.1.output.dense.weight"
    state[key] = state[key].to(dtype)
    folder = write(tmp_path / "model", bert, state)
    if pickled:
        torch.save(state, folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    message = rf"{key} in .* is stored as ({name}); weights must be one of F64, F32, F16, BF16\. Use"
    with pytest.raises(CheckpointError, match=message):
        load_backbone(find_checkpoint(str(folder)), "cpu", "float32")


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.int8])
def test_they_are_refused_on_the_way_through_transformers_too(dtype, bert, tmp_path):
    state = {key: value.to(dtype) if value.ndim == 2 else value for key, value in bert.state_dict().items()}
    folder = write(tmp_path / "model", bert, state, hidden_act="relu")
    with pytest.raises(CheckpointError, match="weights must be one of F64, F32, F16, BF16"):
        load_backbone(find_checkpoint(str(folder)), "cpu", "float32")


def test_positions_in_whole_numbers_are_no_weights(bert, tmp_path):
    state = bert.state_dict() | {"embeddings.position_ids": torch.arange(130)[None]}
    assert_equal(plain(write(tmp_path / "model", bert, state)), bert)


def test_a_pickled_file_gives_the_same(bert, tmp_path):
    folder = write(tmp_path / "model", bert)
    torch.save(bert.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert_equal(plain(folder), bert)


def test_a_tensor_of_many_pieces_and_a_part_of_one_are_read_whole(tmp_path):
    values = torch.randn(3 * 7, PIECE // 10)
    save_file({"long": values, "none": torch.zeros(0)}, tmp_path / "a.safetensors")
    stored = stored_tensors([tmp_path / "a.safetensors"])
    assert torch.equal(read_tensor(stored, Place("long"), torch.float32), values)
    assert torch.equal(read_tensor(stored, Place("long", 1, 3), torch.float32), values[7:14])
    assert read_tensor(stored, Place("none"), torch.float32).shape == (0,)


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("encoder.layer.1.attention.self.key.bias"),
        lambda state: state.update({"encoder.layer.2.output.dense.bias": torch.zeros(64)}),
        lambda state: state.update({"encoder.layer.0.output.dense.bias": torch.zeros(65)}),
        lambda state: state.update({"embeddings.word_embeddings.weight": torch.zeros(299, 64)}),
    ],
    ids=["missing", "left over", "another shape", "other words"],
)
def test_tensors_that_do_not_fit_are_refused(change, bert, tmp_path):
    state = bert.state_dict()
    change(state)
    with pytest.raises(CheckpointError, match=r"1 tensors are missing, left over or of another shape"):
        plain(write(tmp_path / "model", bert, state))


def cut_short(data):
    return data[:-1]


def long_header(data):
    return (2**40).to_bytes(8, "little") + data[8:]


def broken_header(data):
    return data[:8] + b"!" + data[9:]


@pytest.mark.parametrize("damage", [cut_short, long_header, broken_header, lambda data: b""])
def test_a_damaged_file_is_refused(damage, bert, tmp_path):
    folder = write(tmp_path / "model", bert)
    weights = folder / "model.safetensors"
    weights.write_bytes(damage(weights.read_bytes()))
    with pytest.raises(CheckpointError, match="cannot be read"):
        plain(folder)


def test_a_tensor_whose_shape_does_not_fit_its_bytes_is_refused(tmp_path):
    header = json.dumps({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(CheckpointError, match=r"shape \(3,\) is said to take"):
        stored_tensors([tmp_path / "a.safetensors"])


@pytest.mark.parametrize("changes", [{"hidden_act": "relu"}, {"is_decoder": True}])
def test_what_transformers_must_compute_is_left_to_it(changes, bert, tmp_path):
    assert not is_plain(find_checkpoint(str(write(tmp_path / "model", bert, **changes))))


COLD = """
import sys
from latewood.embedder.serving.engine import load_embedder
from latewood.embedder.types import Task

embedder = load_embedder(sys.argv[1], device="cpu")
assert embedder.embed_texts(["Berlin"], Task.QUERY).shape == (1, 384)
embedder.close()
heavy = {"transformers", "peft", "huggingface_hub", "sympy", "scipy", "sklearn", "torch._dynamo"}
sys.exit(", ".join(sorted(heavy & sys.modules.keys())) or 0)
"""


def test_the_first_answer_of_minilm_needs_no_transformers():
    finished = subprocess.run(
        [sys.executable, "-c", COLD, MINILM.name], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr


def test_weights_in_parts_are_read_from_all_of_them(bert, tmp_path):
    folder = write(tmp_path / "model", bert)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    halves = [dict(list(tensors.items())[number::2]) for number in range(2)]
    index = {}
    for number, half in enumerate(halves):
        save_file(half, folder / f"part-{number}.safetensors", metadata={"format": "pt"})
        index |= dict.fromkeys(half, f"part-{number}.safetensors")
    content = json.dumps({"weight_map": index})
    (folder / "model.safetensors.index.json").write_text(content, encoding="utf-8")
    assert_equal(plain(folder), bert)


def test_a_model_with_adapters_is_not_plain(jina_folder):
    assert not is_plain(find_checkpoint(str(jina_folder)))
