"""Running heads and feet: what repeats in the margin of most pages, page numbers among it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from latewood.ingest.parsing.pdf.lines import Line

_FEWEST_PAGES = 4
_TIMES = 3  # a text that repeats less often is no running head
_SHARE = 0.4  # of the pages, for one height; heads of left and right pages may differ
_GAP = 1.0  # between margin and body, in heights
_ROWS = 3  # of a margin
_LONGEST = 200  # characters of a margin
_SAME = 1.5  # points
_COUNTING = 0.6  # the share of steps from page to page that count up with the pages
_NUMBER = re.compile(r"\d+|\b[ivxlcdm]{1,7}\b|\b[IVXLCDM]{1,7}\b")
_ROMAN = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100, "d": 500, "m": 1000}


@dataclass(frozen=True, slots=True)
class Margins:
    """What was found in the margins of a document.

    Attributes:
        edge: by page, indices of the lines that stand apart at its head or foot.
        running: by page, those of them that repeat from page to page.
        shown: one example of each text that repeats, in the order of the pages.
    """

    edge: tuple[frozenset[int], ...]
    running: tuple[frozenset[int], ...]
    shown: tuple[str, ...]


def find_margins(pages: Sequence[Sequence[Line]]) -> Margins:
    """Find running heads and feet; none where a document would be left without any text."""
    edges = [[*_edge(lines, upwards=False), *_edge(lines, upwards=True)] for lines in pages]
    running: list[set[int]] = [set() for _ in pages]
    shown: dict[tuple[int, int], str] = {}
    written = sum(map(bool, pages))
    if written >= _FEWEST_PAGES:
        for slot in _slots(pages, edges):
            kept = [place for group in _groups(pages, slot) for place in group]
            if len({page for page, _ in kept}) < max(_SHARE * written, _TIMES):
                continue
            for page, index in kept:
                running[page].add(index)
            for group in _groups(pages, slot):
                shown[group[0]] = pages[group[0][0]][group[0][1]].text
    if all(len(found) == len(lines) for found, lines in zip(running, pages, strict=True)):
        running, shown = [set() for _ in pages], {}
    return Margins(
        tuple(map(frozenset, edges)),
        tuple(map(frozenset, running)),
        tuple(text for _, text in sorted(shown.items())),
    )


def _edge(lines: Sequence[Line], *, upwards: bool) -> list[int]:
    """Indices of the lines at the head of a page (`upwards`: at its foot) that a gap parts from the rest."""
    sign = 1 if upwards else -1
    order = sorted(range(len(lines)), key=lambda index: sign * (lines[index].top + lines[index].bottom))
    rows = 0
    taken: list[int] = []
    reached: float | None = None  # the side of the taken lines that looks to the body
    for index in order:
        line = lines[index]
        near, far = (line.bottom, line.top) if upwards else (-line.top, -line.bottom)
        if reached is not None:
            if near - reached > _GAP * max(line.size, lines[taken[-1]].size):
                return taken
            rows += near > reached - 0.5 * line.size
        if rows >= _ROWS or sum(len(lines[place].text) for place in taken) > _LONGEST:
            return []
        taken.append(index)
        reached = far if reached is None else max(reached, far)
    return taken  # the page holds nothing else


def _slots(
    pages: Sequence[Sequence[Line]], edges: Sequence[Sequence[int]]
) -> Iterator[list[tuple[int, int]]]:
    """(page, line) of what stands in margins at the same height, in order of the pages."""
    places = sorted(
        (pages[page][index].top, page, index) for page, found in enumerate(edges) for index in set(found)
    )
    slot: list[tuple[int, int]] = []
    for number, (top, page, index) in enumerate(places):
        if number and top - places[number - 1][0] > _SAME:
            yield sorted(slot)
            slot = []
        slot.append((page, index))
    if slot:
        yield sorted(slot)


def _groups(
    pages: Sequence[Sequence[Line]], slot: Sequence[tuple[int, int]]
) -> Iterator[list[tuple[int, int]]]:
    """Of one slot, the places whose text repeats but for numbers that stay or count up with the pages."""
    alike: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for page, index in slot:
        alike[_NUMBER.sub("#", pages[page][index].text)].append((page, index))
    for group in alike.values():
        numbers = [[page, *_numbers(pages[page][index].text)] for page, index in group]
        if len({page for page, _ in group}) >= _TIMES and _counts(numbers):
            yield group


def _counts(rows: Sequence[Sequence[int]]) -> bool:
    """Whether no number changes, or one counts up as the first column, the page, does."""
    columns = list(zip(*rows, strict=True))
    steps = [after - before for before, after in pairwise(columns[0])]
    changing = [column for column in columns[1:] if len(set(column)) > 1]
    return not changing or any(
        sum(after - before == step for (before, after), step in zip(pairwise(column), steps, strict=True))
        >= _COUNTING * len(steps)
        for column in changing
    )


def _numbers(text: str) -> list[int]:
    return [_value(found) for found in _NUMBER.findall(text)]


def _value(number: str) -> int:
    if number.isdigit():
        return int(number[:9])
    values = [_ROMAN[letter] for letter in number.lower()]
    return sum(-one if one < after else one for one, after in zip(values, [*values[1:], 0], strict=True))
