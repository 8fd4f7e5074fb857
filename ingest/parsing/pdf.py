"""PDF, page by page, through pypdfium2."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from ctypes import byref
from dataclasses import dataclass

import pypdfium2
import pypdfium2.raw as pdfium

from ingest.parsing.blocks import TextBuilder, one_line, pick_title
from ingest.types import ElementKind, Parsed, ParseError

_HEADING_RATIO = 1.15
_HEADING_LENGTH = 160
_HEADING_SIZES = 6
# The dots of a table of contents.
_LEADERS = re.compile(r"(?:\. ?){4}")
# Lines of one paragraph stand closer than this share of their height.
_PARAGRAPH_GAP = 0.6
_NO_TITLE = frozenset(("untitled", "unspecified", "title", "document", "none", "anonymous", "no title"))
_SOURCE_SUFFIXES = (".doc", ".docx", ".indd", ".tex", ".dvi", ".qxd", ".ppt", ".pptx", ".xls", ".rtf", ".odt")


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of a page: its text, height of its characters, and where it stands (PDF points, up)."""

    text: str
    size: float
    top: float
    bottom: float


def read_pdf(data: bytes, name: str) -> Parsed:
    """A PDF's text with its page numbers; lines in a larger face become headings.

    Raises:
        ParseError: `encrypted`, `corrupt`, or `scanned` if no page holds a character.
    """
    try:
        with pypdfium2.PdfDocument(data) as document:
            pages = [_page_lines(document, number) for number in range(len(document))]
            stated = _sensible(document.get_metadata_dict().get("Title", ""))
    except pypdfium2.PdfiumError as error:
        raise _plain(error) from error
    empty = [number for number, lines in enumerate(pages, 1) if not lines]
    if len(empty) == len(pages):
        raise ParseError(
            "scanned",
            f"none of the {len(pages)} pages ({ranges(empty)}) holds a character: "
            "a scan or drawing; run OCR first, e.g. ocrmypdf IN.pdf OUT.pdf",
        )
    builder = TextBuilder()
    depths = _heading_depths(pages)
    for number, lines in enumerate(pages, 1):
        for block in _blocks(lines):
            text = "\n".join(line.text for line in block)
            plain = len(text) <= _HEADING_LENGTH and not _LEADERS.search(text)
            depth = depths.get(_rounded(block[0].size), 0) if plain else 0
            kind = ElementKind.TITLE if depth else ElementKind.PARAGRAPH
            builder.add(kind, text, page=number, depth=depth)
    notes = [f"no text on {'page' if len(empty) == 1 else 'pages'} {ranges(empty)}"] if empty else []
    return builder.finish(pick_title(name, stated, builder.first_title()), "pdf", notes=notes)


def ranges(numbers: Sequence[int]) -> str:
    """Numbers in order, runs joined: `1-3, 7`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _page_lines(document: pypdfium2.PdfDocument, number: int) -> list[_Line]:
    page = document[number]
    try:
        textpage = page.get_textpage()
        try:
            text: str = textpage.get_text_range() if textpage.count_chars() else ""
            return list(_lines(textpage, text))
        finally:
            textpage.close()
    finally:
        page.close()


def _lines(textpage: pypdfium2.PdfTextPage, text: str) -> Iterator[_Line]:
    """Non-empty lines; the box of a line's first character stands for the whole line."""
    offset = 0
    box = pdfium.FS_RECTF()
    for raw in text.split("\n"):
        # A hyphen at a line's end comes as one of two characters no one can read.
        line = raw.replace("\ufffe", "-").replace("\x02", "-").strip()
        if line:
            # PDFium counts UTF-16 units in its text; outside the basic plane a box is a few letters off.
            index = pdfium.FPDFText_GetCharIndexFromTextIndex(textpage, offset + len(raw) - len(raw.lstrip()))
            if pdfium.FPDFText_GetLooseCharBox(textpage, max(index, 0), byref(box)):
                yield _Line(line, abs(box.top - box.bottom), box.top, box.bottom)
            else:
                yield _Line(line, 0.0, 0.0, 0.0)
        offset += len(raw) + 1


def _rounded(size: float) -> float:
    return round(size * 2) / 2


def _heading_depths(pages: Sequence[Sequence[_Line]]) -> dict[float, int]:
    """Depth by size for sizes clearly above the most common one; the largest is 1."""
    weights: Counter[float] = Counter()
    for lines in pages:
        for line in lines:
            weights[_rounded(line.size)] += len(line.text)
    body = weights.most_common(1)[0][0]
    total = weights.total()
    # A size that sets a third of the text is no heading, however large.
    larger = [s for s in weights if s >= body * _HEADING_RATIO and weights[s] < total / 3]
    return {size: min(rank, _HEADING_SIZES) for rank, size in enumerate(sorted(larger, reverse=True), 1)}


def _blocks(lines: Sequence[_Line]) -> Iterator[list[_Line]]:
    """Lines grouped into paragraphs: a gap, a step upwards or another size begins a new one."""
    block: list[_Line] = []
    for line in lines:
        if block and _parts(block[-1], line):
            yield block
            block = []
        block.append(line)
    if block:
        yield block


def _parts(above: _Line, below: _Line) -> bool:
    if _rounded(above.size) != _rounded(below.size):
        return abs(above.size - below.size) > 0.1 * max(above.size, below.size)
    height = max(below.size, 1.0)
    return above.bottom - below.top > _PARAGRAPH_GAP * height or below.bottom > above.top


def _sensible(title: str) -> str:
    title = one_line(title).removeprefix("Microsoft Word - ").removeprefix("Microsoft PowerPoint - ")
    lowered = title.lower()
    if lowered in _NO_TITLE or lowered.endswith(_SOURCE_SUFFIXES) or not any(map(str.isalpha, title)):
        return ""
    return title


def _plain(error: pypdfium2.PdfiumError) -> ParseError:
    message = str(error)
    if "assword" in message:
        return ParseError("encrypted", "the PDF asks for a password; save a copy without one")
    return ParseError("corrupt", f"the file is damaged, incomplete or not a PDF ({message.strip('. ')})")
