"""From bytes to text, saying which encoding was assumed."""

from __future__ import annotations

import codecs
import re

from charset_normalizer import from_bytes

from latewood.ingest.parsing.inline_data import without_files
from latewood.ingest.parsing.text_builder import clean
from latewood.ingest.types import ParseError

# Tried in this order among guesses that fit equally well: Western European text decodes without a fault in
# half a dozen code pages, and the one most files are written in is the better bet.
_PREFERRED = (
    "cp1252",
    "cp932",
    "gb18030",
    "big5",
    "cp949",
    "euc_jis_2004",
    "cp1251",
    "koi8_r",
    "cp1250",
    "cp1253",
    "cp1254",
    "cp1255",
    "cp1256",
)
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_SMALL = re.compile(rb"[\x00-\x08]")
_SAMPLE = 1 << 16
_CONTROL_SHARE = 0.02
_CONTROL_SHARE_UTF8 = 0.30
_CHAOS_SLACK = 0.03
_COHERENCE_SLACK = 0.15


def decode(data: bytes, declared: str = "") -> tuple[str, tuple[str, ...]]:
    """Decode once: byte order mark, the declared encoding, UTF-8, UTF-16 by its zeros, then a guess.

    Args:
        data: the file.
        declared: the encoding the file itself names (an HTML `charset`), if any.

    Returns:
        The text under the text rules and without embedded files (`data:` URIs), and notes: the encoding
        unless it was UTF-8, and the number of files left out.

    Raises:
        ParseError: `not_text` if the bytes are not text in any encoding known.
    """
    text, notes = _as_text(data, declared)
    text, files = without_files(text)
    if files:
        notes = (*notes, f"left out as no text: {files} embedded files (data: URIs)")
    return text, notes


def _as_text(data: bytes, declared: str) -> tuple[str, tuple[str, ...]]:
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return _decoded(data, encoding, "byte order mark")
    wide = _wide_encoding(data[:_SAMPLE])
    if wide:
        return _decoded(data, wide, "the pattern of its zero bytes")
    if is_binary(data):
        raise ParseError("not_text", "the file's suffix promises text, but its bytes are not text")
    if declared and _known(declared) and _fits(data, declared):
        return _decoded(data, declared, "what the file declares")
    if _fits(data, "utf-8"):
        return clean(data.decode("utf-8")), ()
    return _guess(data)


def is_binary(data: bytes) -> bool:
    """Whether too many of the first 64 KiB are control characters: far fewer may be where it is no UTF-8."""
    sample = data[:_SAMPLE]
    if not sample or _wide_encoding(sample) or any(sample.startswith(mark) for mark, _ in _BOMS):
        return False
    share = len(_CONTROL.findall(sample)) / len(sample)
    return share > (_CONTROL_SHARE_UTF8 if _begins_as_utf8(sample) else _CONTROL_SHARE)


def looks_like_text(data: bytes) -> bool:
    """Whether the first bytes of a file without a suffix are UTF-8 (a character may be cut at the end)."""
    if any(data.startswith(mark) for mark, _ in _BOMS):
        return True
    if is_binary(data) or b"\x00" in data:
        return False
    return _begins_as_utf8(data)


def _begins_as_utf8(data: bytes) -> bool:
    """Whether the bytes are UTF-8, but for a character cut at the end."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError:
        return False
    return True


def _decoded(data: bytes, encoding: str, why: str) -> tuple[str, tuple[str, ...]]:
    name = codecs.lookup(encoding).name.removesuffix("-sig")
    text = clean(data.decode(encoding, "replace"))
    if text.startswith("\ufeff"):
        text = text[1:]
    return text, () if name == "utf-8" else (f"decoded as {name} ({why})",)


def _known(encoding: str) -> bool:
    try:
        return codecs.lookup(encoding)._is_text_encoding
    except (LookupError, ValueError):
        return False


def _fits(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except (UnicodeError, ValueError):
        return False
    return True


def _wide_encoding(sample: bytes) -> str:
    """UTF-16 without a mark, if that is what the first bytes are, else ''.

    In alphabetic scripts one byte of every pair is small. Elsewhere only white space has a zero byte, but
    then the bytes are no UTF-8.
    """
    pairs = len(sample) // 2
    sides = (sample[0::2][:pairs], sample[1::2][:pairs])
    even, odd = (len(_SMALL.findall(side)) for side in sides)
    if pairs < 2 or max(even, odd) < 0.9 * pairs or min(even, odd) > 0.1 * pairs:
        even, odd = (side.count(0) for side in sides)
        if max(even, odd) < max(0.1 * pairs, 2) or min(even, odd) > 0.01 * pairs or _begins_as_utf8(sample):
            return ""
    encoding = "utf-16-le" if odd > even else "utf-16-be"
    text = sample[: pairs * 2].decode(encoding, "replace")
    odd_ones = sum(1 for character in text if character == "\ufffd" or not _plain(character))
    return encoding if odd_ones <= 0.01 * len(text) + 1 else ""


def _plain(character: str) -> bool:
    return character in "\t\n\r\f" or (ord(character) >= 32 and not "\ue000" <= character <= "\uf8ff")


def _guess(data: bytes) -> tuple[str, tuple[str, ...]]:
    sample = data[:_SAMPLE]
    if len(data) > _SAMPLE:
        sample = sample[: sample.rfind(b"\n") + 1] or sample
    matches = list(from_bytes(sample))
    candidates: list[str] = []
    if matches:
        chaos = min(match.chaos for match in matches)
        clear = [match for match in matches if match.chaos <= chaos + _CHAOS_SLACK]
        coherence = max(match.coherence for match in clear)
        fitting = [match for match in clear if match.coherence >= coherence - _COHERENCE_SLACK]
        could_be = {name for match in fitting for name in match.could_be_from_charset}
        candidates = [name for name in _PREFERRED if name in could_be]
        candidates += [match.encoding for match in fitting]
    for encoding in candidates:
        if _fits(data, encoding):
            return _decoded(data, encoding, "guessed")
    if not candidates:
        raise ParseError("not_text", "the file's suffix promises text, but no encoding fits its bytes")
    return _decoded(data, candidates[0], "guessed; bytes that do not fit became U+FFFD")
