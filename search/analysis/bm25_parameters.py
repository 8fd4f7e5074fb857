"""What the lexical leg weighs by. Chosen on development data; docs/evaluation.md says how."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from latewood.search.analysis.tokenizer import BIGRAMS, GRAMS, WORDS

K1 = 1.2
"""How fast a word that is repeated stops counting."""

B = 0.75
"""How much long passages are held back."""

AVERAGE_LENGTH = 160.0
"""Average length, in words, of a passage of at most 256 model tokens.

A constant of the index, so that an incremental index equals a fresh one. Chosen on development corpora: a
full piece of 256 MiniLM tokens of English prose holds 170 to 210 words, stop words included, and a passage
that ends at a sentence or paragraph is about 85 % full.
"""

WORTH: Mapping[str, float] = MappingProxyType({WORDS: 1.0, BIGRAMS: 0.7, GRAMS: 0.2})
"""How many words one piece counts as in a passage's length, by the way it was cut.

So one average length serves every script, and mixed texts. Measured on XQuAD, the same paragraphs in every
language: 129 words in English, 117 to 146 in German, Spanish, Russian, Arabic and Hindi, 186 bigrams in
Chinese (130 words at .7) and 645 four-grams in Thai (129 at .2).
"""

CONTEXT_WEIGHT = 1.0
"""How often a word of the title, the heading path or a table's header counts beside a passage's own.

Of 0, .25, .5, 1, 1.5 and 2 on nine development sets: mean nDCG@10 is .7660 without and .7680 to .7692 with
any of the others, and the weight that is best on the other sets gains nothing on the one left out (−.0008).
"""

OTHER_FORM = 0.5
"""What a query's word counts in the form of a language that the query does not seem to be in."""

WHOLE = 0.5
"""What the whole of an identifier counts in a query, whose parts are asked for as well."""
