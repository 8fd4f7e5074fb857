"""Write the binary sample documents (PDF, DOCX, PPTX, XLSX) from the texts in `samples_src/`.

Running it twice writes the same bytes twice: dates are fixed, archives are packed again with fixed stamps.
The other samples are plain text and are kept as they are in `api/samples/documents/`.

    python scripts/make_samples.py [OUT]
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import docx
import xlsxwriter
from docx.document import Document
from docx.opc.coreprops import CoreProperties
from pptx import Presentation
from pptx.parts.coreprops import CorePropertiesPart
from pptx.slide import Slide
from pptx.util import Emu, Pt
from samples_pdf import pdf_bytes

SOURCES = Path(__file__).parent / "samples_src"
DOCUMENTS = Path(__file__).parents[1] / "api" / "samples" / "documents"
STAMP = dt.datetime(2025, 11, 6, 9, 0)
AUTHOR = "Averill Sound Ferries"


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a source text.

    Attributes:
        kind: `title`, `paragraph`, `bullets`, `numbers`, `table`, `subtitle` or `notes`.
        depth: heading depth, 1 for the highest; 0 for everything else.
        lines: the text; one entry for a title or paragraph, one per item of a list.
        rows: the cells of a table, header row first.
    """

    kind: str
    lines: tuple[str, ...] = ()
    depth: int = 0
    rows: tuple[tuple[str, ...], ...] = ()


def blocks(source: str) -> Iterator[Block]:
    """Read the small Markdown subset the sources are written in."""
    for stretch in source.split("\n\n"):
        lines = tuple(line for line in stretch.strip().splitlines() if line)
        while lines and lines[0].startswith("#"):
            marks, _, text = lines[0].partition(" ")
            yield Block("title", (text,), depth=len(marks))
            lines = lines[1:]
        yield from _groups(lines)


def _groups(lines: tuple[str, ...]) -> Iterator[Block]:
    start = 0
    while start < len(lines):
        kind = _kind(lines[start])
        end = start + 1
        while end < len(lines) and _kind(lines[end]) == kind:
            end += 1
        yield _block(kind, lines[start:end])
        start = end


def _kind(line: str) -> str:
    if line.startswith("|"):
        return "table"
    if line.startswith("- "):
        return "bullets"
    if line.startswith("> "):
        return "subtitle"
    if line.startswith("Notes: "):
        return "notes"
    return "numbers" if line.partition(". ")[0].isdigit() else "paragraph"


def _block(kind: str, lines: tuple[str, ...]) -> Block:
    if kind == "table":
        rows = tuple(tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines)
        return Block(kind, rows=rows)
    if kind == "paragraph":
        return Block(kind, (" ".join(lines),))
    cut = {"bullets": "- ", "numbers": ". ", "subtitle": "> ", "notes": "Notes: "}[kind]
    return Block(kind, tuple(line.partition(cut)[2] for line in lines))


def docx_bytes(source: str) -> bytes:
    """A Word document: headings, paragraphs, lists and tables, first heading as its title."""
    document = docx.Document()
    for block in blocks(source):
        if block.kind == "title":
            document.add_heading(block.lines[0], level=block.depth - 1)
        elif block.kind == "table":
            _docx_table(document, block.rows)
        else:
            style = {"bullets": "List Bullet", "numbers": "List Number"}.get(block.kind)
            for line in block.lines:
                document.add_paragraph(line, style=style)
    title = next(block.lines[0] for block in blocks(source) if block.kind == "title")
    _stamp(document.core_properties, title)
    buffer = io.BytesIO()
    document.save(buffer)
    return repacked(buffer.getvalue())


def _docx_table(document: Document, rows: tuple[tuple[str, ...], ...]) -> None:
    table = document.add_table(rows=len(rows), cols=len(rows[0]), style="Light Grid Accent 1")
    for row, cells in zip(rows, table.rows, strict=True):
        for text, cell in zip(row, cells.cells, strict=True):
            cell.text = text
    document.add_paragraph()


