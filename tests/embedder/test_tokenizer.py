from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latewood.embedder.models import tokenizer as module
from latewood.embedder.models.checkpoint import find_checkpoint
from latewood.embedder.models.registry import MINILM
from latewood.embedder.models.tokenizer import TextTokenizer
from latewood.embedder.types import CheckpointError

WORDS = st.lists(
    st.sampled_from(["late", "chunking", "Straße", "Москва", "東京タワー", "👩‍👩‍👧", "3.85", "a"]), min_size=1
)


@pytest.fixture(scope="module")
def sentencepiece(jina_folder):
    return TextTokenizer(jina_folder)


@pytest.fixture(scope="module")
def wordpiece():
    return TextTokenizer(find_checkpoint(MINILM.name).folder)


@pytest.mark.parametrize("kind", ["sentencepiece", "wordpiece"])
def test_tokens_and_special_tokens_are_those_of_transformers(kind, request):
    from transformers import AutoTokenizer

    ours = request.getfixturevalue(kind)
    if kind == "sentencepiece":
        assert (ours.head.tolist(), ours.tail.tolist()) == ([0], [2])
        return
    theirs = AutoTokenizer.from_pretrained(find_checkpoint(MINILM.name).folder)
    text = "Berlin's 3.85 million inhabitants, naïve Straße 東京 👍 don't."
    expected = theirs(text, return_offsets_mapping=True)
    ids = np.concatenate([ours.head, ours.encode(text).ids, ours.tail])
    assert ids.tolist() == expected["input_ids"]
    assert [tuple(pair) for pair in ours.encode(text).offsets.tolist()] == expected["offset_mapping"][1:-1]


def test_a_length_limit_set_in_the_file_does_not_cut_texts(sentencepiece, wordpiece):
    text = "late chunking " * 2000
    assert len(sentencepiece.encode(text)) >= 4000
    assert len(wordpiece.encode(text)) >= 4000


@pytest.mark.parametrize("bad", ["\x00", "\ud800", "a\x00b\ud83dc"])
def test_nul_and_lone_surrogates_do_not_shift_offsets(bad, sentencepiece, wordpiece):
    text = f"Berlin {bad} city"
    for tokenizer in (sentencepiece, wordpiece):
        first, last = tokenizer.encode(text).offsets[-1].tolist()
        assert text[first:last].strip() in ("city", "y", "ty")
        assert last == len(text)


@given(st.text())
def test_offsets_lie_in_order_inside_any_text(text):
    tokenizer = TextTokenizer(find_checkpoint(MINILM.name).folder) if not CACHE else CACHE[0]
    CACHE[:] = [tokenizer]
    offsets = tokenizer.encode(text).offsets
    assert offsets.shape == (len(offsets), 2)
    assert (np.diff(offsets.sum(axis=1)) >= 0).all()
    assert ((offsets >= 0) & (offsets <= len(text))).all()


CACHE: list[TextTokenizer] = []


def test_a_million_spaces_are_no_tokens(sentencepiece, wordpiece):
    assert len(sentencepiece.encode(" " * 1_000_000)) == 0
    assert len(wordpiece.encode(" " * 1_000_000)) == 0


@given(WORDS, st.integers(8, 40))
def test_a_text_cut_at_spaces_has_the_tokens_of_the_whole(words, longest):
    tokenizer = CACHE[0] if CACHE else TextTokenizer(find_checkpoint(MINILM.name).folder)
    CACHE[:] = [tokenizer]
    text = " ".join(words)
    whole = tokenizer.encode(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LONGEST_PIECE", longest + 20)
        patch.setattr(module, "CUT_SEARCH", 20)
        cut = tokenizer.encode(text)
    assert cut.ids.tolist() == whole.ids.tolist()
    assert cut.offsets.tolist() == whole.offsets.tolist()


@pytest.mark.parametrize("text", ["Berlin is", "東京タワー", "a\x00b\ud83dc", " Straße", "", "   "])
@pytest.mark.parametrize("kind", ["sentencepiece", "wordpiece"])
def test_behind_a_prompt_with_a_space_a_text_has_the_tokens_it_has_alone(kind, text, request):
    tokenizer = request.getfixturevalue(kind)
    alone, behind = tokenizer.encode(text), tokenizer.encode(text, "passage: ")
    assert behind.ids.tolist() == alone.ids.tolist()
    assert behind.offsets.tolist() == alone.offsets.tolist()
    assert behind.prompt.tolist() == tokenizer.encode("passage:").ids.tolist()
    assert tokenizer.marks_words
    assert not tokenizer.joins("passage: ")


def test_tokens_are_remembered_by_prompt_and_text(wordpiece, counting):
    first, other = wordpiece.encode("Berlin", "ask: "), wordpiece.encode("Berlin", "un")
    assert first.ids.tolist() != other.ids.tolist()
    assert wordpiece.encode("Berlin", "ask: ") is first
    assert counting.given == ["ask: Berlin", "unBerlin"]


def test_a_long_text_without_spaces_is_cut_where_it_stands(sentencepiece):
    text = "東" * (2 * module.LONGEST_PIECE + 1)
    offsets = sentencepiece.encode(text).offsets
    assert offsets[0].tolist()[0] == 0
    assert offsets[-1].tolist()[1] == len(text)


def test_many_texts_are_tokenised_as_one_by_one(wordpiece):
    texts = ["Berlin", "", "late chunking", "x" * 300_000 + " y" * 50_000]
    together = wordpiece.encode_all(texts)
    assert [tokens.ids.tolist() for tokens in together] == [
        wordpiece.encode(text).ids.tolist() for text in texts
    ]


def test_a_missing_or_broken_tokenizer_is_named(jina_copy):
    (jina_copy / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is not JSON"):
        TextTokenizer(jina_copy)
    (jina_copy / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is missing"):
        TextTokenizer(jina_copy)


class Counting:
    """Passes on to a tokenizer and notes what it was given."""

    def __init__(self, tokenizer):
        self._tokenizer = tokenizer
        self.given = []

    def encode_batch(self, pieces, **options):
        self.given += pieces
        return self._tokenizer.encode_batch(pieces, **options)


@pytest.fixture
def counting(wordpiece, monkeypatch):
    counting = Counting(wordpiece._tokenizer)
    monkeypatch.setattr(wordpiece, "_tokenizer", counting)
    monkeypatch.setattr(wordpiece, "_latest", module._Latest())
    return counting


def test_what_was_tokenised_a_moment_ago_is_not_tokenised_again(wordpiece, counting):
    first = wordpiece.encode_all(["late chunks", "early chunks", "late chunks"])
    again = wordpiece.encode_all(["early chunks", "new chunks"])
    assert counting.given == ["late chunks", "early chunks", "new chunks"]
    assert again[0] is first[1]
    assert first[0] is first[2]
    with pytest.raises(ValueError, match="read-only"):
        again[0].offsets[0] = 9


def test_what_is_remembered_stays_within_its_limit(wordpiece, counting, monkeypatch):
    monkeypatch.setattr(module, "KEPT_TOKENS", 4)
    for text in ("one two", "three four", "five six seven", "far more than the limit allows"):
        wordpiece.encode(text)
    assert list(wordpiece._latest._kept) == [("", "five six seven")]
    assert wordpiece._latest._tokens == 3
    assert len(wordpiece.encode("one two")) == 2
    assert counting.given.count("one two") == 2
