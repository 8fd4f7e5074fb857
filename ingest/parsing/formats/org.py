"""Org mode: headlines, lists, tables and blocks by their lines; the words stay as they are written."""

from __future__ import annotations

import re

from latewood.ingest.metadata import common
from latewood.ingest.parsing.encoding import decode
from latewood.ingest.parsing.text_builder import TextBuilder, pick_title
from latewood.ingest.types import ElementKind, Parsed

_KEYWORD = re.compile(r"#\+(\w+):[^\S\n]*(.*)", re.I)
_HEADLINE = re.compile(r"(\*+)\s+(.*)")
_TAGS = re.compile(r"\s+:[\w@#%:]+:\s*$")
_TODO = re.compile(r"^(?:TODO|DONE|NEXT|WAITING)\s+|^\[#\w\]\s+")
_BEGIN = re.compile(r"\s*#\+begin_(\w+)(.*)", re.I)
_ITEM = re.compile(r"\s*(?:[-+]|\d+[.)])\s|\s+\*\s")
_RULE = re.compile(r"\s*\|[-+|:\s]*$")
_DRAWER = re.compile(r"\s*:[\w-]+:\s*$")
_TEXT_KEYWORDS = frozenset(("caption", "title", "subtitle", "description"))
_DOCUMENT = frozenset(("title", "author", "date", "language", "keywords", "filetags"))
_CODE_BLOCKS = frozenset(("src", "example", "export"))


def read_org(data: bytes, name: str) -> Parsed:
    """An Org file: `* TODO Setup :tag:` is the heading `Setup`; drawers of properties are left out."""
    text, notes = decode(data)
    reader = _Reader()
    for line in text.split("\n"):
        reader.line(line)
    reader.end()
    said = reader.said
    metadata = common(
        author=said.get("author"),
        created=said.get("date", "").strip("<>[]"),
        language=said.get("language"),
        keywords=said.get("keywords") or said.get("filetags", "").strip(":").replace(":", ";"),
    )
    builder = reader.builder
    title = pick_title(name, said.get("title", ""), builder.first_title())
    return builder.finish(title, "org", metadata=metadata, notes=notes)


class _Reader:
    """Takes one line after the other; `end` writes what is left."""

    def __init__(self) -> None:
        self.builder = TextBuilder()
        self.said: dict[str, str] = {}
        self._kind = ElementKind.PARAGRAPH
        self._lines: list[str] = []
        self._block = ""
        self._drawer = ""

    def line(self, line: str) -> None:
        """The next line, without its end."""
        if self._block:
            self._in_block(line)
        elif self._drawer:
            self._in_drawer(line)
        elif found := _BEGIN.match(line):
            self.end()
            self._block = found[1].lower()
            self._kind = ElementKind.CODE if self._block in _CODE_BLOCKS else ElementKind.PARAGRAPH
        elif found := _HEADLINE.match(line):
            self.end()
            heading = _TODO.sub("", _TODO.sub("", _TAGS.sub("", found[2])))
            self.builder.add(ElementKind.TITLE, heading or found[2], depth=min(len(found[1]), 6))
        elif _DRAWER.match(line):
            self.end()
            self._drawer = line.strip().lower()
        elif found := _KEYWORD.match(line):
            self._keyword(found[1].lower(), found[2].strip())
        elif not line.startswith("# "):
            self._plain(line)

    def end(self) -> None:
        """What has been collected becomes a block."""
        lines, self._lines = self._lines, []
        kind, self._kind = self._kind, ElementKind.PARAGRAPH
        # A block or drawer that never closes is text like any other.
        self._block = self._drawer = ""
        if kind is ElementKind.TABLE:
            self.builder.add_table(
                [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
            )
        else:
            self.builder.add(kind, "\n".join(lines))

    def _in_block(self, line: str) -> None:
        if line.strip().lower() == f"#+end_{self._block}":
            self.end()
        else:
            self._lines.append(line)

    def _in_drawer(self, line: str) -> None:
        if line.strip().lower() == ":end:":
            if self._drawer == ":properties:":
                self._lines.clear()
            self.end()
        elif _HEADLINE.match(line):
            self.end()
            self.line(line)
        else:
            self._lines.append(line)

    def _keyword(self, key: str, value: str) -> None:
        self.end()
        if key in _DOCUMENT:
            self.said[key] = f"{self.said[key]} {value}".strip() if key in self.said else value
        if key == "title":
            self.builder.add(ElementKind.TITLE, value, depth=1)
        elif key in _TEXT_KEYWORDS:
            self.builder.add(ElementKind.PARAGRAPH, value)

    def _plain(self, line: str) -> None:
        bare = line.strip()
        if not bare:
            self.end()
            return
        kind = self._kind_of(line)
        if self._lines and kind is not self._kind:
            self.end()
        self._kind = kind
        if not (kind is ElementKind.TABLE and _RULE.match(line)):
            self._lines.append(line.removeprefix(": ") if kind is ElementKind.CODE else line)

    def _kind_of(self, line: str) -> ElementKind:
        if line.lstrip().startswith("|"):
            return ElementKind.TABLE
        if line.startswith(": "):
            return ElementKind.CODE
        continued = self._kind is ElementKind.LIST and self._lines and line[0].isspace()
        return ElementKind.LIST if _ITEM.match(line) or continued else ElementKind.PARAGRAPH
