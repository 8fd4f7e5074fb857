from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers.models.jina_embeddings_v3.modeling_jina_embeddings_v3 import JinaEmbeddingsV3Model

from latewood.embedder.encoder.backbone import available_cores
from latewood.embedder.encoder.pooling import blend
from latewood.embedder.encoder.windows import overlap_of, plan_windows
from latewood.embedder.models.checkpoint import find_checkpoint
from latewood.embedder.models.registry import JINA_V3, MINILM
from latewood.embedder.serving.engine import load_embedder
from latewood.embedder.types import EmbedderError, InputError, Span, SpannedText, StoppedError, Task

PIECES = [
    "Berlin",
    " is the capital",
    ". ",
    "\n\n",
    "Über die Straße",
    " Москва",
    "日本語のテキスト",
    "👍🏽",
    "العربية",
    "3.85",
]
TEXT = (
    "Berlin is the capital and largest city of Germany. Its more than 3.85 million inhabitants make it the "
    "most populous city. The city is one of the states of Germany. 日本語のテキスト。 "
    "Über die Straße läuft ein Bär."
)


def cosines(ours, theirs):
    theirs = theirs / np.linalg.norm(theirs, axis=1, keepdims=True)
    return (ours * theirs).sum(axis=1)


def spanned(text, *borders):
    return SpannedText(text, tuple(Span(start, end) for start, end in pairwise([0, *borders, len(text)])))


class Reference:
    """The paper's algorithm, written plainly, on a model whose adapter was merged by hand."""

    def __init__(self, folder, task):
        self.prompt = JINA_V3.prompts.get(task, "")
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.model = JinaEmbeddingsV3Model.from_pretrained(folder, dtype=torch.float32).eval()
        weights = dict(self.model.named_parameters())
        adapter = folder / JINA_V3.adapters[task]
        lora = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
        tensors = load_file(adapter / "adapter_model.safetensors")
        for key, first in tensors.items():
            if "lora_A" not in key and "lora_embedding_A" not in key:
                continue
            second = tensors[key.replace("_A", "_B")]
            change = second @ first * (lora["lora_alpha"] / lora["r"])
            name = key.removeprefix("base_model.model.").split(".lora_")[0] + ".weight"
            weights[name].data += change.T if "embedding" in key else change

    def states(self, ids):
        with torch.no_grad():
            return self.model(input_ids=torch.tensor([ids])).last_hidden_state[0].numpy()

    def late_chunks(self, document):
        """arXiv 2409.04701, figure 2: embed the whole text, then average the tokens of each chunk."""
        encoding = self.tokenizer.encode(self.prompt + document.text)
        states = self.states(encoding.ids)
        chunks = []
        for span in document.spans:
            inside = [
                state
                for state, (start, end), special in zip(
                    states, encoding.offsets, encoding.special_tokens_mask, strict=True
                )
                if not special and span.start <= (start + end) / 2 - len(self.prompt) < span.end
            ]
            chunks.append(np.mean(inside, axis=0))
        return np.array(chunks)


@pytest.fixture(scope="module")
def passage_reference(jina_folder):
    return Reference(jina_folder, Task.PASSAGE)


@st.composite
def documents(draw):
    """A text and spans of it that hold a word each, so that none is without tokens."""
    parts = draw(st.lists(st.lists(st.sampled_from(PIECES), max_size=6), min_size=1, max_size=6))
    texts = ["".join(["city ", *part, " "]) for part in parts]
    return spanned("".join(texts), *np.cumsum([len(text) for text in texts])[:-1].tolist())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=documents())
def test_late_chunking_is_exact_against_the_paper(document, jina, passage_reference):
    (ours,) = jina.embed_documents([document])
    assert ours.dtype == np.float32
    assert cosines(ours, passage_reference.late_chunks(document)).min() >= 0.99999


