"""reStructuredText through docutils: parsed, not transformed; no file is included, nothing raw kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from latewood.ingest.metadata import common
from latewood.ingest.parsing.encoding import decode
from latewood.ingest.parsing.formats.text import paragraphs
from latewood.ingest.parsing.text_builder import TextBuilder, one_line, pick_title
from latewood.ingest.types import ElementKind, Parsed
from latewood.search.types import MetadataValue

# docutils reads some 100 kB a second.
_LIMIT = 1_000_000
_LINE_LIMIT = 10**9
_LISTS = ("bullet_list", "enumerated_list")
_CODE = ("literal_block", "doctest_block", "math_block")
_HIDDEN = ("comment", "substitution_definition", "target", "pending", "colspec", "meta")
_LEADS = ("definition_list", "field_list", "option_list")


def read_rst(data: bytes, name: str) -> Parsed:
    """reStructuredText: sections, lists, tables, code; unknown directives stay as they are written.

    What docutils gives up on (nested too deep, longer than 1,000,000 characters) is read as plain text,
    with a note.
    """
    text, notes = decode(data)
    if len(text) > _LIMIT:
        note = f"{len(text)} characters: read as plain text, reStructuredText ends at {_LIMIT}"
        return Parsed(pick_title(name), "rst", text, paragraphs(text), {}, (*notes, note))
    builder = TextBuilder()
    try:
        document = _parse(text)
        _Walk(builder).blocks(document, 1)
    # docutils raises what it likes on odd input; the file's words are there all the same.
    except (
        RecursionError,
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ) as e:
        note = f"not read as reStructuredText ({type(e).__name__}): kept as written"
        return Parsed(pick_title(name), "rst", text, paragraphs(text), {}, (*notes, note))
    metadata = _metadata(document)
    return builder.finish(pick_title(name, builder.first_title()), "rst", metadata=metadata, notes=notes)


def _parse(text: str) -> Any:
    from docutils.frontend import get_default_settings
    from docutils.parsers.rst import Parser, roles
    from docutils.utils import new_document

    settings = get_default_settings(Parser)
    settings.file_insertion_enabled = False
    settings.raw_enabled = False
    settings.report_level = 5
    settings.halt_level = 6
    settings.warning_stream = False
    settings.line_length_limit = _LINE_LIMIT
    settings.syntax_highlight = "none"
    document = new_document("document", settings)
    try:
        Parser().parse(text, document)
    finally:
        roles._roles.clear()  # roles that this file defined must not reach the next
    return document


def _metadata(document: Any) -> dict[str, MetadataValue]:
    """The field list at the head of the document, be it below its title."""
    from docutils import nodes

    place: Any = document
    for _ in range(3):
        for node in place.children:
            if isinstance(node, nodes.field_list | nodes.docinfo):
                fields = {
                    field[0].astext().lower(): one_line(field[1].astext())
                    for field in node.findall(nodes.field)
                    if len(field) > 1
                }
                return common(
                    author=fields.get("author") or fields.get("authors"),
                    created=fields.get("date"),
                    language=fields.get("language") or fields.get("lang"),
                    keywords=fields.get("keywords"),
                )
        sections = [node for node in place.children if isinstance(node, nodes.section)]
        if not sections:
            return {}
        place = sections[0]
    return {}


class _Walk:
    """docutils' nodes to blocks, top down."""

    def __init__(self, builder: TextBuilder) -> None:
        self._builder = builder

    def blocks(self, parent: Any, depth: int) -> None:
        """Append the blocks in `parent`; `depth` is the heading depth of a section in it."""
        for node in parent.children:
            name = node.tagname
            if name == "section":
                self.blocks(node, depth + 1)
            elif name in ("title", "subtitle") and parent.tagname in ("section", "document"):
                self._builder.add(ElementKind.TITLE, node.astext(), depth=min(max(depth - 1, 1), 6))
            elif name in _LISTS:
                self._builder.add(ElementKind.LIST, "\n".join(_items(node, 0)))
            elif name in _LEADS:
                self._builder.add(ElementKind.LIST, "\n".join(_pairs(node)))
            elif name == "table":
                self._table(node)
            elif name not in _HIDDEN:
                self._plain(node, depth)

    def _plain(self, node: Any, depth: int) -> None:
        from docutils import nodes

        if node.tagname == "system_message":
            self._unread(node)
        elif node.tagname in _CODE:
            self._builder.add(ElementKind.CODE, node.astext())
        elif node.tagname == "image":
            self._builder.add(ElementKind.PARAGRAPH, node.get("alt", ""))
        elif isinstance(node, nodes.Text | nodes.TextElement):
            self._builder.add(ElementKind.PARAGRAPH, node.astext())
        else:
            self.blocks(node, depth)

    def _unread(self, message: Any) -> None:
        """What docutils could not make sense of comes with its complaint, as it was written."""
        for node in message.children:
            if node.tagname == "literal_block":
                self._builder.add(ElementKind.CODE, node.astext())

    def _table(self, table: Any) -> None:
        from docutils import nodes

        for title in table.findall(nodes.title):
            self._builder.add(ElementKind.PARAGRAPH, title.astext())
        rows = [_cells(row) for row in table.findall(nodes.row)]
        heads = [_cells(row) for head in table.findall(nodes.thead) for row in head.findall(nodes.row)]
        self._builder.add_table(rows, header=" | ".join(heads[-1]) if heads else "")


def _cells(row: Any) -> Sequence[str]:
    return [one_line(" ".join(child.astext() for child in entry.children)) for entry in row.children]


def _items(node: Any, level: int) -> Iterator[str]:
    numbered = node.tagname == "enumerated_list"
    start = int(node.get("start", 1)) if numbered else 1
    for number, item in enumerate((one for one in node.children if one.tagname == "list_item"), start):
        lead = f"{number}. " if numbered else "- "
        indent = "  " * min(level, 8)
        for child in item.children:
            if child.tagname in _LISTS:
                yield from _items(child, level + 1)
            elif child.tagname not in (*_HIDDEN, "system_message") and (text := child.astext().strip()):
                yield indent + lead + text.replace("\n", "\n" + indent + "  ")
                lead = "  "


def _pairs(node: Any) -> Iterator[str]:
    """`term: text` lines of definitions, fields and options."""
    for item in node.children:
        first = [child for child in item.children if child.tagname in ("term", "field_name", "option_group")]
        rest = [child for child in item.children if child not in first]
        label = " ".join(child.astext() for child in first)
        body = "\n".join(text for child in rest if (text := child.astext().strip()))
        body = body.replace("\n\n", "\n").replace("\n", "\n  ")
        yield f"{label}: {body}" if "\n" not in body else f"{label}:\n  {body}"
