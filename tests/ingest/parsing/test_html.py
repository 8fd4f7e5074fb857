from __future__ import annotations

import pytest

from latewood.ingest.parsing.parse import parse_bytes
from latewood.ingest.types import Parsed


def pieces(markup: str) -> list[tuple[str, str]]:
    parsed = parse_bytes(markup.encode(), "page.html")
    return [(str(e.kind), parsed.text[e.start : e.end]) for e in parsed.elements]


def read(markup: bytes) -> Parsed:
    return parse_bytes(markup, "page.html")


def test_what_other_parsers_pass_over_is_kept():
    markup = (
        "loose<p>para<br>break <code>x</code></p>tail"
        "<figure><img alt='A felled oak'><figcaption>Caption</figcaption></figure>"
        "<details><summary>More</summary>inside</details><form><label>Name</label><button>Send</button></form>"
        "<nav><a href=/>Home</a></nav><footer>Foot</footer><my-tag>own</my-tag>"
    )
    shown = [text for _, text in pieces(markup)]
    assert shown == [
        "loose",
        "para\nbreak x",
        "tail",
        "A felled oak",
        "Caption",
        "More",
        "inside",
        "NameSend",
        "Home",
        "Foot",
        "own",
    ]


@pytest.mark.parametrize(
    "hidden",
    [
        "<script>SECRET</script>",
        "<style>SECRET</style>",
        "<template><p>SECRET</p></template>",
        "<noscript>SECRET</noscript>",
        "<!-- SECRET -->",
        "<p hidden>SECRET<br>SECRET</p>",
        "<div style='color:red; display : none'><p>SECRET <b>SECRET</b></p><img alt=SECRET></div>",
        "<span style='visibility:hidden'>SECRET</span>",
    ],
)
def test_hidden_content_is_not_text_and_what_follows_is(hidden):
    assert pieces(f"<p>before</p>{hidden}<p>after</p>") == [("paragraph", "before"), ("paragraph", "after")]


def test_lists_keep_their_nesting_and_numbers():
    markup = "<ul><li>one<ol><li>first<li>second</ol><li>two</ul>"
    assert pieces(markup) == [("list", "- one\n  1. first\n  2. second\n- two")]


def test_definition_lists_keep_term_and_definition_together():
    assert pieces("<dl><dt>--all</dt><dd>Everything.</dd></dl>") == [("list", "--all\n  Everything.")]


def test_preformatted_text_keeps_its_lines():
    assert pieces("<pre><code>def f():\n    return 1\n\nx</code></pre>") == [
        ("code", "def f():\n    return 1\n\nx")
    ]


def test_a_table_becomes_rows_with_its_header():
    parsed = read(b"<table><caption>Sums</caption><tr><th>A<th>B<tr><td>x <p>y</p><td>1</table>")
    caption, table = parsed.elements
    assert parsed.text[caption.start : caption.end] == "Sums"
    assert parsed.text[table.start : table.end] == "A | B\nx y | 1"
    assert table.header == "A | B"


def test_a_table_used_for_layout_gives_its_structure():
    markup = "<table><tr><td>side<td><h1>Head</h1><p>Body</p><table><tr><td>a<td>b</table></td></tr></table>"
    found = pieces(markup)
    assert ("title", "Head") in found
    assert ("paragraph", "Body") in found
    assert ("table", "a | b") in found
    assert "side" in [text for _, text in found]


@pytest.mark.parametrize("tag", ["div", "ul", "table><tr><td", "span", "blockquote", "b"])
def test_nesting_of_any_depth_loses_nothing(tag):
    parsed = read(f"<html><body>{f'<{tag}>' * 20_000}deep text".encode())
    assert parsed.text.endswith("deep text")


def test_the_title_tag_comes_before_the_first_heading():
    assert read(b"<title> The\n title </title><h1>Head</h1>").title == "The title"
    assert read(b"<h2>Second</h2><h1>First</h1>").title == "First"
    assert read(b"<svg><title>icon</title></svg><p>x").title == "page"
    assert read(b"<title>Only a title</title>").text == "Only a title"


@pytest.mark.parametrize(
    "declaration",
    [b'<meta charset="koi8-r">', b'<meta http-equiv="Content-Type" content="text/html; charset=koi8-r">'],
)
def test_the_encoding_a_page_declares_is_used(declaration):
    assert read(declaration + "<p>лес".encode("koi8_r")).text == "лес"


def test_entities_and_declarations_are_harmless():
    markup = (
        '<?xml version="1.0" encoding="utf-8"?><!DOCTYPE l [<!ENTITY a "aaa">]><p>&a; &amp; &eacute;&#0;</p>'
    )
    assert "& é" in read(markup.encode()).text


@pytest.mark.parametrize(
    ("page", "metadata"),
    [
        (
            '<html lang="de-DE"><head><meta name="Author" content="Ann"><meta name="keywords" '
            'content="oak, ash">'
            '<meta property="article:published_time" content="2024-01-02"></head><p>x',
            {"author": "Ann", "created": "2024-01-02", "keywords": ["oak", "ash"], "language": "de"},
        ),
        ('<?xml version="1.0"?><html xml:lang="fr"><p>x', {"language": "fr"}),
        ("<p>x", {}),
        ("<!-- c -->x", {}),
        (" " * 30_000 + "<p>x", {}),
        ("<" * 30_000 + "<p>x", {}),
    ],
)
def test_author_date_keywords_and_language_come_from_the_head(page, metadata):
    assert dict(parse_bytes(page.encode(), "a.html").metadata) == metadata
