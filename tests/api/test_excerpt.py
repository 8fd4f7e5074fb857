"""The lines of a passage that a person is shown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from latewood.api.cli.excerpt import excerpt

STOCK = [
    "| Part | Description |",
    "| TYS-3320-A | Cable of the encoder |",
    "| TYS-5104-F | Seal kit of the thruster |",
    "| TYS-6071-D | Module of the battery |",
    "| TYS-6077-B | Relay of the charging arm |",
    "| TYS-6081-C | Hinge of the ramp |",
]
TABLE = "\n".join(STOCK)


def test_a_text_that_fits_is_shown_whole() -> None:
    assert excerpt(TABLE, "anything", most=6) == STOCK


def test_the_line_that_alone_holds_a_word_of_the_question_is_shown() -> None:
    # "of" and "TYS" stand in five lines and count 1/5 each; 6077 and "B" stand in one and count 1 each.
    assert excerpt(TABLE, "What is TYS-6077-B of?", most=1) == ["…", STOCK[4], "…"]


def test_of_windows_that_fit_alike_the_first_is_shown_and_what_is_left_out_is_marked_where_it_is() -> None:
    assert excerpt(TABLE, "Who keeps the kettle?", most=2) == [*STOCK[:2], "…"]
    assert excerpt(TABLE, "the hinge", most=2) == ["…", *STOCK[4:]]


def test_a_word_is_found_in_its_other_forms_and_in_capitals() -> None:
    text = "The crew ate.\nThe fleet BURNED fuel.\nThe crew slept."
    assert excerpt(text, "What did it burn?", most=1) == ["…", "The fleet BURNED fuel.", "…"]
    assert excerpt(text, "as slept as sleptless", most=1) == ["…", "The crew slept."]


def test_a_short_word_is_not_found_as_the_beginning_of_another() -> None:
    text = "Of ropes.\nThe catamaran.\nA cat."
    assert excerpt(text, "cat", most=1) == ["…", "A cat."]


def test_long_lines_are_broken_and_blank_ones_left_out() -> None:
    assert excerpt("one two\n\nthree four", "x", most=9, width=5) == ["one", "two", "three", "four"]


@given(st.text(), st.text(), st.integers(1, 9))
def test_lines_in_a_row_of_the_text_are_shown_whatever_it_holds(text: str, question: str, most: int) -> None:
    whole = excerpt(text, question, most=10**6)
    shown = [line for line in excerpt(text, question, most=most) if line != "…"]
    if "…" not in text:
        assert len(shown) == min(most, len(whole))
        assert any(whole[at : at + len(shown)] == shown for at in range(len(whole) + 1))
