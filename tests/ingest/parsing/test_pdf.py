from __future__ import annotations

import io

import pytest
from reportlab.pdfgen import canvas

from latewood.ingest.parsing.parse import parse_bytes
from latewood.ingest.parsing.pdf.reader import ranges
from latewood.ingest.types import ElementKind, ParseError


def make(pages: list[list[tuple[int, float, str]]], title: str = "") -> bytes:
    """A PDF from (size, height, line) lists."""
    file = io.BytesIO()
    sheet = canvas.Canvas(file)
    if title:
        sheet.setTitle(title)
    for page in pages:
        for size, height, line in page:
            sheet.setFont("Helvetica", size)
            sheet.drawString(72, height, line)
        sheet.showPage()
    sheet.save()
    return file.getvalue()


BODY = [(11, 700 - 14 * row, f"Line {row} speaks of the growth of trees at length.") for row in range(8)]
LATER = [(11, 500 - 14 * row, f"Row {row} speaks of something else entirely.") for row in range(4)]


def test_every_element_knows_its_page_and_larger_lines_are_headings():
    data = make([[(20, 760, "Rings"), *BODY, (15, 540, "Late wood"), *LATER], BODY])
    parsed = parse_bytes(data, "rings.pdf")
    shown = [(e.kind, e.page, e.depth, parsed.text[e.start : e.end].split("\n")[0]) for e in parsed.elements]
    assert shown == [
        (ElementKind.TITLE, 1, 1, "Rings"),
        (ElementKind.PARAGRAPH, 1, 0, "Line 0 speaks of the growth of trees at length."),
        (ElementKind.TITLE, 1, 2, "Late wood"),
        (ElementKind.PARAGRAPH, 1, 0, "Row 0 speaks of something else entirely."),
        (ElementKind.PARAGRAPH, 2, 0, "Line 0 speaks of the growth of trees at length."),
    ]
    assert parsed.title == "Rings"


def test_the_lines_of_a_table_of_contents_are_no_headings():
    data = make([[(15, 760, "1 Rings . . . . . . . . 4"), *BODY]])
    assert [e.kind for e in parse_bytes(data, "toc.pdf").elements] == [ElementKind.PARAGRAPH] * 2


def test_a_gap_between_lines_begins_a_paragraph():
    parsed = parse_bytes(make([BODY + LATER]), "p.pdf")
    assert [parsed.text[e.start : e.end].count("\n") for e in parsed.elements] == [7, 3]


@pytest.mark.parametrize(
    ("stated", "title"),
    [("On Wood", "On Wood"), ("untitled", "Rings"), ("Microsoft Word - draft3.doc", "Rings")],
)
def test_a_stated_title_counts_if_it_says_something(stated, title):
    data = make([[(20, 760, "Rings"), *BODY]], stated)
    assert parse_bytes(data, "x.pdf").title == title


def test_pages_without_text_are_listed():
    parsed = parse_bytes(make([BODY, [], BODY, [], []]), "gaps.pdf")
    assert parsed.notes == ("no text on pages 2, 4-5",)
    assert [e.page for e in parsed.elements] == [1, 3]


def test_a_scan_is_a_failure_that_names_the_pages_and_the_remedy():
    with pytest.raises(ParseError, match=r"3 pages \(1-3\).*OCR") as caught:
        parse_bytes(make([[], [], []]), "scan.pdf")
    assert caught.value.code == "scanned"


def test_something_else_under_the_name_of_a_pdf_is_corrupt():
    with pytest.raises(ParseError, match="not a PDF") as caught:
        parse_bytes(b"<html>", "x.pdf")
    assert caught.value.code == "corrupt"


def test_ranges_join_runs():
    assert ranges([1, 2, 3, 7, 9, 10]) == "1-3, 7, 9-10"
