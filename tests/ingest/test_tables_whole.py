"""Tables of every format, from the file to its chunks: rows stay whole, and each chunk knows the header."""

from __future__ import annotations

import io
import re
import uuid
from collections.abc import Callable, Sequence

import docx
import numpy as np
import pytest
import xlsxwriter
from hypothesis import given, settings
from hypothesis import strategies as st
from pptx import Presentation
from pptx.util import Inches
from reportlab.pdfgen.canvas import Canvas

from latewood.ingest.chunking.chunker import tile
from latewood.ingest.parsing.parse import parse_bytes
from latewood.ingest.types import Document, ElementKind
from latewood.search.types import Chunk

HEADER = ("Part", "Where it lies", "In stock")
ROWS = [HEADER, *[(f"bolt{n}", f"shelf {n % 7} of store {n}", str(n)) for n in range(40)]]


def word_offsets(text: str) -> np.ndarray:

    spans = [found.span() for found in re.finditer(r"\w+|[^\w\s]", text)]
    return np.array(spans, dtype=np.int64).reshape(-1, 2)


def chunks(data: bytes, name: str, max_tokens: int = 48) -> list[Chunk]:
    parsed = parse_bytes(data, name)
    made = Document(
        str(uuid.UUID(int=7)),
        f"upload:{name}",
        "uploads:",
        parsed.title,
        parsed.kind,
        parsed.text,
        parsed.elements,
        "0" * 64,
    )
    return tile(made, version=str(uuid.UUID(int=1)), token_offsets=word_offsets, max_tokens=max_tokens)


def as_csv(rows: Sequence[Sequence[str]]) -> bytes:
    return "\n".join(";".join(row) for row in rows).encode()


def as_tsv(rows: Sequence[Sequence[str]]) -> bytes:
    return "\n".join("\t".join(row) for row in rows).encode()


def as_markdown(rows: Sequence[Sequence[str]]) -> bytes:
    lines = [" | ".join(row) for row in rows]
    return "\n".join([lines[0], " | ".join("---" for _ in rows[0]), *lines[1:]]).encode()


def as_html(rows: Sequence[Sequence[str]]) -> bytes:
    cells = ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
    first = cells[0].replace("td>", "th>")
    body = "".join(f"<tr>{row}</tr>" for row in cells[1:])
    return f"<h1>Stores</h1><table><tr>{first}</tr>{body}</table>".encode()


def as_xlsx(rows: Sequence[Sequence[str]]) -> bytes:
    buffer = io.BytesIO()
    book = xlsxwriter.Workbook(buffer, {"in_memory": True})
    sheet = book.add_worksheet("Stores")
    for number, row in enumerate(rows):
        sheet.write_row(number, 0, row)
    book.close()
    return buffer.getvalue()


def as_docx(rows: Sequence[Sequence[str]]) -> bytes:
    document = docx.Document()
    document.add_heading("Stores", 1)
    table = document.add_table(rows=0, cols=len(rows[0]))
    for row in rows:
        for cell, text in zip(table.add_row().cells, row, strict=True):
            cell.text = text
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def as_pptx(rows: Sequence[Sequence[str]]) -> bytes:
    deck = Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    slide.shapes.title.text = "Stores"
    place = (Inches(1), Inches(1), Inches(8), Inches(5))
    table = slide.shapes.add_table(len(rows), len(rows[0]), *place).table
    for number, row in enumerate(rows):
        for column, text in enumerate(row):
            table.cell(number, column).text = text
    buffer = io.BytesIO()
    deck.save(buffer)
    return buffer.getvalue()


def as_pdf(rows: Sequence[Sequence[str]]) -> bytes:
    buffer = io.BytesIO()
    canvas = Canvas(buffer, invariant=1)
    canvas.setFont("Helvetica", 10)
    for number, row in enumerate(rows):
        for column, text in enumerate(row):
            canvas.drawString(60 + 160 * column, 780 - 15 * number, text)
    canvas.save()
    return buffer.getvalue()


