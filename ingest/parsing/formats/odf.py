"""OpenDocument: text (.odt), slides (.odp) and sheets (.ods), read from the XML in their zip archive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lxml import etree  # type: ignore[import-untyped]

from latewood.ingest.metadata import common, listed
from latewood.ingest.parsing.formats.xml import local, tree
from latewood.ingest.parsing.gzip_zip import open_archive, read_entry
from latewood.ingest.parsing.text_builder import TextBuilder, one_line, pick_title
from latewood.ingest.types import ElementKind, Parsed, ParseError
from latewood.search.types import MetadataValue

_WHAT = "an OpenDocument file"
_OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
_TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
_TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
_PRESENTATION = "{urn:oasis:names:tc:opendocument:xmlns:presentation:1.0}"
_DRAW = "{urn:oasis:names:tc:opendocument:xmlns:drawing:1.0}"
_PASSED_OVER = frozenset(
    ("tracked-changes", "sequence-decls", "forms", "variable-decls", "shapes", "settings")
)
_GENERATED = frozenset(("table-of-content", "alphabetical-index", "illustration-index", "table-index"))
_ASIDE = frozenset(("note", "annotation", "text-box", "object", "table"))
_CODE_STYLES = ("preformatted", "source", "code", "quelltext")
# A cell or row may say that it is repeated a million times; nobody reads it more often than this.
_REPEAT_LIMIT = 100
_CELL_LIMIT = 2_000_000
_SPACES_LIMIT = 1000


def read_odf(data: bytes, name: str) -> Parsed:
    """An OpenDocument file: headings, lists, tables, notes; slides have page numbers, sheets are tables.

    Raises:
        ParseError: `encrypted`, `corrupt` or `too_large`.
    """
    with open_archive(data, _WHAT) as archive:
        names = set(archive.namelist())
        if "content.xml" not in names:
            raise ParseError(
                "corrupt", f"the file is a zip archive, but not {_WHAT}: it has no content.xml in it"
            )
        if "META-INF/manifest.xml" in names:
            manifest = tree(read_entry(archive, "META-INF/manifest.xml"))
            if any(local(element) == "encryption-data" for element in manifest.iter(etree.Element)):
                raise ParseError("encrypted", "the file asks for a password; save a copy without one")
        root = tree(read_entry(archive, "content.xml"))
        metadata, stated = _about(read_entry(archive, "meta.xml")) if "meta.xml" in names else ({}, "")
    body = root.find(f"{_OFFICE}body")
    if body is None:
        raise ParseError("corrupt", f"the file is not {_WHAT}: its content has no body")
    builder = TextBuilder()
    walk = _Walk(builder, _code_styles(root))
    for document in body:
        if local(document) == "presentation":
            walk.slides(document)
        elif local(document) == "spreadsheet":
            walk.sheets(document)
        else:
            walk.blocks(document)
    kind = name.lower()[-3:] if name.lower().endswith((".odt", ".odp", ".ods")) else "odt"
    notes = [f"{walk.shortened} repeated rows or cells were read {_REPEAT_LIMIT} times"] * bool(
        walk.shortened
    )
    title = pick_title(name, stated, builder.first_title() if kind != "ods" else "")
    return builder.finish(title, kind, metadata=metadata, notes=notes)


def _about(data: bytes) -> tuple[dict[str, MetadataValue], str]:
    """The metadata, and the title."""
    values: dict[str, str] = {}
    words: list[str] = []
    for element in tree(data).iter(etree.Element):
        text = one_line(element.text or "")
        if local(element) == "keyword":
            words += listed(text)
        elif text:
            values.setdefault(local(element), text)
    metadata = common(
        author=values.get("initial-creator") or values.get("creator"),
        created=values.get("creation-date") or values.get("date"),
        language=values.get("language"),
        subject=values.get("subject"),
        keywords=words,
    )
    return metadata, values.get("title", "")


def _code_styles(root: Any) -> frozenset[str]:
    """Names of the paragraph styles that stand for code, automatic ones by their parent."""
    found = []
    for style in root.iter("{urn:oasis:names:tc:opendocument:xmlns:style:1.0}style"):
        parent = style.get("{urn:oasis:names:tc:opendocument:xmlns:style:1.0}parent-style-name", "")
        if parent.lower().startswith(_CODE_STYLES):
            found.append(style.get("{urn:oasis:names:tc:opendocument:xmlns:style:1.0}name", ""))
    return frozenset(found)


class _Walk:
    """Elements of a body to blocks; what stands aside (notes, boxes) follows the paragraph it hangs on."""

    def __init__(self, builder: TextBuilder, code_styles: frozenset[str]) -> None:
        self.shortened = 0
        self._builder = builder
        self._code_styles = code_styles
        self._code: list[str] = []
        self._page: int | None = None
        self._cells = 0

    def slides(self, presentation: Any) -> None:
        """Each slide a page: its title as heading, its boxes, its notes."""
        for number, page in enumerate(presentation.iter(f"{_DRAW}page"), 1):
            self._page = number
            for frame in sorted(page, key=lambda shape: shape.get(f"{_PRESENTATION}class") != "title"):
                if frame.get(f"{_PRESENTATION}class") == "title":
                    self._builder.add(
                        ElementKind.TITLE, " ".join(map(_plain, _paragraphs(frame))), page=number, depth=1
                    )
                else:
                    self.blocks(frame)
            self._end_code()

    def sheets(self, spreadsheet: Any) -> None:
        """Each sheet a heading and a table."""
        for sheet in spreadsheet.iterchildren(f"{_TABLE}table"):
            rows = list(self._rows(sheet))
            if any(any(row) for row in rows):
                self._builder.add(ElementKind.TITLE, sheet.get(f"{_TABLE}name", ""), depth=1)
                self._builder.add_table(rows)

    def blocks(self, parent: Any) -> None:
        """Append the blocks inside `parent`, in order."""
        for element in parent:
            self._block(element)
        if local(parent) in ("text", "text-box"):
            self._end_code()

    def _block(self, element: Any) -> None:
        name = local(element)
        if name in ("h", "p"):
            self._paragraph(element, name)
        elif name == "list":
            self._end_code()
            lines = list(self._items(element, 0))
            self._builder.add(ElementKind.LIST, "\n".join(lines), page=self._page)
            self._asides(element)
        elif name == "table":
            self._end_code()
            self._builder.add_table(list(self._rows(element)), page=self._page)
        elif name and name not in _PASSED_OVER and name not in _GENERATED:
            self.blocks(element)

    def _paragraph(self, element: Any, name: str) -> None:
        text = _plain(element)
        style = element.get(f"{_TEXT}style-name", "")
        if name == "p" and (style in self._code_styles or style.lower().startswith(_CODE_STYLES)):
            self._code.append(text)
        else:
            self._end_code()
            level = element.get(f"{_TEXT}outline-level", "1")
            depth = min(int(level), 6) if level.isascii() and level.isdigit() and int(level) else 1
            heading = name == "h"
            kind = ElementKind.TITLE if heading else ElementKind.PARAGRAPH
            self._builder.add(kind, text, page=self._page, depth=depth if heading else 0)
        self._asides(element)

    def _end_code(self) -> None:
        if self._code:
            self._builder.add(ElementKind.CODE, "\n".join(self._code), page=self._page)
            self._code.clear()

    def _asides(self, element: Any) -> None:
        for child in element:
            if local(child) in ("note", "annotation"):
                text = " ".join(map(_plain, _paragraphs(child)))
                self._builder.add(ElementKind.PARAGRAPH, text, page=self._page)
            elif local(child) in ("text-box", "object", "table"):
                self._block(child)
            elif local(child):
                self._asides(child)

    def _items(self, element: Any, level: int) -> Iterator[str]:
        for item in element:
            lead = "- "
            for child in item:
                if local(child) == "list":
                    yield from self._items(child, level + 1)
                elif text := one_line(_plain(child)):
                    yield "  " * min(level, 8) + lead + text
                    lead = "  "

    def _rows(self, table: Any) -> Iterator[list[str]]:
        """Rows of cells; header rows and row groups are looked into, repetitions followed to a limit."""
        for element in table:
            name = local(element)
            if name == "table-row":
                cells = list(self._row(element))
                times = self._times(element, "number-rows-repeated", any(cells))
                self._cells += times * len(cells)
                if self._cells > _CELL_LIMIT:
                    raise ParseError(
                        "too_large", f"its tables hold more than {_CELL_LIMIT} cells; split the file"
                    )
                yield from [cells] * times
            elif name in ("table-header-rows", "table-rows", "table-row-group"):
                yield from self._rows(element)

    def _row(self, row: Any) -> Iterator[str]:
        empty = 0
        for cell in row:
            if local(cell) not in ("table-cell", "covered-table-cell"):
                continue
            text = one_line(" ".join(map(_plain, _paragraphs(cell))))
            times = self._times(cell, "number-columns-repeated", bool(text))
            if not text:
                empty += times
                continue
            yield from [""] * empty
            yield from [text] * times
            empty = 0

    def _times(self, element: Any, attribute: str, filled: bool) -> int:
        stated = element.get(f"{_TABLE}{attribute}", "1")
        times = int(stated) if stated.isascii() and stated.isdigit() and len(stated) < 10 else 1
        if filled and times > _REPEAT_LIMIT:
            self.shortened += 1
        return max(min(times, _REPEAT_LIMIT), 1)


def _paragraphs(element: Any) -> Iterator[Any]:
    return (one for one in element.iter(f"{_TEXT}p", f"{_TEXT}h"))


def _plain(element: Any) -> str:
    """A paragraph's own text: spaces, tabs and breaks spelled out, what stands aside left out."""
    parts = [element.text or ""]
    for child in element:
        name = local(child)
        if name == "s":
            count = child.get(f"{_TEXT}c", "1")
            parts.append(" " * min(int(count) if count.isascii() and count.isdigit() else 1, _SPACES_LIMIT))
        elif name == "tab":
            parts.append("\t")
        elif name == "line-break":
            parts.append("\n")
        elif name not in _ASIDE and name != "ruby-text":
            parts.append(_plain(child) if name else child.text or "")
        parts.append(child.tail or "")
    return "".join(parts)
