"""Stems by language, from Snowball's algorithms."""

from __future__ import annotations

import importlib
import threading
from functools import lru_cache
from typing import Protocol

from latewood.search.analysis.languages import LANGUAGES


class _Stemmer(Protocol):
    def stemWord(self, word: str) -> str: ...  # noqa: N802  (the library's name)


class Stemmers:
    """Stems by language. Safe to share by threads."""

    def __init__(self) -> None:
        self._made: dict[str, _Stemmer | None] = {}
        self._stemming = threading.Lock()  # a stemmer keeps the word it works on in itself
        self.stem = lru_cache(maxsize=1 << 17)(self._stem)

    def _stem(self, word: str, language: str) -> str:
        """The stem of a folded word; the word where its language has no stemmer."""
        with self._stemming:
            if language not in self._made:
                self._made[language] = _stemmer(language)
            stemmer = self._made[language]
            return (stemmer.stemWord(word) or word) if stemmer is not None else word


def _stemmer(language: str) -> _Stemmer | None:
    name = LANGUAGES[language].stemmer if language else ""
    if not name:
        return None
    # The pure Python class, not a C extension that happens to be installed: stems are part of the index.
    module = importlib.import_module(f"snowballstemmer.{name}_stemmer")
    made: _Stemmer = getattr(module, f"{name.title().replace('_', '')}Stemmer")()
    return made
