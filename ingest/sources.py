"""What changed in a source since it was last ingested.

A document belongs to exactly one source, so two sources may not overlap.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ingest.scanning import (
    Finding,
    ScannedFile,
    ScanResult,
    SourceError,
    file_uri,
    folder_uri,
    path_of,
    scan,
)
from search.types import FileStamp, Manifest

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
        removed: manifests whose file is gone.
        failed_before: files whose present bytes failed for good: not to be tried, but to be named again.
    """

    new: tuple[ScannedFile, ...]
    changed: tuple[ScannedFile, ...]
    check: tuple[ScannedFile, ...]
    unchanged: tuple[ScannedFile, ...]
    removed: tuple[Manifest, ...]
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
        if other != source and (_covers(other, source) or _covers(source, other)):
            raise SourceError(
                "source_overlap",
                f"{source} and {other}, which was ingested before, overlap; ingest {other} again, or delete "
                "its documents first",
            )


def check_root(
    source: str, found: ScanResult, manifests: Mapping[str, Manifest], *, allow_empty: bool
) -> None:
    """Refuse a source that had documents and holds no file any more: more likely unmounted than emptied.

    Args:
        source: its uri.
        found: what it holds now.
        manifests: its documents by uri.
        allow_empty: remove them all.

    Raises:
        SourceError: `source_empty`.
    """
    if found.files or allow_empty:
        return
    gone = sum(manifest.live is not None for manifest in _removed(found, manifests))
    if gone:
        raise SourceError(
            "source_empty",
            f"{source} holds no file to read, but {gone} documents were ingested from it; check that it is "
            "mounted and complete, or pass --allow-empty to remove them",
        )


def diff(found: ScanResult, manifests: Mapping[str, Manifest], *, parser_version: str) -> Plan:
    """Compare a scan with what the index holds of the same source (design, decision 2).

    Args:
        found: the scan.
        manifests: the source's manifests by uri.
        parser_version: of the parser in use; a file that failed under another one is tried again.
    """
    sorted_out: dict[str, list[ScannedFile]] = {
        name: [] for name in ("new", "changed", "check", "unchanged", "failed_before")
    }
    for file in found.files:
        sorted_out[_verdict(file, manifests.get(file.uri), parser_version)].append(file)
    lists = {name: tuple(files) for name, files in sorted_out.items()}
    return Plan(removed=tuple(_removed(found, manifests)), **lists)


def _verdict(file: ScannedFile, manifest: Manifest | None, parser_version: str) -> str:
    if manifest is None:
        return "new"
    failure = manifest.failure
    if failure is not None and not failure.transient and failure.parser == parser_version:
        stamp = failure.stamp
        if stamp is not None and stamp.same_file_state(file.stamp) and not _within_grain(stamp):
            return "failed_before"
    if manifest.live is None:
        return "new"
    if manifest.stamp is None or not manifest.stamp.same_file_state(file.stamp):
        return "changed"
    # Its failed bytes were replaced by those that answer: reading them once more clears the failure.
    return "check" if failure is not None or _within_grain(manifest.stamp) else "unchanged"


def _within_grain(stamp: FileStamp) -> bool:
    """Whether the file changed so close to the look at it that a later change may show the same times."""
    return stamp.ctime_ns >= stamp.scanned_ns - GRAIN_NS or abs(stamp.mtime_ns - stamp.scanned_ns) <= GRAIN_NS


def _removed(found: ScanResult, manifests: Mapping[str, Manifest]) -> list[Manifest]:
    present = {file.uri for file in found.files}
    return [
        manifest
        for uri, manifest in sorted(manifests.items())
        if uri not in present and not any(_covers(place, uri) for place in found.unreadable)
    ]


def _covers(place: str, uri: str) -> bool:
    return place == uri or (place.endswith("/") and uri.startswith(place))
