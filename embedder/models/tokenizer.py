"""Text to token ids and character offsets, for texts of any length and any content."""

from __future__ import annotations

import json
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latewood.embedder.types import CheckpointError, Offsets

# Its thread pool gains little beside the model, and makes later forks of this process print warnings.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from tokenizers import Encoding, Tokenizer, normalizers

UNENCODABLE = re.compile("[\0\ud800-\udfff]")
LONGEST_PIECE = 200_000  # characters: an Encoding takes some hundred bytes a token
CUT_SEARCH = 10_000  # characters to look back for a space; a script without spaces is cut where it stands
KEPT_TOKENS = 500_000  # of the latest texts: about 10 MB, several batches of an ingest


@dataclass(frozen=True, slots=True)
class Tokens:
    """A tokenised text, without special tokens.

    Attributes:
        ids: (n,) int32, read-only.
        offsets: (n, 2) int64, str indices into the text, end exclusive; read-only.
        prompt: (k,) int32, ids of the prompt that was tokenised with the text; read-only.
    """

    ids: NDArray[np.int32]
    offsets: Offsets
    prompt: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, dtype=np.int32))

    def __post_init__(self) -> None:
        for array in (self.ids, self.offsets, self.prompt):
            array.flags.writeable = False  # the cache gives the same arrays to every caller

    def __len__(self) -> int:
        return len(self.ids)


