"""Words that a hyphen divides at a line's end, put together where the document itself makes it likely."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

from latewood.ingest.parsing.pdf.lines import Line

_AROUND = ".,;:!?…()[]{}<>\"'“”‘’«»„*/"
_LEFT = re.compile(r"[^\W\d_]+\Z")
_RIGHT = re.compile(r"[^\W\d_]+")
_NAME = re.compile(r"[\d_/\\.:=@<>~#-]")  # in an address, an option or a name with hyphens of its own
_LEAST = 2


class Words:
    """How often each word of a document stands undivided in it, and whether it divides words at all."""

    def __init__(self, pages: Sequence[Sequence[Line]]) -> None:
        self._counts: Counter[str] = Counter()
        self._divides = True
        pairs = [pair for lines in pages for pair in pairwise(lines) if pair[0].broken]
        if not pairs:
            return
        tokens: Counter[str] = Counter()
        for lines in pages:
            tokens.update("".join(_whole(lines)).casefold().split())
        for token, count in tokens.items():
            self._counts[token.strip(_AROUND).replace("\u2010", "-")] += count
        # Where nearly all hyphens at line ends are the words' own, the ones not seen elsewhere are as well.
        known = [
            answer for above, below in pairs if (answer := self._known(above.text, below.text)) is not None
        ]
        self._divides = 2 * sum(known) >= len(known)

    def join(self, above: str, below: str) -> str:
        """Two lines as one, the first of which a hyphen ended (and lacks it).

        The hyphen goes when the word stands elsewhere without it; it stays when the word stands elsewhere
        with it, in names and addresses, and before a capital. Else it goes in a document that divides words.
        """
        goes = self._known(above, below)
        if goes is None:
            goes = self._divides and _is_word(above, below)
        return f"{above}{below}" if goes else f"{above}-{below}"

    def _known(self, above: str, below: str) -> bool | None:
        """Whether the word stands elsewhere without a hyphen (True) or with one (False)."""
        left, right = _LEFT.search(above), _RIGHT.match(below)
        if left is None or right is None:
            return None
        joined = self._counts[(left[0] + right[0]).casefold()]
        divided = self._counts[f"{left[0]}-{right[0]}".casefold()]
        return joined >= divided if joined or divided else None


def _is_word(above: str, below: str) -> bool:
    """Whether what a hyphen divides may be one word: no name with other marks, no odd capitals."""
    left, right = _LEFT.search(above), _RIGHT.match(below)
    if left is None or right is None or min(len(left[0]), len(right[0])) < _LEAST:
        return False
    start = above.rsplit(None, 1)[-1].lstrip("(\"'“‘[")
    if _NAME.search(start) or _NAME.search(below.split(None, 1)[0].rstrip(".,;:!?)\"'”’]")):
        return False
    if left[0].isupper():
        return right[0].isupper()
    return right[0].islower() and left[0][1:].islower()


def _whole(lines: Sequence[Line]) -> Iterator[str]:
    """The text of lines without the words that are divided between them: their parts are no words."""
    before = False
    for line in lines:
        text = line.text
        if before:
            text = text.partition(" ")[2]
        if line.broken:
            text = text.rpartition(" ")[0]
        before = line.broken
        yield text
        yield "\n"
