from __future__ import annotations

import pytest

from latewood.ingest.parsing.parse import parse_bytes
from latewood.ingest.types import ParseError


def test_json_reads_as_keys_and_values():
    data = b'{"tree": "ash", "rings": [12, {"late": true}], "empty": {}, "none": null, "n": 1.10}'
    parsed = parse_bytes(data, "a.json")
    assert (
        parsed.text
        == "tree: ash\n\nrings:\n  - 12\n  -\n    late: true\n\nempty: {}\n\nnone: null\n\nn: 1.10"
    )
    assert len(parsed.elements) == 5


def test_repeated_keys_and_long_numbers_are_kept():
    digits = "9" * 5000
    assert parse_bytes(f'{{"a": 1, "a": {digits}}}'.encode(), "a.json").text == f"a: 1\n\na: {digits}"


def test_each_line_of_json_lines_is_an_element_and_broken_ones_are_kept():
    parsed = parse_bytes(b'{"text": "one"}\n\nbroken {\n{"text": "two"}\n', "a.jsonl")
    assert parsed.text == "text: one\n\nbroken {\n\ntext: two"
    assert parsed.notes == ("1 lines are not valid JSON: kept as written",)


def test_invalid_json_is_kept_as_written():
    parsed = parse_bytes(b'// settings\n{"a": 1,}\n', "a.json")
    assert parsed.text == '// settings\n{"a": 1,}\n'
    assert "not valid JSON" in parsed.notes[0]


def test_nesting_a_hundred_thousand_deep_fails_with_a_code():
    with pytest.raises(ParseError) as caught:
        parse_bytes(b"[" * 100_000 + b"]" * 100_000, "a.json")
    assert caught.value.code == "too_deep"


def test_escaped_lone_surrogates_follow_the_text_rules():
    assert parse_bytes(b'{"a": "x\\ud800\\u0000y"}', "a.json").text == "a: x\ufffd\ufffdy"


@pytest.mark.parametrize(
    ("data", "text"), [(b"[]", "[]"), (b"{}", "{}"), (b"null", "null"), (b'"word"', "word")]
)
def test_the_smallest_files_are_documents(data, text):
    assert parse_bytes(data, "a.json").text == text
