"""Outlook messages (.msg): subject, sender and date, the body, and attachments that are text."""

from __future__ import annotations

import io
from typing import Any

from latewood.ingest.metadata import common
from latewood.ingest.parsing.encoding import decode
from latewood.ingest.parsing.formats.html import add_html, declared_encoding
from latewood.ingest.parsing.formats.rtf import read_rtf
from latewood.ingest.parsing.formats.text import paragraphs
from latewood.ingest.parsing.text_builder import TextBuilder, one_line, pick_title
from latewood.ingest.types import ElementKind, Parsed, ParseError
from latewood.search.types import MetadataValue

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_BODY, _BODY_RTF, _BODY_HTML = 0x1000, 0x1009, 0x1013
_SHOWN_TO, _SHOWN_CC = 0x0E04, 0x0E03
_TEXT_SUFFIXES = (".txt", ".md", ".csv", ".log", ".html", ".htm")
_SECURED = ("ipm.note.smime", "ipm.note.secure")
# What every packed body may refer to from its first byte on, as [MS-OXRTFCP] has it.
_RTF_WORDS = (
    b"{\\rtf1\\ansi\\mac\\deff0\\deftab720{\\fonttbl;}{\\f0\\fnil \\froman "
    b"\\fswiss \\fmodern \\fscript \\fdecor MS Sans SerifSymbolArialTimes New "
    b"RomanCourier{\\colortbl\\red0\\green0\\blue0\r\n\\par "
    b"\\pard\\plain\\f0\\fs20\\b\\i\\u\\tab\\tx"
)


def read_msg(data: bytes, name: str) -> Parsed:
    """One Outlook message; attachments that are no text are named in the notes.

    Raises:
        ParseError: `encrypted`, `corrupt`.
    """
    if not data.startswith(_OLE):
        raise ParseError("corrupt", "the file is damaged or not an Outlook message")
    from oxmsg import Message

    message = Message.load(io.BytesIO(data))
    if not _strings(message):
        raise ParseError("corrupt", "the file is an old Office container, but not an Outlook message")
    kind = (message.message_class or "").lower()
    if kind.startswith(_SECURED) and "multipartsigned" not in kind:
        raise ParseError("encrypted", "the message is encrypted; save a copy that is not")
    builder = TextBuilder()
    notes: list[str] = []
    subject = one_line(message.subject or "")
    builder.add(ElementKind.TITLE, subject, depth=1)
    shown = _header_lines(message)
    builder.add(ElementKind.PARAGRAPH, "\n".join(f"{key}: {value}" for key, value in shown.items() if value))
    _add_body(message, builder, notes)
    for attachment in message.attachments:
        _add_attachment(attachment, builder, notes)
    return builder.finish(pick_title(name, subject), "msg", metadata=_metadata(message, shown), notes=notes)


def _strings(message: Any) -> bool:
    return bool(message.message_class or message.subject or message.body or message.html_body)


def _header_lines(message: Any) -> dict[str, str]:
    properties = message.properties
    sent = message.sent_date
    return {
        "From": one_line(message.sender or ""),
        "To": one_line(properties.str_prop_value(_SHOWN_TO) or ""),
        "Cc": one_line(properties.str_prop_value(_SHOWN_CC) or ""),
        "Date": sent.isoformat() if sent else "",
    }


def _metadata(message: Any, shown: dict[str, str]) -> dict[str, MetadataValue]:
    """The same keys as an .eml file has."""
    values: dict[str, MetadataValue] = {key.lower(): shown[key] for key in ("From", "To") if shown[key]}
    if shown["Date"]:
        values["date"] = shown["Date"]
    return {**common(author=shown["From"], created=message.sent_date, subject=message.subject), **values}


def _add_body(message: Any, builder: TextBuilder, notes: list[str]) -> None:
    """The HTML body, else the plain one, else the one in Outlook's own compressed RTF."""
    written = len(builder.elements)
    page = message.properties.binary_prop_value(_BODY_HTML)
    if page and page.strip():
        text, _ = decode(page, declared_encoding(page[:4096]))
        add_html(text, builder)
    elif message.html_body:
        add_html(message.html_body, builder)
    if len(builder.elements) == written:
        _add_plain(message.body or "", builder)
    packed = message.properties.binary_prop_value(_BODY_RTF)
    if len(builder.elements) == written and packed:
        _add_rtf(packed, builder, notes)


def _add_plain(text: str, builder: TextBuilder) -> None:
    for element in paragraphs(text):
        builder.add(element.kind, text[element.start : element.end])


def _add_rtf(packed: bytes, builder: TextBuilder, notes: list[str]) -> None:
    try:
        parsed = read_rtf(_unpacked(packed), "body.rtf")
    except ParseError as error:
        notes.append(f"the body, in Outlook's own format, could not be read ({error})")
        return
    for element in parsed.elements:
        text = parsed.text[element.start : element.end]
        builder.add(
            element.kind, text, depth=min(element.depth + 1, 6) if element.depth else 0, header=element.header
        )


def _unpacked(packed: bytes) -> bytes:
    """RTF as Outlook packs it: LZ77 over a ring of 4096 bytes (at most nine times as long)."""
    if packed[8:12] == b"MELA":
        return packed[16:]
    ring = bytearray(_RTF_WORDS.ljust(4096))
    place, position = len(_RTF_WORDS), 16
    out = bytearray()
    while position < len(packed):
        flags = packed[position]
        position += 1
        for bit in range(8):
            step = 2 if flags >> bit & 1 else 1
            piece = packed[position : position + step]
            position += step
            if len(piece) < step:
                return bytes(out)
            run = range(1)
            offset = -1
            if step == 2:
                offset, run = piece[0] << 4 | piece[1] >> 4, range((piece[1] & 15) + 2)
                if offset == place:
                    return bytes(out)
            for index in run:
                byte = piece[0] if offset < 0 else ring[(offset + index) % 4096]
                out.append(byte)
                ring[place] = byte
                place = (place + 1) % 4096
    return bytes(out)


def _add_attachment(attachment: Any, builder: TextBuilder, notes: list[str]) -> None:
    label = one_line(attachment.file_name or "") or "a part without a name"
    data = attachment.file_bytes
    if not data or not label.lower().endswith(_TEXT_SUFFIXES):
        notes.append(f"attachment not read: {label}")
        return
    try:
        text, _ = decode(data)
    except ParseError as error:
        notes.append(f"attachment not read: {label} ({error.message})")
        return
    builder.add(ElementKind.TITLE, label, depth=2)
    if label.lower().endswith((".html", ".htm")):
        add_html(text, builder)
    else:
        _add_plain(text, builder)
