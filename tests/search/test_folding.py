from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latewood.search.analysis.normalization import Places, folded, normal, origins


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("abc", [0, 1, 2, 3]),
        ("e\u0301t", [0, 2, 3]),  # two characters become one
        ("ﬁn", [0, 0, 1, 2]),  # one becomes two
        ("co\u00adop", [0, 1, 3, 4, 5]),  # one vanishes
        ("\u1112\u1161\u11ab글", [0, 3, 4]),  # three jamo become a syllable
        ("ｶﾞｽ", [0, 2, 3]),
        ("", [0]),
    ],
)
def test_each_character_of_the_normal_form_knows_where_it_came_from(text, expected):
    assert origins(text) == expected


@given(st.text())
def test_origins_fit_the_normal_form(text):
    found = origins(text)
    assert len(found) == len(normal(text)) + 1
    assert found == sorted(found)
    assert found[-1] == len(text)


@given(st.text(alphabet="ab ½ﬁ™㈜ㄱㅇㅏㅐ가\u11ab\u1161e\u0301\u00adｶﾞ²", min_size=1, max_size=12))
def test_what_a_place_names_has_the_stretch_in_its_normal_form(text):
    whole, places = normal(text), Places(text)
    for start in range(len(whole)):
        for end in range(start + 1, len(whole) + 1):
            first, last = places.span(start, end)
            assert 0 <= first < last <= len(text)
            assert whole[start:end] in normal(text[first:last])


@pytest.mark.parametrize("text", ["ㅇㅏ ½ ½ ferry", "자음 ㄱㅏ: ㈜한국 … ㈜대한 … ferry", "ㅋㅠ and ferry"])
def test_a_word_behind_letters_that_join_into_a_syllable_is_found_where_it_stands(text):
    at = normal(text).index("ferry")
    start, end = Places(text).span(at, at + len("ferry"))
    assert text[start:end] == "ferry"


def test_a_character_that_became_several_is_taken_whole():
    assert normal("a¼b") == "a1⁄4b"
    assert [Places("a¼b").span(start, start + 1) for start in range(5)] == [(0, 1), *[(1, 2)] * 3, (2, 3)]


def test_no_character_is_composed_across_the_pieces_that_origins_are_told_of():
    # Every assigned character of the first 0x1F000 after a letter, a Hangul syllable and a half-width one.
    ideographs = range(0x3400, 0xA000), range(0xAC00, 0xF900), range(0x17000, 0x19000)
    codes = [
        code
        for code in range(0x1F000)
        if unicodedata.category(chr(code)) != "Cn" and not any(code in block for block in ideographs)
    ]
    for base in ("a", "가", "ｶ", "क", "ا"):
        for code in codes:
            text = base + chr(code)
            whole = normal(text)
            if whole != normal(base) + normal(chr(code)):
                assert origins(text)[:-1] == [0] * len(whole), f"{base} U+{code:04X}"


def test_folding_is_compatibility_caseless_matching():
    def caseless(text):
        once = unicodedata.normalize("NFKC", text).casefold()
        return unicodedata.normalize("NFKC", once)

    for word in ("Straße", "ＡＢＣ", "ΣΊΣΥΦΟΣ", "İstanbul", "naïve"):
        assert folded(word) == caseless(word)
