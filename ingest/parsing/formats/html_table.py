"""The rows of a table whose cells may reach over several columns and rows."""

from __future__ import annotations

_MOST_COLUMNS = 1000
_LONGEST_REPEATED = 200  # characters of a cell that stands beside several rows


class Grid:
    """Rows being read. A cell beside several rows is repeated in each, so that every row says what it is of.

    Attributes:
        first: how many cells the first row was given.
    """

    def __init__(self) -> None:
        self.first = 0
        self._rows: list[list[str]] = []
        self._here: dict[
            int, tuple[int, str]
        ] = {}  # column -> rows a cell from above still reaches, its text
        self._below: dict[int, tuple[int, str]] = {}  # the same, for the next row

    @property
    def in_first(self) -> bool:
        """Whether the first row is being read."""
        return len(self._rows) <= 1

    def begin_row(self) -> None:
        """A row begins."""
        self._finish_row()
        self._rows.append([])
        self._here, self._below = self._below, {}

    def add(self, text: str, across: int = 1, down: int = 1) -> None:
        """A cell of the row, over so many columns and rows; over several columns, empty ones follow it."""
        if not self._rows:
            self.begin_row()
        self.first += len(self._rows) == 1
        row = self._rows[-1]
        while len(row) in self._here:
            self._continue(len(row))
        start, width = len(row), max(1, min(across, _MOST_COLUMNS - len(row)))
        row += [text, *[""] * (width - 1)]
        if down > 1:
            repeated = text if len(text) <= _LONGEST_REPEATED else ""
            for column in range(start, len(row)):
                self._below[column] = (down - 1, repeated if column == start else "")

    def take(self) -> list[list[str]]:
        """The rows, whole; none are left."""
        self._finish_row()
        rows, self._rows = self._rows, []
        self._here, self._below, self.first = {}, {}, 0
        return rows

    def _continue(self, column: int) -> None:
        """Write into the row what reaches down into it at its next column."""
        left, text = self._here.pop(column, (0, ""))
        self._rows[-1].append(text)
        if left > 1:
            self._below[column] = (left - 1, text)

    def _finish_row(self) -> None:
        last = max(self._here, default=-1)
        while self._rows and len(self._rows[-1]) <= last:
            self._continue(len(self._rows[-1]))


def span(value: str | None) -> int:
    """The value of a `colspan` or `rowspan`; 1 where it is none."""
    digits = (value or "").strip()[:6]
    return int(digits) if digits.isascii() and digits.isdigit() else 1
