"""HTML: what a reader of the page would see, in order, at any depth of nesting."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from lxml import etree  # type: ignore[import-untyped]

from latewood.ingest.metadata import common
from latewood.ingest.parsing.encoding import decode
from latewood.ingest.parsing.formats.html_table import Grid, span
from latewood.ingest.parsing.text_builder import TextBuilder, one_line, pick_title, row_line
from latewood.ingest.types import ElementKind, Parsed
from latewood.search.types import MetadataValue

_INVISIBLE_TAGS = "script style template noscript iframe object datalist canvas audio video"
_INVISIBLE = frozenset(_INVISIBLE_TAGS.split())
_HEADINGS = {f"h{depth}": depth for depth in range(1, 7)}
_LISTS = frozenset(("ul", "ol", "dl", "menu"))
_ITEMS = frozenset(("li", "dt", "dd"))
_BLOCK_TAGS = (
    "address article aside blockquote body center details dialog div fieldset figcaption figure footer form "
    "header hgroup hr html legend main nav optgroup option p section select summary textarea "
    "table caption tbody thead tfoot tr td th"
)
_BLOCKS = frozenset(_BLOCK_TAGS.split())
_SPACE = re.compile(r"[ \t\r\n\f]+")
_SPACE_RUN = re.compile(" +")
_AROUND_BREAK = re.compile(r" *\n *")
_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([A-Za-z0-9_:.-]+)""", re.I)
_XML_ENCODING = re.compile(rb"""\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9_.-]+)""")
_HIDING = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.I)
_LIST_PART = 2000
_HEAD = 20_000  # characters in which a page says what it is
_STATED = {
    "author": ("author", "dc.creator", "dcterms.creator", "article:author", "citation_author"),
    "created": ("date", "dc.date", "dcterms.created", "article:published_time", "pubdate"),
    "keywords": ("keywords", "dc.subject"),
    "subject": ("description", "dc.description", "dcterms.abstract", "og:description"),
}


def read_html(data: bytes, name: str) -> Parsed:
    """An HTML page: visible text; headings, lists, tables and preformatted text as elements."""
    text, notes = decode(data, declared_encoding(data[:4096]))
    builder = TextBuilder()
    page_title = add_html(text, builder)
    title = pick_title(name, page_title, builder.first_title())
    if not builder.elements:
        builder.add(ElementKind.TITLE, page_title, depth=1)
    return builder.finish(title, "html", metadata=_about(text[:_HEAD]), notes=notes)


def _about(head: str) -> dict[str, MetadataValue]:
    """Author, date, keywords and language, as the page's head and its `html` tag state them."""
    # White space alone would make no tree.
    root = etree.fromstring(f"{head}<p>.".encode(), etree.HTMLParser(encoding="utf-8", huge_tree=True))
    said: dict[str, str] = {}
    for meta in root.iter("meta"):
        key = (meta.get("name") or meta.get("property") or "").lower()
        said.setdefault(key, one_line(meta.get("content") or ""))
    found = {key: next(filter(None, map(said.get, names)), "") for key, names in _STATED.items()}
    language = root.get("lang") or root.get("xml:lang") or said.get("dc.language")
    return common(language=language, **found)


def add_html(text: str, builder: TextBuilder) -> str:
    """Append a page's visible text to `builder`; returns the content of its title tag, or ''."""
    walker = _Walker(builder)
    # Events instead of a tree: no recursion, and nesting 100,000 deep costs what it weighs.
    parser = etree.HTMLParser(target=walker, encoding="utf-8", huge_tree=True, remove_comments=True)
    parser.feed(text.encode("utf-8"))
    parser.close()
    return one_line("".join(walker.title))


def table_rows(markup: str) -> list[list[str]]:
    """The cells of an HTML table, row by row."""
    root = etree.fromstring(markup.encode("utf-8"), etree.HTMLParser(encoding="utf-8", huge_tree=True))
    grid = Grid()
    for row in [] if root is None else root.iter("tr"):
        grid.begin_row()
        for cell in row.iterchildren("td", "th"):
            grid.add("".join(cell.itertext()), span(cell.get("colspan")), span(cell.get("rowspan")))
    return grid.take()


def declared_encoding(head: bytes) -> str:
    """The encoding that a page's first bytes name, or ''."""
    found = _XML_ENCODING.match(head) or _CHARSET.search(head)
    return found[1].decode("ascii") if found else ""


def _hidden(attributes: Mapping[str, str]) -> bool:
    return "hidden" in attributes or bool(_HIDING.search(attributes.get("style", "")))


@dataclass(slots=True)
class _Table:
    """A table being read; `layout` once its cells turn out to hold headings, code or other tables."""

    grid: Grid = field(default_factory=Grid)
    span: tuple[int, int] = (1, 1)
    headings: int = 0
    in_cell: bool = False
    layout: bool = False


