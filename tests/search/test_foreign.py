"""A question is foreign only where that is sure: by its script, its function words, or the whole index."""

from __future__ import annotations

import pytest

from latewood.search.analysis.query_language import is_foreign

ENGLISH = ("en",)


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("когда отходит последний паром", {"en", "ru"}),
        ("最後のフェリーは何時ですか", {"en", "ja"}),
        ("متى تغادر آخر عبارة", {"en", ""}),
        ("यात्री नाव कब छूटती है", {"en"}),
        ("เรือเที่ยวสุดท้ายออกกี่โมง", set()),
        ("Ошибка E-431 насоса", {"en", "ru"}),
        ("Wann fährt die letzte Fähre nach der Insel?", {"de", "en"}),
        ("¿A qué hora sale el último barco de la isla?", {"en", "es", ""}),
        ("Fähre Fahrplan", {"de"}),
        ("last ferry", {"de", "ru"}),
    ],
)
def test_what_an_english_model_cannot_know(query: str, index: set[str]) -> None:
    assert is_foreign(query, index, ENGLISH)


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("when does the last ferry leave for the island", {"de", "en"}),
        ("Fähre Fahrplan", {"de", "en"}),
        ("Fähre Fahrplan", {"de", ""}),
        ("Die Hard in IMAX", {"de", "en"}),
        ("E-431", {"ru", "en"}),
        ("who wrote Евгений Онегин and when was it printed", {"ru", "en"}),
        ("Wann fährt die letzte Fähre nach der Insel?", {"en"}),
        ("4071", {"en"}),
        ("?!", set()),
        ("", {"en"}),
    ],
)
def test_what_may_be_english_is_not_foreign(query: str, index: set[str]) -> None:
    assert not is_foreign(query, index, ENGLISH)


def test_nothing_is_foreign_to_a_model_of_which_nobody_said_what_it_knows() -> None:
    assert not is_foreign("когда отходит последний паром", {"ru"}, ())


def test_a_model_is_taken_at_its_word() -> None:
    assert not is_foreign("когда отходит последний паром", {"ru", "en"}, ("ru",))
    assert not is_foreign("когда отходит последний паром", {"ru", "en"}, ("en", "mn"))  # Mongolian, perhaps
    assert is_foreign("wann fährt die letzte Fähre nach der Insel", {"de", "ru"}, ("ru",))
    assert not is_foreign("最終の便", {"ja", "zh"}, ("zh", "en"))  # Han and kana are one script here
