"""unstructured without spaCy: a stand-in for its tokenizer module, which would download a model.

unstructured asks for sentences, words and part-of-speech tags only to tell prose from headings. Its own
module loads spaCy and fetches a model from a code host on first use; this one answers from rules. It takes
the place of an internal module, so the version is pinned and a test fails when the module moves.
"""

from __future__ import annotations

import os
import re
import sys
import types

MODULE = "unstructured.nlp.tokenize"
_SENTENCE_END = re.compile(r"(?<=[.!?。！？؟।])[\"'”’)\]]*\s+(?=\S)|(?<=[。！？])")
_WORD = re.compile(r"\w+|[^\w\s]")
_VERB_ENDINGS = ("ed", "ing", "ize", "izes", "ise", "ises", "ates", "ifies")
_VERB_LIST = (
    "am are is was were be been being do does did has have had having can could may might must shall should "
    "will would go goes went come comes came get gets got give gives gave keep keeps kept know knows knew "
    "let lets make makes made need needs put puts read reads run runs ran say says said see sees saw set "
    "sets show shows take takes took tell tells told think thinks use uses want wants write writes wrote "
    "allow allows contain contains describe describes explain explains hold holds include includes "
    "provide provides return returns"
)
_VERBS = frozenset(_VERB_LIST.split())


def sent_tokenize(text: str) -> list[str]:
    """Sentences, by their closing marks."""
    return [sentence for sentence in _SENTENCE_END.split(str(text)) if sentence]


def word_tokenize(text: str) -> list[str]:
    """Words and single marks."""
    return _WORD.findall(str(text))


def pos_tag(text: str) -> list[tuple[str, str]]:
    """Each word tagged `VB` if it looks like an English verb, else `NN`."""
    return [(word, "VB" if _verb(word.lower()) else "NN") for word in word_tokenize(text)]


def _verb(word: str) -> bool:
    return word in _VERBS or (len(word) > 4 and word.endswith(_VERB_ENDINGS))


def install() -> None:
    """Put the stand-in in place and switch off telemetry; before anything of unstructured is imported.

    Raises:
        RuntimeError: unstructured's own tokenizer is already loaded.
    """
    os.environ["DO_NOT_TRACK"] = "1"
    os.environ["UNSTRUCTURED_DISABLE_NOTICE"] = "1"
    loaded = sys.modules.get(MODULE)
    if loaded is not None:
        if getattr(loaded, "sent_tokenize", None) is sent_tokenize:
            return
        raise RuntimeError(f"{MODULE} was imported before its stand-in was installed")
    module = types.ModuleType(MODULE, "Latewood's stand-in.")
    for function in (sent_tokenize, word_tokenize, pos_tag):
        setattr(module, function.__name__, function)
    sys.modules[MODULE] = module
