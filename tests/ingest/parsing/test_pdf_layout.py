"""Columns, tables, running heads and divided words of PDFs: put right where certain, and nothing lost."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import pypdfium2
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas

from latewood.ingest.parsing.parse import parse_bytes
from latewood.ingest.parsing.pdf.lines import read_page
from latewood.ingest.parsing.pdf.reader import _moment
from latewood.ingest.parsing.pdf.running_heads import find_margins
from latewood.ingest.types import ElementKind, Parsed

TOP, LEFT, WIDTH, GUTTER, SIZE, LEADING = 720, 60, 470, 22, 10, 12


@dataclass
class Sheet:
    """Draws pages line by line; `words` are the words drawn, in reading order."""

    buffer: io.BytesIO = field(default_factory=io.BytesIO)
    words: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.canvas = Canvas(self.buffer, invariant=1)

    def draw(self, x: float, y: float, text: str, size: float = SIZE, font: str = "Helvetica") -> None:
        self.canvas.setFont(font, size)
        self.canvas.drawString(x, y, text)

    def next_words(self, count: int) -> list[str]:
        made = [name(len(self.words) + number) for number in range(count)]
        self.words += made
        return made

    def data(self) -> bytes:
        self.canvas.save()
        return self.buffer.getvalue()


def name(number: int) -> str:
    """A word like no other, in lower case, four to seven letters long."""
    letters = ""
    rest = number + 26**3
    while rest:
        rest, letter = divmod(rest, 26)
        letters += chr(97 + letter)
    return letters + "nor"[: number % 4]


def fill(sheet: Sheet, count: int, width: float, hyphens: bool) -> list[str]:
    """Lines that `count` lines of running text fill; with `hyphens`, some end within a word."""
    lines: list[str] = []
    rest = ""
    while len(lines) < count:
        line = rest
        rest = ""
        while True:
            (word,) = sheet.next_words(1)
            longer = f"{line} {word}".strip()
            if stringWidth(longer, "Helvetica", SIZE) <= width:
                line = longer
                continue
            rest = word
            start = f"{line} {word[:2]}-"
            if hyphens and len(lines) + 1 < count and stringWidth(start, "Helvetica", SIZE) <= width:
                line, rest = start, word[2:]
            break
        if len(lines) + 1 == count and rest:
            sheet.words.pop()
        lines.append(line)
    return lines


def column(sheet: Sheet, paragraphs: Sequence[int], width: float, hyphens: bool) -> list[tuple[float, str]]:
    """(distance from the top, line) of paragraphs of so many lines."""
    placed: list[tuple[float, str]] = []
    y = 0.0
    for count in paragraphs:
        for line in fill(sheet, count, width, hyphens):
            placed.append((y, line))
            y += LEADING
        y += LEADING * 0.8
    return placed


def draw_columns(
    sheet: Sheet, top: float, columns: Sequence[Sequence[int]], *, by_rows: bool, hyphens: bool = False
) -> None:
    """Columns of running text, in the file either one after the other or row by row."""
    width = (WIDTH - GUTTER * (len(columns) - 1)) / len(columns)
    drawn = [
        (LEFT + index * (width + GUTTER), y, line)
        for index, paragraphs in enumerate(columns)
        for y, line in column(sheet, paragraphs, width, hyphens)
    ]
    for x, y, line in sorted(drawn, key=lambda one: one[1]) if by_rows else drawn:
        sheet.draw(x, top - y, line)


def look_like_rows(columns: Sequence[Sequence[int]]) -> bool:
    """Whether most paragraphs of two columns begin side by side, as the rows of a table do."""
    begin = [{(sum(paragraphs[:n]), n) for n in range(1, len(paragraphs))} for paragraphs in columns]
    return len(begin) == 2 and 2 * len(begin[0] & begin[1]) >= max(map(len, begin)) > 2


def words_of(text: str) -> list[str]:
    return text.replace("\n", " ").split()


def assert_nothing_lost(data: bytes, parsed: Parsed) -> None:
    """Letters and figures of each page are those that pdfium reads, but for running heads."""
    with pypdfium2.PdfDocument(data) as document:
        pages = [read_page(document, number) for number in range(len(document))]
        raw = [document[number].get_textpage().get_text_range() for number in range(len(document))]
    running = find_margins(pages).running
    for number, (text, lines, left_out) in enumerate(zip(raw, pages, running, strict=True), 1):
        expected = Counter(filter(str.isalnum, text))
        expected -= Counter(filter(str.isalnum, "".join(lines[index].text for index in left_out)))
        kept = "".join(parsed.text[e.start : e.end] for e in parsed.elements if e.page == number)
        assert Counter(filter(str.isalnum, kept)) == expected, f"page {number}"


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_running_text_is_read_in_order_and_nothing_is_lost(data: st.DataObject) -> None:
    sheet = Sheet()
    head, hyphens = data.draw(st.booleans(), "head"), data.draw(st.booleans(), "hyphens")
    paragraphs = st.lists(st.integers(3, 9), min_size=2, max_size=4)
    for number in range(data.draw(st.integers(1, 6), "pages")):
        if head:
            sheet.draw(LEFT, 780, "The growth of trees")
            sheet.draw(LEFT + 400, 30, f"{number + 1}")
        if data.draw(st.booleans(), "title"):
            words = sheet.next_words(3)
            sheet.draw(LEFT + 60, TOP + 24, " ".join(words), 18)
        columns = data.draw(st.lists(paragraphs, min_size=1, max_size=2), "columns")
        assume(not look_like_rows(columns))
        draw_columns(sheet, TOP, columns, by_rows=data.draw(st.booleans(), "by rows"), hyphens=hyphens)
        sheet.canvas.showPage()
    made = sheet.data()
    parsed = parse_bytes(made, "x.pdf")
    assert_nothing_lost(made, parsed)
    found = [word for word in words_of(parsed.text) if word in set(sheet.words)]
    assert found == sheet.words


def test_two_columns_below_a_title_and_above_a_footnote_are_read_one_after_the_other() -> None:
    sheet = Sheet()
    title = sheet.next_words(9)
    sheet.draw(LEFT + 90, TOP + 30, " ".join(title), 16)
    draw_columns(sheet, TOP, [[8, 9], [9, 8]], by_rows=True)
    note = sheet.next_words(16)
    sheet.draw(LEFT, 60, " ".join(note), 8)
    parsed = parse_bytes(sheet.data(), "x.pdf")
    assert words_of(parsed.text) == sheet.words
    assert parsed.elements[0].kind is ElementKind.TITLE


def test_a_figure_across_the_page_divides_the_columns() -> None:
    sheet = Sheet()
    draw_columns(sheet, TOP, [[10], [10]], by_rows=True)
    sheet.draw(LEFT + 30, TOP - 150, " ".join(sheet.next_words(14)))
    draw_columns(sheet, TOP - 180, [[10], [10]], by_rows=True)
    assert words_of(parse_bytes(sheet.data(), "x.pdf").text) == sheet.words


def test_columns_that_the_file_holds_in_order_are_left_as_they_are() -> None:
    sheet = Sheet()
    draw_columns(sheet, TOP, [[12], [12]], by_rows=False)
    assert words_of(parse_bytes(sheet.data(), "x.pdf").text) == sheet.words


ROWS = [
    ("Lamp", "What it means for the crew on deck", "Who is told"),
    ("amber", "the arm is about to move, keep clear of it", "the mate"),
    ("blue", "current flows, passengers may come on board", "nobody"),
    ("white", "the arm stands still and may be locked now", "the mate"),
    ("red", "a fault, charging ends and does not go on", "Control"),
    ("none", "no current at the berth, use the other one", "Control"),
]


def table(rows: Sequence[Sequence[str]], places: Sequence[float], leading: float = 16) -> bytes:
    sheet = Sheet()
    draw_columns(sheet, TOP, [[4]], by_rows=False)
    for number, row in enumerate(rows):
        for x, cell in zip(places, row, strict=True):
            sheet.draw(x, TOP - 80 - number * leading, cell)
    return sheet.data()


def test_the_rows_of_a_table_are_lines_and_its_header_is_known() -> None:
    made = table(ROWS, (60, 150, 420))
    parsed = parse_bytes(made, "x.pdf")
    (found,) = [element for element in parsed.elements if element.kind is ElementKind.TABLE]
    assert parsed.text[found.start : found.end] == "\n".join(" | ".join(row) for row in ROWS)
    assert found.header == " | ".join(ROWS[0])
    assert found.page == 1
    assert_nothing_lost(made, parsed)


@pytest.mark.parametrize(
    "rows",
    [
        [("1.", "first of all"), ("2.", "then this"), ("3.", "and that")],
        [("\u2022", "first of all"), ("\u2022", "then this"), ("\u2022", "and that")],
        [("Rings", "3"), ("Bark", "7"), ("Late wood", "12")],
    ],
)
def test_lists_and_contents_are_no_tables(rows: list[tuple[str, str]]) -> None:
    parsed = parse_bytes(table(rows, (60, 300), 12), "x.pdf")
    assert ElementKind.TABLE not in {element.kind for element in parsed.elements}


def test_a_table_of_two_wide_columns_is_not_read_by_columns() -> None:
    sheet = Sheet()
    y = float(TOP)
    for _ in range(5):
        left = fill(sheet, 3, 220, False)
        right = fill(sheet, 3, 220, False)
        for number, (one, other) in enumerate(zip(left, right, strict=True)):
            sheet.draw(LEFT, y - number * LEADING, one)
            sheet.draw(LEFT + 250, y - number * LEADING, other)
        y -= 4.2 * LEADING
    text = parse_bytes(sheet.data(), "x.pdf").text
    first_row, last_row = sheet.words[0], sheet.words[-1]
    assert text.index(first_row) < text.index(last_row)
    rows = [index for index, word in enumerate(sheet.words) if word in (first_row, last_row)]
    third = sheet.words[rows[0] : rows[1]]
    middle = third[len(third) // 2]
    # What stands right in the first row comes before what stands left in the last one.
    right_of_first = next(word for word in sheet.words if text.index(word) > text.index(first_row))
    assert text.index(right_of_first) < text.index(middle) < text.index(last_row)


def paged(heads: Sequence[str], feet: Sequence[str], body: Sequence[str] | None = None) -> bytes:
    """A page for each head and foot, with a paragraph of its own, or the `body` line, between them."""
    sheet = Sheet()
    for number, (head, foot) in enumerate(zip(heads, feet, strict=True)):
        sheet.draw(LEFT, 790, head)
        sheet.draw(LEFT, 30, foot)
        if body is None:
            draw_columns(sheet, TOP, [[6]], by_rows=False)
        else:
            sheet.draw(LEFT, TOP, body[number])
        sheet.canvas.showPage()
    return sheet.data()


def test_running_heads_and_page_numbers_are_left_out_and_noted() -> None:
    made = paged(["The growth of trees"] * 6, [f"Issue 7.2 \u2013 page {n} of 6" for n in range(1, 7)])
    parsed = parse_bytes(made, "x.pdf")
    assert "growth" not in parsed.text
    assert "Issue" not in parsed.text
    assert parsed.notes == (
        "left out running heads and feet: 'The growth of trees', 'Issue 7.2 \u2013 page 1 of 6'",
    )
    assert_nothing_lost(made, parsed)


def test_roman_page_numbers_and_heads_of_chapters_are_left_out() -> None:
    heads = ["Rings"] * 5 + ["Late wood"] * 5
    feet = ["i", "ii", "iii", "iv", "v", "1", "2", "3", "4", "5"]
    text = parse_bytes(paged(heads, feet), "x.pdf").text
    assert not {"Rings", "Late", "iv", "3"} & set(words_of(text))


@pytest.mark.parametrize(
    ("heads", "feet"),
    [
        (["Rings"] * 3, ["1", "2", "3"]),  # too few pages to be certain
        ([f"Of {word}" for word in ("ash", "oak", "elm", "fir", "yew")], ["5", "3", "9", "2", "7"]),
        (["Total 12", "Total 7", "Total 31", "Total 4", "Total 16"], ["", "", "", "", ""]),
    ],
)
def test_what_does_not_repeat_stays(heads: list[str], feet: list[str]) -> None:
    made = paged(heads, feet)
    parsed = parse_bytes(made, "x.pdf")
    assert parsed.notes == ()
    for text in [*heads, *feet]:
        assert text in parsed.text


def test_the_header_of_a_table_on_every_page_stays() -> None:
    sheet = Sheet()
    for page in range(5):
        for number, row in enumerate(
            [("Name", "Height", "Age"), *[(f"tree{page}{n}", "30", "90") for n in range(9)]]
        ):
            for x, cell in zip((60, 200, 320), row, strict=True):
                sheet.draw(x, TOP - 13 * number, cell)
        sheet.canvas.showPage()
    parsed = parse_bytes(sheet.data(), "x.pdf")
    assert parsed.text.count("Name | Height | Age") == 5
    assert parsed.notes == ()


def test_a_document_of_nothing_but_stamps_keeps_them() -> None:
    parsed = parse_bytes(paged(["Confidential"] * 5, [""] * 5, [""] * 5), "x.pdf")
    assert parsed.text.count("Confidential") == 5
    assert parsed.notes == ()


def test_pages_that_hold_only_a_running_head_are_reported_as_without_text() -> None:
    made = paged(
        ["Confidential copy"] * 6, [""] * 6, ["Words of the page.", "", "More words.", "", "", "End."]
    )
    assert parse_bytes(made, "x.pdf").notes[0] == "no text on pages 2, 4-5"


def paragraph(*lines: str) -> str:
    sheet = Sheet()
    for number, line in enumerate(lines):
        sheet.draw(LEFT, TOP - number * LEADING, line)
    parsed = parse_bytes(sheet.data(), "x.pdf")
    assert len(parsed.elements) == 1, "a divided word does not end a paragraph"
    return parsed.text


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        # Not seen elsewhere: a word in lower case loses the hyphen.
        (("the late wood is im-", "portant for the", "age"), "the late wood is important for the\nage"),
        # Seen elsewhere with the hyphen, or without it.
        (("well-known wood and well-", "known rings"), "well-known wood and well-known rings"),
        (("Maintainers and Main-", "tainers of woods"), "Maintainers and Maintainers of woods"),
        # Before a capital, in names with figures or marks, and where the document divides no words.
        (("the Pre-", "Depends of a package"), "the Pre-Depends of a package"),
        (("see https://example.org/long-", "path for more"), "see https://example.org/long-path for more"),
        (
            ("a run-time error, a run-", "time bug, the fine-", "grained one"),
            "a run-time error, a run-time bug, the fine-grained one",
        ),
        (("ALL DIS-", "CLAIMED here"), "ALL DISCLAIMED here"),
    ],
)
def test_divided_words_are_put_together(lines: tuple[str, ...], text: str) -> None:
    found = paragraph(*lines)
    assert found == text


def test_a_hyphen_within_a_line_stays() -> None:
    found = paragraph("a well-known wood", "and late-wood")
    assert found == "a well-known wood\nand late-wood"


def outlined(entries: Sequence[tuple[str, int, float]], lines: Sequence[tuple[float, str, float]]) -> bytes:
    """One page of (height, text, size) with bookmarks of (title, depth from 0, height)."""
    sheet = Sheet()
    for y, text, size in lines:
        sheet.draw(LEFT, y, text, size)
    for title, depth, y in entries:
        key = f"{title}-{y}"
        sheet.canvas.bookmarkHorizontalAbsolute(key, y)
        sheet.canvas.addOutlineEntry(title, key, depth)
    return sheet.data()


def headings(parsed: Parsed) -> list[tuple[int, str]]:
    return [(e.depth, parsed.text[e.start : e.end]) for e in parsed.elements if e.kind is ElementKind.TITLE]


def test_bookmarks_name_headings_and_their_depth_whatever_their_size() -> None:
    body = [
        (700 - 40 * n, f"Line {n} of the body is long enough to set the usual size.", 10.0) for n in range(4)
    ]
    made = outlined(
        [("Chapter 1. Rings", 0, 760), ("1.1 Late wood", 1, 730), ("Bark", 2, 560)],
        [
            (760, "Chapter 1", 10),
            (744, "Rings", 14),
            (718, "1.1", 10),
            (*body[0],),
            *body[1:],
            (548, "Bark", 10),
        ],
    )
    shown = headings(parse_bytes(made, "x.pdf"))
    assert (1, "Chapter 1 Rings") in shown
    assert (3, "Bark") in shown


def test_a_bookmark_means_the_line_it_leads_to() -> None:
    made = outlined(
        [("Bark", 0, 612)],
        [(700, "Bark", 10), (660, "Bark is told of below, at length and in full.", 10), (600, "Bark", 10)],
    )
    parsed = parse_bytes(made, "x.pdf")
    (heading,) = [element for element in parsed.elements if element.kind is ElementKind.TITLE]
    assert heading.start == parsed.text.rindex("Bark")


def test_bold_numbered_lines_are_headings_where_bold_is_not_the_rule() -> None:
    def made(font: str) -> bytes:
        sheet = Sheet()
        for start, title in ((700, "1 Rings"), (600, "1.1 Late wood"), (500, "1.2 Early wood")):
            sheet.draw(LEFT, start, title, font="Helvetica-Bold")
            for number in range(3):
                line = f"Row {number} of the body is long enough to tell which face is the usual one here."
                sheet.draw(LEFT, start - 30 - 12 * number, line, font=font)
        return sheet.data()

    assert headings(parse_bytes(made("Helvetica"), "x.pdf")) == [
        (1, "1 Rings"),
        (2, "1.1 Late wood"),
        (2, "1.2 Early wood"),
    ]
    assert headings(parse_bytes(made("Helvetica-Bold"), "x.pdf")) == []


def test_marks_and_single_letters_are_no_headings_however_large() -> None:
    sheet = Sheet()
    draw_columns(sheet, TOP, [[8]], by_rows=False)
    sheet.draw(LEFT, 500, "X = 1", 24)
    assert headings(parse_bytes(sheet.data(), "x.pdf")) == []


def test_what_the_file_tells_of_itself_is_metadata() -> None:
    sheet = Sheet()
    sheet.canvas.setAuthor("Ada")
    sheet.canvas.setSubject("Trees")
    sheet.canvas.setKeywords("rings, bark")
    sheet.draw(LEFT, TOP, "Words.")
    assert parse_bytes(sheet.data(), "x.pdf").metadata == {
        "author": "Ada",
        "created": "2000-01-01T00:00:00Z",
        "keywords": ["rings", "bark"],
        "subject": "Trees",
    }


@pytest.mark.parametrize(
    ("stated", "shown"),
    [
        ("D:20240501120000+02'00'", "2024-05-01T10:00:00Z"),
        ("D:20240501120000-07'30'", "2024-05-01T19:30:00Z"),
        ("D:20240501120000Z", "2024-05-01T12:00:00Z"),
        ("D:20240501120000", "2024-05-01T12:00:00"),
        ("20240501", "2024-05-01T00:00:00"),
        ("D:20241301", ""),
        ("yesterday", ""),
        ("", ""),
    ],
)
def test_the_dates_of_a_pdf_are_read(stated: str, shown: str) -> None:
    assert _moment(stated) == shown
