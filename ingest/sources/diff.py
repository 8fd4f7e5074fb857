"""What changed in a source since it was last ingested.

A document belongs to exactly one source, so two sources may not overlap.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass, replace
from urllib.parse import unquote_to_bytes

from latewood.ingest.sources.inventory import Known
from latewood.ingest.sources.scan import Finding, ScannedFile, ScanResult, scan
from latewood.ingest.sources.uris import SourceError, covers, file_uri, folder_uri, path_of
from latewood.search.types import FileStamp

__all__ = [
    "GRAIN_NS",
    "Finding",
    "Plan",
    "ScanResult",
    "ScannedFile",
    "SourceError",
    "check_overlap",
    "check_root",
    "diff",
    "file_uri",
    "folder_uri",
    "limited",
    "path_of",
    "scan",
]

# The coarsest clock of a file system in use (FAT: two seconds). A file changed this close to the moment it
# was looked at may change again and keep its times, so its content decides.
GRAIN_NS = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What an ingest has to do; every file of the scan is in exactly one list.

    Attributes:
        new: files without a live version, not tried yet or to be tried again.
        changed: files with a live version whose bytes differ, or are to be tried again after a failure.
        check: files that look unchanged and may not be: their content hash decides.
        unchanged: nothing to do.
        removed: documents whose file is gone, or not asked for any more.
        failed_before: files whose present bytes failed for good: not to be tried, but to be named again.
    """

    new: tuple[ScannedFile, ...]
    changed: tuple[ScannedFile, ...]
    check: tuple[ScannedFile, ...]
    unchanged: tuple[ScannedFile, ...]
    removed: tuple[Known, ...]
    failed_before: tuple[ScannedFile, ...]


def check_overlap(source: str, known: Collection[str]) -> None:
    """Refuse a source that lies in, or contains, another one: its documents would have two owners.

    Args:
        source: uri of the source to ingest.
        known: sources of the collection's documents, `source` itself possibly among them.

    Raises:
        SourceError: `source_overlap`, naming both.
    """
    for other in sorted(known):
        if other != source and (covers(other, source) or covers(source, other)):
            raise SourceError(
                "source_overlap",
                f"{source} and {other}, which was ingested before, overlap; ingest {other} again, or delete "
                "its documents first",
            )


def check_root(source: str, found: ScanResult, known: Mapping[str, Known], *, allow_empty: bool) -> None:
    """Refuse a source that had documents and holds no file any more: more likely unmounted than emptied.

    Documents that patterns leave out now are meant to go, and count for nothing here.

    Args:
        source: its uri.
        found: what it holds now.
        known: its documents by uri.
        allow_empty: remove them all.

    Raises:
        SourceError: `source_empty`.
    """
    if found.files or allow_empty:
        return
    removed = _removed(source, found, known)
    gone = sum(one.live and _asked_for(source, found, one.uri) for one in removed)
    if gone:
        raise SourceError(
            "source_empty",
            f"{source} holds no file to read, but {gone} documents were ingested from it; check that it is "
            "mounted and complete, or pass --allow-empty to remove them",
        )


def diff(source: str, found: ScanResult, known: Mapping[str, Known], *, parser_version: str) -> Plan:
    """Compare a scan with what the index holds of the same source (design, decision 2).

    Args:
        source: its uri.
        found: the scan.
        known: the source's documents by uri.
        parser_version: of the parser in use; a file that failed under another one is tried again.
    """
    sorted_out: dict[str, list[ScannedFile]] = {
        name: [] for name in ("new", "changed", "check", "unchanged", "failed_before")
    }
    for file in found.files:
        sorted_out[_verdict(file, known.get(file.uri), parser_version)].append(file)
    lists = {name: tuple(files) for name, files in sorted_out.items()}
    return Plan(removed=tuple(_removed(source, found, known)), **lists)


def limited(found: ScanResult, plan: Plan, only: Set[str]) -> tuple[ScanResult, Plan]:
    """A scan and its plan for these files alone, tried whether they failed before or not; nothing is removed.

    Args:
        found: the scan.
        plan: what an ingest of all of it would do.
        only: uris of files; what was not found of them is passed over.
    """
    tried = [file for file in plan.failed_before if file.uri in only]
    part = replace(
        plan,
        new=tuple(file for file in (*plan.new, *tried) if file.uri in only),
        changed=tuple(file for file in plan.changed if file.uri in only),
        check=tuple(file for file in plan.check if file.uri in only),
        unchanged=(),
        removed=(),
        failed_before=(),
    )
    failed = tuple(finding for finding in found.failed if finding.uri in only)
    return replace(found, skipped=(), failed=failed), part


def _verdict(file: ScannedFile, known: Known | None, parser_version: str) -> str:
    if known is None:
        return "new"
    failure = known.failure
    if failure is not None and not failure.transient and failure.parser == parser_version:
        stamp = failure.stamp
        if stamp is not None and stamp.same_file_state(file.stamp) and not _within_grain(stamp):
            return "failed_before"
    if not known.live:
        return "new"
    if known.stamp is None or not known.stamp.same_file_state(file.stamp) or known.beside != file.beside:
        return "changed"
    # Its failed bytes were replaced by those that answer: reading them once more clears the failure.
    return "check" if failure is not None or _within_grain(known.stamp) else "unchanged"


def _within_grain(stamp: FileStamp) -> bool:
    """Whether the file changed so close to the look at it that a later change may show the same times."""
    return stamp.ctime_ns >= stamp.scanned_ns - GRAIN_NS or abs(stamp.mtime_ns - stamp.scanned_ns) <= GRAIN_NS


def _removed(source: str, found: ScanResult, known: Mapping[str, Known]) -> list[Known]:
    present = {file.uri for file in found.files}
    return [one for uri, one in sorted(known.items()) if uri not in present and _is_gone(source, found, uri)]


def _is_gone(source: str, found: ScanResult, uri: str) -> bool:
    """Whether a file that was not found is known to be away, or is not asked for wherever it is."""
    unknown = any(covers(place, uri) for place in found.unreadable)
    return not unknown or not _asked_for(source, found, uri)


def _asked_for(source: str, found: ScanResult, uri: str) -> bool:
    """Whether a scan of the source takes the file of this uri, if it is there."""
    if not source.endswith("/"):
        return True
    return found.selection.takes(os.fsdecode(unquote_to_bytes(uri.removeprefix(source))))