def test_a_document_longer_than_the_window_takes_each_token_where_it_stands_furthest_from_an_edge(
    jina_folder, passage_reference
):
    embedder = load_embedder(str(jina_folder), device="cpu", dtype="float32", window=64)
    document = spanned(TEXT * 6, 100, 101, 500, 900)
    try:
        (ours,) = embedder.embed_documents([document])
    finally:
        embedder.close()
    tokenizer = passage_reference.tokenizer
    prompt = tokenizer.encode(JINA_V3.prompts[Task.PASSAGE].rstrip(), add_special_tokens=False).ids
    content = tokenizer.encode(document.text, add_special_tokens=False)
    room = 64 - 2 - len(prompt)
    count = -(-(len(content.ids) - room // 5) // (room - room // 5))
    length = -(-(len(content.ids) + (count - 1) * (room // 5)) // count)
    assert count > 5
    best = [(-1, None)] * len(content.ids)
    for index in range(count):
        first = index * (len(content.ids) - length) // (count - 1)
        states = passage_reference.states([0, *prompt, *content.ids[first : first + length], 2])
        for place in range(length):
            distance = min(place, length - 1 - place)
            if distance >= best[first + place][0]:
                best[first + place] = (distance, states[1 + len(prompt) + place])
    chunks = [
        np.mean(
            [best[i][1] for i, (a, b) in enumerate(content.offsets) if s.start <= (a + b) / 2 < s.end], axis=0
        )
        for s in document.spans
    ]
    assert cosines(ours, np.array(chunks)).min() >= 0.99999


@pytest.mark.parametrize("borders", [(51, 120), ()], ids=["three chunks", "one chunk"])
@pytest.mark.parametrize("window", [8192, 64])
def test_context_one_is_late_and_context_zero_is_each_chunk_alone(borders, window, jina_folder):
    document = spanned(TEXT, *borders)
    chunks = [TEXT[span.start : span.end] for span in document.spans]
    vectors = {}
    for context in (0, 0.25, 1):
        embedder = load_embedder(
            str(jina_folder), device="cpu", dtype="float32", context=context, window=window
        )
        try:
            (vectors[context],) = embedder.embed_documents([document])
            alone = embedder.embed_texts(chunks, Task.PASSAGE)
            assert embedder.recorded["context"] == str(context)
        finally:
            embedder.close()
    assert cosines(vectors[0], alone).min() >= 0.99999
    assert abs(vectors[1] - alone).max() > 2e-4
    mixed = 0.25 * vectors[1] + 0.75 * alone
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors[0.25], mixed, atol=1e-5)


class Led:
    """The states of a text's tokens behind special tokens, prompt and lead, from the plain model."""

    def __init__(self, reference):
        self.reference = reference
        self.prompt = self.ids(JINA_V3.prompts[Task.PASSAGE].rstrip())

    def ids(self, text):
        return self.reference.tokenizer.encode(text, add_special_tokens=False).ids

    def states(self, lead, content):
        before = [0, *self.prompt, *lead]
        return self.reference.states([*before, *content, 2])[len(before) : -1]


LEADS = ("Berlin > Inhabitants", "Москва", "Berlin > The states of Germany")


@pytest.fixture
def led(jina_folder):
    embedder = load_embedder(str(jina_folder), device="cpu", dtype="float32", lead=True)
    yield embedder
    embedder.close()


def test_a_lead_stands_before_a_window_and_is_not_pooled(led, jina, passage_reference):
    document = spanned(TEXT, 51, 120)
    (ours,) = led.embed_documents([replace(document, leads=LEADS)])
    plain = Led(passage_reference)
    content = passage_reference.tokenizer.encode(TEXT, add_special_tokens=False)
    states = plain.states(plain.ids(LEADS[0]), content.ids)
    middles = [(start + end) / 2 for start, end in content.offsets]
    chunks = [
        states[[span.start <= middle < span.end for middle in middles]].mean(axis=0)
        for span in document.spans
    ]
    assert cosines(ours, np.array(chunks)).min() >= 0.99999
    assert led.recorded["lead"] == "title and headings"
    (without,) = led.embed_documents([document])
    (off,) = jina.embed_documents([replace(document, leads=LEADS)])
    np.testing.assert_allclose(without, off, atol=1e-6)
    assert "lead" not in jina.recorded
    assert abs(ours - without).max() > 1e-4


def test_each_window_stands_behind_the_lead_of_the_span_it_begins_in(jina_folder, passage_reference):
    long_lead = "most populous city of Germany in terms of area " * 20
    text = TEXT * 3
    document = SpannedText(text, (Span(0, 250), Span(250, len(text))), ("Berlin", long_lead))
    embedder = load_embedder(str(jina_folder), device="cpu", dtype="float32", window=128, lead=True)
    try:
        (ours,) = embedder.embed_documents([document])
    finally:
        embedder.close()
    plain = Led(passage_reference)
    content = passage_reference.tokenizer.encode(text, add_special_tokens=False)
    room = 128 - 2 - len(plain.prompt)
    leads = [plain.ids("Berlin"), plain.ids(long_lead)[: room // 8]]
    middles = np.array([(start + end) / 2 for start, end in content.offsets])
    windows = plan_windows(len(content.ids), room - room // 8, overlap_of(room - room // 8))
    assert len(windows) > 2
    states = np.zeros((len(content.ids), 64), dtype=np.float32)
    for window in windows:
        lead = leads[int(middles[window.start] >= 250)]
        got = plain.states(lead, content.ids[window.start : window.end])
        states[window.keep_start : window.keep_end] = got[
            window.keep_start - window.start : window.keep_end - window.start
        ]
    chunks = np.array([states[middles < 250].mean(axis=0), states[middles >= 250].mean(axis=0)])
    assert cosines(ours, chunks).min() >= 0.99999


def test_leads_that_are_not_one_for_each_span_are_refused():
    with pytest.raises(InputError, match="2 leads for 1 spans"):
        SpannedText("Berlin", (Span(0, 6),), ("a", "b"))


def test_a_document_of_one_chunk_is_run_once_for_both_ends_of_the_dial(jina_folder, monkeypatch):
    embedder = load_embedder(str(jina_folder), device="cpu", dtype="float32", context=0.5, window=64)
    run, ran = backbone_of(embedder).run, []
    monkeypatch.setattr(embedder._owner, "_run_batch", lambda task, rows: ran.extend(rows) or run(task, rows))
    try:
        embedder.embed_documents([spanned("Berlin")])
        assert len(ran) == 1
        embedder.embed_documents([spanned("Berlin is", 6)])
        assert len(ran) == 1 + 3
    finally:
        embedder.close()


def backbone_of(embedder):
    return embedder._backbone


def test_minilm_gives_the_vectors_of_a_plain_forward_pass(minilm):
    from transformers import AutoTokenizer, BertModel

    folder = find_checkpoint(MINILM.name).folder
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
    texts = ["What is late chunking?", "Berlin is the capital of Germany.", TEXT, "naïve 東京 👍 \x00 x"]
    for text, ours in zip(texts, minilm.embed_texts(texts, Task.QUERY), strict=True):
        inputs = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            states = model(**inputs).last_hidden_state[0].numpy()
        assert cosines(ours[None], states.mean(axis=0, keepdims=True)).min() >= 0.99999


def test_bfloat16_stays_close_to_float32(minilm):
    """Above all texts of a few tokens, whose errors no mean evens out."""
    words = (TEXT + " 42 % way . } x = 1 über die Straße").split()
    texts = ["way", ".", "x", " way .", "}\n}"]
    for size in (1, 2, 5, 13):
        texts += [" ".join(words[at : at + size]) for at in range(0, len(words) - size, 3)]
    embedder = load_embedder(MINILM.name, device="cpu", dtype="bfloat16")
    try:
        close = cosines(embedder.embed_texts(texts, Task.PASSAGE), minilm.embed_texts(texts, Task.PASSAGE))
    finally:
        embedder.close()
    assert close.min() >= 0.9999


@pytest.mark.parametrize("task", list(Task))
def test_each_task_has_its_own_adapter_and_prompt(task, jina, jina_folder):
    text = "Berlin is the capital"
    reference = Reference(jina_folder, task)
    ours = jina.embed_texts([text], task)
    pooled = reference.states(reference.tokenizer.encode(reference.prompt + text).ids).mean(
        axis=0, keepdims=True
    )
    assert cosines(ours, pooled).min() >= 0.99999
    for other in set(Task) - {task}:
        assert cosines(ours, jina.embed_texts([text], other)).max() < 0.99


def test_eight_threads_with_mixed_tasks_get_what_one_thread_gets(jina):
    tasks = list(Task)
    work = [(tasks[i % 5], [TEXT[i : i + 20 + 7 * i], "Berlin"]) for i in range(40)]
    document = spanned(TEXT, 60, 130)
    alone = [jina.embed_texts(texts, task) for task, texts in work]
    late = jina.embed_documents([document])[0]
    barrier = threading.Barrier(8)

    def serve(number):
        barrier.wait(30)
        got = [jina.embed_texts(work[i][1], work[i][0]) for i in range(number, 40, 8)]
        return got, jina.embed_documents([document])[0]

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(serve, range(8)))
    for number, (texts, whole) in enumerate(results):
        for i, got in zip(range(number, 40, 8), texts, strict=True):
            np.testing.assert_allclose(got, alone[i], atol=2e-5)
        np.testing.assert_allclose(whole, late, atol=2e-5)


@pytest.mark.parametrize("kind", ["texts", "documents"])
def test_who_stops_waiting_is_told_so_and_leaves_the_queue(kind, jina_folder, monkeypatch):
    embedder = load_embedder(str(jina_folder), device="cpu", dtype="float32")
    run, entered, go_on, ran = backbone_of(embedder).run, threading.Event(), threading.Event(), []

    def held(task, rows):
        ran.append(task)
        entered.set()
        assert go_on.wait(30)
        return run(task, rows)

    monkeypatch.setattr(embedder._owner, "_run_batch", held)
    try:
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(embedder.embed_texts, ["Berlin"], Task.QUERY)
            assert entered.wait(30)
            ask = {
                "texts": lambda: embedder.embed_texts(["city"], Task.SEPARATION, lambda: True),
                "documents": lambda: embedder.embed_documents([spanned("city")], lambda: True),
            }
            with pytest.raises(StoppedError):
                ask[kind]()
            go_on.set()
            first.result(30)
            assert embedder.embed_texts(["Germany"], Task.CLASSIFICATION).shape == (1, 64)
    finally:
        go_on.set()
        embedder.close()
    assert ran == [Task.QUERY, Task.CLASSIFICATION]


END_WITHOUT_CLOSING = """
import contextlib, sys, threading
from latewood.embedder.serving.engine import load_embedder
from latewood.embedder.types import EmbedderError, Span, SpannedText, Task

embedder = load_embedder(sys.argv[1], device="cpu")
embedder.embed_texts(["Berlin"], Task.QUERY)
text = "Berlin is the capital of Germany. " * 20000
long = SpannedText(text, (Span(0, len(text)),))
started = threading.Event()


def embed():
    with contextlib.suppress(EmbedderError):
        embedder.embed_documents([long], lambda: started.set() or False)


threading.Thread(target=embed, daemon=True).start()
assert started.wait(60)
"""


def test_a_process_that_ends_in_the_middle_of_a_document_ends_cleanly(jina_folder):
    command = [sys.executable, "-c", END_WITHOUT_CLOSING, str(jina_folder)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=480)
    assert (finished.returncode, finished.stderr) == (0, "")


def test_documents_of_all_lengths_together_equal_one_by_one(minilm):
    texts = [(TEXT + "\n") * count for count in (1, 7, 3, 1, 12)]
    asked = [spanned(text, *range(90, len(text) - 90, 90)) for text in texts]
    together = minilm.embed_documents(asked)
    for ours, document in zip(together, asked, strict=True):
        assert ours.shape == (len(document.spans), 384)
        np.testing.assert_allclose(ours, minilm.embed_documents([document])[0], atol=2e-5)


def test_token_offsets_are_those_the_spans_are_held_against(jina):
    offsets = jina.token_offsets(TEXT)
    assert offsets.dtype == np.int64
    assert offsets[0].tolist()[0] == 0
    assert offsets[-1].tolist()[1] == len(TEXT)


@pytest.mark.parametrize("empty", ["", "   ", "\n\u00a0"])
def test_a_text_without_tokens_is_refused(empty, minilm):
    with pytest.raises(InputError, match="text 1"):
        minilm.embed_texts(["Berlin", empty], Task.QUERY)


def test_a_span_without_tokens_is_refused(minilm):
    with pytest.raises(InputError, match=r"span \[6, 9\) of document 1 holds no token"):
        minilm.embed_documents([spanned("Berlin"), spanned("Berlin   city", 6, 9)])


def test_nothing_asked_gives_nothing(minilm):
    assert minilm.embed_texts([], Task.QUERY).shape == (0, 384)
    assert minilm.embed_documents([]) == []
    assert minilm.embed_documents([SpannedText("Berlin", ())])[0].shape == (0, 384)


def test_spans_need_not_cover_the_text(jina, passage_reference):
    document = SpannedText(TEXT, (Span(11, 30), Span(60, 90)))
    (ours,) = jina.embed_documents([document])
    assert cosines(ours, passage_reference.late_chunks(document)).min() >= 0.99999


def test_an_unknown_task_lists_the_known_ones(jina):
    with pytest.raises(InputError, match=r"'retrieval'.*retrieval\.query.*text-matching"):
        jina.embed_texts(["Berlin"], "retrieval")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context": 1.5}, r"context 1\.5 is not between 0"),
        ({"context": float("nan")}, "context nan"),
        ({"window": 8193}, "8192"),
        ({"window": 3}, "a window of at least"),
        ({"dtype": "int4"}, "float32"),
        ({"device": "tpu"}, "cuda"),
        ({"device": "cuda:99"}, "CUDA devices"),
    ],
)
def test_an_option_out_of_range_says_the_limit(options, message, jina_folder):
    with pytest.raises(InputError, match=message):
        load_embedder(str(jina_folder), **options)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_model_that_gives_nan_is_an_error(dtype, jina_folder):
    embedder = load_embedder(str(jina_folder), device="cpu", dtype=dtype)
    try:
        with torch.no_grad():
            backbone_of(embedder)._encoder._weights.layers[0].norm.bias.fill_(float("nan"))
        with pytest.raises(EmbedderError, match="not finite"):
            embedder.embed_texts(["Berlin"], Task.QUERY)
    finally:
        embedder.close()


def test_a_closed_embedder_refuses_and_closes_again(jina_folder):
    embedder = load_embedder(str(jina_folder), device="cpu")
    embedder.close()
    embedder.close()
    with pytest.raises(EmbedderError, match="closed"):
        embedder.embed_texts(["Berlin"], Task.QUERY)
    with pytest.raises(EmbedderError, match="closed"):
        embedder.embed_documents([spanned("Berlin")])


def test_a_query_is_answered_while_documents_are_embedded(jina_folder, monkeypatch):
    embedder = load_embedder(str(jina_folder), device="cpu", window=512)
    run, entered, queued = backbone_of(embedder).run, threading.Event(), threading.Event()
    turns = []

    def watched(task, rows):
        turns.append(task)
        entered.set()
        assert queued.wait(30)
        return run(task, rows)

    submit = embedder._owner.submit

    def submitted(job):
        submit(job)
        if job.task == Task.QUERY:
            queued.set()

    monkeypatch.setattr(embedder._owner, "_run_batch", watched)
    monkeypatch.setattr(embedder._owner, "submit", submitted)
    try:
        with ThreadPoolExecutor(1) as pool:
            ingest = pool.submit(embedder.embed_documents, [spanned(TEXT * 100)])
            assert entered.wait(30)
            assert embedder.embed_texts(["Berlin?"], Task.QUERY).shape == (1, 64)
            assert len(ingest.result(60)) == 1
    finally:
        embedder.close()
    assert turns[:2] == [Task.PASSAGE, Task.QUERY]
    assert len(turns) > 3


def test_the_fingerprint_names_what_an_index_must_agree_on(jina, minilm):
    assert jina.fingerprint["model"] == JINA_V3.name
    assert (
        json.loads(jina.fingerprint["prompts"])["retrieval.passage"]
        == "Represent the document for retrieval: "
    )
    assert minilm.fingerprint["weights"] == MINILM.checksum
    assert minilm.fingerprint["pooling"] == "mean"
    assert all(isinstance(value, str) for value in (jina.fingerprint | minilm.fingerprint).values())
    assert minilm.recorded == {"dtype": "float32", "device": "cpu", "window": "512", "context": "0.5"}


def test_an_adapter_that_changed_changes_the_fingerprint(jina, jina_copy):
    edited = json.loads((jina_copy / "separation" / "adapter_config.json").read_text(encoding="utf-8"))
    edited["lora_alpha"] = 3
    (jina_copy / "separation" / "adapter_config.json").write_text(json.dumps(edited), encoding="utf-8")
    embedder = load_embedder(str(jina_copy), device="cpu", dtype="float32")
    try:
        differing = {key for key, value in jina.fingerprint.items() if embedder.fingerprint[key] != value}
    finally:
        embedder.close()
    assert differing == {"adapters"}


def test_at_least_one_core_is_there():
    assert available_cores() >= 1


@pytest.mark.parametrize("borders", [[], [20, 60]])
@pytest.mark.parametrize("context", [0.0, 0.3, 1.0])
def test_every_context_can_be_made_from_both_ends(borders, context, jina, jina_folder):
    document = spanned(TEXT, *borders)
    other = load_embedder(str(jina_folder), device="cpu", dtype="float32", context=context)
    ((alone, late),) = jina.embed_documents_both([document])
    (wanted,) = other.embed_documents([document])
    other.close()
    assert alone.shape == late.shape == wanted.shape
    assert cosines(alone, late).min() < 0.9999
    np.testing.assert_allclose(blend(alone, late, context), wanted, atol=2e-6)
