"""Whatever goes in comes out: no word of the input is missing from the text."""

from __future__ import annotations

import contextlib
import html
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latewood.ingest.parsing import parse
from latewood.ingest.parsing.parse import parse_bytes
from latewood.ingest.parsing.text_builder import checked, clean
from latewood.ingest.types import Element, ElementKind, Parsed, ParseError

ROOT = Path(__file__).parents[3]
LETTERS = st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufeff\u2028\u2029")
WORDS = st.text(LETTERS, min_size=1, max_size=12)
LINES = st.lists(st.one_of(WORDS, st.sampled_from(["  ", "\t", "-", "1."])), max_size=6).map(" ".join)
TEXTS = st.lists(st.one_of(LINES, st.just("")), min_size=1, max_size=12).flatmap(
    lambda lines: st.sampled_from(["\n", "\r\n", "\r"]).map(lambda end: end.join(lines))
)
MARKDOWN_LINES = st.builds(
    "{}{}".format,
    st.sampled_from(
        ["", "# ", "### ", "- ", "  - ", "1. ", "> ", "```\n", "    ", "|a|b|\n|-|-|\n| ", "---\n", "<div>"]
    ),
    LINES,
)
MARKDOWN = st.lists(st.one_of(MARKDOWN_LINES, st.sampled_from(["", "===", "---", "```"])), max_size=12).map(
    "\n".join
)


def words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text))


def parsed_or_empty(data: bytes, name: str) -> Parsed | None:
    try:
        return parse_bytes(data, name)
    except ParseError as error:
        if error.code not in ("empty_file", "no_text"):
            raise
        return None


@given(TEXTS, st.sampled_from(["a.txt", "a.py", "a.yaml"]))
def test_text_and_code_are_kept_as_they_are(whole, text, name):
    parsed = parsed_or_empty(text.encode(), name)
    if parsed is None:
        assert not text.strip()
    else:
        assert whole(parsed).text == clean(text)


@given(MARKDOWN)
def test_markdown_loses_no_word(whole, text):
    parsed = parsed_or_empty(text.encode(), "a.md")
    if parsed is None:
        assert not text.strip()
    else:
        assert words(whole(parsed).text) == words(clean(text))


@given(
    st.lists(LINES, min_size=1, max_size=6),
    st.sampled_from(["p", "li", "td", "h2", "pre", "div", "dd", "blockquote"]),
)
def test_html_loses_no_visible_word(whole, lines, tag):
    table = ("<table><tr>", "</tr></table>") if tag == "td" else ("", "")
    inner = "".join(f"<{tag}>{html.escape(line)}</{tag}>" for line in lines)
    parsed = parsed_or_empty(f"<html><body>{table[0]}{inner}{table[1]}".encode(), "a.html")
    expected = words(" ".join(lines))
    found = words(whole(parsed).text) if parsed else Counter()
    assert found == expected


@given(st.lists(st.lists(WORDS, min_size=1, max_size=4), min_size=1, max_size=5))
def test_csv_loses_no_word(whole, rows):
    quoted = (
        "\n".join(",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows)
    ).encode()
    parsed = parsed_or_empty(quoted, "a.csv")
    found = words(whole(parsed).text) if parsed else Counter()
    assert found == words(" ".join(" ".join(row) for row in rows))


JSON = st.recursive(
    st.one_of(WORDS, st.integers(), st.booleans(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=3)),
    max_leaves=8,
)


@given(JSON, st.booleans())
def test_json_loses_no_word(whole, value, lines):
    data = json.dumps(value, ensure_ascii=False).encode()
    parsed = parsed_or_empty(data, "a.jsonl" if lines else "a.json")
    found = words(whole(parsed).text) if parsed else Counter()
    assert found == words(" ".join(_leaves(value)))


def _leaves(value: object) -> list[str]:
    if isinstance(value, dict):
        return [word for key, member in value.items() for word in (key, *_leaves(member))]
    if isinstance(value, list):
        return [word for member in value for word in _leaves(member)]
    return [value if isinstance(value, str) else json.dumps(value)]


@settings(max_examples=60)
@given(
    st.sampled_from(
        ["a.txt", "a.md", "a.html", "a.pdf", "a.docx", "a.pptx", "a.xlsx", "a.csv", "a.json", "a.eml"]
    ),
    st.binary(max_size=300),
)
def test_any_bytes_end_as_a_document_or_with_a_code(whole, name, data):
    with contextlib.suppress(ParseError):
        whole(parse_bytes(data, name))


@pytest.mark.parametrize("data", [b"", b" \n\t\r\n"])
def test_an_empty_file_is_skipped(data):
    with pytest.raises(ParseError) as caught:
        parse_bytes(data, "a.txt")
    assert (caught.value.code, caught.value.skipped) == ("empty_file", True)


def test_a_page_without_visible_text_is_a_failure_not_a_document():
    with pytest.raises(ParseError) as caught:
        parse_bytes(b"<html><body><script>x</script></body></html>", "a.html")
    assert (caught.value.code, caught.value.skipped) == ("no_text", False)


@pytest.mark.parametrize(
    ("error", "code"),
    [(KeyError("part"), "corrupt"), (RecursionError(), "too_deep"), (MemoryError(), "out_of_memory")],
)
def test_foreign_errors_become_codes(error, code, monkeypatch):
    def reader(data, name):
        raise error

    monkeypatch.setattr(parse, "_reader", lambda kind: reader)
    with pytest.raises(ParseError) as caught:
        parse_bytes(b"x", "a.txt")
    assert caught.value.code == code
    assert caught.value.__cause__ is error


def test_text_between_elements_becomes_a_paragraph():
    text = "before [title] after "
    parsed = checked(Parsed("t", "text", text, (Element(ElementKind.TITLE, 7, 14, depth=1),)))
    assert [(e.kind, text[e.start : e.end]) for e in parsed.elements] == [
        (ElementKind.PARAGRAPH, "before"),
        (ElementKind.TITLE, "[title]"),
        (ElementKind.PARAGRAPH, "after"),
    ]


def test_elements_that_overlap_are_refused():
    overlapping = (Element(ElementKind.PARAGRAPH, 0, 3), Element(ElementKind.PARAGRAPH, 2, 4))
    with pytest.raises(ValueError, match="after 3"):
        checked(Parsed("t", "text", "abcdef", overlapping))


def test_line_ends_nul_and_lone_surrogates_follow_the_text_rules():
    assert clean("a\r\nb\rc\x00\ud800\U0001f332\u00a0\u2028") == "a\nb\nc\ufffd\ufffd\U0001f332\u00a0\u2028"


def test_only_office_files_load_unstructured():
    script = (
        "import sys\n"
        "from latewood.ingest.parsing.parse import parse_bytes\n"
        "for name, data in {'a.txt': b'x', 'a.md': b'# x', 'a.html': b'<p>x', 'a.csv': b'a,b',\n"
        "                   'a.json': b'{}', 'a.py': b'x = 1', 'a.eml': b'Subject: x\\n\\ny'}.items():\n"
        "    parse_bytes(data, name)\n"
        "assert not {'unstructured', 'spacy', 'torch', 'docx'} & set(sys.modules), 'heavy import'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr.decode()
