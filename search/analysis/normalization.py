"""Normal form of text, and where in the text each piece of it came from."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from itertools import pairwise

# Soft hyphen, word joiner, byte order mark and the two zero-width joiners stand inside words.
_INVISIBLE = dict.fromkeys((0x00AD, 0x200C, 0x200D, 0x2060, 0xFEFF))
# Vowels and final consonants, which join a syllable's first one; half-width letters and their voice marks.
_JOINING = (range(0x1160, 0x1200), range(0xFF9E, 0xFFDD))


def normal(text: str) -> str:
    """NFKC without invisible characters; case is kept, as words may be told apart by it."""
    return text if text.isascii() else unicodedata.normalize("NFKC", text.translate(_INVISIBLE))


def folded(word: str) -> str:
    """NFKC, casefold and NFKC again, which is what Unicode calls compatibility caseless matching."""
    if word.isascii():
        return word.lower()
    return unicodedata.normalize("NFKC", normal(word).casefold())


def origins(text: str) -> list[int]:
    """Where each character of `normal(text)` comes from, and one entry more for the end.

    Returns:
        str indices into `text`, ascending, one more than `normal(text)` has characters. What was composed of
        several characters starts where the first of them does.
    """
    if text.isascii():
        return list(range(len(text) + 1))
    whole = normal(text)
    for cut in (_cut, _cut_apart):
        pieces = cut(text)
        if "".join(map(_normal_piece, pieces)) == whole:
            break
    else:
        pieces = [text]
    starts: list[int] = []
    begin = 0
    for piece in pieces:
        starts += [begin] * len(_normal_piece(piece))
        begin += len(piece)
    return [*starts, len(text)]


class Places:
    """Where stretches of `normal(text)` stand in a text."""

    def __init__(self, text: str) -> None:
        self._starts = origins(text)

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where `normal(text)[start:end]` comes from; never empty, end exclusive."""
        last = self._starts[end - 1]
        while self._starts[end] == last:  # one character that became several is taken whole
            end += 1
        return self._starts[start], self._starts[end]


def _cut(text: str) -> list[str]:
    """Before each character that nothing joins to the one before it."""
    places = [0, *(place for place in range(1, len(text)) if not _joins(text[place])), len(text)]
    return [text[start:end] for start, end in pairwise(places)]


def _cut_apart(text: str) -> list[str]:
    """As `_cut`, but not between what has another normal form side by side: old encodings' Hangul letters."""
    pieces: list[str] = []
    for piece in _cut(text):
        if pieces and normal(pieces[-1] + piece) != normal(pieces[-1]) + normal(piece):
            pieces[-1] += piece
        else:
            pieces.append(piece)
    return pieces


def _joins(character: str) -> bool:
    """Whether a character may be composed with the one before it."""
    code = ord(character)
    if code < 0x80:
        return False
    if code in _INVISIBLE or any(code in block for block in _JOINING):
        return True
    return unicodedata.category(character)[0] == "M"


@lru_cache(maxsize=1 << 14)
def _normal_piece(piece: str) -> str:
    return normal(piece)