def pptx_bytes(source: str) -> bytes:
    """A slide deck: each title opens a slide, lists and tables fill it, `Notes:` are the speaker's."""
    deck = Presentation()
    deck.slide_width, deck.slide_height = Emu(12_192_000), Emu(6_858_000)
    slide = None
    for block in blocks(source):
        if block.kind == "title":
            first = slide is None
            slide = deck.slides.add_slide(deck.slide_layouts[0 if first else 1])
            slide.shapes.title.text = block.lines[0]
            _full_width(slide)
        elif block.kind == "notes":
            slide.notes_slide.notes_text_frame.text = "\n".join(block.lines)
        elif block.kind == "table":
            _pptx_table(slide, block.rows)
        else:
            slide.placeholders[1].text = "\n".join(block.lines)
    _stamp(deck.core_properties, deck.slides[0].shapes.title.text)
    buffer = io.BytesIO()
    deck.save(buffer)
    return repacked(buffer.getvalue())


def _full_width(slide: Slide) -> None:
    """The default layouts are 4:3; stretch what stands on the slide to the wide page."""
    for shape in slide.placeholders:
        top, height = shape.top, shape.height
        shape.left, shape.width = Emu(700_000), Emu(10_792_000)
        shape.top, shape.height = top, height


def _pptx_table(slide: Slide, rows: tuple[tuple[str, ...], ...]) -> None:
    body = slide.placeholders[1]
    frame = slide.shapes.add_table(
        len(rows), len(rows[0]), body.left, body.top, body.width, Pt(36 * len(rows))
    )
    body.element.getparent().remove(body.element)
    for row, cells in zip(rows, frame.table.rows, strict=True):
        for text, cell in zip(row, cells.cells, strict=True):
            cell.text = text


def xlsx_bytes(source: str) -> bytes:
    """A workbook: `# Name` opens a sheet, the lines below are its CSV rows; numbers stay numbers."""
    buffer = io.BytesIO()
    book = xlsxwriter.Workbook(buffer, {"in_memory": True, "strings_to_numbers": True})
    book.set_properties({"title": "Spare parts", "author": AUTHOR, "created": STAMP})
    bold = book.add_format({"bold": True})
    for part in source.split("# ")[1:]:
        name, _, body = part.partition("\n")
        sheet = book.add_worksheet(name.strip())
        rows = list(csv.reader(io.StringIO(body)))
        for number, row in enumerate(rows):
            sheet.write_row(number, 0, row, bold if number == 0 else None)
        sheet.freeze_panes(1, 0)
        sheet.autofit()
    book.close()
    return repacked(buffer.getvalue())


def _stamp(properties: CoreProperties | CorePropertiesPart, title: str) -> None:
    properties.title = title
    properties.author = properties.last_modified_by = AUTHOR
    properties.created = properties.modified = STAMP
    properties.revision = 1


def repacked(archive: bytes) -> bytes:
    """The same archive with the same stamp and rights on every member."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            member.compress_type = zipfile.ZIP_DEFLATED
            member.create_system = 3
            member.external_attr = 0o644 << 16
            new.writestr(member, old.read(name))
    return buffer.getvalue()


def _handbook(source: str) -> bytes:
    cover = (
        "Issue 7.2",
        "In force from 3 March 2025",
        "Averill Sound Ferries Co-operative",
        "Harbour House, Port Averill",
    )
    return pdf_bytes(tuple(blocks(source)), "Operations handbook", cover=cover)


def _card(source: str) -> bytes:
    return pdf_bytes(tuple(blocks(source)), "Yellow card")


FILES: dict[str, tuple[str, Callable[[str], bytes]]] = {
    "handbook/operations-handbook.pdf": ("handbook.md", _handbook),
    "handbook/yellow-card.pdf": ("emergency-card.md", _card),
    "handbook/crew-rostering-guide.docx": ("crew-rostering-guide.md", docx_bytes),
    "office/agm-minutes-2025.docx": ("agm-minutes-2025.md", docx_bytes),
    "engineering/winter-refit-2026.pptx": ("winter-refit-slides.md", pptx_bytes),
    "engineering/spare-parts.xlsx": ("spare-parts.csv", xlsx_bytes),
}


def write(out: Path) -> list[Path]:
    """Write every binary sample below `out` and say where."""
    written = []
    for name, (source, make) in FILES.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make((SOURCES / source).read_text(encoding="utf-8")))
        written.append(path)
    return written


if __name__ == "__main__":
    for path in write(Path(sys.argv[1]) if len(sys.argv) > 1 else DOCUMENTS):
        print(f"{path.stat().st_size:>9,} {path}")
