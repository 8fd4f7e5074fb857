from __future__ import annotations

import pytest

from latewood.search.analysis.language_detection import SAMPLE, detect, language_of
from latewood.search.analysis.languages import LANGUAGES, known
from latewood.search.analysis.normalization import folded
from latewood.search.analysis.stopwords import STOP_WORDS

PROSE = {
    "en": (
        "The ferry leaves the island at noon, and whoever wants to come with "
        "us should be at the pier by then."
    ),
    "de": (
        "Die Fähre verlässt die Insel am Mittag, und wer mit uns kommen will, "
        "der sollte bis dahin am Pier sein."
    ),
    "fr": (
        "Le bac quitte l'île à midi, et ceux qui veulent venir avec nous doivent être sur le quai avant cela."
    ),
    "es": (
        "El transbordador sale de la isla al mediodía, y quien quiera venir "
        "con nosotros debe estar en el muelle."
    ),
    "it": (
        "Il traghetto lascia l'isola a mezzogiorno, e chi vuole venire con noi "
        "deve essere sul molo per quando parte."
    ),
    "pt": (
        "A balsa deixa a ilha ao meio-dia, e quem quiser vir com a gente deve "
        "estar no cais até essa hora, pois não espera."
    ),
    "nl": (
        "De veerboot verlaat het eiland om twaalf uur, en wie met ons mee wil "
        "moet voor die tijd op de kade zijn."
    ),
    "sv": (
        "Färjan lämnar ön vid tolv, och den som vill följa med oss ska vara på "
        "kajen innan dess, för den väntar inte."
    ),
    "da": (
        "Færgen forlader øen klokken tolv, og den som vil med os, skal være "
        "ved kajen inden da, for den venter ikke på nogen."
    ),
    "fi": (
        "Lautta lähtee saarelta kello kaksitoista, ja se joka haluaa tulla "
        "mukaan, on silloin jo laiturilla, koska se ei odota."
    ),
    "pl": (
        "Prom odpływa z wyspy w południe, a kto chce płynąć z nami, ten musi "
        "być na molo przed tym, bo on nie czeka."
    ),
    "cs": (
        "Trajekt odplouvá z ostrova v poledne a kdo chce jet s námi, ten musí "
        "být na molu před tím, protože na nikoho nečeká."
    ),
    "tr": (
        "Vapur adadan öğlen kalkar ve bizim ile gelmek isteyen herkes o saate "
        "kadar iskelede olmalı, çünkü hiç kimse için beklemez."
    ),
    "ru": (
        "Паром уходит с острова в полдень, и тот, кто хочет плыть с нами, "
        "должен быть на причале, потому что он не ждёт."
    ),
    "uk": (
        "Пором відходить з острова опівдні, і той, хто хоче плисти з нами, має "
        "бути на причалі, тому що він не чекає."
    ),
    "el": (
        "Το πλοίο φεύγει από το νησί το μεσημέρι, και όποιος θέλει να έρθει με "
        "εμάς πρέπει να είναι στην προβλήτα."
    ),
    "ar": (
        "تغادر العبارة الجزيرة عند الظهر، ومن يريد أن يأتي معنا يجب أن يكون "
        "على الرصيف قبل ذلك لأنها لا تنتظر من هو بعيد"
    ),
    "fa": "کشتی ظهر از جزیره می رود و هر کس که می خواهد با ما بیاید باید تا آن وقت در اسکله باشد",
    "hi": "नाव दोपहर को द्वीप से जाती है, और जो हमारे साथ आना चाहता है उसे तब तक घाट पर होना चाहिए।",
    "th": "เรือข้ามฟากออกจากเกาะตอนเที่ยง และผู้ที่ต้องการไปกับเราควรอยู่ที่ท่าเรือก่อนเวลานั้น",
    "zh": "渡輪中午離開島嶼，想和我們一起去的人應該在那之前到達碼頭。",
    "ja": "フェリーは正午に島を出るので、一緒に来たい人はそれまでに桟橋にいてください。",
    "ko": "여객선은 정오에 섬을 떠나므로 우리와 함께 가고 싶은 사람은 그때까지 부두에 있어야 합니다.",
}


@pytest.mark.parametrize("language", PROSE)
def test_a_sentence_or_two_of_prose_tells_its_language(language):
    assert detect(PROSE[language]) == language


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   \n",
        "4711; 12.5; 99",
        "name,port,tonnes\nAurora,Leith,410\nBrenda,Oban,380\nCatriona,Mallaig,295",
        "de de de de de de",
        "2026-01-02 12:00:01 INFO ferry.lamps port=4 state=on",
        "def f(x):\n    return x + 1\n",
        "ფერი",  # a script without rules of its own
    ],
)
def test_what_is_no_prose_is_in_no_language(text):
    assert detect(text) == ""


def test_the_middle_and_the_end_of_a_long_text_count():
    table = "4711; 12.5; 99\n" * (2 * SAMPLE)
    assert detect(table + PROSE["de"] * 5) == "de"
    assert detect(table + PROSE["de"] * 1000 + table) == "de"


def test_what_metadata_says_counts_more_where_it_is_a_language():
    assert language_of(PROSE["de"], "en-GB") == "en"
    assert language_of(PROSE["de"], "klingon") == "de"
    assert language_of(PROSE["de"], "") == "de"


@pytest.mark.parametrize(("tag", "code"), [("nb", "no"), ("pt_BR", "pt"), ("EN", "en"), ("xx", ""), ("", "")])
def test_tags_stand_for_languages(tag, code):
    assert known(tag) == code


def test_every_list_of_stop_words_is_of_a_language_and_folded():
    assert STOP_WORDS.keys() <= LANGUAGES.keys()
    for words in STOP_WORDS.values():
        assert all(folded(word) == word for word in words)
        assert len(words) >= 35


def test_every_stemmer_is_there():
    from latewood.search.analysis.stemmers import Stemmers

    stemmers = Stemmers()
    for code in LANGUAGES:
        assert stemmers.stem("aa", code)
