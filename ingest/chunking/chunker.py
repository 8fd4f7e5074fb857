"""Document -> chunks that tile its text.

From where the last chunk ended, the furthest place that keeps the token limit is found; among the boundaries
from a quarter of the limit up to there the strongest is taken, the latest among equals. Very long texts are
worked on in sections of a million characters, so that memory stays flat; tokens are always those of the whole
text, because a model counts them so: a section by itself may be divided into others.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from latewood.ingest.chunking.boundaries import Boundaries, Strength, elements_within, find_boundaries
from latewood.ingest.chunking.sections import TokenOffsets, Tokens, sections
from latewood.ingest.types import Document, Element, ElementKind, ParseError
from latewood.search.analysis.language_detection import language_of
from latewood.search.types import Chunk

SMALLEST_LIMIT = 8
CHARACTERS_PER_TOKEN = 32  # an unbroken run of letters may be one token; a chunk of many such is cut earlier
_HEADER_WITHIN = 5000  # characters from the start of a table that its header row ends in
LONGEST_CONTEXT_PART = 1000  # characters of a title, heading or table header repeated in the context


def tile(document: Document, *, version: str, token_offsets: TokenOffsets, max_tokens: int) -> list[Chunk]:
    """Cut a document into chunks whose texts, joined in order, are the document's text.

    Every chunk has a token, and none has more than `max_tokens`: neither of the document's own tokens (a
    token belongs to the chunk its middle lies in) nor when its text is tokenised alone. A single token is
    never cut, however long. The same input gives the same chunks.

    Args:
        document: what to cut.
        version: the attempt that writes the chunks.
        token_offsets: text -> (n, 2) int64 character spans of its tokens in order, no special tokens.
        max_tokens: at least 8.

    Raises:
        ParseError: `no_tokens`, the tokenizer finds nothing in the text, so nothing could be embedded.
        ValueError: `max_tokens` is below 8.
    """
    if max_tokens < SMALLEST_LIMIT:
        raise ValueError(
            f"max_tokens is {max_tokens}; below {SMALLEST_LIMIT} a single character may not fit: raise it"
        )
    tokens = Tokens.of(document.text, token_offsets)
    starts: list[int] = []
    for start, end in sections(document, tokens):
        section = _Section.read(document, start, end, tokens)
        if section.boundaries.total:
            starts += [start + cut for cut in _walk(section, token_offsets, max_tokens)]
    if not starts:
        raise ParseError(
            "no_tokens",
            f"the model's tokenizer finds no token in this text of {len(document.text)} characters: it holds "
            "only characters that the model ignores, so nothing of it could be found",
        )
    starts[0] = 0
    return chunks_at(document, version, [*starts, len(document.text)])


@dataclass(frozen=True, slots=True)
class _Section:
    """A stretch of a document and where it may be cut, in indices of its own."""

    text: str
    boundaries: Boundaries

    @classmethod
    def read(cls, document: Document, start: int, end: int, tokens: Tokens) -> _Section:
        text = document.text[start:end]
        elements = elements_within(document.elements, start, end)
        return cls(text, find_boundaries(text, elements, tokens.within(start, end)))


# --- the walk -----------------------------------------------------------------------------------------------


def _walk(section: _Section, token_offsets: TokenOffsets, max_tokens: int) -> list[int]:
    """Where each chunk of a section starts; the first is 0."""
    starts: list[int] = []
    index = -1  # of the boundary the chunk starts at; -1 is the section's start
    while index < len(section.boundaries.positions):
        stretch = _Stretch(section, index, max_tokens)
        starts.append(stretch.start)
        index = _fitting_end(stretch, token_offsets)
    return starts


def _fitting_end(stretch: _Stretch, token_offsets: TokenOffsets) -> int:
    """The boundary to end at, so that the text also fits when it is tokenised alone."""
    budget = stretch.max_tokens
    end = stretch.choose(budget)
    while end > stretch.index + 1:
        alone = len(token_offsets(stretch.section.text[stretch.start : stretch.position(end)]))
        if alone <= stretch.max_tokens:
            break
        own = stretch.tokens_to(end)
        budget = max(1, min(own - 1, own * stretch.max_tokens // alone))
        end = stretch.choose(budget)
    return end


@dataclass(frozen=True, slots=True)
class _Stretch:
    """What is left of a section from boundary `index` on; the boundary after the last is its end."""

    section: _Section
    index: int
    max_tokens: int

    @property
    def start(self) -> int:
        return self.position(self.index)

    def position(self, index: int) -> int:
        """Character position of a boundary."""
        if index < 0:
            return 0
        positions = self.section.boundaries.positions
        return int(positions[index]) if index < len(positions) else len(self.section.text)

    def tokens_to(self, index: int) -> int:
        """Tokens between the start and a boundary."""
        boundaries = self.section.boundaries
        before = int(boundaries.tokens[self.index]) if self.index >= 0 else 0
        return (
            int(boundaries.tokens[index]) if index < len(boundaries.tokens) else boundaries.total
        ) - before

    def choose(self, budget: int) -> int:
        """The boundary to end the chunk at when it may hold `budget` tokens; at least the next one."""
        end = len(self.section.boundaries.positions)
        sensible = self.max_tokens // 4
        rest = self.tokens_to(end)
        reach = self._reach(budget)
        if reach == end:
            split = self._strongest(self._first(sensible), self._first(rest - sensible + 1))
            return split if split is not None and self._strength(split) >= Strength.HEADING else end
        cut = self._best(sensible, reach)
        if rest - self.tokens_to(cut) < self.max_tokens // 8 and self._strength(cut) < Strength.HEADING:
            even = self._strongest(self._first(sensible), min(self._first(rest - sensible + 1), reach + 1))
            cut = cut if even is None or self._strength(even) < Strength.TOKEN else even
        return cut

    def _reach(self, budget: int) -> int:
        """The furthest boundary within the budget of tokens and of characters, at least the next one."""
        boundaries = self.section.boundaries
        end = len(boundaries.positions)
        limit = self.start + self.max_tokens * CHARACTERS_PER_TOKEN
        if self.tokens_to(end) <= budget and len(self.section.text) <= limit:
            return end
        within = min(self._first(budget + 1), int(np.searchsorted(boundaries.positions, limit, side="right")))
        return max(within - 1, self.index + 1)

    def _best(self, sensible: int, reach: int) -> int:
        """The strongest boundary from `sensible` tokens on; an early one where that spares a sentence."""
        late = self._strongest(self._first(sensible), reach + 1)
        early = self._strongest(self.index + 1, min(self._first(sensible), reach + 1))
        if late is None or early is None:
            return next(cut for cut in (late, early, reach) if cut is not None)
        spares = self._strength(late) < Strength.SENTENCE and self._strength(early) >= Strength.ELEMENT
        torn = self._strength(late) < Strength.TOKEN <= self._strength(early)
        return early if spares or torn else late

    def _strongest(self, first: int, last: int) -> int | None:
        """The strongest boundary in `[first, last)`, the latest among equals; None when there is none."""
        first = max(first, self.index + 1)
        strengths = self.section.boundaries.strengths[first:last]
        if not len(strengths):
            return None
        return first + len(strengths) - 1 - int(np.argmax(strengths[::-1]))

    def _first(self, tokens: int) -> int:
        """The first boundary with at least this many tokens between the start and it."""
        boundaries = self.section.boundaries
        before = int(boundaries.tokens[self.index]) if self.index >= 0 else 0
        return int(np.searchsorted(boundaries.tokens, before + tokens, side="left"))

    def _strength(self, index: int) -> int:
        strengths = self.section.boundaries.strengths
        return int(strengths[index]) if index < len(strengths) else Strength.HEADING


# --- what a chunk says of itself ----------------------------------------------------------------------------


def chunks_at(document: Document, version: str, borders: Sequence[int]) -> list[Chunk]:
    """Cut a document at these places, with what each chunk says of itself.

    Args:
        document: what to cut.
        version: the attempt that writes the chunks.
        borders: ascending str indices, from 0 to the text's length, both included.
    """
    outline = _Outline(document)
    language = language_of(document.text, str(document.metadata.get("language", "")))
    made: list[Chunk] = []
    for ordinal, (start, end) in enumerate(pairwise(borders)):
        text = document.text[start:end]
        headings, header = outline.at(start + len(text) - len(text.lstrip()))
        pages = outline.pages(start, end)
        made.append(
            Chunk(
                document_id=document.id,
                version=version,
                ordinal=ordinal,
                start=start,
                end=end,
                text=text,
                context=_context(document.title, headings, header),
                headings=headings,
                page_start=min(pages, default=None),
                page_end=max(pages, default=None),
                language=language,
            )
        )
    return made


def _context(title: str, headings: tuple[str, ...], header: str) -> str:
    path = [_shortened(title), *headings]
    if headings and path[0].casefold() == headings[0].casefold():
        del path[0]
    line = " > ".join(part for part in path if part)
    return "\n".join(part for part in (line, _shortened(header)) if part)


def _shortened(text: str) -> str:
    return " ".join(text[: 2 * LONGEST_CONTEXT_PART].split())[:LONGEST_CONTEXT_PART].rstrip()


class _Outline:
    """Headings, table headers and pages by position; asked in ascending order of position."""

    def __init__(self, document: Document) -> None:
        self._text = document.text
        self._elements = document.elements
        self._next = 0  # the first element that starts after the last position asked
        self._path: list[tuple[int, str]] = []

    def at(self, position: int) -> tuple[tuple[str, ...], str]:
        """Heading path, and the header of the table that `position` lies in behind the header row."""
        while self._next < len(self._elements) and self._elements[self._next].start <= position:
            self._enter(self._elements[self._next])
            self._next += 1
        headings = tuple(name for _, name in self._path if name)
        return headings, self._header(self._elements[self._next - 1], position) if self._next else ""

    def _enter(self, element: Element) -> None:
        if element.kind is ElementKind.TITLE:
            depth = max(element.depth, 1)
            self._path = [entry for entry in self._path if entry[0] < depth]
            self._path.append((depth, _shortened(self._text[element.start : element.end])))

    def _header(self, element: Element, position: int) -> str:
        if element.kind is not ElementKind.TABLE or not element.start < position < element.end:
            return ""
        # The header row need not be the first: a table may have a title.
        found = self._text.find(element.header, element.start, element.start + _HEADER_WITHIN)
        end = max(found, element.start) + (len(element.header) if found >= 0 else 0)
        return element.header if position >= end else ""

    def pages(self, start: int, end: int) -> list[int]:
        """Pages of the elements that overlap `[start, end)`."""
        first = bisect_right(self._elements, start, key=lambda element: element.end)
        last = bisect_left(self._elements, end, lo=first, key=lambda element: element.start)
        return [element.page for element in self._elements[first:last] if element.page is not None]
