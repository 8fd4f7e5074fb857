"""PDF, page by page, through pypdfium2.

The lines of a paragraph stay lines: what is code, an address or a verse is not known, and neither words nor
vectors depend on it. Words divided at a line's end are put together.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pypdfium2

from latewood.ingest.metadata import common, moment
from latewood.ingest.parsing.pdf.columns import in_reading_order, table_end
from latewood.ingest.parsing.pdf.headings import Headings, find_headings, read_outline
from latewood.ingest.parsing.pdf.hyphenation import Words
from latewood.ingest.parsing.pdf.lines import Line, read_page
from latewood.ingest.parsing.pdf.running_heads import find_margins
from latewood.ingest.parsing.text_builder import TextBuilder, one_line, pick_title
from latewood.ingest.types import ElementKind, Parsed, ParseError
from latewood.search.types import MetadataValue

# Lines of one paragraph stand closer than this share of their height.
_PARAGRAPH_GAP = 0.6
_SHOWN_HEADS = 3
_NO_TITLE = frozenset(("untitled", "unspecified", "title", "document", "none", "anonymous", "no title"))
# What programs write where their users wrote nothing.
_NOTHING_SAID = frozenset(("unspecified", "anonymous", "none", "unknown"))
_SOURCE_SUFFIXES = (".doc", ".docx", ".indd", ".tex", ".dvi", ".qxd", ".ppt", ".pptx", ".xls", ".rtf", ".odt")
_DATE = re.compile(r"D?:?(\d{4})(\d\d)?(\d\d)?(?:(\d\d)(\d\d)(\d\d)?(?:(Z)|([-+])(\d\d)'?(\d\d)?)?)?")


def read_pdf(data: bytes, name: str) -> Parsed:
    """A PDF's text with its page numbers: headings, paragraphs, tables whose cells stand in line.

    Running heads and feet are left out, columns read one after the other; see the `pdf_…` modules.

    Raises:
        ParseError: `encrypted`, `corrupt`, or `scanned` if no page holds a character.
    """
    try:
        with pypdfium2.PdfDocument(data) as document:
            pages = [read_page(document, number) for number in range(len(document))]
            outline = read_outline(document)
            told = document.get_metadata_dict()
            language = _language(document)
    except pypdfium2.PdfiumError as error:
        raise _plain(error) from error
    empty = [number for number, lines in enumerate(pages, 1) if not lines]
    if len(empty) == len(pages):
        raise ParseError(
            "scanned",
            f"none of the {len(pages)} pages ({ranges(empty)}) holds a character: "
            "a scan or drawing; run OCR first, e.g. ocrmypdf IN.pdf OUT.pdf",
        )
    margins = find_margins(pages)
    pages = [
        _body(lines, edge, running)
        for lines, edge, running in zip(pages, margins.edge, margins.running, strict=True)
    ]
    builder = TextBuilder()
    headings, words = find_headings(pages, outline), Words(pages)
    for number, lines in enumerate(pages):
        for block in _blocks(number, lines, headings):
            _add(builder, block, number + 1, words)
    title = pick_title(name, _sensible(told.get("Title", "")), builder.first_title())
    notes = (*_without_text(pages), *_left_out(margins.shown))
    return builder.finish(title, "pdf", metadata=_metadata(told, language), notes=notes)


def _body(lines: Sequence[Line], edge: frozenset[int], running: frozenset[int]) -> list[Line]:
    kept = [index for index in range(len(lines)) if index not in running]
    apart = frozenset(place for place, index in enumerate(kept) if index in edge)
    return in_reading_order([lines[index] for index in kept], apart)


# --- blocks -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Block:
    """Lines that belong together; `depth` above 0 for a heading."""

    lines: Sequence[Line]
    depth: int = 0
    table: bool = False


def _blocks(page: int, lines: Sequence[Line], headings: Headings) -> Iterator[_Block]:
    """A page as headings, tables and paragraphs: a gap, a step upwards or another size begins a new one."""
    start = index = 0
    while index < len(lines):
        count, depth = headings.named.get((page, index), (0, 0))
        rows = table_end(lines, index) - index if lines[index].pieces and not count else 0
        if count or rows or (index > start and _parts(lines[index - 1], lines[index])):
            if index > start:
                yield _Block(lines[start:index], headings.depth_of(lines[start:index]))
            start = index
        if count or rows:
            yield _Block(lines[index : index + (count or rows)], depth, bool(rows))
            start = index = index + (count or rows)
        else:
            index += 1
    if index > start:
        yield _Block(lines[start:index], headings.depth_of(lines[start:index]))


def _parts(above: Line, below: Line) -> bool:
    if above.broken:
        return False
    if abs(above.size - below.size) > 0.1 * max(above.size, below.size):
        return True
    height = max(below.size, 1.0)
    return above.bottom - below.top > _PARAGRAPH_GAP * height or below.bottom > above.top


def _add(builder: TextBuilder, block: _Block, page: int, words: Words) -> None:
    if block.table:
        builder.add_table([[piece.text for piece in line.pieces] for line in block.lines], page=page)
        return
    text = block.lines[0].text
    for above, below in zip(block.lines, block.lines[1:], strict=False):
        text = words.join(text, below.text) if above.broken else f"{text}\n{below.text}"
    if block.lines[-1].broken:
        text += "-"
    kind = ElementKind.TITLE if block.depth else ElementKind.PARAGRAPH
    builder.add(kind, text, page=page, depth=block.depth)


# --- what is told of the file -------------------------------------------------------------------------------


def ranges(numbers: Sequence[int]) -> str:
    """Numbers in order, runs joined: `1-3, 7`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _without_text(pages: Sequence[Sequence[Line]]) -> Iterator[str]:
    empty = [number for number, lines in enumerate(pages, 1) if not lines]
    if empty:
        yield f"no text on {'page' if len(empty) == 1 else 'pages'} {ranges(empty)}"


