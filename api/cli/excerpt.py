"""Which lines of a passage a person is shown: those that share most with the question."""

from __future__ import annotations

import re
import textwrap
from collections import Counter

_WORD = re.compile(r"\w+")
_SHORTEST_PREFIX = 4


def excerpt(text: str, question: str, *, most: int, width: int = 100) -> list[str]:
    """The text as lines of at most `width` characters: all, or the `most` in a row that fit best.

    A line counts for each word of the question in it, and a word the more the fewer lines hold it, so that
    "of" does not outweigh a part number. Words are equal, or one begins with the other ("burn", "burned").
    The first such lines where several fit alike. "…" stands where lines were left out.
    """
    lines = [part for raw in text.strip().splitlines() for part in textwrap.wrap(raw, width)]
    if len(lines) <= most:
        return lines
    asked, held = _words(question), [_words(line) for line in lines]
    means = {word: {one for one in asked if _alike(one, word)} for word in set().union(*held)}
    found = [set().union(*(means[word] for word in words)) for words in held]
    holders = Counter(word for words in found for word in words)
    start = max(
        range(len(lines) - most + 1),
        key=lambda first: sum(1 / holders[word] for word in set().union(*found[first : first + most])),
    )
    end = start + most
    return [*["…"][: start > 0], *lines[start:end], *["…"][: end < len(lines)]]


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.casefold()))


def _alike(one: str, other: str) -> bool:
    return (
        one == other
        or (len(one) >= _SHORTEST_PREFIX and other.startswith(one))
        or (len(other) >= _SHORTEST_PREFIX and one.startswith(other))
    )
