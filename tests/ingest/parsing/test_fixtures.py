"""Every awkward file ends as a document with its text whole, as skipped, or as failed with one clear code."""

from __future__ import annotations

from pathlib import Path

import pytest

from latewood.ingest.parsing.sandbox.protocol import ParsedFile
from latewood.ingest.types import ParseError

CHINESE = "北京是中华人民共和国的首都。"
PDF_WORDS = ("Chapter 1", "Line 0 of page 1 discusses", "Chapter 3", "Line 39 of page 3 discusses retrieval")
MARKUP = '<?xml version="1.0"?>'

DOCUMENTS = {
    "arabic_utf8.txt": ("استرجاع المعلومات هو علم", "تعد القاهرة عاصمة مصر."),
    "attach.eml": (
        "Quarterly report",
        "From: a@example.com",
        "Mon, 01 Jan 2024",
        "Please find the report attached.",
        "text attachment content",
    ),
    "billion_laughs.xml": (MARKUP, "<root>&j;</root>"),
    "bom.md": ("Title with BOM", "Body text here."),
    "cjk_utf8.txt": ("检索增强生成是一种结合检索与生成的方法。", "第二章 方法", "本章介绍方法。"),
    "code.md": (
        "Guide",
        "# comment, not a heading",
        "    return x  # blank line above",
        "a\\|b",
        "Setext Title",
    ),
    "enc_owner_only.pdf": PDF_WORDS,
    "frontmatter.md": ("title: My Doc", "Real Title", "Body."),
    "gb18030.txt": ("中文文本处理系统", CHINESE),
    "good.docx": ("Doc Title", "Section 2", "bullet item", "h1 | h2\nv1 | v2", "After the page break."),
    "good.pptx": ("Slide 0", "First bullet", "Second bullet", "Speaker notes here", "Slide 2"),
    "good_3p.pdf": PDF_WORDS,
    "hebrew.html": ("כותרת ראשית", "ירושלים היא בירת ישראל."),
    "latin1.txt": ("Der Müller mahlt Getreide für Bäcker; café, naïve, façade. Größe über alles.",),
    "nested_1k.html": ("deep text here",),
    "noxref.pdf": PDF_WORDS,
    "ragged.csv": ("a | b | c", "1 | 2", "3 | 4 | 5 | 6", "unclosed,7,8"),
    "sjis.txt": ("日本語のテキストです。", "人口は約千四百万人です。"),
    "sparse_far.xlsx": ("x", "far"),
    "table.html": (
        "Home",
        "Report",
        "Intro & text with bolditalword.",
        "A | B",
        "    return 1",
        "one.a",
        "two",
    ),
    "feed.xml": (
        "The Mill",
        "Grinding",
        "pubDate: Tue, 02 Jan 2024",
        "Rye and oats.",
        "Prices",
        "Rye is 12.",
    ),
    "mill.epub": ("Grinding", "Rye & oats.", "- first sack", "Prices", "Grain | Price\nRye | 12", "x = 1"),
    "mill.ipynb": (
        "The Mill",
        "Rye *and* oats.",
        "- first sack",
        "x = 1\n  y = 2",
        "printed words",
        "Grain | Price\nRye | 12",
        "ValueError: too coarse",
        "raw words",
    ),
    "mill.log": ("2024-01-02T03:04:05Z INFO", "Z ERROR stone", "  at grind", "2024-01-02T03:05:00Z INFO"),
    "mill.md.gz": ("The Mill", "Rye and oats."),
    "mill.msg": ("The Mill", 'From: "Ann Müller"', "Grinding", "Rye & oats.", "prices.txt", "Rye is 12."),
    "mill.odp": ("Grinding", "- first sack", "spoken words", "second slide"),
    "mill.ods": ("Prices", "Grain | Price\nRye | 12"),
    "mill.odt": (
        "Grinding",
        "Rye  and\toats too.",
        "A note below.",
        "- first sack\n  - inner sack\n- second sack",
        "Grain | Price\nRye | 12",
        "x = 1\n  y = 2",
        "boxed words",
    ),
    "mill.org": (
        "The Mill",
        "Rye and oats.",
        "Grinding",
        "- first sack\n  + inner sack",
        "Grain | Price\nRye | 12",
        "x = 1\n\n  y = 2",
        "printed",
        "Quoted words, never closed.",
    ),
    "mill.rst": (
        "The Mill",
        "Author: Ann Müller",
        "Rye and oats, see :ref:`prices <prices>`.",
        ".. include:: /etc/passwd",
        ".. toctree::",
        "- first sack\n  - inner sack",
        "Grain | Price\nRye | 12",
        "x = 1\n  y = 2",
    ),
    "mill.rtf": (
        "Grinding",
        "Müller €uro bold and \U0001f74a done.",
        "A note below.",
        "- first sack\n- second sack",
        "Grain | Price\nRye | 12",
        "See the link.",
        "x = 1\ny = 2",
        "Привет",
    ),
    "mill.tsv": ("Grain | Price\nRye | 12",),
    "mill.xml": (
        "The Mill",
        "Grinding",
        "Rye and oats",
        "- first sack",
        "after the list.",
        "Grain | Price\nRye | 12",
        "x = 1\n  y = 2",
    ),
    "records.xml": ("sack (id: s1)\ngrain: Rye\nprice: 12 (currency: EUR)", "sack (id: s2)\ngrain: Oats"),
    "rtf_body.msg": ("The Mill", "Rye and oats.", "Packed words."),
    "utf16.txt": ("Hello UTF-16 world. This is text.", "Second paragraph é."),
    "xxe.xml": ("&x; hello",),
}
FAILURES = {
    "binary.txt": "not_text",
    "drm.epub": "encrypted",
    "enc.msg": "encrypted",
    "enc.odt": "encrypted",
    "enc_user.pdf": "encrypted",
    "garbage.docx": "corrupt",
    "garbage.pdf": "corrupt",
    "image_only.pdf": "scanned",
    "trunc.docx": "corrupt",
    "trunc.pdf": "corrupt",
}
SKIPPED = {"empty.txt": "empty_file"}
TITLES = {
    "attach.eml": "Quarterly report",
    "code.md": "Guide",
    "frontmatter.md": "My Doc",
    "good.docx": "Doc Title",
    "good_3p.pdf": "Chapter 1",
    "hebrew.html": "כותרת ראשית",
    "ragged.csv": "ragged",
    "table.html": "T",
}
ENCODINGS = {
    "gb18030.txt": "gb18030",
    "latin1.txt": "cp1252",
    "sjis.txt": "cp932",
    "utf16.txt": "utf-16",
}


