"""XML as readable text: prose vocabularies (DocBook, TEI, JATS, feeds) as prose, records as `key: value`.

Entities are never expanded and nothing is fetched: `&name;` stays as it is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from lxml import etree  # type: ignore[import-untyped]

from latewood.ingest.metadata import common
from latewood.ingest.parsing.encoding import decode
from latewood.ingest.parsing.formats.html import add_html, read_html
from latewood.ingest.parsing.formats.text import paragraphs
from latewood.ingest.parsing.text_builder import TextBuilder, one_line, pick_title
from latewood.ingest.types import ElementKind, Parsed, ParseError
from latewood.search.types import MetadataValue

XML_LIMIT = 100 * 1024**2  # bytes; the tree takes ten times as much memory
_NO_MEMORY = ("unknown error", "Memory allocation failed", "out of memory")
_ENCODING = re.compile(rb"""\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9_.-]+)""")
_LANG = "{http://www.w3.org/XML/1998/namespace}lang"


def _words(names: str) -> frozenset[str]:
    return frozenset(names.split())


_TITLES = _words("title head heading headline bridgehead article-title h1 h2 h3 h4 h5 h6")
_PARAGRAPHS = _words("p para simpara formalpara ab description summary abstract content encoded note quote")
_CODE = _words("programlisting screen pre codeblock literallayout eg synopsis code")
_TABLES = _words("table informaltable tgroup simpletable table-wrap")
_HEADS = _words("info articleinfo bookinfo sectioninfo chapterinfo header teiHeader front titlegroup")
_ROWS = _words("tr row strow sthead")
_LISTS = _words("itemizedlist orderedlist list ul ol simplelist steps steps-unordered")
_BLOCKS = _TITLES | _PARAGRAPHS | _CODE | _TABLES | _LISTS
_INLINE_CODE = frozenset(("code",))
_MARKUP = re.compile(r"<(?:p|br|a|div|ul|ol|img|h\d|b|i|em|strong|span|table|blockquote|pre)\b[^>]*>", re.I)
_DATES = _words("date pubDate pubdate published updated issued created")
_AUTHORS = _words("creator author managingEditor")


def tree(data: bytes) -> Any:
    """The root element; no entity is expanded, no DTD read, nothing fetched.

    Raises:
        ParseError: `out_of_memory`.
        lxml.etree.XMLSyntaxError: not well-formed, or nested deeper than 256 elements.
    """
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True
    )
    try:
        return etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        if any(words in str(error) for words in _NO_MEMORY):
            raise ParseError("out_of_memory", "the XML needs more memory than allowed; split it") from error
        raise


def local(element: Any) -> str:
    """An element's name without its namespace; '' for an entity."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def flat(element: Any) -> str:
    """All text inside an element, in order, unresolved entities as they are written."""
    parts = [element.text or ""]
    for child in element:
        parts += (flat(child) if local(child) else child.text or "", child.tail or "")
    return "".join(parts)


def read_xml(data: bytes, name: str) -> Parsed:
    """An XML file in document order; one that is not well-formed is kept as written, with a note.

    Raises:
        ParseError: `too_large` beyond `XML_LIMIT`, `out_of_memory`.
    """
    if len(data) > XML_LIMIT:
        raise ParseError(
            "too_large", f"the XML has {len(data)} bytes, the limit is {XML_LIMIT}; split the file"
        )
    try:
        root = tree(data)
    except etree.XMLSyntaxError as error:
        found = _ENCODING.match(data[:300])
        text, notes = decode(data, found[1].decode("ascii") if found else "")
        note = f"not well-formed XML, or nested too deep ({error.msg}): kept as written"
        return Parsed(pick_title(name), "xml", text, paragraphs(text), {}, (*notes, note))
    if local(root).lower() == "html":
        return read_html(data, name)
    builder = TextBuilder()
    prose = any(local(element) in _PARAGRAPHS for element in root.iter(etree.Element))
    _Walk(builder, attributes=not prose).block(root, 1)
    kept = any(element.text for element in root.iter(etree.Entity))
    notes = ("entities stand as they are written: none is expanded",) if kept else ()
    if not builder.elements:
        # Nothing but empty elements: their names are all there is to read.
        names = dict.fromkeys(local(element) for element in root.iter(etree.Element))
        builder.add(ElementKind.PARAGRAPH, " ".join(names))
    title = pick_title(name, builder.first_title())
    return builder.finish(title, "xml", metadata=_metadata(root) if prose else {}, notes=notes)


def _metadata(root: Any) -> dict[str, MetadataValue]:
    """Author, date and language as the head of the document gives them: before its first paragraph."""
    author = created = ""
    language = root.get(_LANG) or root.get("lang") or ""
    for element in root.iter(etree.Element):
        name = local(element)
        if name in ("p", "para", "item", "entry"):
            break
        author = author or (one_line(_names(element)) if name in _AUTHORS else "")
        created = created or (one_line(flat(element)) if name in _DATES else "")
        language = language or (one_line(flat(element)) if name == "language" else "")
    return common(author=author, created=created, language=language)


