"""A model whose vectors are words, a small judged set, and where shared data may lie."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latewood.embedder.types import Floats, ModelDescription, Offsets, SpannedText, Task

ROOT = Path(__file__).resolve().parents[2]
DIMENSION = 16


@cache
def fixed(word: str) -> Floats:
    seed = int.from_bytes(word.encode()[:8].ljust(8, b"\0"), "big")
    return np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)


def unit(vector: Floats) -> Floats:
    return (vector / np.linalg.norm(vector)).astype(np.float32)


class WordEmbedder:
    """Words are tokens; a text's vector is the sum of its words'; within a document, half the document's."""

    description = ModelDescription("words", "1", "mean", 512, (DIMENSION, 8), "none", "any", 0.5)
    recorded: Mapping[str, str] = {"window": "512", "context": "0.5"}

    def __init__(self, name: str = "words") -> None:
        self.fingerprint: Mapping[str, str] = {"model": name}
        self.documents: list[str] = []
        self.queries: list[str] = []
        self.breaks_at = ""

    def token_offsets(self, text: str) -> Offsets:
        spans = [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]
        return np.array(spans, dtype=np.int64).reshape(-1, 2)

    def embed_documents_both(self, documents: Sequence[SpannedText]) -> list[tuple[Floats, Floats]]:
        if self.breaks_at and any(self.breaks_at in document.text for document in documents):
            raise KeyboardInterrupt
        self.documents += [document.text for document in documents]
        ends = []
        for document in documents:
            alone = np.stack([self.vector(document.text[one.start : one.end]) for one in document.spans])
            late = np.stack([unit(row + self.vector(document.text)) for row in alone])
            ends.append((alone, late))
        return ends

    def embed_texts(self, texts: Sequence[str], task: Task) -> Floats:
        assert task is Task.QUERY
        self.queries += texts
        return np.stack([self.vector(text) for text in texts])

    def vector(self, text: str) -> Floats:
        total = np.full(DIMENSION, 1e-3, dtype=np.float32)
        for word in re.findall(r"\w+", text.lower()):
            total += fixed(word)
        return unit(total)


@pytest.fixture
def embedder() -> WordEmbedder:
    return WordEmbedder()


@pytest.fixture
def other_embedder() -> WordEmbedder:
    return WordEmbedder("other")


def write_lines(path: Path, objects: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in objects), encoding="utf-8")


def write_tsv(path: Path, rows: Sequence[tuple[str, str, int]]) -> None:
    path.parent.mkdir(exist_ok=True)
    body = "".join(f"{query}\t{judged}\t{score}\n" for query, judged, score in rows)
    path.write_text("query-id\tcorpus-id\tscore\n" + body, encoding="utf-8")


FERRY = "The ferry leaves at nine.\n\nIt carries forty cars.\n\nDogs travel free of charge."
STORM = "A storm closed the harbour.\n\nThe harbour opened again on Monday."
TEXTS = {"ferry": FERRY, "storm": STORM, "other": "Tickets are sold on the pier."}


@pytest.fixture
def spanned_set(tmp_path: Path) -> Path:
    """Three documents, four questions of which three are judged, spans and passages."""
    folder = tmp_path / "boats"
    folder.mkdir()
    write_lines(
        folder / "corpus.jsonl",
        [{"_id": key, "title": key.title(), "text": text} for key, text in TEXTS.items()],
    )
    questions = {"q1": "How many cars?", "q2": "harbour closed", "q3": "dogs", "q4": "not judged"}
    write_lines(folder / "queries.jsonl", [{"_id": key, "text": text} for key, text in questions.items()])
    write_tsv(folder / "qrels" / "dev.tsv", [("q1", "ferry", 2), ("q2", "storm", 1), ("q3", "ferry", 1)])
    write_lines(
        folder / "passages.jsonl",
        [
            {"_id": f"{key}-{number}", "doc_id": key, "start": found.start(), "end": found.end()}
            for key, text in TEXTS.items()
            for number, found in enumerate(re.finditer(r"[^\n]+", text))
        ],
    )
    write_tsv(
        folder / "qrels_passage" / "dev.tsv",
        [("q1", "ferry-1", 1), ("q2", "storm-0", 1), ("q3", "ferry-2", 1)],
    )
    spans = [("q1", "ferry", "forty cars"), ("q2", "storm", "A storm"), ("q3", "ferry", "free")]
    write_lines(
        folder / "spans.jsonl",
        [
            {
                "query_id": query,
                "doc_id": key,
                "start": TEXTS[key].index(quote),
                "end": TEXTS[key].index(quote) + len(quote),
            }
            for query, key, quote in spans
        ],
    )
    return folder


@pytest.fixture
def make_set(tmp_path: Path) -> Callable[..., Path]:
    """Writes a set in the plain BEIR layout, without offsets."""

    def make(
        name: str,
        documents: Sequence[Mapping[str, str]],
        queries: Mapping[str, str],
        judged: Sequence[tuple[str, str, int]],
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        write_lines(folder / "corpus.jsonl", documents)
        write_lines(folder / "queries.jsonl", [{"_id": key, "text": text} for key, text in queries.items()])
        write_tsv(folder / "qrels" / "dev.tsv", judged)
        return folder

    return make


@pytest.fixture
def plain_set(make_set: Callable[..., Path]) -> Path:
    """Documents with titles, one of them without text."""
    documents = [
        {"_id": "a", "title": "Seals", "text": "They sleep on the rocks."},
        {"_id": "b", "title": "Charging", "text": "Charging the ship takes an hour."},
        {"_id": "c", "title": "", "text": "  "},
    ]
    return make_set("plain", documents, {"1": "seals"}, [("1", "a", 1)])


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """A development set beside the repository; the test is skipped where there is none."""

    def find(name: str) -> Path:
        folder = ROOT.parent / "shared" / "data" / name
        if not folder.is_dir():
            pytest.skip("no data")
        return folder

    return find


@pytest.fixture(scope="session")
def samples() -> Path:
    return ROOT / "api" / "samples" / "judged"
