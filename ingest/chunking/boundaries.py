"""Where a text may be cut, and how willingly: the ladder of strengths that chunking climbs.

A cut stands before a character that is not blank, so that whitespace belongs to what is before it (in code
and lists, before the line's indentation). No cut goes through a token.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache

import numpy as np
from numpy.typing import NDArray

from latewood.embedder.types import Offsets
from latewood.ingest.types import Element, ElementKind
from latewood.search.analysis.sentences import stops

Positions = NDArray[np.int64]
Strengths = NDArray[np.int8]


class Strength(IntEnum):
    """How good a place for a cut is; a heading of depth d has `HEADING + DEEPEST - d`."""

    GRAPHEME = 0  # between the parts of one visible character
    GLUED = 1  # between a heading and the text right after it
    TOKEN = 2
    SPACE = 3
    CHAIN = 4  # between a heading and the heading right after it
    SENTENCE = 5
    LINE = 6
    BLANK_LINE = 7
    ELEMENT = 8
    HEADING = 9


DEEPEST = 9


@dataclass(frozen=True, slots=True)
class Boundaries:
    """The places where a stretch of text may be cut, best one only where no token lies between several.

    Attributes:
        positions: (n,) int64, ascending str indices, neither the first nor the last of the text.
        strengths: (n,) int8, `Strength` of each.
        tokens: (n,) int64, tokens before each position; strictly ascending, never 0 and never `total`.
        total: tokens of the whole stretch.
    """

    positions: Positions
    strengths: Strengths
    tokens: Positions
    total: int


def find_boundaries(text: str, elements: Sequence[Element], offsets: Offsets) -> Boundaries:
    """All boundaries of `text`.

    Args:
        text: a whole document or a stretch of one.
        elements: sorted, not overlapping, as str indices into `text`; parts outside of it are ignored.
        offsets: (n, 2) int64, the tokens of `text` in order.
    """
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    blank = _is_blank(codes)
    solid = _next_solid(blank)
    strength = np.full(len(text) + 1, -1, dtype=np.int8)
    strength[solid[offsets[:, 0]]] = Strength.TOKEN
    word_starts = np.flatnonzero(blank[:-1] & ~blank[1:]) + 1
    strength[word_starts] = Strength.SPACE
    room = _Room(text, codes, solid, strength)
    _mark_sentences(room, _kinds(len(text), elements))
    _mark_elements(room, elements)
    strength[_inside_tokens(offsets, solid, len(text))] = -1
    positions = np.flatnonzero(strength >= 0)
    strengths = strength[positions]
    strengths[_inside_graphemes(codes, positions)] = Strength.GRAPHEME
    middles = np.maximum.accumulate(np.minimum(offsets.sum(axis=1), 2 * len(text) - 1))
    return _distinct(positions, strengths, np.searchsorted(middles, 2 * positions), len(offsets))


@dataclass(frozen=True, slots=True)
class _Room:
    """A text under work: its code points, the next character that is not blank, and the strengths so far."""

    text: str
    codes: NDArray[np.uint32]
    solid: NDArray[np.int64]
    strength: Strengths


def _distinct(positions: Positions, strengths: Strengths, tokens: Positions, total: int) -> Boundaries:
    """Of the places with no token between them keep the strongest, the last among equals."""
    inner = (tokens > 0) & (tokens < total)
    positions, strengths, tokens = positions[inner], strengths[inner], tokens[inner]
    if len(positions):
        group = np.flatnonzero(np.diff(tokens, prepend=-1))
        best = np.maximum.reduceat(strengths.astype(np.int64) << 40 | positions, group)
        positions, strengths, tokens = best & ((1 << 40) - 1), (best >> 40).astype(np.int8), tokens[group]
    return Boundaries(positions, strengths, tokens, total)


@cache
def _blank_table() -> NDArray[np.bool_]:
    return np.array([chr(code).isspace() for code in range(0x3001)] + [False])


def _is_blank(codes: NDArray[np.uint32]) -> NDArray[np.bool_]:
    table = _blank_table()
    return table[np.minimum(codes, len(table) - 1)]


def _next_solid(blank: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(n + 1,): for each index the first one from there on that is not blank, n where there is none."""
    places = np.where(blank, len(blank), np.arange(len(blank)))
    return np.append(np.minimum.accumulate(places[::-1])[::-1], len(blank))


def _inside_tokens(offsets: Offsets, solid: NDArray[np.int64], length: int) -> NDArray[np.bool_]:
    """(length + 1,): whether a cut there goes through a token (its leading whitespace does not count)."""
    starts, ends = solid[offsets[:, 0]], offsets[:, 1]
    wide = ends > starts + 1
    opened = np.bincount(starts[wide] + 1, minlength=length + 1)
    closed = np.bincount(ends[wide], minlength=length + 1)
    return np.cumsum(opened - closed) > 0


# --- graphemes: the parts of Unicode annex 29 that text splits on in practice -------------------------------

