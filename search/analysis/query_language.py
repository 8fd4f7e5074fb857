"""Whether a question is in a language that the embedding model does not know.

Such a model's vectors say little: with one that knows English only, nDCG@10 of dense search over German
paragraphs is .59 where BM25 has .94, over Arabic ones .04 where it has .96 (docs/evaluation.md). Nothing is
guessed: it takes the script, function words, or an index that holds nothing the model can read.
"""

from __future__ import annotations

from collections.abc import Collection

from latewood.search.analysis.language_detection import main_script
from latewood.search.analysis.languages import LANGUAGES
from latewood.search.analysis.normalization import folded, normal
from latewood.search.analysis.stopwords import STOP_WORDS
from latewood.search.analysis.tokenizer import WORDS, pieces

MARGIN = 2
"""Function words that a question must have more of another language than of any that the model knows."""


def is_foreign(query: str, index: Collection[str], knows: Collection[str]) -> bool:
    """Whether it is sure that a question, or all that could answer it, is in no language the model knows.

    Args:
        query: as asked.
        index: languages of the index's passages, an empty one where that is not known.
        knows: the languages of the model; none: it knows very many, or nobody said: nothing is foreign.
    """
    if not knows or query.isspace():
        return False
    if index and "" not in index and not set(index) & set(knows):
        return True
    script = main_script(normal(query))
    if script != "latin":  # which also writes names, codes and units in every other script's languages
        return script != "" and all(one in LANGUAGES and LANGUAGES[one].script != script for one in knows)
    words = {folded(piece.text) for piece in pieces(normal(query)) if piece.way == WORDS}
    votes = {
        one: len(words & STOP_WORDS[one])
        for one in {*index, *knows}
        if one in STOP_WORDS and LANGUAGES[one].script == script
    }
    own = max((votes.get(one, 0) for one in knows), default=0)
    return max(votes.values(), default=0) >= own + MARGIN
