"""The report's tables: every row of a set that was scored, the same numbers as the command gives."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from benchmarks import report
from latewood.embedder.types import Floats, ModelDescription, Offsets, SpannedText, Task
from latewood.evaluation.configuration import Configuration
from latewood.evaluation.datasets import read_dataset
from latewood.evaluation.workbench import Workbench

TEXTS = {
    "ferry": "The ferry carries forty cars.",
    "seals": "Seals sleep far out.",
    "fares": "A bicycle is free.",
}
ASKED = {"1": "cars on the ferry", "2": "where do seals sleep", "3": "bicycle"}


class Letters:
    """A model whose vectors count letters."""

    description = ModelDescription("letters", "1", "mean", 512, (26,), "none", "any", 0.5)
    fingerprint: Mapping[str, str] = {"model": "letters"}
    recorded: Mapping[str, str] = {"context": "0.5"}

    def token_offsets(self, text: str) -> Offsets:
        return np.array([[at, at + 1] for at in range(len(text))], dtype=np.int64)

    def embed_documents_both(self, documents: list[SpannedText]) -> list[tuple[Floats, Floats]]:
        alone = [
            self.embed_texts([one.text[span.start : span.end] for span in one.spans], Task.PASSAGE)
            for one in documents
        ]
        return [(vectors, vectors) for vectors in alone]

    def embed_texts(self, texts: list[str], _task: Task) -> Floats:
        counts = [[1e-3 + text.lower().count(chr(97 + at)) for at in range(26)] for text in texts]
        vectors = np.array(counts, dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def boats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "boats"
    (folder / "qrels").mkdir(parents=True)
    for name, of in (("corpus", TEXTS), ("queries", ASKED)):
        lines = (json.dumps({"_id": key, "text": text}) for key, text in of.items())
        (folder / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (folder / "qrels" / "dev.tsv").write_text("q\td\ts\n1\tferry\t1\n2\tseals\t1\n3\tfares\t1\n", "utf-8")

    @contextlib.contextmanager
    def on(_settings: object, dataset: str, split: str, unit: str, cache: Path) -> Iterator[Workbench]:
        yield Workbench(read_dataset(Path(dataset), split), Letters(), cache, unit)

    monkeypatch.setattr(report, "bench_on", on)
    monkeypatch.chdir(tmp_path)
    return folder


def test_a_set_has_its_row_in_both_tables(boats: Path, tmp_path: Path) -> None:
    found = report.report(str(boats), tmp_path)
    bench = Workbench(read_dataset(boats), Letters(), tmp_path)
    tried = (
        Configuration("bm25"),
        Configuration(context=1.0),
        Configuration(method="convex", context=0.5),
    )
    bm25, hybrid, convex = (bench.row(one).scores["ndcg@10"] for one in tried)
    assert found.rows[0].mean == bm25 == found.bm25s == 1.0  # the words are there
    assert found.row("hybrid", 1.0).mean == hybrid
    assert found.row("convex", 0.5).mean == convex
    means, differences = (table.splitlines() for table in report.tables([found]).split("\n\n"))
    assert means[0].startswith(
        "| set | unit | questions | BM25 | bm25s | dense 0 | dense ½ | dense 1 | hybrid 0 |"
    )
    assert means[2].startswith("| boats | document | 3 | 1.000 | 1.000 |")
    assert len(means) == len(differences) == 3
    assert {line.count("|") for line in means} == {14}
    assert {line.count("|") for line in differences} == {10}


def test_numbers_are_written_with_their_sign_and_without_the_zero(boats: Path, tmp_path: Path) -> None:
    differences = report.tables([report.report(str(boats), tmp_path)]).splitlines()[-1]
    assert "0." not in differences.replace("1.", "")
    for cell in differences.strip("| ").split(" | ")[1:]:
        assert cell[0] in "+−"
        assert cell.count("[") == cell.count("]") == 1
