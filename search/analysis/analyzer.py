"""Text to BM25 sparse vector. The only place that decides what counts as the same word.

A passage is analysed in one language, its document's (`search.detection`), which decides how its words are
stemmed. A query has no language one could rely on, so it is analysed in every language that the index holds
chunks of, and asks for each of the resulting terms. Why so, and what it costs:

* Terms carry no mark of their language. A name, a number or a code is one term in all of them, and how rare
  it is (IDF) counts over the whole index. With marks, a name would be rare in each language it is rarely
  written in: the one German report would stand above a hundred English ones for every name it holds.
* Nothing counts twice. A word of a passage became one term, by the passage's own language, and of the
  query's forms of a word at most one is that term; so a passage is scored by the form of its own language.
* The cost is that a form may meet a word it does not stem from in another language (`notes` is `not` to a
  German stemmer). Only languages of the index are asked for, so a collection in one language has no such
  forms and scores as if there were no others.
* A script decides most: Cyrillic words are never stemmed as English. A word in another script than its
  document's is analysed in the first language of its script, the same for every document.
* The query's function words say which of the languages it seems to be in: those which most of its words are
  stop words of. Their stop words are dropped (a query of nothing else keeps all), and forms in the others
  count half. So "side effects of the ferry" asks little for `sid`, and a query without function words,
  which may be in any language, asks for all forms alike. Measured with eight languages in one index (XQuAD),
  nDCG@10 of each language's questions is within .002 of an index that is told the language of each question.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from latewood.embedder.types import SparseVector
from latewood.search.analysis.bm25_parameters import (
    AVERAGE_LENGTH,
    CONTEXT_WEIGHT,
    K1,
    OTHER_FORM,
    WHOLE,
    WORTH,
    B,
)
from latewood.search.analysis.languages import (
    AUTO,
    DEFAULT,
    NONE,
    check_language,
    language_for,
    script_of_word,
)
from latewood.search.analysis.normalization import Places, folded, normal
from latewood.search.analysis.stemmers import Stemmers
from latewood.search.analysis.stopwords import STOP_WORDS
from latewood.search.analysis.tokenizer import (
    LONGEST,
    SHORTEST,
    WORDS,
    Piece,
    compound,
    grams,
    pieces,
    words_alone,
)
from latewood.search.types import Chunk

VERSION = 2
"""Raised whenever the same text would become other tokens: an index made before must not be mixed with it."""


class Term(NamedTuple):
    """A term and where it stands: str indices into the text it was found in, end exclusive."""

    term: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Counts:
    """How often each term stands in a passage, a heading's by its weight, and its length in words."""

    terms: Mapping[str, float]
    length: float


