"""What flows through ingestion: documents, their elements, and what went wrong with a file."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from latewood.search.types import FileStamp, MetadataValue

_NAMESPACE = uuid.UUID("3f0c6d1e-6a53-5c0b-9f5e-1a7e00d0c5a1")


def document_id(tenant: str, collection: str, uri: str) -> str:
    """The stable id of a document: uuid5 of tenant, collection and uri."""
    return str(uuid.uuid5(_NAMESPACE, "\x00".join((tenant, collection, uri))))


class ElementKind(StrEnum):
    """What a stretch of a document is."""

    TITLE = "title"
    PARAGRAPH = "paragraph"
    LIST = "list"
    TABLE = "table"
    CODE = "code"


@dataclass(frozen=True, slots=True)
class Element:
    """A stretch of a document's text: str indices, end exclusive, never empty.

    Attributes:
        page: the page (PDF), slide (PPTX) or None; counts from one.
        depth: heading depth, 1 for the highest; 0 for everything that is not a title.
        header: a table's header row, repeated in the `context` of chunks that begin inside the table.
    """

    kind: ElementKind
    start: int
    end: int
    page: int | None = None
    depth: int = 0
    header: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise ValueError(f"element [{self.start}, {self.end}) must satisfy 0 <= start < end")


@dataclass(frozen=True, slots=True)
class Document:
    """One parsed document. Elements are sorted, inside the text, and do not overlap.

    Attributes:
        id: `document_id(tenant, collection, uri)`.
        uri: percent-encoded, names one document.
        source: the folder (a file uri ending in `/`) or `uploads:` it came from.
        kind: the format, e.g. `pdf`.
        content_hash: sha256 of the bytes, hexadecimal.
        stamp: the file as it was when read; None for uploads.
        notes: what a reader should know: the encoding assumed, pages without text.
        beside: what path and sidecar say of it, as a checksum; empty when they say nothing.
    """

    id: str
    uri: str
    source: str
    title: str
    kind: str
    text: str
    elements: tuple[Element, ...]
    content_hash: str
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)
    stamp: FileStamp | None = None
    notes: tuple[str, ...] = ()
    beside: str = ""

    def __post_init__(self) -> None:
        end = 0
        for element in self.elements:
            if element.start < end:
                raise ValueError(f"element at {element.start} overlaps the one that ends at {end}")
            end = element.end
        if end > len(self.text):
            raise ValueError(f"an element ends at {end}, past the text's end {len(self.text)}")
        if not self.text.strip():
            raise ValueError("a document without text is a failure, not a document")


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a parser makes of one file's bytes, before it is given its place in a collection."""

    title: str
    kind: str
    text: str
    elements: tuple[Element, ...]
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


CONFLICT = "conflict"
"""Code of what another writer committed first."""


class ParseError(Exception):
    """A file that cannot become a document.

    Attributes:
        code: one snake_case word a program can act on.
        message: what, the value, the limit, the remedy.
        skipped: True for what is not meant to be read (unsupported kind, empty file).
        transient: True when the same bytes may be read next time (deadline, permission, vanished).
    """

    def __init__(self, code: str, message: str, *, skipped: bool = False, transient: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.skipped = skipped
        self.transient = transient

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (self.code, self.message, self.skipped, self.transient))


def _rebuild(code: str, message: str, skipped: bool, transient: bool) -> ParseError:
    return ParseError(code, message, skipped=skipped, transient=transient)
