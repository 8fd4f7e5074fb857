from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latewood.search.analysis.sentences import sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        (
            "Dr. Moss met Prof. Ash, e.g. on p. 5 there. They left.",
            ["Dr. Moss met Prof. Ash, e.g. on p. 5 there.", "They left."],
        ),
        ('She said "never." He went.', ['She said "never."', "He went."]),
        ("a line\nthat goes on.\n\nA new one", ["a line\nthat goes on.", "A new one"]),
        ("Bring:\n- rope\n- a lamp\n3. oil", ["Bring:", "- rope", "- a lamp", "3. oil"]),
        ("| a | b |\n| 1 | 2 |", ["| a | b |", "| 1 | 2 |"]),
        ("船は九時に出る。次は十時です。", ["船は九時に出る。", "次は十時です。"]),
        ("नाव चली गई। अब रात है।", ["नाव चली गई।", "अब रात है।"]),
        ("هل غادرت؟ نعم.", ["هل غادرت؟", "نعم."]),
        (" \n ", []),
    ],
)
def test_sentences_items_and_rows(text, expected):
    assert [text[start:end] for start, end in sentences(text)] == expected


@given(st.text(st.sampled_from("ab.!? \n-|。")))
def test_sentences_hold_everything_but_white_space(text):
    found = sentences(text)
    inside = "".join(text[start:end] for start, end in found)
    assert "".join(inside.split()) == "".join(text.split())
    assert all(start < end and text[start:end] == text[start:end].strip() for start, end in found)
