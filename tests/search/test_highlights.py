from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latewood.search.analysis.analyzer import Analyzer
from latewood.search.highlights import mark

ANALYZER = Analyzer()
TEXT = "The harbour is cold. Ferries leave the harbour at nine. A ferry is a ship."


def shown(query, text=TEXT):
    found = mark(ANALYZER, query, text, "en")
    best = found.sentence and text[slice(*found.sentence)]
    return [text[start:end] for start, end in found.terms], best


def test_terms_are_marked_as_they_are_analysed_and_the_best_sentence_has_most_of_them():
    words, best = shown("when does the FERRY leave the harbours?")
    assert words == ["harbour", "Ferries", "leave", "harbour", "ferry"]
    assert best == "Ferries leave the harbour at nine."


@pytest.mark.parametrize(
    ("query", "best"),
    [
        ("harbour", "The harbour is cold."),  # the first of equals
        ("cold ship", "The harbour is cold."),
        ("ship ferry", "A ferry is a ship."),
    ],
)
def test_among_equals_the_first_sentence_is_best(query, best):
    assert shown(query)[1] == best


def test_two_different_terms_tell_more_than_one_that_is_repeated():
    assert shown("ash oak", "Ash, ash, ash. The oak and the ash.")[1] == "The oak and the ash."


def test_without_a_term_nothing_is_marked():
    assert shown("zeppelin") == ([], None)


WORDS = ["oak", "elms", "Ferries", "a", "No.", "5", "。", "\n\n", "- ", "ﬁr", "ÉLAN"]


@given(
    query=st.lists(st.sampled_from(WORDS), min_size=1).map(" ".join),
    text=st.lists(st.sampled_from(WORDS), min_size=1).map(" ".join),
)
def test_marks_lie_in_the_text_in_order_and_in_the_best_sentence(query, text):
    found = mark(ANALYZER, query, text, "")
    ends = [0]
    for start, end in found.terms:
        assert ends[-1] <= start < end <= len(text)
        ends.append(end)
    assert (found.sentence is None) == (not found.terms)
    if found.sentence is not None:
        first, last = found.sentence
        assert any(first <= start < last for start, _ in found.terms)
