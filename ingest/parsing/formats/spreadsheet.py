"""CSV and spreadsheets: one readable line a row."""

from __future__ import annotations

import csv
import datetime
import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from typing import IO
from xml.etree import ElementTree

from python_calamine import CalamineError, CalamineWorkbook

from latewood.ingest.metadata import common
from latewood.ingest.parsing.encoding import decode
from latewood.ingest.parsing.formats.text import paragraphs
from latewood.ingest.parsing.gzip_zip import open_archive
from latewood.ingest.parsing.text_builder import TextBuilder, header_of, pick_title
from latewood.ingest.types import ElementKind, Parsed, ParseError
from latewood.search.types import MetadataValue

_DELIMITERS = ",;\t|"
_FIELD_LIMIT = 131_072
_TOOLS = frozenset(("openpyxl", "xlsxwriter", "Unknown Creator"))  # not the author of anything
_PROPERTIES, _PROPERTIES_LIMIT = "docProps/core.xml", 1_000_000  # bytes
_CELL_LIMIT = 10_000_000
_XML_LIMIT = 400 * 1024**2  # read as a stream, not as a tree
_CELL = re.compile(rb'<(?:\w+:)?c [^>]{0,200}?\br="([A-Z]{1,3})(\d{1,7})"')
_SHEET = re.compile(r"xl/worksheets/[^/]+\.xml")
_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def read_csv(data: bytes, name: str) -> Parsed:
    """A CSV or TSV file as one table; a file its own quoting breaks is kept line by line, with a note."""
    text, notes = decode(data)
    # A quote that never closes may swallow a file whole: a cell may be as long as the file.
    # Never less than the default: the limit holds for the whole process, libraries that read CSV among it.
    csv.field_size_limit(max(len(text), _FIELD_LIMIT))
    delimiter = "\t" if name.lower().endswith(".tsv") else _delimiter(text)
    builder = TextBuilder()
    try:
        builder.add_table(list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)))
    except csv.Error as error:
        note = f"not valid CSV ({error}): kept line by line"
        return Parsed(pick_title(name), "csv", text, paragraphs(text), {}, (*notes, note))
    return builder.finish(pick_title(name), "csv", notes=notes)


def _delimiter(text: str) -> str:
    """The delimiter that divides the first lines most evenly; the comma where none does."""
    lines = [line for line in text[:20_000].split("\n")[:50] if line.strip()]
    scores = {mark: min((line.count(mark) for line in lines), default=0) for mark in _DELIMITERS}
    best = max(_DELIMITERS, key=lambda mark: scores[mark])
    if scores[best]:
        return best
    return max(_DELIMITERS, key=lines[0].count) if lines else ","


def read_xlsx(data: bytes, name: str) -> Parsed:
    """A workbook: each sheet a heading and a table of rows; formulas by their last computed value.

    Raises:
        ParseError: `corrupt`, `encrypted` or `too_large`.
    """
    with open_archive(data, "an Excel workbook", _XML_LIMIT) as archive:
        far = _spreads_too_far(archive)
        sheets = list(_sparse_sheets(archive)) if far else _calamine_sheets(data)
        stated, metadata = _about(archive)
    builder = TextBuilder()
    for sheet, rows in sheets:
        if any(cell for row in rows for cell in row):
            builder.add(ElementKind.TITLE, sheet, depth=1)
            for table in _tables(rows):
                builder.add_table(table)
    notes = ("cells lie very far apart: dates are shown as serial numbers",) if far else ()
    return builder.finish(pick_title(name, stated), "xlsx", metadata=metadata, notes=notes)


def _tables(rows: Sequence[Sequence[str]]) -> Iterator[Sequence[Sequence[str]]]:
    """A sheet's tables: one begins behind an empty row, with a header over other columns than before."""
    start = 0
    columns = _columns(rows[0]) if rows else ()
    for index in range(1, len(rows)):
        if any(rows[index]) and not any(rows[index - 1]):
            end = next((row for row in range(index, len(rows)) if not any(rows[row])), len(rows))
            here = _columns(rows[index])
            if len(here) > 1 and here != columns and header_of(rows[index:end]):
                yield rows[start:index]
                start, columns = index, here
    yield rows[start:]


def _columns(row: Sequence[str]) -> tuple[int, ...]:
    return tuple(column for column, cell in enumerate(row) if cell.strip())