def _names(author: Any) -> str:
    return " ".join(one_line(text) for text in author.itertext(etree.Element) if text.strip())


class _Walk:
    """Elements to blocks, top down; `attributes` says whether attributes are content (records)."""

    def __init__(self, builder: TextBuilder, *, attributes: bool) -> None:
        self._builder = builder
        self._attributes = attributes

    def block(self, element: Any, depth: int) -> None:
        """Append what stands in `element`; `depth` is the heading depth of a title directly in it."""
        name = local(element)
        if name in _TITLES:
            self._builder.add(ElementKind.TITLE, flat(element), depth=min(depth, 6))
        elif name in _CODE and not any(local(child) in _BLOCKS - _INLINE_CODE for child in element):
            self._builder.add(ElementKind.CODE, flat(element))
        elif name in _TABLES and (rows := list(_rows(element))):
            for child in element:
                if local(child) in _TITLES or local(child) == "caption":
                    self._builder.add(ElementKind.PARAGRAPH, one_line(flat(child)))
            self._builder.add_table(rows)
        elif name in _LISTS and len(element) and not _direct(element):
            self._list(element, depth)
        elif _direct(element):
            self._mixed(element, depth)
        else:
            self._container(element, depth)

    def _list(self, element: Any, depth: int) -> None:
        lines: list[str] = []
        for child in element:
            if local(child) in _TITLES:
                self._builder.add(ElementKind.TITLE, flat(child), depth=min(depth, 6))
            elif text := one_line(_spaced(child)):
                lines.append(f"- {text}")
        self._builder.add(ElementKind.LIST, "\n".join(lines))

    def _mixed(self, element: Any, depth: int) -> None:
        """Text with elements in it: inline ones are part of its paragraph, blocks interrupt it."""
        inline = [element.text or ""]
        for child in element:
            if local(child) in _BLOCKS - _INLINE_CODE:
                self._paragraph("".join(inline))
                inline.clear()
                self.block(child, depth + 1)
            else:
                inline.append(flat(child) if local(child) else child.text or "")
            inline.append(child.tail or "")
        attributes = self._shown(element)
        self._paragraph("".join(inline) + (f" ({attributes})" if attributes else ""))

    def _paragraph(self, text: str) -> None:
        if _MARKUP.search(text):
            add_html(text, self._builder)  # feeds carry their pages escaped
        else:
            self._builder.add(ElementKind.PARAGRAPH, one_line(text))

    def _container(self, element: Any, depth: int) -> None:
        """Elements in an element: leaves that follow each other are lines of one paragraph."""
        titled = any(local(child) in _TITLES or _heads(child) for child in element)
        shown = self._shown(element)
        lines = [f"{local(element)} ({shown})"] if shown else []
        for child in element:
            name = local(child)
            if len(child) or name in _BLOCKS:
                self._lines(lines)
                self.block(child, depth + int(titled and name not in _TITLES and name not in _HEADS))
            elif name:
                self._leaf(child, name, lines)
        self._lines(lines)

    def _leaf(self, child: Any, name: str, lines: list[str]) -> None:
        text, shown = one_line(child.text or ""), self._shown(child)
        if _MARKUP.search(text):
            self._lines(lines)
            add_html(text, self._builder)
        elif text or shown:
            lines.append(f"{name}: {text}{' ' if text and shown else ''}{f'({shown})' if shown else ''}")

    def _lines(self, lines: list[str]) -> None:
        self._builder.add(ElementKind.PARAGRAPH, "\n".join(lines))
        lines.clear()

    def _shown(self, element: Any) -> str:
        if not self._attributes:
            return ""
        pairs = ((key.rpartition("}")[2], one_line(value)) for key, value in element.items())
        return ", ".join(f"{key}: {value}" for key, value in pairs if value)


def _direct(element: Any) -> bool:
    """Whether text, or an entity, stands directly in the element."""
    return bool((element.text or "").strip()) or any(
        not local(child) or (child.tail or "").strip() for child in element
    )


def _heads(element: Any) -> bool:
    """Whether it is a head that holds the title of what it stands in: DocBook's info, JATS' front."""
    return local(element) in _HEADS and any(local(one) in _TITLES for one in element.iter(etree.Element))


def _spaced(element: Any) -> str:
    return " ".join(element.itertext(etree.Element, etree.Entity))


def _rows(table: Any) -> Iterator[Sequence[str]]:
    for row in table.iter(etree.Element):
        if local(row) in _ROWS:
            yield [one_line(flat(cell)) for cell in row if local(cell)]
