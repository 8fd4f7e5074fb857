"""DOCX and PPTX through unstructured, and what it passes over."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from latewood.ingest.metadata import common
from latewood.ingest.parsing.formats import unstructured_stub
from latewood.ingest.parsing.formats.html import table_rows
from latewood.ingest.parsing.gzip_zip import open_archive
from latewood.ingest.parsing.text_builder import TextBuilder, one_line, pick_title
from latewood.ingest.types import ElementKind, Parsed, ParseError
from latewood.search.types import MetadataValue

_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_DRAWING = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_NOTE_PARTS = ("/word/footnotes.xml", "/word/endnotes.xml", "/word/comments.xml")
_NO_MEMORY = ("unknown error", "Memory allocation failed", "out of memory")
# Of the templates that python-docx and python-pptx begin every file with.
_TEMPLATE_AUTHORS = ("python-docx", "Steve Canny")
_TEMPLATE_MOMENTS = (dt.datetime(2013, 12, 23, 23, 15), dt.datetime(2013, 1, 27, 9, 14, 16))
_MADE_UP_TITLES = frozenset(("powerpoint presentation", "word document", "untitled"))


def read_docx(data: bytes, name: str) -> Parsed:
    """A Word document: headings by style, lists, tables, footnotes, text boxes.

    Raises:
        ParseError: `needs_extra`, `encrypted`, `corrupt` or `too_large`.
    """
    with open_archive(data, "a Word document") as archive:
        _expect(archive.namelist(), "word/", "a Word document")
    unstructured_stub.install()
    try:
        import docx
        from docx.opc.exceptions import PackageNotFoundError
        from unstructured.partition.docx import partition_docx
    except ImportError as error:
        raise _needs_extra("docx", error) from error
    try:
        # In this order, so that the two do not hold the file's tree in memory at the same time.
        elements = partition_docx(file=io.BytesIO(data), languages=[""])
        document = docx.Document(io.BytesIO(data))
    except (PackageNotFoundError, KeyError, ValueError, SyntaxError) as error:
        raise _corrupt("a Word document", error) from error
    headings = set(_styled_headings(document))
    builder = TextBuilder()
    _add_all(
        (
            (
                element,
                int(element.metadata.category_depth or 0) + 1 if one_line(element.text) in headings else 0,
            )
            for element in elements
        ),
        builder,
    )
    _add_missing(document.part.package.iter_parts(), builder)
    stated, about = _stated(document.core_properties.title), _about(document.core_properties)
    return builder.finish(pick_title(name, stated, builder.first_title()), "docx", metadata=about)


def read_pptx(data: bytes, name: str) -> Parsed:
    """A slide deck: slide number as page, slide titles as headings, tables, then the speaker's notes.

    Raises:
        ParseError: `needs_extra`, `encrypted`, `corrupt` or `too_large`.
    """
    with open_archive(data, "a PowerPoint deck") as archive:
        _expect(archive.namelist(), "ppt/", "a PowerPoint deck")
    unstructured_stub.install()
    try:
        import pptx
        from pptx.exc import PackageNotFoundError
        from unstructured.partition.pptx import partition_pptx
    except ImportError as error:
        raise _needs_extra("pptx", error) from error
    try:
        elements = partition_pptx(file=io.BytesIO(data), include_slide_notes=True, languages=[""])
        deck = pptx.Presentation(io.BytesIO(data))
    except (PackageNotFoundError, KeyError, ValueError, SyntaxError) as error:
        raise _corrupt("a PowerPoint deck", error) from error
    pages: dict[int, list[Any]] = {}
    for element in elements:
        pages.setdefault(int(element.metadata.page_number or 1), []).append(element)
    builder = TextBuilder()
    for number, slide in enumerate(deck.slides, 1):
        ordered = _notes_last(pages.get(number, []))
        _add_all(((element, int(_is_slide_title(element))) for element in ordered), builder)
        _add_unread(slide, builder, number)
    stated, about = _stated(deck.core_properties.title), _about(deck.core_properties)
    return builder.finish(pick_title(name, stated, builder.first_title()), "pptx", metadata=about)


def _expect(entries: Iterable[str], folder: str, what: str) -> None:
    if not any(entry.startswith(folder) for entry in entries):
        raise ParseError("corrupt", f"the file is a zip archive, but not {what}: it has no {folder} in it")


def _needs_extra(kind: str, error: ImportError) -> ParseError:
    return ParseError(
        "needs_extra", f"reading .{kind} needs an extra: pip install 'latewood[formats]' ({error})"
    )


def _corrupt(what: str, error: Exception) -> ParseError:
    # libxml2 says no more than this when an allocation fails.
    if isinstance(error, SyntaxError) and any(words in str(error) for words in _NO_MEMORY):
        return ParseError("out_of_memory", f"reading {what} of this size needs more memory than allowed")
    return ParseError("corrupt", f"the file is damaged, incomplete or not {what} ({error})")


def _about(properties: Any) -> dict[str, MetadataValue]:
    """What the file says of itself; a library's own template says nothing of the document."""
    created = properties.created
    return common(
        author="" if properties.author in _TEMPLATE_AUTHORS else properties.author,
        created=created if created and created.replace(tzinfo=None) not in _TEMPLATE_MOMENTS else None,
        keywords=properties.keywords,
        subject=properties.subject,
        language=properties.language,
    )


