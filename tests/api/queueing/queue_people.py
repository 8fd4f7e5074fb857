"""The owner of the data, or a worker, as a process of its own: `queue_people.py owner|worker DATA JOBS LOG`.

The model's vectors are sums of fixed vectors of words, and each document takes a while, so that a worker can
be killed in the middle. What the owner commits and what a worker embeds is written to LOG, a line each.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latewood.api import worker
from latewood.api.cli import serve
from latewood.embedder.types import Embedder, Floats, ModelDescription, Offsets, SpannedText, Task
from latewood.engine.library import Service
from latewood.engine.settings import Settings
from latewood.ingest.index import commit

DIMENSION = 16
SECONDS = float(os.environ.get("SECONDS_A_DOCUMENT", "0.05"))


def note(log: Path, words: str) -> None:
    """One line, in one write."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(handle, f"{words}\n".encode())
    os.close(handle)


class SlowWords:
    """A text's vector is the normalised sum of one fixed vector per word."""

    description = ModelDescription("words", "1", "mean", 512, (DIMENSION,), "none", "any", 1.0)
    fingerprint: Mapping[str, str] = {"model": "words"}
    recorded: Mapping[str, str] = {"context": "1.0"}
    dimension = DIMENSION
    attention = "none"

    def __init__(self, log: Path) -> None:
        self._log = log

    def token_offsets(self, text: str) -> Offsets:
        spans = [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]
        return np.array(spans, dtype=np.int64).reshape(-1, 2)

    def embed_documents(
        self,
        documents: Sequence[SpannedText],
        stop: Callable[[], bool] = lambda: False,
        progress: Callable[[float], object] | None = None,
    ) -> list[Floats]:
        found = []
        for document in documents:
            time.sleep(SECONDS)
            note(self._log, f"embedded {os.getpid()} {document.text.split()[0]}")
            found.append(
                np.stack([self._vector(document.text[span.start : span.end]) for span in document.spans])
            )
        return found

    def embed_texts(self, texts: Sequence[str], task: Task) -> Floats:
        return np.stack([self._vector(text) for text in texts])

    def close(self) -> None:
        """Nothing is held."""

    def _vector(self, text: str) -> Floats:
        total = np.full(DIMENSION, 1e-3, dtype=np.float32)
        for word in re.findall(r"\w+", text.lower()):
            seed = int.from_bytes(word.encode()[:8].ljust(8, b"\0"), "big")
            total += np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)
        return total / np.linalg.norm(total)


def ready(name: str) -> None:
    """Say on stdout that it has begun."""
    sys.stdout.write(f"{name}\n")
    sys.stdout.flush()


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as the command line does
    role, data, jobs, log = sys.argv[1], Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
    commit_all = commit.commit

    def committed(store: Any, written: Sequence[commit.Written]) -> list[bool]:
        won = commit_all(store, written)
        for one, ok in zip(written, won, strict=True):
            if ok:
                note(log, f"committed {os.getpid()} {one.info.uri}")
        return won

    commit.commit = committed
    words = SlowWords(log)

    def embedder(self: Service, index_model: str | None) -> Embedder:
        self._embedders.setdefault("words", words)
        return words

    Service.embedder = embedder  # type: ignore[method-assign]
    settings = Settings(data=data, jobs=jobs, port=0, worker_seconds=3)
    if role == "owner":
        serve.serve_forever(settings, ready)
    else:
        worker.work(settings, ready, until_idle=False)


if __name__ == "__main__":
    main()
