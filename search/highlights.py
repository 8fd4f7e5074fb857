"""What of a passage answers: where the query's terms stand, and the sentence that holds most of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence

from latewood.search.analysis.analyzer import Analyzer
from latewood.search.analysis.sentences import sentences
from latewood.search.results import Marks

Span = tuple[int, int]


def mark(analyzer: Analyzer, query: str, text: str, language: str, languages: Collection[str] = ()) -> Marks:
    """Mark a passage as the analyser reads it: `ferries` where the query says `ferry`.

    Args:
        analyzer: of the index.
        query: as asked.
        text: the passage's.
        language: of its document.
        languages: of the index.
    """
    spans = tuple(analyzer.matches(query, text, language, languages))
    terms = [{one.term for one in analyzer.terms(text[start:end], language)} for start, end in spans]
    return Marks(spans, _best(sentences(text), spans, terms) if spans else None)


def _best(found: Sequence[Span], spans: Sequence[Span], terms: Sequence[set[str]]) -> Span:
    """The sentence with the most different terms; among those the one with the most marks, then the first.

    Where a mark lies across sentences it counts in the one it begins in.
    """

    def worth(sentence: Span) -> tuple[int, int]:
        first, last = bisect_left(spans, (sentence[0], 0)), bisect_left(spans, (sentence[1], 0))
        return len(set().union(*terms[first:last])), last - first

    return max(found, key=worth)
