"""Folders in sentence-transformers' layout give the vectors that sentence-transformers gives."""

from __future__ import annotations

import json

import numpy as np
import pytest
from published import publish, reference

from latewood.embedder.models.checkpoint import find_checkpoint
from latewood.embedder.serving.engine import load_embedder
from latewood.embedder.types import CheckpointError, InputError, Span, SpannedText, Task

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


def test_whether_a_prompt_is_pooled_is_part_of_the_fingerprint_where_there_is_one(tmp_path):
    without = publish(tmp_path / "a", "bert", include_prompt=False)
    prompted = publish(tmp_path / "b", "bert", include_prompt=False, prompts={"query": "query: "})
    assert "include_prompt" not in fingerprint(without)
    assert fingerprint(prompted)["include_prompt"] == "false"


def fingerprint(folder):
    embedder = load(folder)
    embedder.close()
    return dict(embedder.fingerprint)


@pytest.mark.parametrize("family", ["bert", "xlm-roberta", "modernbert"])
def test_an_index_stays_valid_where_prompts_were_tokenised_rightly_before(family, tmp_path):
    """WordPiece, XLM-R behind a space and BPE behind a mark had the same tokens apart."""
    folder = publish(tmp_path, family, prompts={"query": "query: ", "document": "passage: "})
    assert ("prompt_tokens" in fingerprint(folder)) == (family == "modernbert")
    edit(folder / "config_sentence_transformers.json", prompts={"query": "query:"})
    assert ("prompt_tokens" in fingerprint(folder)) == (family == "xlm-roberta")
    edit(folder / "config_sentence_transformers.json", prompts={})
    assert "prompt_tokens" not in fingerprint(folder)


def states_of(folder, text, prompt):
    """Token states of sentence-transformers with special tokens, and where each token lies in the text."""
    model = reference(folder)
    states = model.encode([text], prompt=prompt, output_value="token_embeddings", convert_to_numpy=False)[0]
    encoding = model.tokenizer(prompt + text, return_offsets_mapping=True)
    return states.numpy(), np.array(encoding["offset_mapping"]) - len(prompt), encoding["input_ids"]


@pytest.mark.parametrize("family", ["bert", "xlm-roberta", "modernbert"])
def test_late_chunks_are_means_of_the_states_behind_the_prompt(family, tmp_path):
    prompt, text = "Represent the document: ", "Berlin is the capital of Germany. The city is large."
    folder = publish(tmp_path, family, prompts={"query": "", "document": prompt})
    states, offsets, _ = states_of(folder, text, prompt)
    chunks = [(0, 33), (33, len(text))]
    middles = np.minimum(offsets.sum(axis=1), 2 * len(text) - 1) / 2
    pooled = (offsets[:, 1] > 0) & (offsets[:, 1] > offsets[:, 0])  # neither special tokens nor the prompt
    wanted = [states[pooled & (middles >= start) & (middles < end)].mean(axis=0) for start, end in chunks]
    embedder = load(folder, context=1)
    try:
        document = SpannedText(text, tuple(Span(*chunk) for chunk in chunks))
        near = cosines(embedder.embed_documents([document])[0], np.array(wanted))
        assert embedder.token_offsets(text)[0].tolist()[1] == offsets[pooled][0, 1]
        assert len(embedder.token_offsets(text)) == pooled.sum()
    finally:
        embedder.close()
    assert near.min() >= 0.9999


def rows_of(embedder, text, monkeypatch):
    """The rows of a text's late chunk."""
    run, ran = embedder._backbone.run, []
    monkeypatch.setattr(embedder._owner, "_run_batch", lambda task, rows: ran.extend(rows) or run(task, rows))
    embedder.embed_documents([SpannedText(text, (Span(0, len(text)),))])
    return ran


