from __future__ import annotations

import csv
import io
import zipfile

import pytest

from latewood.ingest.parsing.parse import parse_bytes

SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATION = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"


def workbook(sheets: dict[str, str]) -> bytes:
    """A minimal workbook from sheet names and the XML of their rows."""
    file = io.BytesIO()
    numbered = list(enumerate(sheets.items(), 1))
    parts = "".join(
        f'<Override PartName="/xl/worksheets/sheet{n}.xml" ContentType="application/vnd.openxmlformats-'
        'officedocument.spreadsheetml.worksheet+xml"/>'
        for n, _ in numbered
    )
    named = "".join(f'<sheet name="{name}" sheetId="{n}" r:id="rId{n}"/>' for n, (name, _) in numbered)
    links = "".join(
        f'<Relationship Id="rId{n}" Type="{RELATION}/worksheet" Target="worksheets/sheet{n}.xml"/>'
        for n, _ in numbered
    )
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("[Content_Types].xml", f'<Types xmlns="{PACKAGE}/content-types">{parts}</Types>')
        archive.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="rId1" '
            f'Type="{RELATION}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        )
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{SHEET}" xmlns:r="{RELATION}"><sheets>{named}</sheets></workbook>',
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels",
            f'<Relationships xmlns="{PACKAGE}/relationships">{links}</Relationships>',
        )
        for n, (_, rows) in numbered:
            archive.writestr(
                f"xl/worksheets/sheet{n}.xml",
                f'<worksheet xmlns="{SHEET}"><sheetData>{rows}</sheetData></worksheet>',
            )
    return file.getvalue()


def cell(reference: str, value: str) -> str:
    return f'<c r="{reference}" t="inlineStr"><is><t>{value}</t></is></c>'


def row(number: int, *cells: str) -> str:
    return f'<row r="{number}">{"".join(cells)}</row>'


def test_each_sheet_is_a_heading_and_a_table():
    data = workbook(
        {
            "Trees": row(1, cell("A1", "Name"), cell("B1", "Height"))
            + row(2, cell("A2", "ash"), '<c r="B2"><v>30</v></c>')
            + row(3, cell("A3", "elm"), '<c r="B3"><v>27.5</v></c>'),
            "Empty": "",
            "More": row(1, cell("A1", "alone")),
        }
    )
    parsed = parse_bytes(data, "w.xlsx")
    assert parsed.text == "Trees\n\nName | Height\nash | 30\nelm | 27.5\n\nMore\n\nalone"
    assert [str(element.kind) for element in parsed.elements] == ["title", "table", "title", "table"]
    assert parsed.elements[1].header == "Name | Height"


def test_cells_a_million_rows_apart_do_not_fill_the_memory():
    data = workbook({"Far": row(1, cell("A1", "near")) + row(1048576, cell("XFD1048576", "far"))})
    parsed = parse_bytes(data, "w.xlsx")
    assert parsed.text == "Far\n\nnear\nfar"
    assert "far apart" in parsed.notes[0]


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("a.csv", b'a,b\n"x, y",2\n', "a | b\nx, y | 2"),
        ("a.csv", b"a;b\n1,5;2\n", "a | b\n1,5 | 2"),
        ("a.csv", b"a\tb\n1\t2\n", "a | b\n1 | 2"),
        ("a.tsv", b"a\tb, c\n1\t2\n", "a | b, c\n1 | 2"),
        ("a.csv", b'a,b\n"two\nlines",2\n', "a | b\ntwo lines | 2"),
        ("a.csv", b"one column\nonly\n", "one column\nonly"),
    ],
)
def test_rows_become_lines(name, data, text):
    assert parse_bytes(data, name).text == text


def test_the_header_is_the_first_row_unless_it_holds_numbers():
    assert parse_bytes(b"name,age\nash,90\n", "a.csv").elements[0].header == "name | age"
    assert parse_bytes(b"1,2\n3,4\n", "a.csv").elements[0].header == ""


def test_a_quote_that_never_closes_loses_nothing():
    parsed = parse_bytes(b'a,b\n"' + b"word, " * 50_000, "a.csv")
    assert parsed.text.count("word") == 50_000


def test_a_small_csv_file_leaves_other_readers_of_csv_their_room():
    parse_bytes(b"a,b\n1,2\n", "a.csv")
    assert csv.field_size_limit() >= 131_072
    assert list(csv.reader(["x" * 1000]))
