"""Lines of a data set: every complaint names the file, the line, what is wrong and the remedy."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Judgements = Mapping[str, Mapping[str, int]]
"""Grades by query and judged thing; above 0 means relevant."""


class EvaluationError(Exception):
    """Base of every error the evaluation raises on purpose."""


class DatasetError(EvaluationError, ValueError):
    """A data set that cannot be read or scored as asked; the message says where, what and the remedy."""


class DatasetNotFoundError(DatasetError):
    """A folder or file of a data set that is not there."""


@dataclass(frozen=True, slots=True)
class Line:
    """One object of a JSON-lines file and where it stands."""

    place: str
    fields: Mapping[str, Any]

    def text(self, name: str, default: str | None = None) -> str:
        """A field that must be a string; NUL and lone surrogates become U+FFFD, one for one.

        Raises:
            DatasetError: it is missing and has no default, or is not a string.
        """
        value = self.fields.get(name, default)
        if not isinstance(value, str):
            raise DatasetError(f"{self.place}: field {name!r} must be a string, not {value!r:.80}")
        return value.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def offset(self, name: str, most: int) -> int:
        """A field that must be a str index from 0 to `most`.

        Raises:
            DatasetError: it is anything else.
        """
        value = self.fields.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
            raise DatasetError(
                f"{self.place}: field {name!r} is {value!r:.80}; it must be a character offset from 0 to "
                f"{most}, inside the document's text"
            )
        return value


def find(folder: Path, *names: str) -> Path:
    """The first of these files that exists.

    Raises:
        DatasetNotFoundError: none does.
    """
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise DatasetNotFoundError(
        f"no {' or '.join(names)} in {folder}: a data set in the BEIR layout has corpus.jsonl, queries.jsonl "
        "and qrels/SPLIT.tsv"
    )


def json_lines(path: Path) -> Iterator[Line]:
    """The objects of a `.jsonl` or `.jsonl.gz` file; blank lines are passed over.

    Raises:
        DatasetError: the file cannot be read, or a line is not a JSON object.
    """
    for number, line in _lines(path):
        place = f"{path}, line {number}"
        try:
            fields = json.loads(line)
        except ValueError as error:
            raise DatasetError(f"{place}: not JSON ({error}); write one object a line") from error
        if not isinstance(fields, dict):
            raise DatasetError(f"{place}: must be a JSON object, not {line.strip():.80}")
        yield Line(place, fields)


def judgements(folder: Path, split: str) -> Judgements:
    """Grades from `SPLIT.tsv`: query, judged thing and grade in three columns, with or without a header.

    Raises:
        DatasetNotFoundError: no such split; the message lists those that exist.
        DatasetError: a line that is not three columns, a grade that is no whole number, or one given twice.
    """
    path = folder / f"{split}.tsv"
    if not path.is_file():
        known = ", ".join(sorted(one.stem for one in folder.glob("*.tsv"))) or "none"
        raise DatasetNotFoundError(
            f"no split {split!r} in {folder} (splits there: {known}); name one of them"
        )
    graded: dict[str, dict[str, int]] = {}
    for number, line in _lines(path):
        cells = [cell.strip() for cell in line.rstrip("\r\n").split("\t")]
        if len(cells) != 3:
            raise DatasetError(
                f"{path}, line {number}: {len(cells)} columns; write query-id, corpus-id, score, with tabs"
            )
        query, judged, score = cells
        if number == 1 and not _whole(score):
            continue
        if not _whole(score):
            raise DatasetError(f"{path}, line {number}: score {score!r} is not a whole number")
        if judged in graded.setdefault(query, {}):
            raise DatasetError(f"{path}, line {number}: {query} judges {judged} a second time; keep one line")
        graded[query][judged] = int(score)
    return graded


def _whole(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    with (
        gzip.open(path, "rt", encoding="utf-8")
        if path.suffix == ".gz"
        else path.open(encoding="utf-8") as file
    ):
        try:
            yield from ((number, line) for number, line in enumerate(file, 1) if line.strip())
        except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
            raise DatasetError(f"{path} cannot be read: {error}; is it whole, and UTF-8?") from error
