"""The PDF samples: a page layout with contents, bookmarks and page numbers, the same bytes every time."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Protocol
from xml.sax.saxutils import escape

from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    Flowable,
    Frame,
    KeepTogether,
    ListFlowable,
    ListItem,
    NextPageTemplate,
    PageBreak,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
    TableStyle,
)
from reportlab.platypus.tableofcontents import TableOfContents

_SEA = colors.HexColor("#1d4e68")
_BODY = ParagraphStyle("body", fontName="Helvetica", fontSize=10.5, leading=15, spaceAfter=7)
_CELL = ParagraphStyle("cell", parent=_BODY, fontSize=9, leading=11.5, spaceAfter=0)
_HEAD = ParagraphStyle("head", parent=_CELL, fontName="Helvetica-Bold", textColor=colors.white)
_TITLES = {
    1: ParagraphStyle(
        "h1", fontName="Helvetica-Bold", fontSize=20, leading=25, spaceAfter=12, textColor=_SEA
    ),
    2: ParagraphStyle("h2", fontName="Helvetica-Bold", fontSize=13, leading=17, spaceBefore=8, spaceAfter=5),
}
_COVER = ParagraphStyle("cover", fontName="Helvetica-Bold", fontSize=34, leading=42, textColor=_SEA)
_SUB = ParagraphStyle("sub", fontName="Helvetica", fontSize=14, leading=22)


class Block(Protocol):
    """What a block of source text looks like (see `make_samples.Block`)."""

    kind: str
    lines: tuple[str, ...]
    depth: int
    rows: tuple[tuple[str, ...], ...]


class _Book(BaseDocTemplate):
    """A document whose titles become bookmarks and lines of the contents."""

    def __init__(self, buffer: io.BytesIO, title: str) -> None:
        # No compression: zlib differs between machines, the text does not.
        super().__init__(
            buffer, pagesize=A4, title=title, author="Averill Sound Ferries", invariant=1, pageCompression=0
        )
        frame = Frame(24 * mm, 22 * mm, A4[0] - 48 * mm, A4[1] - 44 * mm, id="page")
        self.running = title
        self.addPageTemplates(
            [PageTemplate("cover", [frame]), PageTemplate("inner", [frame], onPage=self._footer)]
        )

    def _footer(self, canvas: Canvas, _document: BaseDocTemplate) -> None:
        canvas.setFont("Helvetica", 8.5)
        canvas.setFillColor(colors.grey)
        canvas.drawString(24 * mm, 13 * mm, self.running)
        canvas.drawRightString(A4[0] - 24 * mm, 13 * mm, f"page {canvas.getPageNumber()}")

    def afterFlowable(self, flowable: Flowable) -> None:  # noqa: N802 - reportlab's name
        """Note where a title landed."""
        depth = getattr(flowable, "title_depth", 0)
        if not depth:
            return
        text = flowable.getPlainText()
        key = f"t{self.page}-{text}"
        self.canv.bookmarkPage(key)
        self.canv.addOutlineEntry(text, key, depth - 1, closed=depth == 1)
        self.notify("TOCEntry", (depth - 1, text, self.page, key))


def pdf_bytes(blocks: tuple[Block, ...], title: str, cover: tuple[str, ...] = ()) -> bytes:
    """A PDF of the blocks; with `cover`, a title page and a table of contents stand before them."""
    buffer = io.BytesIO()
    story: list[Flowable] = []
    if cover:
        story += [Spacer(1, 70 * mm), Paragraph(title, _COVER), Spacer(1, 8 * mm)]
        story += [Paragraph(line, _SUB) for line in cover]
        story += [NextPageTemplate("inner"), PageBreak(), Paragraph("Contents", _TITLES[1]), _contents()]
    else:
        story.append(NextPageTemplate("inner"))
    for block in blocks:
        story += _flowables(block, breaks=bool(cover) or bool(story[1:]))
    book = _Book(buffer, title)
    if not cover:
        book.pageTemplates.reverse()
    book.multiBuild(story)
    return buffer.getvalue()


def _contents() -> TableOfContents:
    contents = TableOfContents()
    contents.dotsMinLevel = -1
    contents.levelStyles = [
        ParagraphStyle(
            "c1", parent=_BODY, fontName="Helvetica-Bold", spaceBefore=4, spaceAfter=0, leading=14
        ),
        ParagraphStyle("c2", parent=_BODY, fontSize=9, leading=11.5, leftIndent=6 * mm, spaceAfter=0),
    ]
    return contents


def _flowables(block: Block, *, breaks: bool) -> Iterator[Flowable]:
    if block.kind == "title":
        if block.depth == 1 and breaks:
            yield PageBreak()
        heading = Paragraph(escape(block.lines[0]), _TITLES[block.depth])
        heading.title_depth = block.depth
        heading.keepWithNext = True
        yield heading
    elif block.kind == "table":
        yield _table(block.rows)
        yield Spacer(1, 9)
    elif block.kind in {"bullets", "numbers"}:
        yield _list(block)
        yield Spacer(1, 4)
    else:
        yield Paragraph(escape(block.lines[0]), _BODY)


def _list(block: Block) -> Flowable:
    style = ParagraphStyle("item", parent=_BODY, spaceAfter=3)
    items = [ListItem(Paragraph(escape(line), style), leftIndent=16) for line in block.lines]
    kind = "bullet" if block.kind == "bullets" else "1"
    start = "•" if block.kind == "bullets" else None
    return ListFlowable(
        items, bulletType=kind, start=start, bulletFormat=None if start else "%s.", leftIndent=16
    )


def _table(rows: tuple[tuple[str, ...], ...]) -> Flowable:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    # A column is as wide as its longest cell asks for, within reason, and all of them fill the page.
    shares = [min(max(width, 9), 34) for width in widths]
    page = A4[0] - 60 * mm
    cells = [
        [Paragraph(escape(cell), _CELL if number else _HEAD) for cell in row]
        for number, row in enumerate(rows)
    ]
    table = Table(cells, colWidths=[page * share / sum(shares) for share in shares], repeatRows=1)
    table.setStyle(
        TableStyle(
            [
                ("BACKGROUND", (0, 0), (-1, 0), _SEA),
                ("ROWBACKGROUNDS", (0, 1), (-1, -1), [colors.white, colors.HexColor("#eef3f6")]),
                ("LINEBELOW", (0, 0), (-1, -1), 0.4, colors.HexColor("#b8c6ce")),
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ]
        )
    )
    return KeepTogether([table]) if len(rows) <= 12 else table