def _about(archive: zipfile.ZipFile) -> tuple[str, dict[str, MetadataValue]]:
    """The title and metadata in a workbook's properties; nothing where they are missing or damaged."""
    try:
        if archive.getinfo(_PROPERTIES).file_size > _PROPERTIES_LIMIT:
            return "", {}
        root = ElementTree.fromstring(archive.read(_PROPERTIES))
    except (KeyError, ElementTree.ParseError, UnicodeError):
        return "", {}
    told = {element.tag.rpartition("}")[2]: element.text or "" for element in root}
    author = told.get("creator", "")
    return told.get("title", ""), common(
        author="" if author in _TOOLS else author,
        created=told.get("created"),
        keywords=told.get("keywords"),
        subject=told.get("subject"),
        language=told.get("language"),
    )


def _calamine_sheets(data: bytes) -> list[tuple[str, list[list[str]]]]:
    try:
        with CalamineWorkbook.from_filelike(io.BytesIO(data)) as workbook:
            return [
                (
                    name,
                    [[_shown(cell) for cell in row] for row in workbook.get_sheet_by_name(name).to_python()],
                )
                for name in workbook.sheet_names
            ]
    except CalamineError as error:
        raise ParseError("corrupt", f"the workbook is damaged or incomplete ({error})") from error


def _shown(cell: object) -> str:
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15:
        return str(int(cell))
    if isinstance(cell, datetime.datetime) and cell.time() == datetime.time():
        return cell.date().isoformat()
    if isinstance(cell, datetime.datetime):
        return cell.isoformat(sep=" ")
    return str(cell)


def _spreads_too_far(archive: zipfile.ZipFile) -> bool:
    """Whether some sheet's outermost cells span more cells than calamine's dense table may hold."""
    return any(_span(archive, entry) > _CELL_LIMIT for entry in archive.namelist() if _SHEET.fullmatch(entry))


def _span(archive: zipfile.ZipFile, entry: str) -> int:
    columns = rows = 0
    tail = b""
    with archive.open(entry) as stream:
        while piece := stream.read(1 << 20):
            window = tail + piece
            for letters, digits in _CELL.findall(window):
                columns = max(columns, _column(letters.decode()))
                rows = max(rows, int(digits))
            tail = window[-256:]
    return columns * rows


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number


def _sparse_sheets(archive: zipfile.ZipFile) -> Iterator[tuple[str, list[list[str]]]]:
    """Sheets by the cells they have, for the rare workbook whose cells lie a million rows apart."""
    names = set(archive.namelist())
    strings: list[str] = []
    if "xl/sharedStrings.xml" in names:
        with archive.open("xl/sharedStrings.xml") as stream:
            strings = [_joined(item) for item in _each(stream, "si")]
    for sheet, entry in _sheet_entries(archive):
        if entry in names:
            with archive.open(entry) as stream:
                yield sheet, [list(_cells(row, strings)) for row in _each(stream, "row")]


def _sheet_entries(archive: zipfile.ZipFile) -> list[tuple[str, str]]:
    """Each sheet's name and where it lies, in the workbook's order."""
    relations = ElementTree.fromstring(archive.read("xl/_rels/workbook.xml.rels"))
    targets = {item.get("Id"): item.get("Target", "") for item in relations}
    book = ElementTree.fromstring(archive.read("xl/workbook.xml"))
    return [
        (sheet.get("name", ""), "xl/" + targets.get(sheet.get(_RELATION), "").removeprefix("/xl/"))
        for sheet in book.iter(_MAIN + "sheet")
    ]


def _each(stream: IO[bytes], tag: str) -> Iterator[ElementTree.Element]:
    for _, element in ElementTree.iterparse(stream):
        if element.tag == _MAIN + tag:
            yield element
            element.clear()


def _joined(element: ElementTree.Element) -> str:
    return "".join(part.text or "" for part in element.iter(_MAIN + "t"))


def _cells(row: Iterable[ElementTree.Element], strings: Sequence[str]) -> Iterator[str]:
    for cell in row:
        value = cell.findtext(_MAIN + "v") or ""
        if cell.get("t") == "s" and value.isdigit() and int(value) < len(strings):
            yield strings[int(value)]
        else:
            yield value or _joined(cell)
