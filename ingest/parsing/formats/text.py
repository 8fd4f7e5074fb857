"""Plain text, Markdown and source code: the text is the file's own."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import accumulate

from markdown_it import MarkdownIt
from markdown_it.token import Token

from latewood.ingest.parsing.encoding import decode
from latewood.ingest.parsing.formats import front_matter
from latewood.ingest.parsing.text_builder import TextBuilder, first_title, pick_title
from latewood.ingest.types import Element, ElementKind, Parsed

_BLANK_LINES = re.compile(r"\n[^\S\n]*\n\s*")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # what a terminal makes colours of
_MARKDOWN_LIMIT = 5_000_000
_MARKDOWN_LINES = 250_000  # the parser reads some 15,000 a second
_BLOCK_KINDS = {
    "paragraph_open": ElementKind.PARAGRAPH,
    "blockquote_open": ElementKind.PARAGRAPH,
    "html_block": ElementKind.PARAGRAPH,
    "bullet_list_open": ElementKind.LIST,
    "ordered_list_open": ElementKind.LIST,
    "table_open": ElementKind.TABLE,
    "fence": ElementKind.CODE,
    "code_block": ElementKind.CODE,
}


def read_text(data: bytes, name: str) -> Parsed:
    """Plain text: paragraphs by blank lines; headings are not guessed."""
    text, notes = decode(data)
    return Parsed(pick_title(name), "text", text, paragraphs(text), {}, notes)


def read_log(data: bytes, name: str) -> Parsed:
    """A log as it is, timestamps and all: plain text of another kind."""
    parsed = read_text(data, name)
    if "\x1b" not in parsed.text:
        return replace(parsed, kind="log")
    text = _COLOURS.sub("", parsed.text)
    return replace(parsed, kind="log", text=text, elements=paragraphs(text))


def paragraphs(text: str, start: int = 0) -> tuple[Element, ...]:
    """Paragraph elements of `text[start:]`, divided by blank lines; white space at their ends is outside."""
    elements: list[Element] = []
    for separator in _BLANK_LINES.finditer(text, start):
        _add_trimmed(elements, text, start, separator.start())
        start = separator.end()
    _add_trimmed(elements, text, start, len(text))
    return tuple(elements)


def _add_trimmed(elements: list[Element], text: str, start: int, end: int) -> None:
    piece = text[start:end]
    bare = piece.strip()
    if bare:
        first = start + len(piece) - len(piece.lstrip())
        elements.append(Element(ElementKind.PARAGRAPH, first, first + len(bare)))


def read_code(data: bytes, name: str) -> Parsed:
    """Source code: one element per region that follows a blank line and begins in the first column."""
    text, notes = decode(data)
    elements: list[Element] = []
    start = end = offset = 0
    blank = False
    for line in text.split("\n"):
        if line.strip():
            if blank and not line[0].isspace() and end > start:
                elements.append(Element(ElementKind.CODE, start, end))
                start = offset
            blank = False
            end = offset + len(line)
        else:
            blank = True
        offset += len(line) + 1
    if end > start:
        elements.append(Element(ElementKind.CODE, start, end))
    return Parsed(pick_title(name), "code", text, tuple(elements), {}, notes)


def read_markdown(data: bytes, name: str) -> Parsed:
    """Markdown as written, but for the marks of headings: `## Setup` reads `Setup`, depth 2."""
    source, notes = decode(data)
    lines = source.count("\n") + 1
    if len(source) > _MARKDOWN_LIMIT or lines > _MARKDOWN_LINES:
        note = (
            f"{len(source)} characters in {lines} lines: read as plain text, Markdown ends at "
            f"{_MARKDOWN_LIMIT} characters or {_MARKDOWN_LINES} lines"
        )
        return Parsed(pick_title(name), "markdown", source, paragraphs(source), {}, (*notes, note))
    body, stated, metadata, unread = front_matter.split(source)
    text, elements = _markdown_blocks(source, body)
    title = pick_title(name, stated, first_title(elements, text))
    return Parsed(title, "markdown", text, tuple(elements), metadata, (*notes, *unread))


def add_markdown(source: str, builder: TextBuilder) -> None:
    """Append Markdown without front matter to `builder`: a notebook's cell."""
    if len(source) > _MARKDOWN_LIMIT or source.count("\n") >= _MARKDOWN_LINES:
        builder.add(ElementKind.PARAGRAPH, source)
        return
    text, elements = _markdown_blocks(source, 0)
    end = 0
    for element in elements:
        builder.add(ElementKind.PARAGRAPH, text[end : element.start])  # link definitions are no block
        shown = text[element.start : element.end]
        builder.add(element.kind, shown, depth=element.depth, header=element.header)
        end = element.end
    builder.add(ElementKind.PARAGRAPH, text[end:])


def _markdown_blocks(source: str, body: int) -> tuple[str, list[Element]]:
    """The text with bare headings, and its elements; what stands before `body` is one paragraph."""
    lines = source[body:].split("\n")
    starts = list(accumulate((len(line) + 1 for line in lines), initial=body))
    parts: list[str] = []
    elements: list[Element] = []
    written = cursor = 0
    if source[:body].strip():
        elements.extend(_front_element(source, body))
    tokens = _markdown_parser().parse(source[body:])
    for index, token in enumerate(tokens):
        if token.level or not token.map or not (token.type in _BLOCK_KINDS or token.type == "heading_open"):
            continue
        first, last = starts[token.map[0]], min(starts[token.map[1]], len(source))
        piece = source[first:last].rstrip()
        kept = source[cursor:first]
        heading = tokens[index + 1].content.strip() if token.type == "heading_open" else ""
        shown = heading or piece
        parts += [kept, shown]
        written += len(kept)
        if shown.strip():
            elements.append(_markdown_element(token, shown, written, bool(heading)))
        written += len(shown)
        cursor = first + len(piece)
    parts.append(source[cursor:])
    return "".join(parts), elements


def _markdown_parser() -> MarkdownIt:
    """CommonMark with tables, blocks only: inline markup stays as it was written."""
    parser = MarkdownIt("commonmark").enable("table")
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser


def _front_element(source: str, body: int) -> list[Element]:
    elements: list[Element] = []
    _add_trimmed(elements, source, 0, body)
    return elements


def _markdown_element(token: Token, shown: str, start: int, heading: bool) -> Element:
    if heading:
        return Element(ElementKind.TITLE, start, start + len(shown), depth=int(token.tag[1:]))
    kind = _BLOCK_KINDS.get(token.type, ElementKind.PARAGRAPH)
    header = shown.split("\n", 1)[0].strip() if kind is ElementKind.TABLE else ""
    lead = len(shown) - len(shown.lstrip()) if kind is not ElementKind.CODE else 0
    return Element(kind, start + lead, start + len(shown), header=header)
