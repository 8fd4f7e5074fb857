"""Archives as folders: a scan in which each archive stands for the files in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from urllib.parse import quote, unquote

from latewood.ingest.parsing.sandbox.pool import ParserPool
from latewood.ingest.parsing.zip_archive import Member, is_container
from latewood.ingest.sources.scan import Finding, ScannedFile, ScanResult
from latewood.ingest.sources.uris import is_remote, path_of
from latewood.ingest.types import ParseError


@dataclass(slots=True)
class _Unpacked:
    """A scan in the making."""

    files: list[ScannedFile] = field(default_factory=list)
    skipped: list[Finding] = field(default_factory=list)
    failed: list[Finding] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


def opened(source: str, found: ScanResult, pool: ParserPool) -> ScanResult:
    """A scan with the members of archives in place of the archives.

    A member is named by its archive's uri and its own path, and changes when its archive does. Patterns and
    hidden names count inside an archive as in a folder. An archive that cannot be listed is named as failed,
    and what was ingested from it is kept.

    Args:
        source: its uri.
        found: the scan of the folder, or of the archive itself.
        pool: lists archives in its children.
    """
    if not any(is_container(file.uri) for file in found.files):
        return found
    seen = _Unpacked()
    for file in found.files:
        if not is_container(file.uri):
            seen.files.append(file)
            continue
        try:
            members = pool.list_members(file.path)
        except ParseError as error:
            if error.code != "vanished":
                seen.failed.append(Finding(file.uri, error.code, error.message))
                seen.unreadable += [file.uri, f"{file.uri}/"]
            continue
        _sort_in(seen, file, _meant(source, found, file, members))
    return replace(
        found,
        files=tuple(sorted(seen.files, key=lambda file: file.uri)),
        skipped=tuple(sorted([*found.skipped, *seen.skipped])),
        failed=tuple(sorted([*found.failed, *seen.failed])),
        unreadable=tuple(sorted([*found.unreadable, *seen.unreadable])),
    )


def _meant(
    source: str, found: ScanResult, archive: ScannedFile, members: list[Member]
) -> Iterator[tuple[str, Member]]:
    """The members that were asked for, with their uris."""
    inside = source.endswith("/")
    place = _relative(source, archive.uri) + "/" if inside else ""
    for member in members:
        name = quote(member.name.encode("utf-8", "surrogateescape"), safe="/")
        # A name that leads out of the archive has no place that a pattern could mean.
        if member.code == "unsafe_name" or found.selection.takes(place + member.name):
            yield f"{archive.uri}/{name}", member


def _relative(source: str, uri: str) -> str:
    if is_remote(uri):
        return unquote(uri.removeprefix(source))
    return path_of(uri).removeprefix(path_of(source)).lstrip("/")


def _sort_in(seen: _Unpacked, archive: ScannedFile, members: Iterator[tuple[str, Member]]) -> None:
    for uri, member in members:
        if not member.code:
            seen.files.append(ScannedFile(uri, archive.stamp, archive=archive.uri, kept=archive.kept))
        elif member.skipped:
            seen.skipped.append(Finding(uri, member.code, member.message))
        else:
            seen.failed.append(Finding(uri, member.code, member.message))
            seen.unreadable.append(uri)