WRITERS: dict[str, Callable[[Sequence[Sequence[str]]], bytes]] = {
    "t.csv": as_csv,
    "t.tsv": as_tsv,
    "t.md": as_markdown,
    "t.html": as_html,
    "t.xlsx": as_xlsx,
    "t.docx": as_docx,
    "t.pptx": as_pptx,
    "t.pdf": as_pdf,
}


@pytest.mark.parametrize("name", WRITERS)
def test_rows_stay_whole_and_every_chunk_knows_the_header(name: str) -> None:
    made = chunks(WRITERS[name](ROWS), name)
    assert len(made) > 5
    texts = [chunk.text for chunk in made]
    for row in ROWS[1:]:
        assert sum(" | ".join(row) in text for text in texts) == 1, row
    for chunk in made[1:]:
        assert "Part | Where it lies | In stock" in chunk.context
        assert chunk.text.startswith("bolt")
    assert "Where it lies" not in made[0].context


@pytest.mark.parametrize("name", ["t.csv", "t.html", "t.xlsx", "t.docx"])
def test_a_row_longer_than_a_chunk_has_its_header_in_every_part(name: str) -> None:
    long = " ".join(f"word{n}" for n in range(300))
    made = chunks(WRITERS[name]([HEADER, ("bolt", long, "3"), ("nut", "shelf", "4")]), name)
    assert len(made) > 6
    for chunk in made[1:]:
        assert "Part | Where it lies | In stock" in chunk.context


@pytest.mark.parametrize("name", ["t.csv", "t.html", "t.xlsx"])
def test_the_header_of_a_wide_table_is_kept_whole(name: str) -> None:
    header = [f"measured at station {n}" for n in range(30)]
    rows = [header, *[[str(n * m) for m in range(30)] for n in range(1, 20)]]
    made = chunks(WRITERS[name](rows), name, 256)
    assert len(made) > 3
    assert all(" | ".join(header) in chunk.context for chunk in made[1:])


@pytest.mark.parametrize("name", ["t.csv", "t.html", "t.xlsx", "t.docx"])
def test_a_table_of_figures_alone_has_no_header(name: str) -> None:
    rows = [[str(n * m) for m in range(1, 6)] for n in range(1, 60)]
    data = WRITERS[name](rows).replace(b"th>", b"td>") if name == "t.html" else WRITERS[name](rows)
    made = chunks(data, name)
    assert len(made) > 3
    assert {chunk.context for chunk in made} == {made[0].context}


def test_a_title_above_the_header_is_not_taken_for_it() -> None:
    made = chunks(as_xlsx([("Stores, March", "", ""), *ROWS]), "t.xlsx")
    assert "Stores, March" in made[0].text
    assert all(chunk.context.endswith("Part | Where it lies | In stock") for chunk in made[1:])


def test_tables_one_below_the_other_in_a_sheet_have_headers_of_their_own() -> None:
    blank = ("", "", "")
    tides = [("Port", "Tide", ""), *[(f"port{n}", f"{n} m", "") for n in range(30)]]
    made = chunks(as_xlsx([*ROWS, blank, *tides]), "t.xlsx")
    for chunk in made[1:]:
        expected = "Part | Where it lies | In stock" if chunk.text.startswith("bolt") else "Port | Tide"
        assert expected in chunk.context or chunk.text.startswith(expected)


def test_groups_of_rows_with_gaps_between_them_keep_the_one_header() -> None:
    blank = ("", "", "")
    made = chunks(as_xlsx([*ROWS[:15], blank, *ROWS[15:30], blank, *ROWS[30:]]), "t.xlsx")
    assert all("Part | Where it lies | In stock" in chunk.context for chunk in made[1:])


