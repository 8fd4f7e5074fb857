"""What a word is: text in normal form to pieces, pieces to the terms they count as, before any stemming.

Three ways, by script:

* Words: runs of letters, digits and marks. Where they are joined as identifiers, versions, codes and dates
  are (`max_tokens`, `np.float32`, `v1.2.3`, `ORA-01017`, `2026-01-31`), or have humps (`getUserName`), their
  parts count and so does the whole, written together: so `snake_case` finds `snakeCase`. A dot stays between
  digits, so that 1.2.3 is not 123.
* Chinese, Japanese, Korean: every two neighbouring characters, and every character, for questions of one.
* Thai, Lao, Khmer, Burmese, which set no spaces between words: every four neighbouring characters, and every
  three and two, for questions of a shorter word.

A question takes the longest of these that it has. A text's length counts the longest, too, and no wholes (as
Lucene leaves out what overlaps).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

WORDS, BIGRAMS, GRAMS = "words", "bigrams", "grams"
LONGEST = {BIGRAMS: 2, GRAMS: 4}
"""Characters of the longest pieces, by the way a run is cut."""
SHORTEST = {BIGRAMS: 1, GRAMS: 2}

_CJK = (
    "\u1100-\u11ff\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u31a0-\u31bf"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U0001b000-\U0001b16f"
    "\U00020000-\U0003ffff"
)
_UNSPACED = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ebd\u0ec0-\u0ecd\u0edc-\u0edf\u1000-\u103f\u1050-\u108f\u109a-\u109d"
    "\u1780-\u17d3\u17dc\u17dd"
)
_ANY_RUN = re.compile(f"[{_CJK}{_UNSPACED}]")
# Joined by dots, hyphens or underscores; a sharp or two pluses end the name of a language.
_JOIN = "[._-]+"
_ASCII_WORD = re.compile(rf"[a-zA-Z0-9]+(?:{_JOIN}[a-zA-Z0-9]+)*(?:\+\+|#)?")
_PART = re.compile(rf"{_JOIN}|[+#]+")
_HUMP = re.compile(r"(?<=[^\W\d_A-Z]{2})(?=[A-Z])|(?<=[A-Z]{2})(?=[A-Z][^\W\d_A-Z]{2})")


class Piece(NamedTuple):
    """A run of a text in normal form: how it is cut, its characters, where it starts (str index)."""

    way: str
    text: str
    start: int


@lru_cache(maxsize=1024)
def _pattern(marks: str, runs: bool) -> re.Pattern[str]:
    r"""Words with these marks; `\w` alone would cut Indic and other scripts at their vowel signs."""
    letter = rf"[^\W_{_CJK}{_UNSPACED}]" if runs else r"[^\W_]"
    letter = rf"(?:{letter}|[{re.escape(marks)}])" if marks else letter
    word = rf"{letter}+(?:{_JOIN}{letter}+)*(?:\+\+|#)?"
    return re.compile(rf"([{_CJK}]+)|([{_UNSPACED}]+)|({word})" if runs else word)


def _pattern_for(text: str) -> tuple[re.Pattern[str], bool]:
    """What finds the pieces of a text in normal form; whether it has groups, one for each way."""
    if text.isascii():
        return _ASCII_WORD, False
    runs = _ANY_RUN.search(text) is not None
    marks = (one for one in set(text) if unicodedata.category(one)[0] == "M" and not _ANY_RUN.match(one))
    return _pattern("".join(sorted(marks)), runs), runs


def words_alone(text: str) -> list[str] | None:
    """The pieces of a text in normal form when all are cut as words, which most are; else None."""
    pattern, runs = _pattern_for(text)
    return None if runs else pattern.findall(text)


def pieces(text: str) -> Iterator[Piece]:
    """The pieces of a text in normal form, in order."""
    pattern, runs = _pattern_for(text)
    for found in pattern.finditer(text):
        way = (BIGRAMS, GRAMS, WORDS)[(found.lastindex or 3) - 1] if runs else WORDS
        yield Piece(way, found[0], found.start())


class Compound(NamedTuple):
    """The parts of a word with where they start in it, and the whole written together, empty if it is one."""

    parts: tuple[tuple[str, int], ...]
    whole: str


def compound(word: str) -> Compound:
    """Take a word of `pieces` apart; case is kept."""
    if word.isalpha() and (word.islower() or word[1:].islower() or word.isupper()):
        return Compound(((word, 0),), "")
    parts: list[tuple[str, int]] = []
    joins: list[str] = []
    place = 0
    for join in [*_PART.finditer(word), None]:
        end = len(word) if join is None else join.start()
        for part in _HUMP.split(word[place:end]) if place < end else ():
            parts.append((part, place))
            joins.append("")
            place += len(part)
        if join is not None:
            place = join.end()
            if joins:
                joins[-1] = join[0]
    return Compound(tuple(parts), _whole([part for part, _ in parts], joins))


def _whole(parts: list[str], joins: list[str]) -> str:
    """The parts written together where that is a name of its own; hyphens between mere words are not."""
    ending = joins.pop()
    if not parts or any(len(join) > 1 for join in joins):
        return ""
    digits = any(character.isdigit() for part in parts for character in part)
    named = any(join != "-" for join in joins) or (digits and len(parts) > 1)
    if not named and not ending:
        return ""
    text = parts[0]
    for part in parts[1:]:
        text += f".{part}" if text[-1].isdigit() and part[0].isdigit() else part
    return text + ending


def grams(run: str, size: int) -> list[str]:
    """Every `size` neighbouring characters of a run, in order; none when it is shorter."""
    return [run[start : start + size] for start in range(len(run) - size + 1)]