def _left_out(shown: Sequence[str]) -> Iterator[str]:
    if shown:
        named = ", ".join(f"{text!r:.80}" for text in shown[:_SHOWN_HEADS])
        more = f" and {len(shown) - _SHOWN_HEADS} more" if len(shown) > _SHOWN_HEADS else ""
        yield f"left out running heads and feet: {named}{more}"


def _language(document: pypdfium2.PdfDocument) -> str:
    ask = pypdfium2.raw.FPDFCatalog_GetLanguage
    length = ask(document, None, 0)
    if not 2 < length < 200:
        return ""
    buffer = pypdfium2.raw.FPDF_WCHAR * (length // 2)
    units = buffer()
    ask(document, units, length)
    return bytes(units).decode("utf-16-le", "replace").rstrip("\0")


def _metadata(told: dict[str, str], language: str) -> dict[str, MetadataValue]:
    return common(
        author=_said(told.get("Author", "")),
        created=_moment(told.get("CreationDate", "")),
        keywords=told.get("Keywords"),
        subject=_said(told.get("Subject", "")),
        language=language,
    )


def _said(text: str) -> str:
    return "" if text.strip("() ").lower() in _NOTHING_SAID else text


def _moment(text: str) -> str:
    """A PDF date (`D:20240501120000+02'00'`) as ISO 8601, in UTC where its zone is known; else ''."""
    found = _DATE.match(text.strip())
    if found is None or found[3] is None:
        return ""
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups()[:6])
    zone = None
    if found[7] or found[8]:
        hours, minutes = int(found[9] or 0), int(found[10] or 0)
        away = dt.timedelta(hours=hours, minutes=minutes)
        zone = dt.timezone(-away if found[8] == "-" else away) if hours < 24 else dt.UTC
    try:
        return moment(dt.datetime(year, month, day, hour, minute, second, tzinfo=zone))
    except ValueError:
        return ""


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
