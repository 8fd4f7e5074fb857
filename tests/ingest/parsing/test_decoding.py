from __future__ import annotations

import random

import pytest

from latewood.ingest.parsing.encoding import decode, is_binary, looks_like_text
from latewood.ingest.types import ParseError

SAMPLES = {
    "cp1252": "Der Müller mahlt Getreide für Bäcker; café, naïve, façade. Größe über alles. ",
    "cp932": "日本語のテキストです。東京は日本の首都であり、人口は約千四百万人です。\n",
    "gb18030": "中文文本处理系统可以将文档分割成段落。北京是中华人民共和国的首都。\n",
    "big5": "檢索增強生成是一種結合檢索與生成的方法。台北是一個城市。\n",
    "cp949": "검색 증강 생성은 검색과 생성을 결합한 방법이다. 서울은 한국의 수도이다.\n",
    "cp1251": "Поиск информации — это наука. Москва является столицей России. ",
    "koi8_r": "Поиск информации это наука. Москва является столицей России. ",
    "cp1250": "Zażółć gęślą jaźń. Wrocław jest miastem nad Odrą, źdźbło trawy. ",
    "cp1253": "Η ανάκτηση πληροφοριών είναι επιστήμη. Η Αθήνα είναι η πρωτεύουσα. ",
    "cp1255": "ירושלים היא בירת ישראל. מערכת אחזור מידע. ",
    "cp1256": "استرجاع المعلومات هو علم البحث عن المعلومات في الوثائق. ",
}


@pytest.mark.parametrize("encoding", SAMPLES)
def test_a_legacy_encoding_is_recognised_and_noted(encoding):
    text, notes = decode((SAMPLES[encoding] * 12).encode(encoding))
    assert text == SAMPLES[encoding] * 12
    (note,) = notes
    assert "guessed" in note


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_decides_and_is_not_text(encoding):
    text, _ = decode("Größe, 東京, 🌲".encode(encoding))
    assert text == "Größe, 東京, 🌲"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    "script", ["Plain words, é.\n", "検索 拡張 生成 は 文書 を 探す 方法 です。\n", "поиск и ответ\n"]
)
def test_utf_16_without_a_mark_is_recognised(encoding, script):
    text, notes = decode((script * 10).encode(encoding))
    assert text == script * 10
    assert encoding in notes[0]


def test_utf_8_needs_no_note_even_with_a_few_nul_bytes():
    assert decode(b"abc\x00def text\r\n") == ("abc\ufffddef text\n", ())


def test_what_a_file_declares_comes_before_utf_8():
    assert decode("é".encode("cp1252"), "windows-1252")[0] == "é"
    assert decode("é".encode(), "no-such-encoding") == ("é", ())
    assert decode("é".encode(), "base64") == ("é", ())


def test_random_bytes_are_not_text():
    noise = random.Random(7).randbytes(5000)
    assert is_binary(noise)
    with pytest.raises(ParseError) as caught:
        decode(noise)
    assert caught.value.code == "not_text"


def test_first_bytes_may_end_inside_a_character():
    assert looks_like_text("über ü".encode()[:-1])
    assert not looks_like_text(b"\xff\xd8\xff\xe0JFIF")
