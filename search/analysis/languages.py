"""Languages and scripts the analyser knows: which stemmer, which way of finding words."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

AUTO, NONE = "auto", "none"
"""Besides codes: each passage's own language, and words as they stand."""

DEFAULT = "en"
"""How words are analysed that no language is known of."""


@dataclass(frozen=True, slots=True)
class Language:
    """A language, by its ISO 639-1 code.

    Attributes:
        script: the one it is written in.
        stemmer: the name of its Snowball algorithm; empty where there is none: words count as they stand.
    """

    code: str
    script: str
    stemmer: str = ""


_LATIN = """en:english de:german fr:french es:spanish it:italian pt:portuguese nl:dutch sv:swedish da:danish
no:norwegian fi:finnish hu:hungarian ro:romanian pl:polish cs:czech tr:turkish ca:catalan id:indonesian
et:estonian lt:lithuanian ga:irish eu:basque eo:esperanto vi: hr:"""
_OTHERS = {
    "cyrillic": "ru:russian uk: bg: sr:serbian",
    "greek": "el:greek",
    "armenian": "hy:armenian",
    "hebrew": "he: yi:yiddish",
    "arabic": "ar:arabic fa:persian ur:",
    "devanagari": "hi:hindi ne:nepali mr:",
    "tamil": "ta:tamil",
    "bigrams": "zh: ja: ko:",
    "grams": "th: lo: km: my:",
}


def _languages() -> dict[str, Language]:
    found: dict[str, Language] = {}
    for script, text in {"latin": _LATIN, **_OTHERS}.items():
        for word in text.split():
            code, _, stemmer = word.partition(":")
            found[code] = Language(code, script, stemmer)
    return found


LANGUAGES: Mapping[str, Language] = MappingProxyType(_languages())
"""By code. The first of each script is what its words are analysed as in a text of another script."""

OF_SCRIPT: Mapping[str, str] = MappingProxyType(
    {one.script: one.code for one in reversed(list(LANGUAGES.values()))}
)
"""By script, its first language: that of its words in a text of another script."""

_ALSO = {"nb": "no", "nn": "no", "in": "id", "iw": "he", "sh": "hr", "bs": "hr"}
# Names of characters begin with their script's; longer names stand first.
_NAMED = {
    "LATIN": "latin",
    "CYRILLIC": "cyrillic",
    "GREEK": "greek",
    "ARMENIAN": "armenian",
    "HEBREW": "hebrew",
    "ARABIC": "arabic",
    "DEVANAGARI": "devanagari",
    "TAMIL": "tamil",
    "CJK": "bigrams",
    "HIRAGANA": "bigrams",
    "KATAKANA": "bigrams",
    "HANGUL": "bigrams",
    "THAI": "grams",
    "LAO": "grams",
    "KHMER": "grams",
    "MYANMAR": "grams",
}


def known(code: str) -> str:
    """The code of the language that a code or tag (`nb`, `pt-BR`) stands for; empty when it is not known."""
    code = code.lower().replace("_", "-").partition("-")[0]
    code = _ALSO.get(code, code)
    return code if code in LANGUAGES else ""


def check_language(language: str) -> None:
    """Hold what texts are to be analysed in against what there is.

    Raises:
        ValueError: it is none of them; the message names all.
    """
    if language not in (AUTO, NONE) and language not in LANGUAGES:
        raise ValueError(
            f"language {language!r} is not known; one of: {AUTO}, {NONE}, {', '.join(sorted(LANGUAGES))}"
        )


def language_for(script: str, code: str) -> str:
    """The language that words of a script are analysed as in a text in language `code`; empty: in none."""
    if code in LANGUAGES and LANGUAGES[code].script == script:
        return code
    return OF_SCRIPT.get(script, "")


@lru_cache(maxsize=1 << 14)
def script_of(character: str) -> str:
    """The script of a letter; empty for what is no letter, or of a script without rules of its own."""
    if not character.isalpha():
        return ""
    return _NAMED.get(unicodedata.name(character, "").partition(" ")[0], "")


def script_of_word(word: str) -> str:
    """The script of a word's first letter; empty for a number."""
    return next((script for one in word if (script := script_of(one))), "")
