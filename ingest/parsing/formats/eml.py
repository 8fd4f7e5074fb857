"""E-mail: subject, sender and date, the body, and attachments that are text."""

from __future__ import annotations

from collections.abc import Iterator
from email import policy
from email.message import EmailMessage, MIMEPart
from email.parser import BytesParser
from email.utils import parsedate_to_datetime

from latewood.ingest.metadata import common, fault_of
from latewood.ingest.parsing.encoding import decode
from latewood.ingest.parsing.formats.html import add_html
from latewood.ingest.parsing.formats.text import paragraphs
from latewood.ingest.parsing.text_builder import TextBuilder, one_line, pick_title
from latewood.ingest.types import ElementKind, Parsed, ParseError
from latewood.search.types import MetadataValue

_SHOWN = ("From", "To", "Cc", "Date")
_NESTING_LIMIT = 20


def read_eml(data: bytes, name: str) -> Parsed:
    """One message: the subject as its title, header lines, body (HTML before plain), text attachments.

    Raises:
        ParseError: `corrupt` if the file has neither a header nor a body.
    """
    message = BytesParser(_class=EmailMessage, policy=policy.default).parsebytes(data)
    if not message.keys():
        raise ParseError("corrupt", "the file has no e-mail header; is it an .eml file?")
    builder = TextBuilder()
    notes: list[str] = []
    _add_message(message, builder, notes, 1)
    title = pick_title(name, _header(message, "Subject"))
    return builder.finish(title, "eml", metadata=_metadata(message), notes=notes)


def _add_message(message: MIMEPart, builder: TextBuilder, notes: list[str], depth: int) -> None:
    builder.add(ElementKind.TITLE, _header(message, "Subject"), depth=depth)
    shown = ((field, _header(message, field)) for field in _SHOWN)
    builder.add(ElementKind.PARAGRAPH, "\n".join(f"{field}: {value}" for field, value in shown if value))
    attachments = list(_add_bodies(message, builder, notes))
    for part in attachments:
        _add_attachment(part, builder, notes, depth)


def _header(message: MIMEPart, field: str) -> str:
    """A header's text; one that the standard library cannot make sense of counts as absent."""
    try:
        return one_line(str(message[field] or ""))
    except (ValueError, IndexError, AttributeError, TypeError):
        return ""


def _metadata(message: MIMEPart) -> dict[str, MetadataValue]:
    values: dict[str, MetadataValue] = {}
    for field in ("From", "To"):
        if value := _header(message, field):
            values[field.lower()] = value
    sent = None
    try:
        sent = parsedate_to_datetime(_header(message, "Date"))
        values["date"] = sent.isoformat()
    except (ValueError, TypeError, IndexError, OverflowError):
        values.pop("date", None)
    if name := _header(message, "Message-ID").strip("<> "):
        values["message_id"] = name
    told = common(
        author=_header(message, "From"),
        created=sent,
        keywords=_header(message, "Keywords"),
        subject=_header(message, "Subject"),
        language=_header(message, "Content-Language"),
    )
    return {key: value for key, value in {**values, **told}.items() if not fault_of(key, value)}


def _add_bodies(message: MIMEPart, builder: TextBuilder, notes: list[str]) -> Iterator[MIMEPart]:
    """Write the parts that are the message itself; yield the others."""
    alternatives = _alternatives(message)
    if alternatives is not None:
        written = len(builder.elements)
        for part in alternatives:
            if len(builder.elements) == written and _is_text(part):
                _add_text(part, builder, notes)
        yield from (part for part in alternatives if not _is_text(part))
        return
    for part in message.iter_parts() if message.is_multipart() else (message,):
        if part.is_multipart() and part.get_content_maintype() == "multipart":
            yield from _add_bodies(part, builder, notes)
        elif _is_text(part) and part.get_content_disposition() != "attachment":
            _add_text(part, builder, notes)
        else:
            yield part


def _alternatives(message: MIMEPart) -> list[MIMEPart] | None:
    """The leaves of multipart/alternative, HTML first; None where the message is something else."""
    if message.get_content_type() != "multipart/alternative":
        return None
    leaves = [part for part in message.walk() if not part.is_multipart()]
    return sorted(leaves, key=lambda part: part.get_content_type() != "text/html")


def _is_text(part: MIMEPart) -> bool:
    return part.get_content_type() in ("text/plain", "text/html")


def _add_text(part: MIMEPart, builder: TextBuilder, notes: list[str]) -> None:
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes) or not payload.strip():
        return
    try:
        text, _ = decode(payload, part.get_content_charset() or "")
    except ParseError as error:
        notes.append(f"a {part.get_content_type()} part was left out: {error.message}")
        return
    if part.get_content_type() == "text/html":
        add_html(text, builder)
        return
    for element in paragraphs(text):
        builder.add(element.kind, text[element.start : element.end])


def _add_attachment(part: MIMEPart, builder: TextBuilder, notes: list[str], depth: int) -> None:
    kind = part.get_content_type()
    label = one_line(part.get_filename() or "") or f"a part without a name ({kind})"
    if kind == "message/rfc822" and depth < _NESTING_LIMIT:
        for inner in part.iter_parts():
            _add_message(inner, builder, notes, depth + 1)
        return
    if _is_text(part):
        builder.add(ElementKind.TITLE, label, depth=depth + 1)
        _add_text(part, builder, notes)
        return
    notes.append(f"attachment not read: {label}")
