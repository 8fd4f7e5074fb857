"""Text to BM25 sparse vector. The only place that decides what a word is."""

from __future__ import annotations

import importlib
import re
import threading
import unicodedata
from collections import Counter
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
from qdrant_edge import Bm25, Bm25Config, DisabledStemmer, StopwordsSet, TokenizerType
from snowballstemmer import algorithms

from embedder.types import SparseVector
from search.folding import folded, normal, origins

VERSION = 1
"""Raised whenever the same text would become other tokens: an index made before must not be mixed with it."""

AVERAGE_LENGTH = 160.0
"""Average length, in tokens, of a passage of at most 256 model tokens.

A constant of the index, so that an incremental index equals a fresh one. Chosen on development corpora: a
full piece of 256 MiniLM tokens of English prose holds 170 to 210 words, stop words included, and a passage
that ends at a sentence or paragraph is about 85 % full.
"""

_ASCII_WORD = re.compile(r"[a-zA-Z0-9]+")
_ENGLISH = """
a about above after again against all am an and any are aren as at be because been before being below
between both but by can cannot could couldn d did didn do does doesn doing don down during each few for
from further had hadn has hasn have haven having he her here hers herself him himself his how i if in into
is isn it its itself ll m me more most mustn my myself no nor not now of off on once only or other our
ours ourselves out over own re s same shan she should shouldn so some such t than that the their theirs
them themselves then there these they this those through to too under until up ve very was wasn we were
weren what when where which while who whom why will with won would wouldn you your yours yourself
yourselves
"""
_STOP_WORDS = {"english": frozenset(_ENGLISH.split())}


class _Stemmer(Protocol):
    def stemWord(self, word: str) -> str: ...  # noqa: N802  (the library's name)


@lru_cache(maxsize=1024)
def _word_pattern(marks: str) -> re.Pattern[str]:
    r"""Letters, digits and these marks; `\w` alone would cut Indic and other scripts at their vowel signs."""
    return re.compile(rf"(?:[^\W_]|[{re.escape(marks)}])+" if marks else r"[^\W_]+")


def _pattern(text: str) -> re.Pattern[str]:
    """What a word is in this text, which is in normal form."""
    if text.isascii():
        return _ASCII_WORD
    marks = sorted(character for character in set(text) if unicodedata.category(character)[0] == "M")
    return _word_pattern("".join(marks))


def words(text: str) -> list[str]:
    """The words of a text, folded, in order: runs of letters, digits and marks in any script."""
    text = normal(text)
    found: list[str] = _pattern(text).findall(text)
    return [folded(word) for word in found]


class Term(NamedTuple):
    """A term and where it stands: str indices into the text it was found in, end exclusive."""

    term: str
    start: int
    end: int


class Analyzer:
    """Turns text into BM25 vectors whose scores in the index are exactly Lucene's. Safe to share by threads.

    A passage keeps its stop words and a query drops them: a query of nothing but stop words ("to be or not
    to be") can then fall back to all its words and still find something, ordinary queries never touch the
    long posting lists, and a phrase's length counts as it is read.
    """

    def __init__(
        self,
        language: str = "english",
        *,
        k1: float = 1.2,
        b: float = 0.75,
        average_length: float = AVERAGE_LENGTH,
    ) -> None:
        """Make an analyser.

        Args:
            language: a Snowball algorithm's name.
            k1: how fast repeated words stop counting, not negative.
            b: how much long passages are held back, 0 to 1.
            average_length: of a passage, in tokens; a constant of the index.

        Raises:
            ValueError: an unknown language, or a number out of its range.
        """
        known = algorithms()
        if language not in known:
            raise ValueError(f"language {language!r} is not known; one of: {', '.join(known)}")
        self._name = (
            f"language={language} k1={k1:g} b={b:g} average_length={average_length:g} version={VERSION}"
        )
        self._stop_words = _STOP_WORDS.get(language, frozenset())
        # The pure Python class, not a C extension that happens to be installed: stems are part of the index.
        module = importlib.import_module(f"snowballstemmer.{language}_stemmer")
        self._stemmer: _Stemmer = getattr(module, f"{language.title().replace('_', '')}Stemmer")()
        self._stemming = threading.Lock()  # a stemmer keeps the word it works on in itself
        self._stem = lru_cache(maxsize=1 << 17)(self._stem_uncached)
        self._index_of = lru_cache(maxsize=1 << 14)(self._index_of_uncached)
        self._bm25 = Bm25(
            Bm25Config(
                k=k1,
                b=b,
                avg_len=average_length,
                tokenizer=TokenizerType.Whitespace,
                lowercase=False,
                stopwords=StopwordsSet(),
                stemmer=DisabledStemmer(),
            )
        )

    @property
    def fingerprint(self) -> str:
        """What two indexes must agree on to hold the same vectors for the same text."""
        return self._name

    def tokens(self, text: str) -> list[str]:
        """Stemmed words of a passage, in order, stop words kept."""
        return [self._stem(word) for word in words(text)]

    def query_tokens(self, text: str) -> list[str]:
        """Stemmed words of a query, in order, without stop words unless it has no others."""
        found = words(text)
        telling = [word for word in found if word not in self._stop_words]
        return [self._stem(word) for word in telling or found]

    def terms(self, text: str, language: str = "") -> list[Term]:
        """Every term of a passage and where it stands, by place; two may stand at one place.

        Args:
            text: a passage's.
            language: of the chunk, by which its words were analysed.
        """
        plain = normal(text)
        places = origins(text)
        return [
            Term(self._stem(folded(found[0])), places[found.start()], places[found.end()])
            for found in _pattern(plain).finditer(plain)
        ]

    def matches(self, query: str, text: str, language: str = "") -> list[tuple[int, int]]:
        """Where a passage holds a term of the query: (start, end) str indices, ascending, none overlapping.

        Args:
            query: as asked.
            text: a passage's.
            language: of the chunk, by which its words were analysed.
        """
        asked = set(self.query_tokens(query))
        spans: list[tuple[int, int]] = []
        for term, start, end in self.terms(text, language):
            if term not in asked:
                continue
            if spans and start < spans[-1][1]:
                spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
            else:
                spans.append((start, end))
        return spans

    def passage_vector(self, text: str, context: str = "") -> SparseVector:
        """BM25 weights of a passage; its context (title, headings) counts as part of the text."""
        tokens = self.tokens(context) + self.tokens(text)
        vector = self._bm25.embed_document(" ".join(tokens))
        return SparseVector(
            indices=np.asarray(vector.indices, dtype=np.uint32),
            values=np.asarray(vector.values, dtype=np.float32),
        )

    def query_vector(self, text: str) -> SparseVector:
        """How often each term stands in the query (as Lucene counts); empty when the text has no words."""
        counts: Counter[int] = Counter(self._index_of(token) for token in self.query_tokens(text))
        return SparseVector(
            indices=np.fromiter(counts.keys(), dtype=np.uint32, count=len(counts)),
            values=np.fromiter(counts.values(), dtype=np.float32, count=len(counts)),
        )

    def _stem_uncached(self, word: str) -> str:
        with self._stemming:
            return self._stemmer.stemWord(word) or word

    def _index_of_uncached(self, token: str) -> int:
        return int(self._bm25.embed_query(token).indices[0])