class Analyzer:
    """Turns text into BM25 vectors whose scores in the index are exactly Lucene's. Safe to share by threads.

    A passage keeps its stop words and a query drops them: a query of nothing but stop words ("to be or not
    to be") can then fall back to all its words and still find something, ordinary queries never touch the
    long posting lists, and a phrase's length counts as it is read.
    """

    def __init__(
        self,
        language: str = AUTO,
        *,
        k1: float = K1,
        b: float = B,
        average_length: float = AVERAGE_LENGTH,
        context_weight: float = CONTEXT_WEIGHT,
    ) -> None:
        """Make an analyser.

        Args:
            language: of every text, an ISO 639-1 code; `auto`: each passage's own; `none`: words as they
                stand, without stemming or stop words.
            k1: how fast repeated words stop counting, not negative.
            b: how much long passages are held back, 0 to 1.
            average_length: of a passage, in words; a constant of the index.
            context_weight: how often a word of a passage's context counts.

        Raises:
            ValueError: an unknown language, or a number out of its range.
        """
        check_language(language)
        for name, value, least, most in (("k1", k1, 0, 1000), ("b", b, 0, 1)):
            if not least <= value <= most:
                raise ValueError(f"{name} is {value}; it must be from {least} to {most}")
        self._language, self._k1, self._b = language, k1, b
        self._average_length, self._context_weight = average_length, context_weight
        self._stemmers = Stemmers()
        self._word = lru_cache(maxsize=1 << 17)(self._word_uncached)

    @property
    def fingerprint(self) -> str:
        """What two indexes must agree on to hold the same vectors for the same text."""
        return f"{self.analysis} k1={self._k1:g} b={self._b:g} average_length={self._average_length:g}"

    @property
    def analysis(self) -> str:
        """The part of the fingerprint that says which terms there are and how often, not what they weigh."""
        return f"version={VERSION} language={self._language} context_weight={self._context_weight:g}"

    # passages

    def counts(self, text: str, context: str = "", language: str = "") -> Counts:
        """The terms of a passage.

        Args:
            text: the passage's.
            context: its title and heading path.
            language: its document's, as `search.detection.language_of` says; nothing: not known.
        """
        code = self._code(language)
        terms, length = self._count(text, code)
        if context and self._context_weight:
            beside, more = self._count(context, code)
            for term, count in beside.items():
                terms[term] = terms.get(term, 0) + self._context_weight * count
            length += self._context_weight * more
        return Counts(terms, length)

    def passage_vector(self, text: str, context: str = "", language: str = "") -> SparseVector:
        """BM25 weights of a passage's terms; see `counts`."""
        found = self.counts(text, context, language)
        terms: dict[int, float] = {}
        for term, count in found.terms.items():
            number = term_number(term)
            terms[number] = terms.get(number, 0) + count
        counts = np.fromiter(terms.values(), dtype=np.float64, count=len(terms))
        held = self._k1 * (1 - self._b + self._b * found.length / self._average_length)
        return SparseVector(
            indices=np.fromiter(terms, dtype=np.uint32, count=len(terms)),
            values=(counts * (self._k1 + 1) / (counts + held)).astype(np.float32),
        )

    def chunk_vector(self, chunk: Chunk) -> SparseVector:
        """BM25 weights of a chunk's terms."""
        return self.passage_vector(chunk.text, chunk.context, chunk.language)

    def terms(self, text: str, language: str = "") -> list[Term]:
        """Every term of a passage and where it stands, by place; several may stand at one place.

        Args:
            text: a passage's.
            language: of the chunk, by which its words are analysed.
        """
        code = self._code(language)
        places = Places(text)
        return [
            Term(term, *places.span(piece.start + start, piece.start + end))
            for piece in pieces(normal(text))
            for term, start, end in self._placed(piece, code)
        ]

    # queries

    def query_terms(self, text: str, languages: Collection[str] = ()) -> Mapping[str, float]:
        """How much a query asks for each term, in the forms of every language; empty when it has no words.

        A word counts as often as it stands there; `OTHER_FORM` and `WHOLE` say what counts less.

        Args:
            text: as asked.
            languages: of the chunks in the index.
        """
        codes = sorted({self._code(one) for one in languages or ("",)})
        found = list(pieces(normal(text)))
        spoken = self._spoken([piece.text for piece in found if piece.way == WORDS], codes)
        stop = {word for words in spoken.values() for word in words}
        telling = [piece for piece in found if folded(piece.text) not in stop]
        asked: dict[str, float] = {}
        for piece in telling or found:
            forms: Mapping[str, float] = (
                self._forms(piece.text, codes, spoken)
                if piece.way == WORDS
                else Counter(grams(piece.text, min(len(piece.text), LONGEST[piece.way])))
            )
            for term, weight in forms.items():
                asked[term] = asked.get(term, 0) + weight
        return asked

    def query_vector(self, text: str, languages: Collection[str] = ()) -> SparseVector:
        """`query_terms` as a vector."""
        terms: dict[int, float] = {}
        for term, weight in self.query_terms(text, languages).items():
            number = term_number(term)
            terms[number] = terms.get(number, 0) + weight
        return SparseVector(
            indices=np.fromiter(terms.keys(), dtype=np.uint32, count=len(terms)),
            values=np.fromiter(terms.values(), dtype=np.float32, count=len(terms)),
        )

    def matches(
        self, query: str, text: str, language: str = "", languages: Collection[str] = ()
    ) -> list[tuple[int, int]]:
        """Where a passage holds a term of the query: (start, end) str indices, ascending, none overlapping.

        Args:
            query: as asked.
            text: a passage's.
            language: of the chunk, by which its words are analysed.
            languages: of the index: what the query leaves out in one of them is not what was asked for.
        """
        asked = self.query_terms(query, {language, *languages})
        spans: list[tuple[int, int]] = []
        for term, start, end in self.terms(text, language):
            if term not in asked:
                continue
            if spans and start < spans[-1][1]:
                spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
            else:
                spans.append((start, end))
        return spans

    # both

    def _code(self, language: str) -> str:
        """The language to analyse in, for a chunk of this one."""
        return (language or DEFAULT) if self._language == AUTO else self._language

    def _count(self, text: str, code: str) -> tuple[dict[str, float], float]:
        """How often each term stands in a text, and its length in words."""
        plain = normal(text)
        words = words_alone(plain)
        terms: Counter[str] = Counter()
        length = 0.0
        if words is None:
            words = []
            for piece in pieces(plain):
                if piece.way == WORDS:
                    words.append(piece.text)
                    continue
                terms.update(_run_terms(piece))
                length += WORTH[piece.way] * max(1, len(piece.text) - LONGEST[piece.way] + 1)
        found: dict[str, float] = dict(terms)
        for word, count in Counter(words).items():
            analysed = self._word(word, code)
            length += count * analysed.parts
            for term in analysed.terms:
                found[term] = found.get(term, 0) + count
        return found, length

    def _placed(self, piece: Piece, code: str) -> list[tuple[str, int, int]]:
        """The terms of a piece with their places in it, ascending."""
        if piece.way != WORDS:
            sizes = _sizes(piece)
            return sorted(
                (
                    (text, start, start + size)
                    for size in sizes
                    for start, text in enumerate(grams(piece.text, size))
                ),
                key=lambda one: one[1:],
            )
        analysed = self._word(piece.text, code)
        parts = compound(piece.text).parts
        placed = [
            (term, start, start + len(part))
            for term, (part, start) in zip(analysed.terms, parts, strict=False)
        ]
        whole = [(term, 0, len(piece.text)) for term in analysed.terms[len(parts) :]]
        return sorted(placed + whole, key=lambda one: one[1:])

    def _spoken(self, words: Iterable[str], codes: Sequence[str]) -> Mapping[str, Collection[str]]:
        """The languages a query seems to be in, with the stop words of each that it holds; often none.

        Of each script, those of the languages in question which most of the words are stop words of.
        """
        plain = {folded(word) for word in words}
        spoken: dict[str, Collection[str]] = {}
        for script in {script_of_word(word) for word in plain}:
            languages = {self._language_of(script, code) for code in codes}
            held = {one: plain & STOP_WORDS[one] for one in languages if one in STOP_WORDS}
            most = max(map(len, held.values()), default=0)
            spoken.update((one, found) for one, found in held.items() if len(found) == most > 0)
        return spoken

    def _forms(self, word: str, codes: Sequence[str], spoken: Collection[str]) -> Mapping[str, float]:
        """What a query's word asks for: its form in each language with what that counts."""
        script = script_of_word(word)
        languages = {self._language_of(script, code): code for code in codes}
        known = spoken & languages.keys()
        forms: dict[str, float] = {}
        for language, code in languages.items():
            analysed = self._word(word, code)
            weight = 1.0 if language in known or not known else OTHER_FORM
            own: dict[str, float] = {}
            for place, term in enumerate(analysed.terms):
                own[term] = own.get(term, 0) + weight * (1.0 if place < analysed.parts else WHOLE)
            for term, counts in own.items():
                forms[term] = max(forms.get(term, 0), counts)
        return forms

    def _language_of(self, script: str, code: str) -> str:
        return "" if code == NONE else language_for(script, code)

    def _word_uncached(self, word: str, code: str) -> _Word:
        parts, whole = compound(word)
        terms = [self._stem(part, code) for part, _ in parts]
        if whole:
            terms.append(self._stem(whole, code))
        return _Word(tuple(terms), len(parts))

    def _stem(self, word: str, code: str) -> str:
        return self._stemmers.stem(folded(word), self._language_of(script_of_word(word), code))


class _Word(NamedTuple):
    """The terms of a word: its parts', then the whole's where it counts; and how many parts there are."""

    terms: tuple[str, ...]
    parts: int


def term_number(term: str) -> int:
    """The number that a term stands under in a sparse vector: CRC-32 of its UTF-8."""
    return zlib.crc32(term.encode("utf-8", "surrogatepass"))


def _sizes(piece: Piece) -> range:
    """The sizes of grams that a run is cut into: it is one itself where it is shorter than the shortest."""
    longest = min(len(piece.text), LONGEST[piece.way])
    return range(min(SHORTEST[piece.way], longest), longest + 1)


def _run_terms(piece: Piece) -> list[str]:
    return [gram for size in _sizes(piece) for gram in grams(piece.text, size)]
