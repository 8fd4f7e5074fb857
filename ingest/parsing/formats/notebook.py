"""Jupyter notebooks: Markdown cells as Markdown, code cells as code, and what they printed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from latewood.ingest.metadata import common
from latewood.ingest.parsing.encoding import decode
from latewood.ingest.parsing.formats.html import add_html
from latewood.ingest.parsing.formats.text import add_markdown
from latewood.ingest.parsing.text_builder import TextBuilder, clean, pick_title
from latewood.ingest.types import ElementKind, Parsed, ParseError

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# One printed line of progress after another is no text; the beginning says what it was.
_OUTPUT_LIMIT = 20_000


def read_notebook(data: bytes, name: str) -> Parsed:
    """A notebook (format 3 or 4): cells in order, each code cell followed by its output as text.

    Raises:
        ParseError: `corrupt` if it is no notebook, `too_deep`.
    """
    text, notes = decode(data)
    try:
        book = json.loads(text, parse_int=str, parse_float=str)
    except json.JSONDecodeError as error:
        raise ParseError("corrupt", f"the file is no notebook: not valid JSON ({error})") from error
    except RecursionError as error:
        raise ParseError("too_deep", "the notebook nests deeper than can be followed") from error
    cells = list(_cells(book))
    if not cells and not (isinstance(book, dict) and {"cells", "worksheets"} & set(book)):
        raise ParseError("corrupt", "the file is no notebook: it is JSON without cells")
    builder = TextBuilder()
    cut = sum(_add_cell(cell, builder) for cell in cells)
    about = _dict(book.get("metadata"))
    authors = [_text(_dict(one).get("name")) for one in _list(about.get("authors"))]
    said = (f"{cut} outputs were cut to {_OUTPUT_LIMIT} characters",) if cut else ()
    return builder.finish(
        pick_title(name, _text(about.get("title")), builder.first_title()),
        "ipynb",
        metadata=common(author=", ".join(filter(None, authors)), created=_text(about.get("date"))),
        notes=(*notes, *said),
    )


def _cells(book: Any) -> Iterator[dict[str, Any]]:
    top = _dict(book)
    sheets = [_dict(sheet) for sheet in _list(top.get("worksheets"))]
    for holder in (top, *sheets):
        yield from (cell for cell in _list(holder.get("cells")) if isinstance(cell, dict))


def _add_cell(cell: dict[str, Any], builder: TextBuilder) -> int:
    """Append a cell; the number of its outputs that were cut."""
    source = _text(cell.get("source", cell.get("input")))
    kind = cell.get("cell_type")
    if kind == "code":
        builder.add(ElementKind.CODE, source)
        return sum(_add_output(_dict(output), builder) for output in _list(cell.get("outputs")))
    if kind == "heading":
        level = str(cell.get("level"))
        builder.add(ElementKind.TITLE, source, depth=int(level) if level in set("123456") else 1)
    elif kind == "markdown":
        add_markdown(source, builder)
    else:
        builder.add(ElementKind.PARAGRAPH, source)
    return 0


def _add_output(output: dict[str, Any], builder: TextBuilder) -> int:
    data = {**output, **_dict(output.get("data"))}
    page = _text(data.get("text/html", data.get("html")))
    if "<table" in page:
        add_html(page, builder)
        return 0
    if output.get("output_type") in ("error", "pyerr"):
        shown = "\n".join(map(_text, _list(output.get("traceback")))) or _text(output.get("evalue"))
    else:
        shown = _text(data.get("text/plain", data.get("text/markdown", data.get("text"))))
    shown = _ESCAPES.sub("", shown)
    builder.add(ElementKind.CODE, shown[:_OUTPUT_LIMIT])
    return int(len(shown) > _OUTPUT_LIMIT)


def _text(value: object) -> str:
    """Notebooks keep text as a string or as a list of lines."""
    if isinstance(value, list):
        return clean("".join(line for line in value if isinstance(line, str)))
    return clean(value) if isinstance(value, str) else ""


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
