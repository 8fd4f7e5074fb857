"""Where sentences end, in any script that marks it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

_CLOSERS = "\"'”’»›)]}」』”’）】》〉"
_SPACED_STOP = re.compile(rf"[.!?…{re.escape(_CLOSERS)}]\s+")
_FULL_STOP = re.compile(rf"[。！？｡．؟۔।॥։።፧၊။។៕᠃][{re.escape(_CLOSERS)}]{{0,4}}\s*")
_WORD_BEFORE = re.compile(r"[^\W_]+(?:\.[^\W_]+)*\Z")
_ABBREVIATION = re.compile(
    r"(al|approx|bzw|ca|cf|ch|dept|dr|eds?|etc|e\.g|figs?|i\.e|jr|mrs?|ms|nos?|nr|pp?|prof|sec|sr|st|tab|u\.a"
    r"|usw|vgl|vols?|vs|z\.b|[a-z]|\d\d?)\Z",
    re.IGNORECASE,
)
_ITEM = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*+•·|#>]|\d{1,3}[.)]\s|\(?[a-z][.)]\s))")


def stops(text: str) -> Iterator[tuple[int, int]]:
    """(stop, next) for each sentence that another follows: where its stop stands, and where that one begins.

    Those whose stop needs a space come first, in order, then those of other scripts, in order.
    """
    for found in _SPACED_STOP.finditer(text):
        if found.end() < len(text) and _ends(text, found.start() + 1, found.end()):
            yield found.start(), found.end()
    for found in _FULL_STOP.finditer(text):
        if found.end() < len(text):
            yield found.start(), found.end()


def sentences(text: str) -> list[tuple[int, int]]:
    """(start, end) of each sentence, of each item of a list and row of a table: str indices, end exclusive.

    In order, without the white space around them.
    """
    cuts = {following for _, following in stops(text)} | {found.end() for found in _ITEM.finditer(text)}
    bounds = [0, *sorted(cuts), len(text)]
    spans = []
    for start, end in pairwise(bounds):
        piece = text[start:end]
        inner = piece.strip()
        if inner:
            first = start + piece.index(inner)
            spans.append((first, first + len(inner)))
    return spans


def _ends(text: str, end: int, following: int) -> bool:
    """Whether the stop that ends at `end` closes a sentence rather than an abbreviation or a number."""
    stop = end
    while stop > 0 and end - stop < 4 and text[stop - 1] in _CLOSERS:
        stop -= 1
    mark = text[stop - 1 : stop]
    if mark in ("!", "?"):
        return True
    if mark not in (".", "…") or text[following].islower():
        return False
    word = _WORD_BEFORE.search(text, max(0, stop - 33), stop - 1)
    return word is None or _ABBREVIATION.match(word[0]) is None