@pytest.mark.parametrize("prompt", ["Represent the document: ", "text:"])
@pytest.mark.parametrize("family", ["bert", "xlm-roberta", "modernbert"])
def test_every_window_begins_with_the_prompt_and_no_window_pools_it(family, prompt, tmp_path, monkeypatch):
    folder = publish(tmp_path, family, prompts={"query": "", "document": prompt})
    words = [
        "Berlin",
        "capital",
        "city",
        "Germany",
        "largest",
        "states",
        "third",
        "area",
        "populous",
        "chunking",
    ]
    text = " ".join(np.random.default_rng(1).choice(words, 250))
    tokenizer = reference(folder).tokenizer
    whole = tokenizer(prompt + text, return_offsets_mapping=True)
    ids, ends = whole["input_ids"], [end for _, end in whole["offset_mapping"]]
    first = next(index for index, end in enumerate(ends) if end > len(prompt))  # of the text
    content = ids[first:-1]
    embedder = load(folder, context=1, window=100)
    try:
        rows = rows_of(embedder, text, monkeypatch)
    finally:
        embedder.close()
    assert len(rows) > 3
    rows.sort(key=lambda row: row.ids[: first + 9].tolist() != ids[: first + 9])
    later = tokenizer(prompt.rstrip())["input_ids"][:-1]
    pooled: list[int] = []
    for number, row in enumerate(rows):
        begin = later if number else ids[:first]
        first = len(begin)
        assert len(row.ids) <= 100
        assert row.ids[:first].tolist() == begin
        assert row.ids[-1] == ids[-1]
        ((start, end, _),) = row.pieces.tolist()
        assert start >= first
        assert end <= len(row.ids) - 1
        window = row.ids[first:-1].tolist()
        (at,) = (at for at in range(len(content)) if content[at : at + len(window)] == window)
        pooled += range(at + start - first, at + end - first)
    assert sorted(pooled) == list(range(len(content)))


def test_a_prompt_that_its_text_parts_differently_is_whole_in_later_windows(tmp_path, monkeypatch):
    """A token of both is the text's; the windows after the first begin with the prompt as it is alone."""
    folder = publish(tmp_path, "modernbert", prompts={"query": "", "document": "der po"})
    tokenizer = reference(folder).tokenizer
    ids = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]  # noqa: E731
    text = "pulous city of Germany. " * 60
    joined = ids("der populous")
    assert joined != ids("der po") + ids("pulous")
    embedder = load(folder, context=1, window=100)
    try:
        rows = rows_of(embedder, text, monkeypatch)
        offsets = embedder.token_offsets(text)
    finally:
        embedder.close()
    first, *later = sorted(rows, key=lambda row: row.ids[1 : 1 + len(joined)].tolist() != joined)
    assert first.ids[1 : 1 + len(joined)].tolist() == joined
    assert len(later) > 3
    for row in later:
        assert row.ids[1 : 1 + len(ids("der po"))].tolist() == ids("der po")
    assert offsets[0, 0] == 0
    assert (np.diff(offsets.sum(axis=1)) >= 0).all()


@pytest.mark.parametrize("pooling", ["cls", "lasttoken"])
def test_without_mean_pooling_there_is_no_late_chunking(pooling, tmp_path):
    folder = publish(tmp_path, "bert", pooling)
    text = "Berlin is the capital. The city is large."
    document = SpannedText(text, (Span(0, 22), Span(22, len(text))))
    embedder = load(folder)
    try:
        assert embedder.description.context == 0
        assert embedder.recorded["context"] == "0"
        theirs = reference(folder).encode(chunks(document))
        assert cosines(embedder.embed_documents([document])[0], theirs).min() > 0.9999
        ((alone, late),) = embedder.embed_documents_both([document])
        np.testing.assert_array_equal(alone, late)
        with pytest.raises(InputError, match=r"context 1 is for models that pool by the mean.*use context 0"):
            embedder.embed_documents([document], context=1.0)
    finally:
        embedder.close()
    with pytest.raises(InputError, match=r"context 0\.5 is for models that pool by the mean.*use context 0"):
        load(folder, context=0.5)
    load(folder, context=0).close()


def chunks(document):
    return [document.text[span.start : span.end] for span in document.spans]


