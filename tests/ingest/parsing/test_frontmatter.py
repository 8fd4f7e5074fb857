"""The block at the head of a Markdown file becomes title and metadata, and stays text."""

from __future__ import annotations

import pytest

from latewood.ingest.parsing.parse import parse_bytes
from latewood.ingest.types import Parsed


def read(source: str) -> Parsed:
    parsed = parse_bytes(source.encode(), "page.md")
    assert "Body" in parsed.text
    return parsed


def test_yaml_keeps_its_types() -> None:
    parsed = read(
        "---\ntitle: Rings\ncount: 3\nshare: 1.5\ndraft: false\nday: 2024-05-01\n"
        "when: 2024-05-01T10:00:00+02:00\ntags: [a, b]\nin: {a: {b: x}}\nempty:\n---\n# Heading\n\nBody"
    )
    assert parsed.title == "Rings"
    assert parsed.metadata == {
        "count": 3,
        "share": 1.5,
        "draft": False,
        "day": "2024-05-01",
        "when": "2024-05-01T08:00:00Z",
        "tags": ["a", "b"],
        "in.a.b": "x",
        "keywords": ["a", "b"],
    }
    assert parsed.notes == ()
    assert parsed.text.startswith("---\ntitle: Rings")


def test_words_that_old_yaml_took_for_something_else_stay_words() -> None:
    parsed = read("---\ncountry: no\nanswer: yes\nat: 12:30\nid: 007\nversion: 1.10.2\nhex: 0x1F\n---\nBody")
    assert parsed.metadata == {
        "country": "no",
        "answer": "yes",
        "at": "12:30",
        "id": "007",
        "version": "1.10.2",
        "hex": "0x1F",
    }


def test_toml_is_read_too() -> None:
    parsed = read('+++\ntitle = "Rings"\ndate = 2024-05-01T10:00:00Z\n[params]\ndepth = 1\n+++\nBody')
    assert parsed.title == "Rings"
    assert parsed.metadata == {
        "date": "2024-05-01T10:00:00Z",
        "params.depth": 1,
        "created": "2024-05-01T10:00:00Z",
    }


def test_the_keys_that_all_formats_share_are_filled() -> None:
    parsed = read(
        "---\nAuthors: [A, B]\nDate: 2024-05-01\nkeywords: x, y\ndescription: D\nlang: de\n---\nBody"
    )
    shared = ("author", "created", "keywords", "subject", "language")
    assert [parsed.metadata[key] for key in shared] == [["A", "B"], "2024-05-01", ["x", "y"], "D", "de"]


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        ("a: &x [1]\nb: [*x, *x]", "references"),
        ("a: !!python/object/apply:os.system [echo]", "could not determine a constructor"),
        ("a: !!python/name:os.system", "could not determine a constructor"),
        ("[" * 20_000, "recursion"),
        ("a: 2024-13-45", "month must be in 1..12"),
        ("title: Rings: a study", "mapping values are not allowed"),
    ],
)
def test_a_block_that_cannot_be_read_is_noted_and_stays_text(block: str, reason: str) -> None:
    parsed = read(f"---\n{block}\n---\nBody")
    assert parsed.metadata == {}
    assert reason in parsed.notes[0]
    assert block in parsed.text


def test_the_title_is_found_in_a_block_that_is_not_quite_yaml() -> None:
    assert read("---\ntitle: Rings: a study\n---\nBody").title == "Rings: a study"


def test_two_rules_around_a_line_are_no_front_matter() -> None:
    parsed = read("---\n\njust words\n\n---\n\nBody")
    assert (parsed.metadata, parsed.notes) == ({}, ())
    assert "just words" in parsed.text


def test_no_more_than_64_keys_are_kept() -> None:
    lines = "\n".join(f"k{n}: {n}" for n in range(70))
    parsed = read(f"---\n{lines}\nlang: de\n---\nBody")
    assert len(parsed.metadata) == 64
    assert "left out" in parsed.notes[0]