class _Walker:
    """lxml's parser target: called for each start, end and run of text, in the order of the page."""

    def __init__(self, builder: TextBuilder) -> None:
        self.title: list[str] = []
        self._builder = builder
        self._inline: list[str] = []
        self._skip = 0
        self._drawn = False
        self._in_title = False
        self._pre = 0
        self._heading = 0
        self._lists: list[list[int]] = []
        self._item: str | None = None
        self._list_lines: list[str] = []
        self._tables: list[_Table] = []

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """An element opens."""
        if tag == "title" and not (self.title or self._drawn or self._skip):
            self._in_title = True
        if self._skip or tag in _INVISIBLE or tag == "title" or _hidden(attributes):
            self._skip += 1
            return
        if tag == "svg":
            self._drawn = True  # a drawing has titles of its own
        elif tag == "br":
            self._inline.append("\n")
        elif tag == "img":
            self._inline.append(f" {attributes.get('alt') or ''} ")
        elif tag in _HEADINGS or tag in ("pre", "table"):
            self._open_structure(tag)
        elif self._cells():
            self._start_in_table(tag, attributes)
        elif tag in _LISTS or tag in _ITEMS:
            self._start_list(tag)
        elif tag in _BLOCKS:
            self._flush()

    def end(self, tag: str) -> None:
        """An element closes."""
        if self._skip:
            self._skip -= 1
            self._in_title = self._in_title and tag != "title"
        elif tag == "pre" and self._pre:
            self._flush()
            self._pre -= 1
        elif tag in _HEADINGS:
            self._flush()
            self._heading = 0
        elif tag == "table" and self._tables:
            self._end_table()
        elif self._cells():
            self._end_in_table(tag)
        elif tag in _LISTS:
            self._flush()
            if self._lists:
                self._lists.pop()
            if not self._lists:
                self._end_list()
        elif tag in _BLOCKS or tag in _ITEMS:
            self._flush()

    def data(self, text: str) -> None:
        """A run of text."""
        if self._in_title:
            self.title.append(text)
        elif not self._skip:
            self._inline.append(text if self._pre else _SPACE.sub(" ", text))

    def close(self) -> None:
        """The page ends; whatever is open is written."""
        while self._tables:
            self._end_table()
        self._flush()
        self._end_list()

    def _cells(self) -> bool:
        return bool(self._tables) and not self._tables[-1].layout

    def _take(self) -> str:
        text = "".join(self._inline)
        self._inline.clear()
        return text if self._pre else _AROUND_BREAK.sub("\n", _SPACE_RUN.sub(" ", text)).strip()

    def _flush(self) -> None:
        """Write the text collected since the last block began, as what it stands in."""
        text = self._take()
        if not text.strip():
            return
        if self._pre:
            self._emit(ElementKind.CODE, text)
        elif self._heading:
            self._emit(ElementKind.TITLE, text, depth=self._heading)
        elif self._lists:
            # Deep nesting must not grow the text by its square: the indentation stops at eight levels.
            indent = "  " * min(len(self._lists) - 1, 8)
            lead = "  " if self._item is None else self._item
            self._item = None
            self._list_lines.append(indent + lead + text.replace("\n", "\n" + indent + "  "))
        else:
            self._emit(ElementKind.PARAGRAPH, text)

    def _emit(self, kind: ElementKind, text: str, *, depth: int = 0) -> None:
        self._end_list()
        self._builder.add(kind, text, depth=depth)

    def _open_structure(self, tag: str) -> None:
        if self._cells():
            self._to_layout()
        self._flush()
        if tag == "table":
            self._tables.append(_Table())
        elif tag == "pre":
            self._pre += 1
        else:
            self._heading = _HEADINGS[tag]

    def _start_list(self, tag: str) -> None:
        self._flush()
        if tag in _LISTS:
            self._lists.append([int(tag == "ol"), 0])
            return
        if len(self._lists) == 1 and tag != "dd" and sum(map(len, self._list_lines)) > _LIST_PART:
            self._end_list()
        if tag == "dt":
            self._item = ""
        elif tag == "dd":
            self._item = "  "
        elif self._lists:
            numbered = self._lists[-1]
            numbered[1] += 1
            self._item = f"{numbered[1]}. " if numbered[0] else "- "

    def _end_list(self) -> None:
        if self._list_lines:
            lines = "\n".join(self._list_lines)
            self._list_lines.clear()
            self._builder.add(ElementKind.LIST, lines)

    def _start_in_table(self, tag: str, attributes: Mapping[str, str]) -> None:
        table = self._tables[-1]
        if tag == "tr":
            self._end_cell(table)
            table.grid.begin_row()
        elif tag in ("td", "th"):
            self._end_cell(table)
            table.in_cell = True
            table.span = span(attributes.get("colspan")), span(attributes.get("rowspan"))
            table.headings += tag == "th" and table.grid.in_first
        elif tag in _BLOCKS or tag in _LISTS or tag in _ITEMS:
            self._inline.append(" ")

    def _end_in_table(self, tag: str) -> None:
        table = self._tables[-1]
        if tag in ("td", "th", "tr"):
            self._end_cell(table)
        elif tag == "caption":
            self._emit(ElementKind.PARAGRAPH, self._take())
        elif tag in _BLOCKS or tag in _LISTS or tag in _ITEMS:
            self._inline.append(" ")

    def _end_cell(self, table: _Table) -> None:
        text = self._take()
        if table.in_cell:
            table.grid.add(text, *table.span)
        else:
            self._emit(ElementKind.PARAGRAPH, text)
        table.in_cell = False

    def _end_table(self) -> None:
        table = self._tables.pop()
        if table.layout:
            self._flush()
            return
        self._end_cell(table)
        self._write_rows(table)

    def _write_rows(self, table: _Table) -> None:
        self._end_list()
        first, rows = table.grid.first, table.grid.take()
        headed = len(rows) > 1 and 0 < first == table.headings
        self._builder.add_table(rows, header=row_line(rows[0]) if headed else "")

    def _to_layout(self) -> None:
        """A cell holds structure: what was read so far stays a table, from here on cells are blocks."""
        table = self._tables[-1]
        text = self._take()
        self._write_rows(table)
        table.layout = True
        self._emit(ElementKind.PARAGRAPH, text)
