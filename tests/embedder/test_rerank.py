"""Cross-encoders: tiny random checkpoints in published layouts, held against transformers' own forward."""

from __future__ import annotations

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaForSequenceClassification

from latewood.embedder.models.registry import BGE_RERANKER_V2_M3, JINA_RERANKER_V2, KNOWN_RERANKERS
from latewood.embedder.models.tokenizer import TextTokenizer
from latewood.embedder.rerank.reranker import load_reranker
from latewood.embedder.types import (
    CheckpointError,
    EmbedderError,
    InputError,
    ModelNotFoundError,
    StoppedError,
)

HIDDEN, POSITIONS = 64, 98
QUERY = "What is the capital of Germany?"
PASSAGES = [
    "Berlin is the capital and largest city of Germany.",
    "Über die Straße läuft ein Bär.",
    "Москва столица России. 日本語のテキスト 👍",
    "city",
]
JINA_CODE = {
    "AutoModelForSequenceClassification": "modeling_xlm_roberta.XLMRobertaForSequenceClassification",
}


def to_jina_names(state):
    """The names that jina-reranker-v2's published file uses: queries, keys and values fused."""
    renamed = {}
    for key, value in state.items():
        new = key.replace("encoder.layer.", "encoder.layers.").replace("embeddings.LayerNorm", "emb_ln")
        new = new.replace("attention.output.dense", "mixer.out_proj")
        new = new.replace("attention.output.LayerNorm", "norm1")
        new = new.replace("intermediate.dense", "mlp.fc1").replace("output.dense", "mlp.fc2")
        new = new.replace("output.LayerNorm", "norm2")
        if ".query." in key:
            fused = torch.cat([state[key.replace("query", part)] for part in ("query", "key", "value")])
            renamed[new.replace("attention.self.query", "mixer.Wqkv")] = fused
        elif ".key." not in key and ".value." not in key:
            renamed[new] = value
    return renamed


def write_model(folder, jina_folder, layout, labels=1):
    folder.mkdir()
    content = json.loads((jina_folder / "tokenizer.json").read_text(encoding="utf-8"))
    post = content["post_processor"]
    first, second = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}
    start, end = ({"SpecialToken": {"id": name, "type_id": 0}} for name in ("<s>", "</s>"))
    post["pair"] = [start, first, end, end, second, end]
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    vocabulary = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size()
    torch.manual_seed(13)
    config = XLMRobertaConfig(
        vocab_size=vocabulary,
        hidden_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=POSITIONS,
        type_vocab_size=1,
        num_labels=labels,
        initializer_range=0.3,
    )
    model = XLMRobertaForSequenceClassification(config).eval()
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    settings = config.to_dict() | {"architectures": ["XLMRobertaForSequenceClassification"]}
    if layout == "jina":
        settings |= {"auto_map": JINA_CODE, "use_flash_attn": True, "position_embedding_type": "absolute"}
        del settings["model_type"]
        state = to_jina_names(state)
    if layout == "pickled":
        torch.save(state, folder / "pytorch_model.bin")
    else:
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    return model


@pytest.fixture(scope="module", params=["bge", "pickled", "jina"])
def cross(request, jina_folder, tmp_path_factory):
    """A folder and the plain model whose weights it holds."""
    folder = tmp_path_factory.mktemp("rerankers") / request.param
    model = write_model(folder, jina_folder, request.param)
    return folder, model


@pytest.fixture(scope="module")
def reranker(cross):
    loaded = load_reranker(str(cross[0]), device="cpu", dtype="float32")
    yield loaded
    loaded.close()


@pytest.fixture
def copy(jina_folder, tmp_path):
    """A checkpoint that a test may break."""
    write_model(tmp_path / "copy", jina_folder, "bge")
    return tmp_path / "copy"


def plain(cross, query, passage):
    """The logistic function of the one logit of transformers' own forward, on a pair its tokenizer made."""
    folder, model = cross
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    ids = torch.tensor([tokenizer.encode(query, passage).ids])
    with torch.no_grad():
        return float(torch.sigmoid(model(input_ids=ids).logits[0, 0]))


def test_scores_are_those_of_a_plain_forward(cross, reranker):
    scores = reranker.score(QUERY, PASSAGES)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, [plain(cross, QUERY, passage) for passage in PASSAGES], atol=1e-5)
    assert np.ptp(scores) > 0.01