def test_cells_over_several_rows_and_columns_keep_the_columns_apart() -> None:
    markup = (
        "<table><tr><th>Ship</th><th>Part</th><th>Where</th></tr>"
        "<tr><td rowspan=3>Tystie</td><td>bolt</td><td>store 1</td></tr>"
        "<tr><td>nut</td><td>store 2</td></tr><tr><td colspan=2>both</td></tr>"
        "<tr><td colspan='2'>Marigold</td><td rowspan='99'>store 3</td></tr><tr></tr></table>"
    )
    parsed = parse_bytes(markup.encode(), "t.html")
    assert parsed.text.split("\n") == [
        "Ship | Part | Where",
        "Tystie | bolt | store 1",
        "Tystie | nut | store 2",
        "Tystie | both",
        "Marigold |  | store 3",
        " |  | store 3",
    ]
    assert parsed.elements[0].header == "Ship | Part | Where"


def test_a_cell_that_claims_a_million_columns_does_not_get_them() -> None:
    cells = "<td colspan=999999 rowspan=999999>x</td>" * 3
    parsed = parse_bytes(f"<table>{f'<tr>{cells}</tr>' * 50}</table>".encode(), "t.html")
    assert len(parsed.text) < 1_000_000
    assert parsed.text.count("x") >= 50


def test_merged_cells_of_a_word_table_are_repeated_down_and_left_empty_across() -> None:
    document = docx.Document()
    table = document.add_table(rows=4, cols=3)
    for number, row in enumerate(table.rows):
        for column, cell in enumerate(row.cells):
            cell.text = f"r{number}c{column}" if number else f"Head {column}"
    table.cell(1, 0).merge(table.cell(2, 0)).text = "both rows"
    table.cell(3, 0).merge(table.cell(3, 1)).text = "both columns"
    buffer = io.BytesIO()
    document.save(buffer)
    assert parse_bytes(buffer.getvalue(), "t.docx").text.split("\n") == [
        "Head 0 | Head 1 | Head 2",
        "both rows | r1c1 | r1c2",
        "both rows | r2c1 | r2c2",
        "both columns |  | r3c2",
    ]


# --- pages --------------------------------------------------------------------------------------------------
# A line begins and ends with its page's number, so that every part of one names it.


def paged_pdf(pages: Sequence[int]) -> bytes:
    buffer = io.BytesIO()
    canvas = Canvas(buffer, invariant=1)
    for number, lines in enumerate(pages, 1):
        for line in range(lines):
            canvas.drawString(60, 780 - 16 * line, f"page{number} line{line} page{number}")
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def paged_pptx(pages: Sequence[int]) -> bytes:
    deck = Presentation()
    for number, lines in enumerate(pages, 1):
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        slide.shapes.title.text = f"page{number} in page{number}"
        slide.placeholders[1].text = "\n".join(
            f"page{number} line{line} page{number}" for line in range(lines)
        )
        if lines % 2:
            slide.notes_slide.notes_text_frame.text = f"page{number} said page{number}"
    buffer = io.BytesIO()
    deck.save(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(("name", "write"), [("p.pdf", paged_pdf), ("p.pptx", paged_pptx)])
def test_every_chunk_of_a_paged_format_names_the_pages_its_words_stand_on(
    name: str, write: Callable[[Sequence[int]], bytes]
) -> None:
    @settings(max_examples=12, deadline=None)
    @given(pages=st.lists(st.integers(0, 20), min_size=1, max_size=6).filter(any), limit=st.integers(8, 80))
    def check(pages: list[int], limit: int) -> None:
        for chunk in chunks(write(pages), name, limit):
            words = {int(word[4:]) for word in chunk.text.split() if word.startswith("page")}
            assert chunk.page_start is not None
            assert chunk.page_end is not None
            assert 1 <= chunk.page_start <= chunk.page_end <= len(pages)
            assert words <= set(range(chunk.page_start, chunk.page_end + 1))
            assert not words or {chunk.page_start, chunk.page_end} <= words

    check()


def test_a_table_in_a_pdf_knows_its_page() -> None:
    parsed = parse_bytes(as_pdf(ROWS), "t.pdf")
    assert {element.page for element in parsed.elements if element.kind is ElementKind.TABLE} == {1}
