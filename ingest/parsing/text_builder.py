"""Text rules, and how readers put a document's text and elements together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath

from latewood.ingest.parsing.inline_data import without_files
from latewood.ingest.types import Element, ElementKind, Parsed, ParseError
from latewood.search.types import MetadataValue

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_NUMBER = re.compile(r"[-+(]?[$€£¥]?[\d][\d\s.,:/%-]*[)%]?")
_TITLE_LIMIT = 300
_HEADER_LIMIT = 1000  # characters; as much of it as `ingest.chunking` repeats
_TITLE_ROWS = 3  # above a table's header
_LONGEST_NAME = 120  # characters of a column's name


def clean(text: str) -> str:
    """The text rules: line ends become LF, NUL and lone surrogates U+FFFD; nothing else changes."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _UNSTORABLE.sub("\ufffd", text)


def one_line(text: str) -> str:
    """`text` with every run of white space as one space, trimmed."""
    return " ".join(clean(text).split())


def file_stem(name: str) -> str:
    """The file's name without its suffix, made storable; what a document is called for want of a title."""
    path = PurePath(name)
    stem = one_line(path.stem or path.name).encode("utf-8", "replace").decode()
    return stem or "untitled"


def pick_title(name: str, *candidates: str) -> str:
    """The first candidate that says something, else the file's stem; one line, at most 300 characters."""
    for candidate in candidates:
        title = one_line(candidate)
        if title:
            return title[:_TITLE_LIMIT]
    return file_stem(name)


def first_title(elements: Iterable[Element], text: str) -> str:
    """The text of the first heading of the highest depth present, or an empty string."""
    titles = [element for element in elements if element.kind is ElementKind.TITLE]
    if not titles:
        return ""
    best = min(titles, key=lambda element: (element.depth, element.start))
    return text[best.start : best.end]


def row_line(cells: Sequence[str]) -> str:
    """One table row as one line: cells joined by ` | `, empty ones at the end left out."""
    values = [one_line(cell) for cell in cells]
    while values and not values[-1]:
        values.pop()
    return " | ".join(values)


def header_of(rows: Sequence[Sequence[str]]) -> str:
    """The first row as a line if it reads like a header, else ''.

    A header has rows below it, no numeric and no long cell, and few empty ones; lines of one cell above a
    wider table are its title.
    """
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    wide = next((index for index, row in enumerate(rows) if _filled(row) > 1), 0)
    rows = rows[wide if wide <= _TITLE_ROWS else 0 :]
    if len(rows) < 2:
        return ""
    cells = [one_line(cell) for cell in rows[0]]
    while cells and not cells[-1]:
        cells.pop()
    empty = cells.count("")
    if (empty and (len(cells) - empty < 2 or 2 * empty > len(cells))) or any(
        _NUMBER.fullmatch(cell) or len(cell) > _LONGEST_NAME for cell in cells
    ):
        return ""
    return " | ".join(cells).strip()


def _filled(row: Sequence[str]) -> int:
    return sum(bool(cell.strip()) for cell in row)


class TextBuilder:
    """Collects blocks; blank lines between them; offsets kept as it goes (str indices, end exclusive)."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self.elements: list[Element] = []

    def add(
        self, kind: ElementKind, text: str, *, page: int | None = None, depth: int = 0, header: str = ""
    ) -> None:
        """Append one block, without files embedded in it (`data:` URIs).

        White space around it is dropped; a block of white space alone is ignored.
        """
        text, _ = without_files(clean(text))
        text = text.rstrip().lstrip("\n") if kind is ElementKind.CODE else text.strip()
        if not text.strip():
            return
        if kind is ElementKind.TITLE:
            text = one_line(text)
        if self._parts:
            self._parts.append("\n\n")
            self._length += 2
        start = self._length
        self._parts.append(text)
        self._length += len(text)
        self.elements.append(
            Element(
                kind,
                start,
                self._length,
                page=page,
                depth=depth,
                header=clean(header).strip()[:_HEADER_LIMIT],
            )
        )

    def add_table(self, rows: Sequence[Sequence[str]], *, header: str = "", page: int | None = None) -> None:
        """Append a table, one line a row; rows without any text are left out."""
        lines = [line for line in (row_line(row) for row in rows) if line]
        self.add(ElementKind.TABLE, "\n".join(lines), page=page, header=header or header_of(rows))

    @property
    def text(self) -> str:
        """What has been collected."""
        return "".join(self._parts)

    def first_title(self) -> str:
        """The text of the first heading of the highest depth present, or an empty string."""
        return first_title(self.elements, self.text)

    def finish(
        self,
        title: str,
        kind: str,
        *,
        metadata: Mapping[str, MetadataValue] | None = None,
        notes: Sequence[str] = (),
    ) -> Parsed:
        """The parsed file."""
        return Parsed(title, kind, self.text, tuple(self.elements), dict(metadata or {}), tuple(notes))


def checked(parsed: Parsed) -> Parsed:
    """Hold the promise every parser makes; fill what no element covers with paragraphs.

    Afterwards the text is not empty, elements are sorted, inside the text and apart, none is white space
    alone, and together they cover everything that is not white space.

    Raises:
        ParseError: `no_text` if there is nothing but white space.
        ValueError: two elements overlap, or one reaches past the text; a fault of the reader.
    """
    text = parsed.text
    if not text or text.isspace():
        raise ParseError("no_text", f"the {parsed.kind} file holds no text that could be read")
    elements: list[Element] = []
    end = 0
    for element in parsed.elements:
        if element.start < end or element.end > len(text):
            raise ValueError(
                f"element [{element.start}, {element.end}) after {end} in {len(text)} characters"
            )
        _fill(elements, text, end, element.start)
        if not text[element.start : element.end].isspace():
            elements.append(element)
        end = element.end
    _fill(elements, text, end, len(text))
    return Parsed(parsed.title, parsed.kind, text, tuple(elements), parsed.metadata, parsed.notes)


def _fill(elements: list[Element], text: str, start: int, end: int) -> None:
    gap = text[start:end]
    if not gap or gap.isspace():
        return
    first = start + len(gap) - len(gap.lstrip())
    last = end - (len(gap) - len(gap.rstrip()))
    page = elements[-1].page if elements else None
    elements.append(Element(ElementKind.PARAGRAPH, first, last, page=page))
