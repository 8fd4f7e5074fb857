"""Normal form of text, and where in the text each piece of it came from."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

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
    starts: list[int] = []
    pieces: list[str] = []
    begin = 0
    for end in range(1, len(text) + 1):
        if end < len(text) and _joins(text[end]):
            continue
        piece = _normal_piece(text[begin:end])
        pieces.append(piece)
        starts += [begin] * len(piece)
        begin = end
    whole = normal(text)
    if "".join(pieces) != whole:  # pieces that are not normal side by side: rare enough to be coarse about
        starts = [min(place, len(text)) for place in range(len(whole))]
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
