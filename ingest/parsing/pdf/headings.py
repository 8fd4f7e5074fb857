"""Which lines of a PDF are headings: those its bookmarks name, larger ones, bold and numbered ones."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import multimode

import pypdfium2

from latewood.ingest.parsing.pdf.lines import LEADERS, NUMBERED, SAMPLE, Line, rounded
from latewood.ingest.parsing.text_builder import clean

_RATIO = 1.15
_LONGEST = 160
_SIZES = 6
_DEEPEST = 9
_MOST_LINES = 4
_MOST_BOLD = 0.2  # of the pages: with more, bold is how the text is set
_MOST_BOOKMARKS = 50_000
_COMPARED, _ENOUGH = (
    24,
    8,
)  # characters of a line, and letters of them, that a bookmark is first looked for by
_NUMBERING = re.compile(
    r"(?:(?:chapter|section|appendix|part)\s+)?(?:[A-Z]|\d{1,3}|[IVXLC]+)(?:\.\d{1,3})*[.:)]?\s+",
    re.I,
)
_WORDLIKE = re.compile(r"[^\W\d_]{2}|[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_DOTTED = re.compile(r"[.]?\s")


@dataclass(frozen=True, slots=True)
class Bookmark:
    """An entry of a PDF's outline: the heading it names, its depth from 1, and the height it leads to."""

    title: str
    depth: int
    y: float | None


def read_outline(document: pypdfium2.PdfDocument) -> dict[int, list[Bookmark]]:
    """The bookmarks by the page they lead to, from 0; empty where there are none."""
    outline: dict[int, list[Bookmark]] = {}
    for number, entry in enumerate(document.get_toc(max_depth=_DEEPEST)):
        if number >= _MOST_BOOKMARKS:
            break
        target = entry.get_dest()
        page = target.get_index() if target else None
        title = clean(entry.get_title())
        if page is not None and page >= 0 and _squeezed(title):
            outline.setdefault(page, []).append(Bookmark(title, entry.level + 1, _height(target)))
    return outline


def _height(target: pypdfium2.PdfDest) -> float | None:
    mode, place = target.get_view()
    if mode == pypdfium2.raw.PDFDEST_VIEW_XYZ and len(place) > 1:
        return float(place[1]) if place[1] is not None else None
    if mode in (pypdfium2.raw.PDFDEST_VIEW_FITH, pypdfium2.raw.PDFDEST_VIEW_FITBH) and place:
        return float(place[0]) if place[0] is not None else None
    return None


@dataclass(frozen=True, slots=True)
class Headings:
    """What is known of a document's headings.

    Attributes:
        named: headings that a bookmark names: page and index of the first line -> number of lines, depth.
        sizes: depth by rounded size, of blocks that are set larger.
        numbered: the depth of a bold line with one number; 0 where such lines are no headings.
    """

    named: Mapping[tuple[int, int], tuple[int, int]]
    sizes: Mapping[float, int]
    numbered: int

    def depth_of(self, block: Sequence[Line]) -> int:
        """The depth of a block that no bookmark names; 0 when it is no heading."""
        text = " ".join(line.text for line in block)
        if len(text) > _LONGEST or LEADERS.search(text) or not _WORDLIKE.search(text):
            return 0
        depth = self.sizes.get(rounded(block[0].size), 0)
        if depth or not self.numbered or len(block) > 2 or not (block[0].bold and NUMBERED.match(text)):
            return depth
        number = text.split(None, 1)[0].strip(".")
        return min(self.numbered + number.count("."), _DEEPEST)


def find_headings(pages: Sequence[Sequence[Line]], outline: Mapping[int, Sequence[Bookmark]]) -> Headings:
    """Find a document's headings, in the lines of its pages as they will be read."""
    named: dict[tuple[int, int], tuple[int, int]] = {}
    for page, bookmarks in outline.items():
        if page < len(pages):
            _match(pages[page], bookmarks, page, named)
    larger = _larger_sizes(pages)
    if not named:
        sizes = {size: min(rank, _SIZES) for rank, size in enumerate(larger, 1)}
        samples = [next((line for line in lines if len(line.text) >= SAMPLE), None) for lines in pages]
        plain = sum(line.bold for line in samples if line) < _MOST_BOLD * sum(map(bool, samples))
        return Headings(named, sizes, max(sizes.values(), default=0) + 1 if plain else 0)
    depths = [(rounded(pages[page][index].size), depth) for (page, index), (_, depth) in named.items()]
    return Headings(named, {size: _depth_beside(size, depths) for size in larger}, 0)


def _larger_sizes(pages: Sequence[Sequence[Line]]) -> list[float]:
    """Sizes clearly above the most common one, the largest first."""
    weights: Counter[float] = Counter()
    for lines in pages:
        for line in lines:
            weights[rounded(line.size)] += len(line.text)
    if not weights:
        return []
    body = weights.most_common(1)[0][0]
    # A size that sets a third of the text is no heading, however large.
    most = weights.total() / 3
    return sorted((size for size in weights if size >= body * _RATIO and weights[size] < most), reverse=True)


def _depth_beside(size: float, depths: Sequence[tuple[float, int]]) -> int:
    """The depth of a larger size beside headings of known depth: theirs at that size, else below larger."""
    same = [depth for other, depth in depths if other == size]
    if same:
        return min(multimode(same))
    above = [depth for other, depth in depths if other > size]
    return min(max(above) + 1, _DEEPEST) if above else 1


def _match(
    lines: Sequence[Line],
    bookmarks: Sequence[Bookmark],
    page: int,
    named: dict[tuple[int, int], tuple[int, int]],
) -> None:
    """Find the lines that each bookmark of a page names; of several the nearest to where it leads."""
    # A longer line cannot be what a bookmark names, even with a number before it.
    longest = max(len(bookmark.title) for bookmark in bookmarks) + _COMPARED
    texts = ["" if len(line.text) > longest else line.text[:_COMPARED] for line in lines]
    starts = list(map(_squeezed, texts))
    bare = [_squeezed(_bare(text)) for text in texts]
    for bookmark in bookmarks:
        wanted = {_squeezed(bookmark.title), _squeezed(_bare(bookmark.title))} - {""}
        heads = tuple(title[:_ENOUGH] for title in wanted)
        found = [
            (_distance(lines[index], bookmark), index, count)
            for index, forms in enumerate(zip(starts, bare, strict=True))
            if any(form and (form.startswith(heads) or _begins(heads, form)) for form in forms)
            and (page, index) not in named
            and (count := _lines_of(lines, index, wanted))
        ]
        if found:
            _, index, count = min(found)
            named[page, index] = (count, min(bookmark.depth, _DEEPEST))


def _begins(heads: Sequence[str], form: str) -> bool:
    return len(form) < _ENOUGH and any(head.startswith(form) for head in heads)


def _lines_of(lines: Sequence[Line], index: int, wanted: set[str]) -> int:
    """How many lines from `index` on make up one of the titles; 0 when they do not."""
    for count in range(1, min(_MOST_LINES, len(lines) - index) + 1):
        text = " ".join(line.text for line in lines[index : index + count])
        if _squeezed(text) in wanted or _squeezed(_bare(text)) in wanted:
            return count
    return 0


def _distance(line: Line, bookmark: Bookmark) -> float:
    """How far a line stands from where the bookmark leads, a line above it counting double; else by size."""
    if bookmark.y is None:
        return -line.size
    away = bookmark.y - line.top
    return away if away >= -line.size else -2 * away


def _bare(title: str) -> str:
    """A title without its number; as it is where nothing else is left."""
    return _NUMBERING.sub("", title, count=1) or title


def _squeezed(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))
