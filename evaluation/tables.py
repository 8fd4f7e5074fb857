"""Results for people and programs: plain rows, CSV, TREC run files, a table in text."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latewood.evaluation.configuration import Configuration
from latewood.evaluation.workbench import Row, Run
from latewood.search.fusion import DEFAULT_K

_WHITE = re.compile(r"\s")
Plain = dict[str, Any]
"""One row: column -> text, number or None where the mode does not know the column."""


def fusion_name(configuration: Configuration) -> str | None:
    """How legs are fused: the method, `k` when it is not the usual one, weights when there are any."""
    if configuration.mode != "hybrid":
        return None
    k = f" k={configuration.k:g}" if configuration.k != DEFAULT_K else ""
    weights = "".join(f" {leg}={weight:g}" for leg, weight in configuration.weights)
    foreign = f" foreign={configuration.foreign:g}" if configuration.foreign != 1 else ""
    return configuration.method + k + weights + foreign


def plain(row: Row) -> Plain:
    """A row as one flat object: what was tried, each metric's mean, questions, milliseconds."""
    tried = row.configuration
    return {
        "mode": tried.mode,
        "unit": row.unit,
        "fusion": fusion_name(tried),
        "context": tried.context,
        "dimensions": tried.dimensions,
        "chunk_tokens": tried.chunk_tokens,
        **{name: round(score, 6) for name, score in row.scores.items()},
        "queries": row.queries,
        "latency_ms": round(row.latency_ms, 3),
    }


def write_csv(path: Path, rows: Sequence[Plain]) -> None:
    """One line for each row under one header; a column that a row does not have stays empty."""
    columns = dict.fromkeys(column for row in rows for column in row)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(columns))
        writer.writeheader()
        writer.writerows(rows)


def file_name(row: Row) -> str:
    """What tells a row from others of one evaluation, fit for a file's name."""
    tried = plain(row)
    parts = [tried[name] for name in ("mode", "fusion", "unit")]
    marked = (("context", "context"), ("dimensions", "dim"), ("chunk_tokens", "tokens"))
    parts += [f"{mark}{tried[name]:g}" for name, mark in marked if tried[name] is not None]
    return re.sub(r"[^\w.=-]+", "_", "-".join(str(part) for part in parts if part is not None))


def write_trec(path: Path, run: Run, tag: str) -> None:
    """A TREC run: `query Q0 id rank score tag`, ranks from one. White space in ids becomes `%20`.

    trec_eval sorts by score in float32 and equal ones by id, whatever the rank says; so that it scores the
    order that stands here, a score that equals the one before it is written a float32 step lower.
    """
    with path.open("w", encoding="utf-8") as file:
        for query, found in run.items():
            above = np.float32(np.inf)
            for rank, one in enumerate(found, 1):
                above = min(np.float32(one.score), np.nextafter(above, np.float32(-np.inf)))
                file.write(f"{_word(query)} Q0 {_word(one.id)} {rank} {above:.9g} {_word(tag)}\n")


def _word(text: str) -> str:
    return _WHITE.sub("%20", text)


def lines(rows: Sequence[Plain]) -> Iterator[str]:
    """A table in text: columns that no row fills are left out."""
    columns = [name for name in dict.fromkeys(name for row in rows for name in row) if _filled(rows, name)]
    cells = [columns, *([_cell(name, row.get(name)) for name in columns] for row in rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    for number, line in enumerate(cells):
        left = [cell.ljust(width) for cell, width in zip(line[:3], widths[:3], strict=True)]
        right = [cell.rjust(width) for cell, width in zip(line[3:], widths[3:], strict=True)]
        yield "  ".join([*left, *right]).rstrip()
        if number == 0:
            yield "  ".join("-" * width for width in widths)


def _filled(rows: Sequence[Plain], name: str) -> bool:
    return any(row.get(name) is not None for row in rows)


def _cell(name: str, value: object) -> str:
    if value is None:
        return "-"
    if name == "latency_ms":
        return f"{value:.1f}"
    return f"{value:.4f}" if isinstance(value, float) and "@" in name else str(value)