class TextTokenizer:
    """A model's own tokenizer. Safe to call from many threads.

    An ingest asks for each text twice, once to cut it and once to embed it: the latest ones are remembered.

    Attributes:
        head: special tokens that stand before every input, int32.
        tail: special tokens that stand after it, int32.
        marks_words: whether a word has the same tokens at the start of a text and behind a space, as with
            WordPiece and SentencePiece; not with most byte-level BPE.
    """

    def __init__(self, folder: Path, *, lowercase: bool = False) -> None:
        """Read `tokenizer.json`; with `lowercase`, lower the case of every text first.

        Raises:
            CheckpointError: the file is missing or broken.
        """
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise CheckpointError(f"{path} is missing: copy it from the model's repository into that folder")
        content = path.read_text(encoding="utf-8")
        try:
            json.loads(content)
        except ValueError as error:
            raise CheckpointError(f"{path} is not JSON ({error}): copy it again") from error
        self._tokenizer = Tokenizer.from_str(content)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        if lowercase:
            parts = [normalizers.Lowercase(), self._tokenizer.normalizer]
            self._tokenizer.normalizer = normalizers.Sequence([part for part in parts if part is not None])
        self._latest = _Latest()
        self.head, self.tail = self._special_tokens()
        once, twice = (self._tokenizer.encode(text, add_special_tokens=False).ids for text in ("a", "a a"))
        self.marks_words = twice == 2 * once

    def encode(self, text: str, prompt: str = "") -> Tokens:
        """Tokenise one text. Arguments as of `encode_all`."""
        return self.encode_all([text], prompt)[0]

    def encode_all(self, texts: Sequence[str], prompt: str = "") -> list[Tokens]:
        """Tokenise each text behind a prompt. NUL and lone surrogates count as U+FFFD.

        Prompt and text are one string to the tokenizer, as in training: most BPE tokenizers have one token
        for a word with the space before it and another for the word alone.

        Args:
            texts: of any length.
            prompt: the string before each text, or nothing.

        Returns:
            Tokens of each text. Offsets are into the text as given. A token that holds characters of both
            prompt and text belongs to the text.
        """
        known = self._latest.of(prompt, texts)
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            encoded = self._encode_all([prompt + text for text in new])
            made = dict(zip(new, (self._behind(prompt, tokens) for tokens in encoded), strict=True))
            self._latest.keep(prompt, made)
            known |= made
        return [known[text] for text in texts]

    def joins(self, prompt: str) -> bool:
        """Return whether a text behind this prompt has other tokens than the two apart."""
        together = self.encode("a", prompt)
        apart = [self.encode(prompt.rstrip()).ids, self.encode("a").ids]
        return not np.array_equal(np.concatenate([together.prompt, together.ids]), np.concatenate(apart))

    def prompt_length(self, prompt: str) -> int:
        """Return how many tokens sentence-transformers counts as the prompt, with special tokens before it.

        It tokenises the prompt alone and drops one special token at the end. Where the last space of the
        prompt is a token of its own there, but none before a word, the count includes the text's first token.
        """
        ids = self._tokenizer.encode(prompt, add_special_tokens=True).ids
        added = self._tokenizer.get_added_tokens_decoder()
        ends_special = bool(ids) and ids[-1] in added and added[ids[-1]].special
        return len(ids) - ends_special

    def _encode_all(self, texts: Sequence[str]) -> list[Tokens]:
        starts: list[int] = []
        pieces: list[str] = []
        counts: list[int] = []
        for text in texts:
            before = len(pieces)
            for start, piece in _pieces(UNENCODABLE.sub("\ufffd", text)):
                starts.append(start)
                pieces.append(piece)
            counts.append(len(pieces) - before)
        parts: list[Tokens] = []
        for group in _groups(pieces):
            encodings = self._tokenizer.encode_batch(pieces[group], add_special_tokens=False)
            parts += [_tokens(*part) for part in zip(encodings, starts[group], strict=True)]
        ends = np.cumsum(counts)
        return [_join(parts[end - count : end]) for count, end in zip(counts, ends, strict=True)]

    def _behind(self, prompt: str, tokens: Tokens) -> Tokens:
        """Split the tokens of prompt and text; offsets count from the start of the text."""
        if not prompt:
            return tokens
        length, ends = len(prompt), tokens.offsets[:, 1]
        if not (ends > length).any():  # nothing of the text has a token
            return Tokens(tokens.ids[:0], tokens.offsets[:0], tokens.ids)
        # The mark of the text's first word may lie on the prompt's last space. It is the text's: the text has
        # it without a prompt, too.
        first = int(np.argmax(ends > len(prompt.rstrip(" ") if self.marks_words else prompt)))
        offsets = np.maximum(tokens.offsets[first:] - length, (0, 1))
        return Tokens(tokens.ids[first:], offsets, tokens.ids[:first])

    def pair(self) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
        """Special tokens of two texts put together: before the first, between them, after the second; int32.

        Raises:
            CheckpointError: the tokenizer does not say how it joins two texts.
        """
        bare = self._tokenizer.encode("a", add_special_tokens=False).ids
        whole = self._tokenizer.encode("a", "a", add_special_tokens=True).ids
        places = [at for at in range(len(whole)) if whole[at : at + len(bare)] == bare]
        if len(places) != 2 or places[1] == places[0] + len(bare):
            raise CheckpointError(
                f"the tokenizer joins 'a' and 'a' to {whole}, with nothing between them: it is none of a "
                "cross-encoder. Copy tokenizer.json from the model's repository"
            )
        first, second = places
        parts = whole[:first], whole[first + len(bare) : second], whole[second + len(bare) :]
        head, middle, tail = (np.array(part, dtype=np.int32) for part in parts)
        return head, middle, tail

    def _special_tokens(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        bare = self._tokenizer.encode("a", add_special_tokens=False).ids
        whole = self._tokenizer.encode("a", add_special_tokens=True).ids
        for start in range(len(whole) - len(bare) + 1):
            if whole[start : start + len(bare)] == bare:
                head, tail = whole[:start], whole[start + len(bare) :]
                return np.array(head, dtype=np.int32), np.array(tail, dtype=np.int32)
        raise CheckpointError(
            f"the tokenizer turns 'a' into {bare} and, with special tokens, into {whole}: it is broken"
        )


class _Latest:
    """The tokens of the latest prompts and texts, KEPT_TOKENS together at most. Safe to share by threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], Tokens] = OrderedDict()
        self._tokens = 0

    def of(self, prompt: str, texts: Sequence[str]) -> dict[str, Tokens]:
        """Return those of these texts that are remembered with this prompt."""
        with self._guard:
            return {text: self._kept[prompt, text] for text in texts if (prompt, text) in self._kept}

    def keep(self, prompt: str, made: Mapping[str, Tokens]) -> None:
        """Remember these, unless one alone is too long; the oldest go first."""
        with self._guard:
            for text, tokens in made.items():
                if (prompt, text) not in self._kept and len(tokens) <= KEPT_TOKENS:
                    self._kept[prompt, text] = tokens
                    self._tokens += len(tokens)
            while self._tokens > KEPT_TOKENS:
                self._tokens -= len(self._kept.popitem(last=False)[1])


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """Cut a long text before a space, where a tokenizer begins a new word anyway."""
    start = 0
    while len(text) - start > LONGEST_PIECE:
        end = start + LONGEST_PIECE
        # A space after a letter: runs of spaces are one to a tokenizer and stay together.
        borders = (
            at for at in range(end, end - CUT_SEARCH, -1) if text[at].isspace() > text[at - 1].isspace()
        )
        cut = next(borders, end)
        yield start, text[start:cut]
        start = cut
    yield start, text[start:]


def _groups(pieces: Sequence[str]) -> Iterator[slice]:
    """Runs of pieces small enough to hold all their Encodings at once."""
    first, characters = 0, 0
    for index, piece in enumerate(pieces):
        characters += len(piece)
        if characters >= LONGEST_PIECE:
            yield slice(first, index + 1)
            first, characters = index + 1, 0
    if first < len(pieces):
        yield slice(first, len(pieces))


def _tokens(encoding: Encoding, start: int) -> Tokens:
    ends = chain.from_iterable(encoding.offsets)
    offsets = np.fromiter(ends, dtype=np.int64, count=2 * len(encoding)).reshape(-1, 2)
    return Tokens(np.array(encoding.ids, dtype=np.int32), offsets + start)


def _join(parts: Sequence[Tokens]) -> Tokens:
    if len(parts) == 1:
        return parts[0]
    return Tokens(
        np.concatenate([part.ids for part in parts]), np.concatenate([part.offsets for part in parts])
    )
