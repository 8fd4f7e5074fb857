"""What a file's path and its sidecar say of it, and whether that changed since it was ingested."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote_to_bytes

from latewood.ingest.metadata import SIDECAR_LIMIT, merge, read_sidecar, sidecar_of
from latewood.ingest.sources.path_templates import Template, from_path
from latewood.ingest.sources.scan import ScannedFile, ScanResult
from latewood.ingest.sources.uris import covers
from latewood.ingest.types import Document, ParseError
from latewood.search.types import MetadataValue


@dataclass(frozen=True, slots=True)
class Beside:
    """What stands beside a file's own content.

    Attributes:
        by_path: what the rules on paths say.
        sidecar: the sidecar's bytes; None where there is none.
    """

    by_path: dict[str, MetadataValue] = field(default_factory=dict)
    sidecar: bytes | None = None

    @property
    def checksum(self) -> str:
        """Changes when anything here does; empty when nothing is said."""
        if not self.by_path and self.sidecar is None:
            return ""
        digest = hashlib.sha256(json.dumps(self.by_path, sort_keys=True).encode("utf-8", "surrogatepass"))
        if self.sidecar is not None:
            digest.update(b"\0" + self.sidecar)
        return digest.hexdigest()[:32]


def annotated(source: str, found: ScanResult, templates: Sequence[Template]) -> ScanResult:
    """A scan with what stands beside each file, so that a change there shows.

    Args:
        source: its uri.
        found: the scan.
        templates: rules on paths below the source.
    """
    if not templates and not any(file.sidecar for file in found.files):
        return found
    return replace(found, files=tuple(_annotated(source, file, templates) for file in found.files))


def _annotated(source: str, file: ScannedFile, templates: Sequence[Template]) -> ScannedFile:
    try:
        return replace(file, beside=look(source, file, templates).checksum)
    except ParseError as error:  # found again, and named, when the file is read
        return replace(file, beside=error.code)


def look(source: str, file: ScannedFile, templates: Sequence[Template]) -> Beside:
    """What stands beside a file now.

    Raises:
        ParseError: `invalid_metadata`, transient: the sidecar cannot be read.
    """
    relative = (
        os.fsdecode(unquote_to_bytes(file.uri.removeprefix(source))) if covers(source, file.uri) else ""
    )
    sidecar = _sidecar(file) if file.sidecar else None
    return Beside(from_path(relative, templates) if relative else {}, sidecar)


def _sidecar(file: ScannedFile) -> bytes | None:
    try:
        with Path(sidecar_of(file.path)).open("rb") as handle:
            return handle.read(SIDECAR_LIMIT + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ParseError(
            "invalid_metadata",
            f"the file's sidecar cannot be read: {error.strerror}; grant permission or remove it",
            transient=True,
        ) from error


def described(document: Document, beside: Beside) -> Document:
    """A document with what stands beside it: rules on paths over its own metadata, the sidecar over both.

    Raises:
        ParseError: `invalid_metadata`, transient, as the file itself need not change to mend it.
    """
    try:
        stated = {} if beside.sidecar is None else read_sidecar(beside.sidecar)
    except ParseError as error:
        raise ParseError(error.code, error.message, transient=True) from error
    told = merge(document.title, document.metadata, beside.by_path, stated)
    return replace(
        document,
        title=told.title,
        metadata=told.metadata,
        notes=(*document.notes, *told.notes),
        beside=beside.checksum,
    )