@pytest.mark.parametrize("file", ["sentence_bert_config.json", "tokenizer_config.json"])
def test_what_limits_the_length_limits_the_window(file, tmp_path):
    folder = publish(tmp_path, "bert", prompts={"query": "query: ", "document": ""})
    key = "max_seq_length" if file.startswith("sentence") else "model_max_length"
    edit(folder / file, **{key: 32})
    assert reference(folder).max_seq_length == 32
    embedder = load(folder)
    try:
        assert embedder.description.max_tokens == 32
        assert embedder.recorded["window"] == "32"
    finally:
        embedder.close()
    text = "Berlin is the capital and largest city of Germany. It has more than 3.85 million inhabitants."
    assert_same(folder, [text], Task.QUERY, prompt_name="query")
    with pytest.raises(InputError, match="a window of 33 tokens is more than the 32"):
        load(folder, window=33)
    edit(folder / file, **{key: 0})
    with pytest.raises(CheckpointError, match=f"{file} sets {key} to 0"):
        find_checkpoint(str(folder))


def test_a_folder_that_lowercases_is_followed(tmp_path):
    folder = publish(tmp_path, "xlm-roberta")
    before = fingerprint(folder)
    edit(folder / "sentence_bert_config.json", do_lower_case=True)
    assert_same(folder, TEXTS, Task.QUERY)
    assert fingerprint(folder) == before | {"lowercase": "true"}


def test_the_default_prompt_is_that_of_every_task_without_a_name_of_its_own(tmp_path):
    prompts = {"search": "search: ", "query": "query: ", "clustering": ""}
    folder = publish(tmp_path, "bert", prompts=prompts, default_prompt_name="search")
    path = folder / "config_sentence_transformers.json"
    edit(path, prompts=prompts)  # without the empty `document` that saving adds
    assert_same(folder, TEXTS, Task.QUERY, prompt_name="query")
    assert_same(folder, TEXTS, Task.PASSAGE)  # its `encode` takes the default prompt
    assert_same(folder, TEXTS, Task.CLASSIFICATION)
    assert_same(folder, TEXTS, Task.SEPARATION, prompt_name="clustering")
    edit(path, prompts=prompts | {"document": ""})
    assert Task.PASSAGE not in find_checkpoint(str(folder)).description.prompts
    edit(path, prompts=prompts | {"document": "", "passage": "passage: "})
    assert find_checkpoint(str(folder)).description.prompts[Task.PASSAGE] == "passage: "
    edit(path, default_prompt_name="nothing")
    with pytest.raises(CheckpointError, match="default_prompt_name to 'nothing'; its prompts are search"):
        find_checkpoint(str(folder))


@pytest.mark.parametrize("similarity", ["dot", "euclidean", "manhattan", "maxsim"])
def test_a_similarity_that_ranks_otherwise_than_the_cosine_is_refused(similarity, tmp_path):
    folder = publish(tmp_path, "bert", normalise=False)
    path = folder / "config_sentence_transformers.json"
    edit(path, similarity_fn_name=similarity)
    with pytest.raises(CheckpointError, match=f"similarity_fn_name to '{similarity}'.*by cosine"):
        find_checkpoint(str(folder))
    for name in ("cosine", None):
        edit(path, similarity_fn_name=name)
        find_checkpoint(str(folder))


@pytest.mark.parametrize("similarity", ["dot", "euclidean"])
def test_at_length_1_dot_and_euclidean_rank_as_the_cosine(similarity, tmp_path):
    folder = publish(tmp_path, "bert", similarity_fn_name=similarity)
    model = reference(folder)
    theirs = model.encode(TEXTS)
    embedder = load(folder)
    try:
        ours = embedder.embed_texts(TEXTS, Task.PASSAGE)
    finally:
        embedder.close()
    wanted = np.argsort(-model.similarity(theirs[:1], theirs).numpy()[0])
    assert np.argsort(-(ours[0] @ ours.T)).tolist() == wanted.tolist()
    edit(folder / "config_sentence_transformers.json", similarity_fn_name="manhattan")
    with pytest.raises(CheckpointError, match="manhattan"):
        find_checkpoint(str(folder))


@pytest.mark.parametrize("mode", ["max", "weightedmean", ["cls", "mean"], 7])
def test_another_pooling_is_refused_in_the_new_format(mode, tmp_path):
    folder = publish(tmp_path, "bert")
    edit(folder / "1_Pooling" / "config.json", pooling_mode=mode)
    with pytest.raises(CheckpointError, match="one of mean, cls, lasttoken is supported"):
        find_checkpoint(str(folder))
