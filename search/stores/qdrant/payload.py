"""Passages and manifests as point payloads, and back, losing nothing."""

from __future__ import annotations

import hashlib
import json
import math
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from latewood.search.stores.qdrant.range_fields import ranged_fields
from latewood.search.types import (
    Chunk,
    DocumentInfo,
    Failure,
    FileStamp,
    Manifest,
    MetadataValue,
    Passage,
    QueryError,
)

Payload = dict[str, Any]

CHUNK = "chunk"
MANIFEST = "manifest"
INDEXED = {
    "keyword": (
        "type",
        "document_id",
        "source",
        "version",
        "in_flight",
        "kind",
        "language",
        "truths",
        "analysed",
    ),
    "integer": ("page_start", "page_last"),
    "datetime": ("modified", "ingested"),
}
"""Payload fields with an index, by its type."""

_FIELDS = ("uri", "source", "title", "kind", "language", "modified", "ingested", "metadata")
_SMALLEST, _GREATEST = -(2**63), 2**64 - 1


def truth(key: str, value: bool) -> str:
    """How a boolean is written into `truths`, a keyword list: the embedded engine cannot match booleans."""
    return f"{key}={'true' if value else 'false'}"


def document_payload(document: DocumentInfo) -> Payload:
    """What a chunk's point says of its document: every field of it, each time, so that one write renews all.

    Raises:
        ValueError: a metadata number the store cannot give back as it was.
    """
    check_metadata(document)
    floats = any(_has_floats(value) for value in document.metadata.values())
    return {
        **_fields(document),
        **ranged_fields(document.metadata),
        "truths": [truth(key, value) for key, value in document.metadata.items() if isinstance(value, bool)],
        # The engine reads a float back up to one unit in the last place away from what was written.
        "exact_metadata": json.dumps(dict(document.metadata), allow_nan=False) if floats else None,
    }


def chunk_payload(passage: Passage) -> Payload:
    """What a chunk's point carries.

    Raises:
        ValueError: a metadata number the store cannot give back as it was.
    """
    chunk = passage.chunk
    payload: Payload = {
        "type": CHUNK,
        "document_id": chunk.document_id,
        "version": chunk.version,
        "ordinal": chunk.ordinal,
        "start": chunk.start,
        "end": chunk.end,
        "text": chunk.text,
        "context": chunk.context,
        "headings": list(chunk.headings),
        "analysed": chunk.language,
        **document_payload(passage.document),
    }
    if chunk.page_end is not None:
        payload["page_end"] = chunk.page_end
    if chunk.page_start is not None:
        payload["page_start"] = chunk.page_start
        payload["page_last"] = last_page(chunk)  # what filters ask, present whenever there is a first page
    return payload


def last_page(chunk: Chunk) -> int | None:
    """The last page a chunk touches; its first where no last is given."""
    return chunk.page_start if chunk.page_end is None else chunk.page_end


def passage_from(payload: Mapping[str, Any]) -> Passage:
    """The passage that `chunk_payload` wrote."""
    exact = payload.get("exact_metadata")
    chunk = Chunk(
        document_id=payload["document_id"],
        version=payload["version"],
        ordinal=payload["ordinal"],
        start=payload["start"],
        end=payload["end"],
        text=payload["text"],
        context=payload["context"],
        headings=tuple(payload["headings"]),
        page_start=payload.get("page_start"),
        page_end=payload.get("page_end"),
        language=payload.get("analysed", ""),  # indexes of version 1 of the analyser have none
    )
    told = {name: payload[name] for name in _FIELDS}
    if exact is not None:
        told["metadata"] = json.loads(exact)
    document = DocumentInfo(id=payload["document_id"], **told)
    return Passage(chunk, document)


def manifest_payload(manifest: Manifest) -> Payload:
    """One JSON string that loses nothing, its checksum, and the few fields that are filtered by."""
    text = manifest_json(manifest)
    return {
        "type": MANIFEST,
        "document_id": manifest.id,
        "source": manifest.document.source,
        "revision": manifest.revision,
        "in_flight": "yes" if manifest.in_flight else "no",
        "hidden": list(manifest.hidden),
        "live": manifest.live,
        "chunks": manifest.chunks,
        "manifest": text,
        "sum": hashlib.blake2b(text.encode("ascii"), digest_size=8).hexdigest(),
    }


def manifest_json(manifest: Manifest) -> str:
    """A manifest as ASCII JSON.

    Raises:
        ValueError: a metadata number the store cannot give back as it was.
    """
    check_metadata(manifest.document)
    shape = {
        "document": {"id": manifest.id, **_fields(manifest.document)},
        "revision": manifest.revision,
        "content_hash": manifest.content_hash,
        "stamp": asdict(manifest.stamp) if manifest.stamp else None,
        "live": manifest.live,
        "pending": manifest.pending,
        "replaced": manifest.replaced,
        "chunks": manifest.chunks,
        "characters": manifest.characters,
        "recorded": dict(manifest.recorded),
        "notes": manifest.notes,
        "failure": asdict(manifest.failure) if manifest.failure else None,
        "beside": manifest.beside,
        "amended": dict(manifest.amended),
        "retelling": manifest.retelling,
    }
    return json.dumps(shape, allow_nan=False)


def manifest_from(text: str) -> Manifest:
    """The manifest that `manifest_json` wrote."""
    shape = json.loads(text)
    stamp, failure = shape.pop("stamp"), shape.pop("failure")
    if failure is not None and failure["stamp"] is not None:
        failure["stamp"] = FileStamp(**failure["stamp"])
    return Manifest(
        document=DocumentInfo(**shape.pop("document")),
        stamp=FileStamp(**stamp) if stamp else None,
        pending=tuple(shape.pop("pending")),
        replaced=tuple(shape.pop("replaced")),
        notes=tuple(shape.pop("notes")),
        failure=Failure(**failure) if failure else None,
        **shape,
    )


def check_cursor(after: str | None) -> None:
    """Hold a page's cursor against what can be one.

    Raises:
        QueryError: it is not an id.
    """
    if after is None:
        return
    try:
        uuid.UUID(after)
    except ValueError as error:
        raise QueryError(f"cursor {after!r:.60} is not an id; use the last id of the page before") from error


def check_info(document_id: str, info: DocumentInfo) -> None:
    """Hold what is to be said of a document against what can be.

    Raises:
        ValueError: it tells of another document, or holds a number the store cannot give back as it was.
    """
    if info.id != document_id:
        raise ValueError(f"what is told of document {info.id} cannot be said of document {document_id}")
    check_metadata(info)


def check_metadata(document: DocumentInfo) -> None:
    """Hold metadata against what every store gives back as it was.

    Raises:
        ValueError: a number that is not finite or beyond 64 bits.
    """
    for key, value in document.metadata.items():
        for one in value if isinstance(value, list) else [value]:
            if not _storable(one):
                raise ValueError(
                    f"metadata {key!r} of {document.uri} is {one!r:.60}; "
                    "numbers must be finite and within 64 bits"
                )


def _fields(document: DocumentInfo) -> dict[str, Any]:
    """A document's fields but its id, as they are written everywhere."""
    return {**{name: getattr(document, name) for name in _FIELDS}, "metadata": dict(document.metadata)}


def _has_floats(value: MetadataValue) -> bool:
    return any(isinstance(one, float) for one in (value if isinstance(value, list) else [value]))


def _storable(value: MetadataValue) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or _SMALLEST <= value <= _GREATEST
