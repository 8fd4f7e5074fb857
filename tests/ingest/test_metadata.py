"""Metadata from sidecars and from files: kept with its types, or refused with the reason."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from latewood.ingest.metadata import (
    common,
    described_by,
    fault_of,
    listed,
    merge,
    plain,
    read_sidecar,
    sidecar_of,
)
from latewood.ingest.types import ParseError


def test_a_sidecar_stands_beside_its_file() -> None:
    assert sidecar_of("/docs/report.pdf") == "/docs/report.pdf.meta.json"
    assert described_by("/docs/report.pdf.meta.json") == "/docs/report.pdf"
    assert described_by("/docs/report.pdf") == ""
    assert described_by("/docs/.meta.json") == ""


def test_a_sidecar_keeps_types() -> None:
    values = {
        "team": "ops",
        "year": 2024,
        "share": 0.5,
        "public": True,
        "tags": ["a", "b"],
        "sizes": [1, 2.5],
    }
    read = read_sidecar(b"\xef\xbb\xbf" + json.dumps(values).encode())
    assert read == values
    assert [type(value) for value in read.values()] == [str, int, float, bool, list, list]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"[1]", "it holds list; write one JSON object"),
        (b"\xff\xfe", "not UTF-8 \\(byte 0\\)"),
        (b'{"a": 1, "a": 2}', "'a' stands there twice"),
        (b'{"a": NaN}', "NaN is no number"),
        (b'{"a": 1e999}', "a number must be finite"),
        (b'{"a": 99999999999999999999}', "within 64 bits"),
        (b'{"a": {"b": 1}}', "it must be a string"),
        (b'{"a": [1, "b"]}', "it must be a string"),
        (b'{"a": [true]}', "it must be a string"),
        (b'{"": 1}', "key '' must have 1 to 200 characters"),
        (b'{"a\\"b": 1}', "no quotes"),
        (b'{"title": 7}', "'title' must be a string, not 7"),
        (b'{"language": ["en"]}', "'language' must be a string"),
        (b"[" * 100_000, "nests too deeply"),
        (json.dumps({f"k{n}": n for n in range(65)}).encode(), "65 keys; the limit is 64"),
        (json.dumps({"a": "x" * 4001}).encode(), "4001 characters; the limit is 4000"),
        (json.dumps({"a": [1] * 257}).encode(), "257 entries; the limit is 256"),
        (b" " * 1_000_001, "1,000,001 bytes; the limit is 1,000,000"),
    ],
)
def test_a_sidecar_that_cannot_be_used_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(ParseError, match=reason) as caught:
        read_sidecar(data)
    assert caught.value.code == "invalid_metadata"
    assert not caught.value.skipped
    assert not caught.value.transient


def test_null_in_a_sidecar_leaves_the_key_out() -> None:
    assert read_sidecar(b'{"a": null, "b": 1}') == {"b": 1}


def test_a_lone_surrogate_in_a_sidecar_becomes_storable() -> None:
    assert read_sidecar(b'{"a": "x\\ud800", "b": ["\\u0000"]}') == {"a": "x\ufffd", "b": ["\ufffd"]}


def test_values_of_any_kind_become_metadata_or_a_note() -> None:
    kept, notes = plain(
        {
            "day": dt.date(2024, 5, 1),
            "when": dt.datetime(2024, 5, 1, 12, 0, 0, 9, dt.timezone(dt.timedelta(hours=2))),
            "in": {"a": {"b": 1}},
            "mixed": [1, "a", True, dt.date(2024, 5, 1)],
            "none": None,
            "empty": [],
            "rows": [[1]],
            "huge": 10**30,
            3: "three",
        }
    )
    assert kept == {
        "day": "2024-05-01",
        "when": "2024-05-01T10:00:00Z",
        "in.a.b": 1,
        "mixed": ["1", "a", "true", "2024-05-01"],
        "3": "three",
    }
    assert len(notes) == 1
    assert notes[0].startswith("metadata left out: rows, huge (")


def test_at_most_64_keys_are_kept() -> None:
    kept, notes = plain({f"k{n}": n for n in range(70)})
    assert len(kept) == 64
    assert "k64, k65, k66, k67, k68 and 1 more" in notes[0]


def test_the_common_keys_leave_out_what_is_empty() -> None:
    assert common(author=" A.  B ", keywords="rings; late wood;;rings", language="en-GB") == {
        "author": "A. B",
        "keywords": ["rings", "late wood"],
        "language": "en",
    }
    assert common(created=dt.datetime(2024, 5, 1, 9), subject="x") == {
        "created": "2024-05-01T09:00:00",
        "subject": "x",
    }
    assert common(author=None, language="x-default") == {}
    assert common(subject="x" * 5000) == {}


def test_keywords_are_divided_by_semicolons_where_there_are_any() -> None:
    assert listed("a, b;c") == ["a, b", "c"]
    assert listed("a, b") == ["a", "b"]


def test_the_stronger_source_wins_key_by_key() -> None:
    merged = merge(
        "Parsed", {"author": "A", "team": "x", "language": "en"}, {"team": "ops"}, {"language": "de"}
    )
    assert merged.title == "Parsed"
    assert merged.metadata == {"author": "A", "team": "ops", "language": "de"}
    assert merged.notes == ()


def test_a_stated_title_becomes_the_documents() -> None:
    merged = merge("Parsed", {"title": "a parser's own"}, {"title": "By path"}, {"title": " By  hand "})
    assert merged.title == "By hand"
    assert "title" not in merged.metadata
    assert merge("Parsed", {}, {"title": "By path"}, {}).title == "By path"
    assert merge("Parsed", {}, {"title": " "}).title == "Parsed"


def test_beyond_the_limit_the_weakest_keys_are_left_out_and_named() -> None:
    merged = merge("t", {f"p{n}": n for n in range(64)}, {"team": "ops"}, {"product": "x"})
    assert len(merged.metadata) == 64
    assert merged.metadata["team"] == "ops"
    assert merged.metadata["product"] == "x"
    assert merged.notes == ("metadata left out beyond 64 keys: p62, p63",)


@pytest.mark.parametrize("value", [True, "x", 1, 1.5, [], ["a"], [1, 2.5], -(2**63)])
def test_values_that_every_store_keeps_have_no_fault(value: object) -> None:
    assert fault_of("key", value) == ""
