"""Which language a text is in: by its script, then by the share of each language's function words.

No model and nothing to download. Function words tell a text of a few sentences as well as character n-grams
do (Grefenstette, Comparing two language identification schemes, 1995), and a table, a log or a list of names,
which has none, is told to be in no language instead of in a random one.
"""

from __future__ import annotations

from collections import Counter

from latewood.search.analysis.languages import LANGUAGES, known, script_of
from latewood.search.analysis.normalization import folded, normal
from latewood.search.analysis.stopwords import STOP_WORDS
from latewood.search.analysis.tokenizer import WORDS, pieces

SAMPLE = 6000
"""Characters looked at, of the beginning, the middle and the end each."""

LEAST_WORDS = 4
"""Different function words that a text must have: a column of names may hold one of them many times."""
LEAST_SHARE = 0.12
"""Of a text's words, the share of function words that tells a language: prose has 0.2 (Finnish) to 0.5."""

# A character of these scripts says about as much as this many letters of others.
_WORTH = {"bigrams": 3}
_KANA, _HANGUL = range(0x3041, 0x3100), range(0xAC00, 0xD7A4)
_UNSPACED = {"th": range(0x0E00, 0x0E80), "lo": range(0x0E80, 0x0F00), "my": range(0x1000, 0x10A0)}


def language_of(text: str, stated: str = "") -> str:
    """The ISO 639-1 code of the language a document's words are to be analysed in.

    Args:
        text: the document's; its beginning, middle and end are looked at.
        stated: what its metadata says; decides where it is a language that is known here.

    Returns:
        A key of `search.languages.LANGUAGES`, or nothing when the text does not tell.
    """
    return known(stated) or detect(text)


def detect(text: str) -> str:
    """The language of a text; nothing when it does not tell."""
    sample = normal(_sample(text))
    script = main_script(sample)
    if script == "bigrams":
        return _east_asian(sample)
    if script == "grams":
        return _unspaced(sample)
    return _by_words(sample, script) if script else ""


def main_script(text: str) -> str:
    """The script that most of a text is written in; empty when it has no letters of any known one."""
    letters: Counter[str] = Counter()
    for character, count in Counter(text).items():
        script = script_of(character)
        letters[script] += count * _WORTH.get(script, 1) if script else 0
    script = max(letters, key=lambda one: (letters[one], one), default="")
    return script if letters[script] else ""


def _sample(text: str) -> str:
    if len(text) <= 3 * SAMPLE:
        return text
    middle = (len(text) - SAMPLE) // 2
    return "\n".join((text[:SAMPLE], text[middle : middle + SAMPLE], text[-SAMPLE:]))


def _east_asian(text: str) -> str:
    """Kana is Japanese and Hangul Korean, even a few among Han characters, which both write, too."""
    letters = sum(script_of(one) == "bigrams" for one in text)
    kana = sum(ord(one) in _KANA for one in text)
    hangul = sum(ord(one) in _HANGUL for one in text)
    if 20 * max(kana, hangul) < letters:
        return "zh"
    return "ja" if kana >= hangul else "ko"


def _unspaced(text: str) -> str:
    counts = {code: sum(ord(one) in block for one in text) for code, block in _UNSPACED.items()}
    best = max(counts, key=lambda code: counts[code])
    return best if counts[best] else "km"


def _by_words(text: str, script: str) -> str:
    words = Counter(folded(piece.text) for piece in pieces(text) if piece.way == WORDS)
    own = {word: count for word, count in words.items() if script_of(word[0]) == script}
    # Latin letters alone stand for much else.
    telling = {word: count for word, count in own.items() if len(word) > 1 or script != "latin"}
    found = {
        code: [telling[word] for word in STOP_WORDS[code] if word in telling]
        for code, language in LANGUAGES.items()
        if language.script == script and code in STOP_WORDS
    }
    votes = {code: sum(counts) for code, counts in found.items()}
    if not votes:
        return next((code for code, one in LANGUAGES.items() if one.script == script), "")
    best = max(votes, key=lambda code: votes[code])
    enough = len(found[best]) >= LEAST_WORDS and votes[best] >= LEAST_SHARE * sum(own.values())
    return best if enough else ""
