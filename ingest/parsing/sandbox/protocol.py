"""What parent and child say to each other: length-prefixed JSON, so that a child can only send data."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

from latewood.ingest.parsing.zip_archive import Member
from latewood.ingest.types import Element, ElementKind, Parsed, ParseError
from latewood.search.types import FileStamp

_KINDS = {str(kind): kind for kind in ElementKind}

LENGTH = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """A file read and parsed: its content, the sha256 of its bytes, and the file as it was when read."""

    parsed: Parsed
    content_hash: str
    stamp: FileStamp


@dataclass(frozen=True, slots=True)
class Unchanged:
    """A file whose bytes have the hash the caller knew; it was not parsed."""

    content_hash: str
    stamp: FileStamp


@dataclass(frozen=True, slots=True)
class Request:
    """Parse the file at `path` under the name `name`.

    Attributes:
        path, name: as `os.fsdecode` gives them; bytes that are no UTF-8 travel as lone surrogates.
        known_hash: sha256 for which the file need not be parsed; empty if there is none.
        member: parse this file in the archive at `path`; empty for the file itself.
    """

    path: str
    name: str
    known_hash: str
    member: str = ""


def pack(message: Mapping[str, Any]) -> bytes:
    """One message with its length in front."""
    body = json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return LENGTH.pack(len(body)) + body


def unpack(body: bytes) -> dict[str, Any]:
    """A message without its length."""
    message: dict[str, Any] = json.loads(body.decode("utf-8", "surrogatepass"))
    return message


def pack_request(request: Request) -> bytes:
    """A request, ready to send."""
    return pack(
        {
            "path": request.path,
            "name": request.name,
            "known_hash": request.known_hash,
            "member": request.member,
        }
    )


def pack_listing(path: str) -> bytes:
    """A request for the members of the archive at `path`, ready to send."""
    return pack({"archive": path})


def pack_reply(reply: ParsedFile | Unchanged | list[Member] | ParseError) -> bytes:
    """A reply, ready to send."""
    if isinstance(reply, list):
        return pack({"members": [astuple(member) for member in reply]})
    if isinstance(reply, ParseError):
        return pack(
            {
                "error": reply.code,
                "message": reply.message,
                "skipped": reply.skipped,
                "transient": reply.transient,
            }
        )
    message: dict[str, Any] = {"hash": reply.content_hash, "stamp": astuple(reply.stamp)}
    if isinstance(reply, ParsedFile):
        parsed = reply.parsed
        message["parsed"] = {
            "title": parsed.title,
            "kind": parsed.kind,
            "text": parsed.text,
            "elements": [(e.kind, e.start, e.end, e.page, e.depth, e.header) for e in parsed.elements],
            "metadata": dict(parsed.metadata),
            "notes": parsed.notes,
        }
    return pack(message)


def unpack_members(body: bytes) -> list[Member]:
    """The members in the reply to a listing.

    Raises:
        ParseError: the one the child sent.
    """
    return [Member(*values) for values in _answered(body)["members"]]


def _answered(body: bytes) -> dict[str, Any]:
    message = unpack(body)
    if "error" in message:
        raise ParseError(
            message["error"],
            message["message"],
            skipped=message["skipped"],
            transient=message["transient"],
        )
    return message


def unpack_reply(body: bytes) -> ParsedFile | Unchanged:
    """The reply in `body`.

    Raises:
        ParseError: the one the child sent.
    """
    message = _answered(body)
    stamp = FileStamp(*message["stamp"])
    if "parsed" not in message:
        return Unchanged(message["hash"], stamp)
    parsed = message["parsed"]
    elements = tuple(
        Element(_KINDS[kind], start, end, page, depth, header)
        for kind, start, end, page, depth, header in parsed["elements"]
    )
    return ParsedFile(
        Parsed(
            parsed["title"],
            parsed["kind"],
            parsed["text"],
            elements,
            parsed["metadata"],
            tuple(parsed["notes"]),
        ),
        message["hash"],
        stamp,
    )
