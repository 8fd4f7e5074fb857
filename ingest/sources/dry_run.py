"""What an ingest would do, without doing it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from latewood.ingest.parsing.router import HEAD_BYTES, route
from latewood.ingest.report import Problem, Report
from latewood.ingest.sources.diff import Plan, ScannedFile
from latewood.ingest.sources.inventory import Known
from latewood.ingest.types import ParseError


def rehearse(plan: Plan, known: Mapping[str, Known], report: Report, *, keep_deleted: bool) -> None:
    """Count what would be added, updated, left alone, removed and skipped.

    Files are looked at, not parsed: one that would fail in its parser counts as added or updated.
    """
    report.deleted = 0 if keep_deleted else sum(one.live for one in plan.removed)
    for file in (*plan.new, *plan.changed, *plan.check):
        before = known.get(file.uri)
        live = before is not None and before.live
        try:
            head = _look(file)
        except ParseError as error:
            problem = Problem(file.uri, error.code, error.message)
            (report.skipped if error.skipped else report.failed).append(problem)
            report.deleted += int(live and error.skipped and not keep_deleted)
            continue
        if before is None or not live:
            report.added += 1
        elif head == before.content_hash:
            report.unchanged += 1
        else:
            report.updated += 1


def _look(file: ScannedFile) -> str:
    """A file's sha256, hexadecimal; empty for what is not unpacked or fetched for this.

    Raises:
        ParseError: it would be skipped, or cannot be read now.
    """
    if file.member is not None or file.kept:
        name = file.member or Path(file.kept).name
        if Path(name).suffix:
            route(name, b"")
        return ""
    try:
        with Path(file.path).open("rb") as handle:
            head = handle.read(HEAD_BYTES)
            if not head:
                raise ParseError("empty_file", "the file is empty", skipped=True)
            route(Path(file.path).name, head)
            handle.seek(0)
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise ParseError("unreadable", f"cannot be read now: {error.strerror}", transient=True) from error
