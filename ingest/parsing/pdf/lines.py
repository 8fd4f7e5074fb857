"""The lines of a PDF's page with where they stand, as pdfium finds them."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Sequence
from ctypes import byref
from itertools import pairwise
from operator import itemgetter
from typing import NamedTuple

import pypdfium2
import pypdfium2.raw as pdfium

# Text objects further apart than this share of the line's height are pieces: cells, or lines of two columns.
PIECE_GAP = 0.6
# What pdfium writes for a hyphen at a line's end, before going on with the next line without a break.
_LINE_HYPHEN = re.compile("[\ufffe\x02]")
NUMBERED = re.compile(r"(?:\d{1,3}(?:\.\d{1,3}){0,5}\.?|[A-Z](?:\.\d{1,3}){1,5}|[IVX]{1,5}\.)\s+[^\W\d_]")
_BOLD = re.compile(r"bold|black|heavy|semib|demi|cmbx|cmssbx", re.I)
_BOLD_WEIGHT = 600
_FIXED_PITCH = 1
SAMPLE = 60  # characters of a line long enough to tell the usual face
_NUMBERS = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")  # what `NUMBERED` may begin with
_ALNUM = re.compile(r"[^\W_]")
_MARKS = 4  # at the start of a line, before its first letter
_RIGHT = itemgetter(1)
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]")
_BLANK = re.compile(r"\s(?=\S)")
# The dots of a table of contents.
LEADERS = re.compile(r"(?:\. ?){4}")


class Piece(NamedTuple):
    """A part of a line with a wide gap beside it. PDF points, x to the right, y upwards."""

    text: str
    left: float
    right: float
    top: float
    bottom: float


class Line(NamedTuple):
    """One line of a page.

    Attributes:
        size: height of its first character, PDF points.
        left, right, top, bottom: where it stands, PDF points, y upwards.
        pieces: its parts where wide gaps divide it, else empty.
        broken: its last word goes on in the next line, behind a hyphen that `text` lacks.
        bold: set in a bold face; looked up only where it matters (numbered lines and long ones).
        fixed: set in a face for code; looked up only where there are pieces.
    """

    text: str
    size: float = 0.0
    left: float = 0.0
    right: float = 0.0
    top: float = 0.0
    bottom: float = 0.0
    pieces: tuple[Piece, ...] = ()
    broken: bool = False
    bold: bool = False
    fixed: bool = False

    def parts(self) -> tuple[Piece, ...]:
        """Its pieces, or itself as the only one."""
        return self.pieces or (Piece(self.text, self.left, self.right, self.top, self.bottom),)

    def of(self, pieces: Sequence[Piece]) -> Line:
        """The line that only these of its pieces make."""
        text = " ".join(piece.text for piece in pieces)
        broken = self.broken
        if pieces[-1] is not self.pieces[-1]:
            # A hyphen before a gap ends a line of its column, which pdfium could not know.
            broken = text.endswith("-") and text[-2:-1].isalpha()
            text = text.removesuffix("-") if broken else text
        return self._replace(
            text=text,
            left=min(piece.left for piece in pieces),
            top=pieces[0].top,
            bottom=pieces[0].bottom,
            right=max(piece.right for piece in pieces),
            pieces=tuple(pieces) if len(pieces) > 1 else (),
            broken=broken,
        )


def rounded(size: float) -> float:
    """A size to the half point, so that equal faces compare equal."""
    return round(size * 2) / 2


def read_page(document: pypdfium2.PdfDocument, number: int) -> list[Line]:
    """The lines of a page that hold more than white space, in the order of the file; `number` from 0."""
    page = document[number]
    try:
        textpage = page.get_textpage()
        try:
            text: str = textpage.get_text_range() if textpage.count_chars() else ""
            return _Reader(textpage).lines(text)
        finally:
            textpage.close()
    finally:
        page.close()


class _Reader:
    """Asks pdfium about the characters of one page; buffers are made once."""

    def __init__(self, textpage: pypdfium2.PdfTextPage) -> None:
        self._page = textpage.raw
        self._box = pdfium.FS_RECTF()
        self._box_ref = byref(self._box)
        self._sides = tuple(ctypes.c_double() for _ in range(4))
        self._side_refs = tuple(byref(side) for side in self._sides)
        self._sampled = False

    def lines(self, text: str) -> list[Line]:
        """The lines of the page's text, one for each that was set; `broken` where a hyphen ended it."""
        found: list[Line] = []
        offset = 0
        hyphens = _LINE_HYPHEN.search(text) is not None
        for raw in text.split("\n"):
            start = 0
            for hyphen in _LINE_HYPHEN.finditer(raw) if hyphens else ():
                if raw[start : hyphen.start()].strip() and self._ends_line(offset, raw, hyphen.start()):
                    found += self._lines(offset, raw, (start, hyphen.start()), broken=True)
                    start = hyphen.end()
            if raw[start:].strip():
                found += self._lines(offset, raw, (start, len(raw)), broken=False)
            offset += _units(raw) + 1
        return _rows(found)

    def _lines(self, offset: int, raw: str, span: tuple[int, int], *, broken: bool) -> list[Line]:
        """What stands in `raw[span]`, which holds more than white space: one line, as a rule."""
        text = raw[slice(*span)].strip()
        first = raw.index(text, span[0])
        begin, box = self._index(offset, raw, first), self._box
        # The first letter's height is the line's: marks come from other faces as well.
        letter = _ALNUM.search(text, 0, _MARKS)
        high = begin + letter.start() if letter else begin
        # Within a line, too, these are hyphens: of a font that names its characters oddly.
        text = text.replace("\ufffe", "-").replace("\x02", "-")
        if not pdfium.FPDFText_GetLooseCharBox(self._page, high, self._box_ref):
            return [Line(text, broken=broken)]
        left, right, top, bottom = box.left, box.right, box.top, box.bottom
        size = abs(top - bottom)
        pieces: tuple[Piece, ...] = ()
        runs = self._runs(begin, _units(text))
        if runs:
            left, right = min(runs)[0], max(map(_RIGHT, runs))
            gap = PIECE_GAP * size
            if any(after[0] - before[1] > gap or after[1] < before[0] for before, after in pairwise(runs)):
                pieces, end = self._pieces((offset, raw, first), text, runs, (gap, top, bottom))
                if end:
                    divided = text[end - 1] == "-" and text[end - 2 : end - 1].isalpha()
                    above = self._lines(offset, raw, (first, first + end - divided), broken=divided)
                    return above + self._lines(offset, raw, (first + end, span[1]), broken=broken)
        bold = (text[0] in _NUMBERS or not self._sampled) and self._is_bold(text, begin)
        fixed = bool(pieces) and self._is_fixed(begin)
        return [Line(text, size, left, right, top, bottom, pieces, broken, bold, fixed)]

    def _index(self, offset: int, raw: str, place: int) -> int:
        """Pdfium's number of the character at `raw[place]`; `offset` counts UTF-16 units, as pdfium does."""
        unit = offset + (place if raw.isascii() else _units(raw[:place]))
        index: int = pdfium.FPDFText_GetCharIndexFromTextIndex(self._page, unit)
        return index if index > 0 else 0

    def _runs(self, begin: int, count: int) -> list[tuple[float, float]]:
        """Left and right of each text object that these characters come from, in the order of the file."""
        number = pdfium.FPDFText_CountRects(self._page, begin, count)
        left, _, right, _ = self._sides
        get, page, refs = pdfium.FPDFText_GetRect, self._page, self._side_refs
        return [(left.value, right.value) for index in range(number) if get(page, index, *refs)]

    def _pieces(
        self,
        place: tuple[int, str, int],
        text: str,
        runs: list[tuple[float, float]],
        measures: tuple[float, float, float],
    ) -> tuple[tuple[Piece, ...], int]:
        """Cut a line's text at the blanks where text objects stand further apart than a gap.

        Args:
            place: where its stretch of the page's text starts, that stretch, and where in it the line starts.
            text: the line's.
            runs: its text objects, left and right.
            measures: the gap, the line's top and bottom.

        Returns:
            The pieces, and where the line ends if pdfium put text behind it that goes back to the left or
            stands on another height, else 0.
        """
        if LEADERS.search(text) or _RIGHT_TO_LEFT.search(text):
            return (), 0
        gap, top, bottom = measures
        left, reached = runs[0]
        start = 0
        pieces: list[Piece] = []
        for run in runs[1:]:
            if run[0] - reached > gap or run[1] < left:
                cut = self._blank_before(place, text, start, run)
                if cut is not None:
                    if run[1] < left or abs(self._box.bottom - bottom) > gap / 2:
                        return (), cut
                    pieces.append(Piece(text[start:cut].strip(), left, reached, top, bottom))
                    start, (left, reached) = cut + 1, run
                    top, bottom = self._box.top, self._box.bottom
            reached = max(reached, run[1])
        pieces.append(Piece(text[start:].strip(), left, reached, top, bottom))
        return (tuple(pieces), 0) if len(pieces) > 1 and all(piece.text for piece in pieces) else ((), 0)

    def _blank_before(
        self, place: tuple[int, str, int], text: str, start: int, run: tuple[float, float]
    ) -> int | None:
        """The blank in `text[start:]` whose next character is the first one of a text object."""
        offset, raw, first = place
        for blank in _BLANK.finditer(text, start):
            index = self._index(offset, raw, first + blank.start() + 1)
            if pdfium.FPDFText_GetLooseCharBox(self._page, index, self._box_ref):
                middle = (self._box.left + self._box.right) / 2
                if run[0] - 1 <= middle <= run[1] + 1:
                    return blank.start()
        return None

    def _ends_line(self, offset: int, raw: str, place: int) -> bool:
        """Whether what follows the hyphen at `raw[place]` stands on another line."""
        if place == 0 or place + 1 >= len(raw):
            return place > 0
        before, after = pdfium.FS_RECTF(), pdfium.FS_RECTF()
        for box, at in ((before, place - 1), (after, place + 1)):
            if not pdfium.FPDFText_GetLooseCharBox(self._page, self._index(offset, raw, at), byref(box)):
                return False
        return bool(abs(before.bottom - after.bottom) > 0.3 * abs(before.top - before.bottom))

    def _is_bold(self, text: str, begin: int) -> bool:
        if len(text) >= SAMPLE and not self._sampled:
            self._sampled = True  # one long line a page tells whether bold is the rule
        elif len(text) > SAMPLE * 2 or not NUMBERED.match(text):
            return False
        if pdfium.FPDFText_GetFontWeight(self._page, begin) >= _BOLD_WEIGHT:
            return True
        name, _ = self._font(begin)
        return bool(_BOLD.search(name))

    def _is_fixed(self, begin: int) -> bool:
        name, flags = self._font(begin)
        return bool(flags & _FIXED_PITCH) or "mono" in name.lower() or "courier" in name.lower()

    def _font(self, begin: int) -> tuple[str, int]:
        buffer = ctypes.create_string_buffer(128)
        flags = ctypes.c_int()
        pdfium.FPDFText_GetFontInfo(self._page, begin, buffer, 128, byref(flags))
        return buffer.raw.split(b"\0")[0].decode("latin-1"), flags.value


def _rows(lines: Sequence[Line]) -> list[Line]:
    """The lines, those that stand on one height with a wide gap between them as pieces of one."""
    rows: list[Line] = []
    for line in lines:
        if not rows or not _beside(rows[-1], line):
            rows.append(line)
            continue
        before = rows[-1]
        rows[-1] = before._replace(
            text=f"{before.text} {line.text}",
            right=line.right,
            pieces=before.parts() + line.parts(),
            broken=line.broken,
            fixed=before.fixed or line.fixed,
        )
    return rows


def _beside(before: Line, line: Line) -> bool:
    return (
        not before.broken
        and abs(before.bottom - line.bottom) < 0.15 * before.size
        and abs(before.size - line.size) < 0.25 * before.size
        and line.left - before.right > PIECE_GAP * before.size
    )


def _units(text: str) -> int:
    """UTF-16 code units, which pdfium counts its text in."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2