def test_every_fixture_has_an_expected_end(fixtures):
    names = {path.name for path in fixtures.iterdir() if path.is_file()}
    assert {*DOCUMENTS, *FAILURES, *SKIPPED} <= names


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_readable_file_becomes_a_document_with_its_words_whole(name, fixtures, pool, whole):
    result = pool.parse(str(fixtures / name))
    assert isinstance(result, ParsedFile)
    parsed = whole(result.parsed)
    position = 0
    for words in DOCUMENTS[name]:
        position = parsed.text.index(words, position)
    assert parsed.title == TITLES.get(name, parsed.title)
    noted = [note for note in parsed.notes if note.startswith("decoded as")]
    expected = [ENCODINGS[name]] if name in ENCODINGS else []
    assert [note.split()[2] for note in noted] == expected


@pytest.mark.parametrize(("name", "code"), FAILURES.items())
def test_an_unreadable_file_fails_with_its_code(name, code, fixtures, pool):
    with pytest.raises(ParseError) as caught:
        pool.parse(str(fixtures / name))
    assert caught.value.code == code
    assert not caught.value.skipped
    assert not caught.value.transient
    assert len(caught.value.message) > 20


@pytest.mark.parametrize(("name", "code"), SKIPPED.items())
def test_a_file_not_meant_to_be_read_is_skipped(name, code, fixtures, pool):
    with pytest.raises(ParseError) as caught:
        pool.parse(str(fixtures / name))
    assert (caught.value.code, caught.value.skipped) == (code, True)


def test_entities_in_xml_are_neither_expanded_nor_fetched(fixtures, pool):
    laughs = pool.parse(str(fixtures / "billion_laughs.xml")).parsed
    assert laughs.text == Path(fixtures / "billion_laughs.xml").read_text(encoding="utf-8")
    assert "kept as written" in laughs.notes[0]
    outside = pool.parse(str(fixtures / "xxe.xml")).parsed
    assert outside.text == "&x; hello"
    assert "none is expanded" in outside.notes[0]


def test_what_is_hidden_in_a_file_is_not_indexed(fixtures, pool):
    hidden = ("hidden", "deleted words", "plain twin", "root:", "iVBOR", "\x1b", "a remark", "HYPERLINK")
    for name in DOCUMENTS:
        if name.startswith("mill"):
            text = pool.parse(str(fixtures / name)).parsed.text
            assert [words for words in hidden if words in text] == [], name


def test_hidden_parts_of_a_page_are_not_indexed(fixtures, pool):
    text = pool.parse(str(fixtures / "table.html")).parsed.text
    for hidden in ("hidden para", "display none", "var x", "p{}"):
        assert hidden not in text
