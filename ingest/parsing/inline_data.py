"""`data:` URIs in text: their content is an embedded file, not words.

A picture of 30 KB that is embedded in Markdown is 40,000 characters of base64. Such content is left out, and
the URI's media type stays: `![photo](data:image/png;base64,iVBOR…)` reads `![photo](data:image/png)`.
"""

from __future__ import annotations

import re

LEAST = 100
"""Characters of content from which a URI holds a file; a shorter one is an example that a text explains."""

_ENCODED_SHARE = 0.05  # of escapes (%3C) among the characters of content that is not base64
_HEAD = r"(?<![\w-])((?i:data):(?:[\w.+-]+(?:/|\\/)[\w.+*-]+)?(?:;[\w.+-]+=[^\s;,\"'<>()]*+)*+)"
_BASE64 = re.compile(
    _HEAD + r";base64,"
    # Slashes may be escaped, as JSON has them (\/) or as a uri has them (%2F).
    r"((?:[A-Za-z0-9+/_-]++|\\/|%2[BbFf])*+"
    # A wrapped line is part of it where it is full; the last one where padding ends it, or where it stands
    # alone and has a digit, as a word has not.
    r"(?:[^\S\n]*+\n[^\S\n]*+[A-Za-z0-9+/]{60,}+)*+"
    r"(?:[^\S\n]*+\n[^\S\n]*+(?:[A-Za-z0-9+/]{1,80}+(?==)"
    r"|(?=[A-Za-z+/]*\d)[A-Za-z0-9+/]{16,80}+(?=[^\S\n]*(?:[\n\"')>]|\Z))))?+"
    r"(?:=|%3[Dd]){0,2})"
)
_QUOTED = re.compile(rf"""(?<=(["'])){_HEAD},((?:(?!\1)[^\n]){{{LEAST},}}+)(?=\1)""")
_ESCAPED = re.compile(_HEAD + r",([A-Za-z0-9._~!$&*+,;=:@/?#%-]++)")


def without_files(text: str) -> tuple[str, int]:
    """Leave the content of `data:` URIs out of a text.

    Returns:
        The text, and the number of URIs whose content was left out.
    """
    if "data:" not in text.lower():
        return text, 0
    count = 0

    def bare(head: str, content: str, whole: str) -> str:
        nonlocal count
        if len(content) < LEAST:
            return whole
        count += 1
        return head

    def escaped(head: str, content: str, whole: str) -> str:
        return bare(head, content, whole) if content.count("%") >= _ENCODED_SHARE * len(content) else whole

    text = _BASE64.sub(lambda found: bare(found[1], found[2], found[0]), text)
    text = _QUOTED.sub(lambda found: escaped(found[2], found[3], found[0]), text)
    text = _ESCAPED.sub(lambda found: escaped(found[1], found[2], found[0]), text)
    return text, count
