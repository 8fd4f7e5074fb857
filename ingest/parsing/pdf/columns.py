"""Reading order of a page in two columns, and rows of a table: only where geometry leaves no doubt.

Most files hold their text in reading order; that order is kept. A page is put in order when lines of two
columns of running text alternate in the file, or stand side by side in what pdfium takes for one line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from latewood.ingest.parsing.pdf.lines import LEADERS, Line, Piece

_FEWEST = 5  # lines of a column
_EDGE = 2.0  # points that the left edge of a column may waver
_NARROWEST = 2.0  # points between columns, besides
_REACH = 2.5  # a line of running text ends within this many heights of its column's edge
_RUNNING = 0.55  # the share of lines that do
_GOING_ON = 0.25  # the share of lines that begin within a sentence
_SHORTEST = 15  # characters, the median line of a column
_SPREAD = 2.5  # rows of a table stand closer than this many heights
_MARKER = re.compile(r"\W{1,2}|\(?(?:\d+(?:\.\d+)*|[^\W\d_]|[ivxlc]+)[.):]?", re.I)


def in_reading_order(lines: Sequence[Line], edge: frozenset[int] = frozenset()) -> list[Line]:
    """The lines of a page, column by column where they alternated.

    Args:
        lines: in the order of the file.
        edge: indices of lines that belong to no column, whatever their width: what stands in the margins.
    """
    gutter = _gutter([line for index, line in enumerate(lines) if index not in edge])
    if gutter is None:
        return list(lines)
    parts: list[tuple[int, Line]] = []  # 0 left, 1 right, 2 across
    for index, line in enumerate(lines):
        if index in edge:
            parts.append((2, line))
        else:
            parts += _halves(line, gutter)
    if not _are_columns(parts, gutter):
        return list(lines)
    bands = _bands(parts)
    sides: dict[int, list[int]] = {}
    for band, (side, _) in zip(bands, parts, strict=True):
        sides.setdefault(band, []).append(side)
    back = sum(before == 1 and after == 0 for band in sides.values() for before, after in pairwise(band))
    if back < 2:
        return list(lines)
    # Within a band: the left column, the right one, then what stands across below them, each as in the file.
    order = sorted(range(len(parts)), key=lambda index: (bands[index], parts[index][0]))
    return [parts[index][1] for index in order]


def _gutter(lines: Sequence[Line]) -> float | None:
    """The left edge of a right column: where several lines begin in the middle of the page, else None."""
    boxes = [box for line in lines for box in line.parts()]
    if len(boxes) < 2 * _FEWEST:
        return None
    first, last = min(box.left for box in boxes), max(box.right for box in boxes)
    low, high = first + (last - first) / 4, last - (last - first) / 4
    begun = Counter(round(box.left) for box in boxes if low < box.left < high)
    if not begun:
        return None
    edge = max(begun, key=lambda place: begun[place - 1] + begun[place] + begun[place + 1])
    if begun[edge - 1] + begun[edge] + begun[edge + 1] < _FEWEST:
        return None
    return edge - _EDGE


def _halves(line: Line, gutter: float) -> list[tuple[int, Line]]:
    """The line, or what of it stands left and right of the gutter."""
    if line.right <= gutter:
        return [(0, line)]
    if line.left >= gutter:
        return [(1, line)]
    left = [piece for piece in line.pieces if piece.right <= gutter]
    right = [piece for piece in line.pieces if piece.left >= gutter]
    if not left or not right or len(left) + len(right) < len(line.pieces):
        return [(2, line)]
    return [(0, line.of(left)), (1, line.of(right))]


def _are_columns(parts: Sequence[tuple[int, Line]], gutter: float) -> bool:
    """Whether left and right hold running text side by side, rather than the cells of a table."""
    left = [line for side, line in parts if side == 0]
    right = [line for side, line in parts if side == 1]
    if min(len(left), len(right)) < _FEWEST or len(left) + len(right) < 0.6 * len(parts):
        return False
    if sorted(line.right for line in left)[int(0.8 * len(left))] > gutter - _NARROWEST:
        return False  # where text is set without a break, lines begin anywhere
    top = min(max(line.top for line in side) for side in (left, right))
    bottom = max(min(line.bottom for line in side) for side in (left, right))
    if top <= bottom:
        return False  # one below the other
    return _is_running(left) and _is_running(right) and not _rows_agree(left, right)


def _is_running(lines: Sequence[Line]) -> bool:
    edge = sorted(line.right for line in lines)[int(0.9 * (len(lines) - 1))]
    reaching = sum(line.right >= edge - _REACH * line.size for line in lines)
    within = sum(_goes_on(line.text) for line in lines)
    return (
        reaching >= _RUNNING * len(lines)
        and within >= _GOING_ON * len(lines)
        and median(len(line.text) for line in lines) >= _SHORTEST
    )


def _goes_on(text: str) -> bool:
    """Whether a line begins within a sentence: no capital, no figure, no mark."""
    return text[:1].isalpha() and not text[:1].isupper()


def _rows_agree(left: Sequence[Line], right: Sequence[Line]) -> bool:
    """Whether gaps between paragraphs stand at the same heights on both sides, as between rows of a table."""
    ours, theirs = _tops(left), _tops(right)
    if min(len(ours), len(theirs)) < 3:
        return False
    shared = sum(any(abs(top - other) <= 2 for other in theirs) for top in ours)
    return shared >= 0.6 * max(len(ours), len(theirs))


def _tops(lines: Sequence[Line]) -> list[float]:
    """Tops of the lines that begin a paragraph."""
    ordered = sorted(lines, key=lambda line: -line.top)
    return [below.top for above, below in pairwise(ordered) if above.bottom - below.top > 0.4 * below.size]


def _bands(parts: Sequence[tuple[int, Line]]) -> list[int]:
    """Which stretch of the page, from above, each part stands in; what stands across ends its stretch."""
    across = sorted((line.bottom for side, line in parts if side == 2), reverse=True)
    return [
        sum(bottom > (line.top + line.bottom) / 2 for bottom in across)
        if side != 2
        else sum(bottom > line.bottom for bottom in across)
        for side, line in parts
    ]


# --- tables -------------------------------------------------------------------------------------------------


def table_end(lines: Sequence[Line], start: int) -> int:
    """Where the table that begins with `lines[start]` ends (exclusive); `start` where there is none.

    A table is three rows, or two of three cells, that stand below each other with their cells in line; a list
    whose marks stand apart, a table of contents and code are none.
    """
    head = lines[start]
    end = start + 1
    while end < len(lines) and _next_row(head, lines[end - 1], lines[end]):
        end += 1
    rows, cells = end - start, len(head.pieces)
    if rows < 2 or (rows == 2 and cells == 2):
        return start
    return start if cells == 2 and _is_list([line.pieces for line in lines[start:end]]) else end


def _is_list(rows: Sequence[Sequence[Piece]]) -> bool:
    """Whether rows of two cells are items behind their marks, or a table of contents."""
    marks = sum(bool(_MARKER.fullmatch(first.text)) for first, _ in rows)
    pages = [int(last.text) if last.text.isdecimal() else -1 for _, last in rows]
    return marks >= len(rows) - 1 or (pages[0] >= 0 and pages == sorted(pages))


def _next_row(head: Line, above: Line, below: Line) -> bool:
    if len(below.pieces) != len(head.pieces) or below.fixed or head.fixed or LEADERS.search(below.text):
        return False
    if abs(below.size - head.size) > 0.25 * head.size:
        return False
    if not 0 < above.top - below.top < (1 + _SPREAD) * head.size:
        return False
    near = 0.5 * head.size
    return all(
        abs(one.left - other.left) <= near
        or abs(one.right - other.right) <= near
        or abs(one.left + one.right - other.left - other.right) <= 2 * near
        for one, other in zip(head.pieces, below.pieces, strict=True)
    )