def _stated(title: str) -> str:
    return "" if one_line(title).lower() in _MADE_UP_TITLES else title


def _styled_headings(document: Any) -> Iterator[str]:
    """Texts of paragraphs whose style is a heading; unstructured guesses headings from looks besides."""
    headings: dict[str | None, bool] = {}  # by style: python-docx walks all styles for each paragraph
    for paragraph in document.paragraphs:
        key = paragraph._p.style
        if key not in headings:
            style = paragraph.style.name if paragraph.style is not None else ""
            headings[key] = (style or "").lower().startswith(("heading", "title"))
        if headings[key]:
            yield one_line(paragraph.text)


def _add_all(elements: Iterable[tuple[Any, int]], builder: TextBuilder) -> None:
    """Append unstructured's elements, each with its heading depth (0: none, whatever it was taken for).

    List items that follow each other become one list.
    """
    for listed, group in groupby(elements, lambda pair: pair[0].category == "ListItem" and not pair[1]):
        members = list(group)
        if listed:
            items = "\n".join(f"- {one_line(element.text)}" for element, _ in members)
            builder.add(ElementKind.LIST, items, page=members[0][0].metadata.page_number)
            continue
        for element, depth in members:
            _add(element, builder, depth)


def _add(element: Any, builder: TextBuilder, depth: int) -> None:
    page = element.metadata.page_number
    if element.category == "Table" and element.metadata.text_as_html:
        builder.add_table(table_rows(element.metadata.text_as_html), page=page)
    elif depth:
        builder.add(ElementKind.TITLE, element.text, page=page, depth=depth)
    else:
        builder.add(ElementKind.PARAGRAPH, element.text, page=page)


def _is_slide_title(element: Any) -> bool:
    return element.category == "Title" and not element.metadata.category_depth


def _notes_last(elements: list[Any]) -> list[Any]:
    """Notes come before the slide's title; moved behind its content, they stand under the right heading."""
    first = next((index for index, element in enumerate(elements) if _is_slide_title(element)), 0)
    return elements[first:] + elements[:first]


def _add_missing(parts: Iterable[Any], builder: TextBuilder) -> None:
    """Append what unstructured leaves out of a Word document: text boxes, foot- and endnotes, comments."""
    seen = _squeezed(builder.text)
    for part in parts:
        if part.partname == "/word/document.xml":
            roots = part.element.iter(_WORD + "txbxContent")
        elif part.partname in _NOTE_PARTS:
            roots = iter((_root(part),))
        else:
            continue
        for root in roots:
            for paragraph in root.iter(_WORD + "p"):
                text = "".join(run.text or "" for run in paragraph.iter(_WORD + "t"))
                squeezed = _squeezed(text)
                if squeezed and squeezed not in seen:
                    builder.add(ElementKind.PARAGRAPH, text)
                    seen += "\n" + squeezed


def _root(part: Any) -> Any:
    if hasattr(part, "element"):
        return part.element
    from docx.oxml import parse_xml

    return parse_xml(part.blob)


def _add_unread(slide: Any, builder: TextBuilder, number: int) -> None:
    """Append the paragraphs of a slide that are in its file but not in the text: boxes off the slide."""
    seen = _squeezed(builder.text[_page_start(builder, number) :])
    for paragraph in slide._element.iter(_DRAWING + "p"):
        text = "".join(run.text or "" for run in paragraph.iter(_DRAWING + "t"))
        squeezed = _squeezed(text)
        if squeezed and squeezed not in seen:
            builder.add(ElementKind.PARAGRAPH, text, page=number)
            seen += "\n" + squeezed


def _page_start(builder: TextBuilder, number: int) -> int:
    starts = (element.start for element in builder.elements if element.page == number)
    return next(starts, len(builder.text))


def _squeezed(text: str) -> str:
    return "".join(text.split())
