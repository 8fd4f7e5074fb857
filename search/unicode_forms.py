"""Unicode normal forms of keys, values and uris: NFC and NFD of one text count as one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any, Literal, TypeVar
from urllib.parse import quote, unquote_to_bytes

_Value = TypeVar("_Value")
_ESCAPED = re.compile("(?:%[89A-Fa-f][0-9A-Fa-f])+")
_NOT_ASCII = re.compile("[^\x00-\x7f]+")


def composed(text: str) -> str:
    """Return `text` in NFC."""
    return unicodedata.normalize("NFC", text)


def composed_uri(uri: str) -> str:
    """Return a uri whose name is in NFC, percent-encoded where `uri` was."""
    return _uri_in(uri, "NFC")


def uri_in_forms(uri: str) -> list[str]:
    """Return a uri as it is, in NFC and in NFD, percent-encoded where `uri` was."""
    return list(dict.fromkeys((uri, composed_uri(uri), _uri_in(uri, "NFD"))))


def composed_metadata(metadata: Mapping[str, _Value]) -> dict[str, _Value]:
    """Return metadata with keys and strings in NFC, as an index keeps them."""
    return {composed(key): _composed_value(value) for key, value in metadata.items()}


def forms(text: str) -> list[str]:
    """Return the spellings that count as `text`: its own, NFC and NFD."""
    if text.isascii():
        return [text]
    return list(dict.fromkeys((text, composed(text), unicodedata.normalize("NFD", text))))


def uri_forms(uri: str) -> list[str]:
    """Return the spellings that count as `uri`: as `forms`, each as it is and percent-encoded."""
    raw = _ESCAPED.sub(_decoded, uri)
    spelled = forms(raw)
    encoded = [_NOT_ASCII.sub(lambda found: quote(found[0]), one) for one in spelled]
    return list(dict.fromkeys((uri, *spelled, *encoded)))


def _uri_in(uri: str, form: Literal["NFC", "NFD"]) -> str:
    raw = _ESCAPED.sub(_decoded, uri)
    if raw == uri:
        return unicodedata.normalize(form, uri)
    return _NOT_ASCII.sub(lambda found: quote(found[0]), unicodedata.normalize(form, raw))


def _composed_value(value: Any) -> Any:
    if isinstance(value, str):
        return composed(value)
    if isinstance(value, list):
        return [_composed_value(one) for one in value]
    return value


def _decoded(found: re.Match[str]) -> str:
    """Return an escaped run of UTF-8 as text; what is not UTF-8 stays escaped."""
    try:
        return unquote_to_bytes(found[0]).decode("utf-8")
    except UnicodeDecodeError:
        return found[0]
