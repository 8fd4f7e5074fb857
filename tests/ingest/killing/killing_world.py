"""A small corpus whose every version can be told by a word, and an index that is cheap and foretold."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from latewood.embedder.types import Floats, ModelDescription, Offsets, SpannedText, Task
from latewood.ingest.parsing.sandbox.protocol import ParsedFile, Unchanged
from latewood.ingest.pipeline import Index
from latewood.ingest.report import Report
from latewood.ingest.sync import SyncOptions, Work, sync
from latewood.ingest.types import Parsed
from latewood.search.analysis.analyzer import Analyzer
from latewood.search.stores.base import Store
from latewood.search.types import FileStamp, IndexConfig

DIMENSION = 16
CONFIG = IndexConfig((DIMENSION,), {"model": "words"})
ANALYZER = Analyzer()
CHUNK_TOKENS = 16


def mark(name: str, version: int) -> str:
    """A word that stands in every passage of this version of this text and nowhere else."""
    return f"{name}q{version}x"


def text(name: str, version: int, sentences: int = 4) -> str:
    """Prose of about `sentences` passages."""
    return "\n\n".join(
        f"The {mark(name, version)} keeper of light {number} counts boats, gulls, seals at noon, then rests."
        for number in range(sentences + version)
    )


EMPTY: dict[str, str] = {}
BEFORE = {name: text(name, 1) for name in ("heron", "gull", "seal", "whale", "crab")}
"""What is there first."""
AFTER = {
    "heron": text("heron", 2, 6),  # updated, and longer
    "gull": BEFORE["gull"],  # touched
    "crab": text("crab", 2, 1),  # updated, and shorter
    "otter": BEFORE["seal"],  # seal renamed
    "tern": text("tern", 1, 2),  # new; whale is removed
}
VERSIONS: dict[str, set[str]] = {
    name: {state[name] for state in (BEFORE, AFTER) if name in state} for name in {*BEFORE, *AFTER}
}
MOVED = frozenset({"seal", "otter"})
"""A rename: at every moment at least one of the two is there, once one was."""


class WordVectors:
    """An embedder: words are tokens, a passage's vector is the normalised sum of one vector per word."""

    description = ModelDescription("words", "1", "mean", 512, (DIMENSION,), "none", "any", 1.0)
    fingerprint: Mapping[str, str] = {"model": "words"}
    recorded: Mapping[str, str] = {"context": "1.0"}
    dimension = DIMENSION

    def token_offsets(self, text: str) -> Offsets:
        spans = [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]
        return np.array(spans, dtype=np.int64).reshape(-1, 2)

    def embed_documents(
        self,
        documents: Sequence[SpannedText],
        stop: Callable[[], bool] = lambda: False,
        progress: Callable[[float], object] | None = None,
    ) -> list[Floats]:
        return [
            np.stack([vector(document.text[span.start : span.end]) for span in document.spans])
            for document in documents
        ]

    def embed_texts(self, texts: Sequence[str], task: Task) -> Floats:
        return np.stack([vector(text) for text in texts])

    def close(self) -> None:
        """Nothing is held."""


def vector(passage: str) -> Floats:
    """(DIMENSION,) float32 unit."""
    total = np.full(DIMENSION, 1e-3, dtype=np.float32)
    for word in re.findall(r"\w+", passage.lower()):
        total += _of_word(word)
    return np.asarray(total / np.linalg.norm(total), dtype=np.float32)


@lru_cache(maxsize=4096)
def _of_word(word: str) -> Floats:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)


class InlinePool:
    """Reads text files in this process: a parser's children would take longer than all the rest."""

    def parse(self, path: str, known_hash: str | None = None, member: str | None = None) -> object:
        assert member is None, "no archives here"
        status = Path(path).stat()
        body = Path(path).read_bytes()
        stamp = FileStamp(
            status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, time.time_ns()
        )
        digest = hashlib.sha256(body).hexdigest()
        if digest == known_hash:
            return Unchanged(digest, stamp)
        content = body.decode()
        parsed = Parsed(Path(path).stem, "txt", content, (), {"digest": digest})
        return ParsedFile(parsed, digest, stamp)


def put(folder: Path, state: Mapping[str, str]) -> None:
    """Make the folder hold exactly this; what stays is touched, what has another's text is renamed."""
    folder.mkdir(exist_ok=True)
    held = {path.stem: path.read_text() for path in folder.glob("*.txt")}
    for name in held.keys() - state.keys():
        heirs = [other for other in state if state[other] == held[name] and other not in held]
        if heirs:
            (folder / f"{name}.txt").rename(folder / f"{heirs[0]}.txt")
            held[heirs[0]] = held[name]
        else:
            (folder / f"{name}.txt").unlink()
    for name, content in state.items():
        path = folder / f"{name}.txt"
        if held.get(name) != content:
            path.write_text(content)
        else:
            os.utime(path)


def index_on(store: Store) -> Index:
    """An index to ingest into."""
    return Index("default", "default", store, WordVectors, ANALYZER, CHUNK_TOKENS)


def run_sync(open_store: Callable[[], Store], folder: Path) -> Report:
    """One ingest of the folder."""
    work = Work(InlinePool(), lambda report: None, lambda: False)  # type: ignore[arg-type]
    return sync(lambda: index_on(open_store()), str(folder), SyncOptions(allow_empty=True), work)
