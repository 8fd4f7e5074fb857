from __future__ import annotations

from latewood.ingest.parsing.parse import parse_bytes
from latewood.ingest.types import ElementKind, Parsed


def pieces(parsed: Parsed) -> list[tuple[str, int, str]]:
    return [(str(e.kind), e.depth, parsed.text[e.start : e.end]) for e in parsed.elements]


def test_paragraphs_of_plain_text_are_divided_by_blank_lines():
    parsed = parse_bytes(b"  one\ntwo\n \n\n\tthree\n", "notes.txt")
    assert parsed.title == "notes"
    assert pieces(parsed) == [("paragraph", 0, "one\ntwo"), ("paragraph", 0, "three")]


def test_code_is_divided_where_a_blank_line_precedes_the_first_column():
    source = "import os\n\n\ndef f():\n    a = 1\n\n    return a\n\nclass C:\n    pass\n"
    parsed = parse_bytes(source.encode(), "f.py")
    assert parsed.text == source
    assert pieces(parsed) == [
        ("code", 0, "import os"),
        ("code", 0, "def f():\n    a = 1\n\n    return a"),
        ("code", 0, "class C:\n    pass"),
    ]


def test_markdown_headings_lose_their_marks_and_nothing_else_changes():
    source = "# Guide\n\nSome *text*.\n\n## Set-up ##\n\n- a\n- b\n\nEnd\n===\n\n```\n# no heading\n```\n"
    parsed = parse_bytes(source.encode(), "g.md")
    assert parsed.title == "Guide"
    assert parsed.text == "Guide\n\nSome *text*.\n\nSet-up\n\n- a\n- b\n\nEnd\n\n```\n# no heading\n```\n"
    assert pieces(parsed) == [
        ("title", 1, "Guide"),
        ("paragraph", 0, "Some *text*."),
        ("title", 2, "Set-up"),
        ("list", 0, "- a\n- b"),
        ("title", 1, "End"),
        ("code", 0, "```\n# no heading\n```"),
    ]


def test_a_markdown_table_carries_its_header():
    parsed = parse_bytes(b"| Name | Qty |\n|---|---|\n| nut | 3 |\n", "t.md")
    (table,) = parsed.elements
    assert (table.kind, table.header) == (ElementKind.TABLE, "| Name | Qty |")


def test_front_matter_names_the_document_and_stays_in_the_text():
    parsed = parse_bytes(b'---\ntitle: "Felling"\nyear: 1931\n---\n# Other\n\nBody.\n', "f.md")
    assert parsed.title == "Felling"
    assert "year: 1931" in parsed.text


def test_link_definitions_are_text_too():
    parsed = parse_bytes(b"See [it].\n\n[it]: https://example.com/page\n", "l.md")
    assert pieces(parsed)[-1] == ("paragraph", 0, "[it]: https://example.com/page")


def test_very_long_markdown_is_read_as_plain_text_and_says_so():
    parsed = parse_bytes(b"word " * 1_000_001, "long.md")
    assert "plain text" in parsed.notes[0]