def test_a_cross_encoder_of_sentence_transformers_puts_its_default_prompt_before_the_question(copy):
    tokenizer = Tokenizer.from_file(str(copy / "tokenizer.json"))
    names = {"cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(copy)
    without = load_reranker(str(copy), device="cpu", dtype="float32")
    stated = {"prompts": {"web": "Find the passage: "}, "default_prompt_name": "web"}
    (copy / "config_sentence_transformers.json").write_text(json.dumps(stated), encoding="utf-8")
    reranker = load_reranker(str(copy), device="cpu", dtype="float32")
    theirs = CrossEncoder(str(copy), device="cpu", **stated)
    try:
        scores = reranker.score(QUERY, PASSAGES)
        wanted = theirs.predict([(QUERY, passage) for passage in PASSAGES])
        np.testing.assert_allclose(scores, wanted, atol=1e-5)
        assert abs(scores - without.score(QUERY, PASSAGES)).max() > 1e-3
        assert reranker.fingerprint == {**without.fingerprint, "prompt": "Find the passage: "}
        with pytest.raises(InputError, match="the query has"):
            reranker.score("", PASSAGES)
    finally:
        reranker.close()
        without.close()


def test_a_passage_longer_than_the_model_reads_counts_as_its_best_window(cross, reranker):
    words = ("Berlin is the capital of Germany and a city in terms of area " * 12).split()
    passage = " ".join(words)
    tokens = TextTokenizer(cross[0]).encode(passage)
    query = TextTokenizer(cross[0]).encode(QUERY)
    room = POSITIONS - 2 - 4 - len(query)
    overlap = room // 5
    count = -(-(len(tokens) - overlap) // (room - overlap))
    length = -(-(len(tokens) + (count - 1) * overlap) // count)
    assert count > 3
    logits = []
    for index in range(count):
        first = index * (len(tokens) - length) // (count - 1)
        window = tokens.ids[first : first + length].tolist()
        ids = torch.tensor([[0, *query.ids.tolist(), 2, 2, *window, 2]])
        with torch.no_grad():
            logits.append(float(cross[1](input_ids=ids).logits[0, 0]))
    best = 1 / (1 + np.exp(-max(logits)))
    assert reranker.score(QUERY, ["city", passage])[1] == pytest.approx(best, abs=1e-5)
    assert np.ptp(logits) > 1e-3


def test_a_question_longer_than_half_of_what_the_model_reads_is_refused(reranker):
    with pytest.raises(InputError, match=r"takes 1 to 48.*shorter question"):
        reranker.score("Berlin city " * 60, PASSAGES)


@pytest.mark.parametrize("query", ["", "  \n"])
def test_a_question_without_tokens_is_refused(query, reranker):
    with pytest.raises(InputError, match="the query has 0 tokens"):
        reranker.score(query, PASSAGES)


def test_a_passage_without_tokens_scores_below_any_other_and_no_passages_give_no_scores(reranker):
    blank, found, empty = reranker.score(QUERY, ["   ", "Berlin", ""])
    assert blank == empty == 0 < found
    assert found == pytest.approx(reranker.score(QUERY, ["Berlin"])[0], rel=1e-6)
    assert reranker.score(QUERY, []).shape == (0,)


def test_nul_and_lone_surrogates_are_read_as_unknown_characters(reranker):
    # Each by itself: two rows of one product may differ by 4e-6.
    odd, clean = (
        reranker.score(QUERY, [one])[0] for one in ("Berlin \x00\ud800 city", "Berlin \ufffd\ufffd city")
    )
    assert odd == pytest.approx(clean, rel=1e-6)


def test_eight_threads_get_what_one_gets(reranker):
    work = [(f"{QUERY} {number}", PASSAGES[number % 3 :] * (1 + number % 3)) for number in range(32)]
    alone = [reranker.score(*one) for one in work]
    barrier = threading.Barrier(8)

    def serve(number):
        barrier.wait(30)
        return [reranker.score(*work[index]) for index in range(number, 32, 8)]

    with ThreadPoolExecutor(8) as pool:
        for number, got in enumerate(pool.map(serve, range(8))):
            for index, scores in zip(range(number, 32, 8), got, strict=True):
                np.testing.assert_allclose(scores, alone[index], atol=1e-5)


def test_whoever_stops_waiting_is_told_so(reranker, monkeypatch):
    entered, go_on = threading.Event(), threading.Event()
    run = reranker._owner._run_batch

    def held(task, rows):
        entered.set()
        assert go_on.wait(30)
        return run(task, rows)

    monkeypatch.setattr(reranker._owner, "_run_batch", held)
    try:
        with pytest.raises(StoppedError):
            reranker.score(QUERY, PASSAGES, entered.is_set)
    finally:
        go_on.set()


def test_the_fingerprint_names_the_weights(cross, reranker):
    assert reranker.fingerprint["model"] == reranker.description.name == cross[0].name
    assert len(reranker.fingerprint["weights"]) == 64


def test_a_model_that_gives_nan_is_an_error(copy):
    tensors = load_file(copy / "model.safetensors")
    tensors["roberta.encoder.layer.1.output.dense.bias"].fill_(float("nan"))
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    loaded = load_reranker(str(copy), device="cpu", dtype="float32")
    try:
        with pytest.raises(EmbedderError, match="not finite"):
            loaded.score(QUERY, PASSAGES)
    finally:
        loaded.close()


def test_a_closed_reranker_refuses(copy):
    loaded = load_reranker(str(copy), device="cpu")
    assert ((loaded.score(QUERY, PASSAGES) > 0) & (loaded.score(QUERY, PASSAGES) < 1)).all()
    loaded.close()
    with pytest.raises(EmbedderError, match="closed"):
        loaded.score(QUERY, PASSAGES)


def edit_json(file, **changes):
    content = json.loads(file.read_text(encoding="utf-8")) | changes
    file.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize(
    "changes",
    [
        {"architectures": ["JinaForRanking"], "auto_map": {"AutoModel": "modeling.JinaForRanking"}},
        {"architectures": ["XLMRobertaModel"]},
        {"position_embedding_type": "alibi"},
        {"architectures": None},
    ],
    ids=["remote code", "no head", "other positions", "no architecture"],
)
def test_a_model_that_is_no_cross_encoder_is_refused_with_those_that_are(copy, changes):
    edit_json(copy / "config.json", **changes)
    with pytest.raises(CheckpointError, match=BGE_RERANKER_V2_M3.name):
        load_reranker(str(copy))


def test_code_of_its_own_is_said_to_be_the_reason(copy):
    edit_json(copy / "config.json", architectures=["JinaForRanking"], auto_map={})
    with pytest.raises(CheckpointError, match="code of its own, which is never run"):
        load_reranker(str(copy))


def test_a_head_of_several_labels_is_refused(jina_folder, tmp_path):
    write_model(tmp_path / "three", jina_folder, "bge", labels=3)
    with pytest.raises(CheckpointError, match=r"\(3, 64\).*one label"):
        load_reranker(str(tmp_path / "three"))


@pytest.mark.parametrize("name", ["classifier.out_proj.bias", "roberta.encoder.layer.1.output.dense.weight"])
def test_a_missing_tensor_is_refused(copy, name):
    tensors = load_file(copy / "model.safetensors")
    del tensors[name]
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="again from"):
        load_reranker(str(copy), device="cpu")


def test_a_tensor_too_many_in_the_other_layout_is_refused(jina_folder, tmp_path):
    write_model(tmp_path / "odd", jina_folder, "jina")
    tensors = load_file(tmp_path / "odd" / "model.safetensors")
    tensors["roberta.encoder.layers.0.mixer.rotary.weight"] = torch.zeros(2)
    save_file(tensors, tmp_path / "odd" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="left over"):
        load_reranker(str(tmp_path / "odd"), device="cpu")


def test_a_file_that_was_cut_short_is_refused(copy):
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_reranker(str(copy), device="cpu")


def test_a_tokenizer_that_joins_no_pairs_is_refused(copy, jina_folder):
    content = json.loads((jina_folder / "tokenizer.json").read_text(encoding="utf-8"))
    content["post_processor"] = None
    (copy / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(CheckpointError, match="nothing between them"):
        load_reranker(str(copy), device="cpu")


def test_an_unknown_name_lists_the_known_ones_and_a_missing_one_says_what_to_put_where():
    with pytest.raises(ModelNotFoundError, match=BGE_RERANKER_V2_M3.name):
        load_reranker("bge-reranker")
    with pytest.raises(ModelNotFoundError, match=rf"{JINA_RERANKER_V2.revision}.*CC BY-NC 4\.0"):
        load_reranker(JINA_RERANKER_V2.name)


def test_every_known_reranker_has_a_licence_and_a_pinned_revision():
    for model in KNOWN_RERANKERS.values():
        assert model.licence
        assert len(model.revision) == 40


def test_a_reranker_is_found_in_the_local_hub_cache(copy, tmp_path, monkeypatch):
    from huggingface_hub import constants

    repository = tmp_path / "cache" / "models--BAAI--bge-reranker-v2-m3"
    snapshot = repository / "snapshots" / BGE_RERANKER_V2_M3.revision
    shutil.copytree(copy, snapshot)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    loaded = load_reranker(BGE_RERANKER_V2_M3.name, device="cpu")
    try:
        assert loaded.description.name == BGE_RERANKER_V2_M3.name
        assert loaded.description.max_tokens == POSITIONS - 2
        assert Path(loaded._cross.encoder.folder) == snapshot
    finally:
        loaded.close()
