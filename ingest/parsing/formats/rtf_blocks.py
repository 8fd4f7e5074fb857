"""What an RTF file's paragraphs, cells and rows become: blocks, those that belong together as one."""

from __future__ import annotations

from dataclasses import dataclass

from latewood.ingest.parsing.text_builder import TextBuilder, one_line
from latewood.ingest.types import ElementKind


@dataclass(slots=True)
class Look:
    """Properties of the paragraph being read; `pard` resets them. `depth` is 0 for all but headings."""

    depth: int = 0
    code: bool = False
    listed: bool = False
    in_table: bool = False


def joined(text: str) -> str:
    """UTF-16 halves, which RTF writes one by one, put together; lone ones become U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class Blocks:
    """Collects paragraphs: list items and lines of code that follow each other are one block."""

    def __init__(self) -> None:
        self.builder = TextBuilder()
        self.look = Look()
        self._items: list[str] = []
        self._code: list[str] = []
        self._row: list[str] = []
        self._rows: list[list[str]] = []
        self._aside: list[str] = []

    def paragraph(self, text: str) -> None:
        """A paragraph ends, looking as `look` says."""
        if text.strip():
            self._end_table()
            self._end_runs(self.look)
            self._emit(text)
        self._end_aside()

    def cell(self, text: str) -> None:
        """A table's cell ends."""
        self._row.append(text)

    def row(self, rest: str) -> None:
        """A table's row ends; `rest` is what no cell closed."""
        if self._row or rest.strip():
            self._rows.append([*self._row, rest])
        self._row = []

    def aside(self, text: str) -> None:
        """Text of a footnote or remark; it follows the paragraph it belongs to."""
        self._aside.append(text)

    def finish(self, rest: str) -> None:
        """The file ends; whatever is open is written."""
        self.paragraph(rest)
        self._end_table()
        self._end_runs(Look())

    def _emit(self, text: str) -> None:
        if self.look.depth:
            self.builder.add(ElementKind.TITLE, text, depth=self.look.depth)
        elif self.look.listed:
            self._items.append(f"- {one_line(text)}")
        elif self.look.code:
            self._code.append(text)
        else:
            self.builder.add(ElementKind.PARAGRAPH, text)

    def _end_runs(self, look: Look) -> None:
        if self._items and (look.depth or not look.listed):
            self.builder.add(ElementKind.LIST, "\n".join(self._items))
            self._items.clear()
        if self._code and (look.depth or look.listed or not look.code):
            self.builder.add(ElementKind.CODE, "\n".join(self._code))
            self._code.clear()

    def _end_aside(self) -> None:
        text = joined("".join(self._aside)).strip()
        self._aside.clear()
        if text and not self._row:
            self._end_runs(Look())
            self.builder.add(ElementKind.PARAGRAPH, text)
        elif text:
            self._row[-1] += f" ({text})"

    def _end_table(self) -> None:
        if self._row:
            self.row("")
        if self._rows:
            self._end_runs(Look())
            self.builder.add_table(self._rows)
            self._rows = []