_JOINER = 0x200D
_FLAGS = (0x1F1E6, 0x1F1FF)


@cache
def _extender_table() -> NDArray[np.bool_]:
    """(0x110000,): characters that belong to the one before them: marks, joiners, skin tones, jamo."""
    table = np.array([unicodedata.category(chr(code))[0] == "M" for code in range(0x110000)])
    for first, last in (
        (_JOINER, _JOINER),
        (0x1F3FB, 0x1F3FF),
        (0xE0020, 0xE007F),
        (0x1160, 0x11FF),
        (0xD7B0, 0xD7FB),
    ):
        table[first : last + 1] = True
    return table


def _inside_graphemes(codes: NDArray[np.uint32], positions: Positions) -> NDArray[np.bool_]:
    here = positions[positions < len(codes)]
    inside = np.zeros(len(positions), dtype=bool)
    inside[: len(here)] = _extender_table()[codes[here]] | (codes[here - 1] == _JOINER)
    flag = (codes >= _FLAGS[0]) & (codes <= _FLAGS[1])
    if flag.any():
        run_start = np.maximum.accumulate(np.where(flag, -1, np.arange(len(codes)))) + 1
        inside[: len(here)] |= flag[here] & ((here - run_start[here]) % 2 == 1)
    return inside


# --- sentences and lines ------------------------------------------------------------------------------------

_PROSE, _TITLE, _LINES, _CODE = range(4)
_KINDS = {
    ElementKind.TITLE: _TITLE,
    ElementKind.PARAGRAPH: _PROSE,
    ElementKind.LIST: _LINES,
    ElementKind.TABLE: _LINES,
    ElementKind.CODE: _CODE,
}
_LINE_START = re.compile(r"\n\s*")


def _kinds(length: int, elements: Sequence[Element]) -> NDArray[np.int8]:
    """(length,): how each character's element wants to be cut; text outside of elements is prose."""
    kinds = np.zeros(length, dtype=np.int8)
    for element in elements:
        kinds[max(element.start, 0) : max(element.end, 0)] = _KINDS[element.kind]
    return kinds


def _mark_sentences(room: _Room, kinds: NDArray[np.int8]) -> None:
    text, strength = room.text, room.strength
    for stop, cut in stops(text):
        if kinds[stop] in (_PROSE, _LINES):
            strength[cut] = max(strength[cut], Strength.SENTENCE)
    for found in _LINE_START.finditer(text):
        cut = found.end()
        kind = kinds[found.start()]
        if cut >= len(text) or kind == _TITLE:
            continue
        # The indentation of a line of code, or of a nested list item, stays with the line.
        line = text.rfind("\n", found.start(), cut) + 1
        if "\n" in text[found.start() + 1 : cut]:
            room.strength[line if kind == _CODE else cut] = Strength.BLANK_LINE
        elif kind in (_LINES, _CODE):
            room.strength[line] = Strength.LINE


# --- elements -----------------------------------------------------------------------------------------------


def _mark_elements(room: _Room, elements: Sequence[Element]) -> None:
    """Mark starts of elements, and of text between elements; a heading sticks to what follows it."""
    length = len(room.text)
    before: Element | None = None
    for element in elements:
        loose = int(room.solid[min(max(before.end, 0), length)]) if before else int(room.solid[0])
        if loose < element.start:
            _mark(room, before, loose, Strength.ELEMENT)
            before = None
        if 0 < element.start < length:
            _mark(room, before, element.start, heading_strength(element))
        before = element
    if before and before.end < length:
        _mark(room, before, int(room.solid[max(before.end, 0)]), Strength.ELEMENT)


def heading_strength(element: Element) -> int:
    """The strength of a cut before this element when no heading stands right before it."""
    if element.kind is not ElementKind.TITLE:
        return Strength.ELEMENT
    return Strength.HEADING + DEEPEST - min(max(element.depth, 1), DEEPEST)


def _mark(room: _Room, before: Element | None, cut: int, strength: int) -> None:
    if cut <= 0 or cut >= len(room.text):
        return
    if before is None or before.kind is not ElementKind.TITLE:
        room.strength[cut] = strength
        return
    # Every cut between the heading and the first visible character after it would part the two.
    visible = int(room.solid[cut])
    room.strength[max(before.end, 0) : visible + 1] = -1
    if visible < len(room.text):
        room.strength[visible] = Strength.CHAIN if strength >= Strength.HEADING else Strength.GLUED


def elements_within(elements: Sequence[Element], start: int, end: int) -> list[Element]:
    """The elements that overlap `[start, end)`, moved so that `start` is index 0; they may end behind it."""
    first = bisect_right(elements, start, key=lambda element: element.end)
    last = bisect_left(elements, end, key=lambda element: element.start)
    if start == 0:
        return list(elements[first:last])
    return [
        Element(element.kind, max(element.start - start, 0), element.end - start, depth=element.depth)
        for element in elements[first:last]
    ]
