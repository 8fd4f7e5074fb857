"""`latewood evaluate` with the bundled model: what it prints and writes, and what bad input gets."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from latewood.api.cli.main import app

TEXTS = {
    "ferry": ("Ferry", "The ferry leaves the harbour at nine and carries forty cars."),
    "seals": ("Seals", "Seals sleep on the skerries, far from any harbour."),
    "fares": ("Fares", "A bicycle travels for two crowns; children travel free."),
}


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    folder = tmp_path / "boats"
    (folder / "qrels").mkdir(parents=True)
    corpus = [{"_id": key, "title": title, "text": text} for key, (title, text) in TEXTS.items()]
    queries = [{"_id": "1", "text": "How many vehicles fit on the boat?"}, {"_id": "2", "text": "bicycle"}]
    for name, lines in (("corpus", corpus), ("queries", queries)):
        body = "\n".join(map(json.dumps, lines))
        (folder / f"{name}.jsonl").write_text(body, encoding="utf-8")
    (folder / "qrels" / "dev.tsv").write_text("q\td\ts\n1\tferry\t1\n2\tfares\t1\n", encoding="utf-8")
    return folder


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run a command in an empty folder; checks the exit code, gives the JSON and what went to stderr."""
    monkeypatch.setenv("LATEWOOD_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("LATEWOOD_MODEL", "sentence-transformers/all-MiniLM-L6-v2")
    monkeypatch.setenv("LATEWOOD_DTYPE", "float32")
    monkeypatch.chdir(tmp_path)

    def command(*args: str | Path, code: int = 0) -> Any:
        done = CliRunner().invoke(app, ["evaluate", *map(str, args), "--json"])
        assert done.exit_code == code, done.output + done.stderr
        return json.loads(done.stdout)

    return command


def test_every_mode_is_scored_and_nothing_but_a_cache_is_left(
    run: Callable[..., Any], judged: Path, tmp_path: Path
) -> None:
    found = run(judged, "--context", "0,1", "--fusion", "rrf", "--csv", "rows.csv", "--runs", "runs")
    assert found["dataset"] == "boats"
    tried = [(row["mode"], row["fusion"], row["context"]) for row in found["rows"]]
    assert tried == [
        ("bm25", None, None),
        ("dense", None, 0.0),
        ("dense", None, 1.0),
        ("hybrid", "rrf", 0.0),
        ("hybrid", "rrf", 1.0),
    ]
    for row in found["rows"]:
        assert {"unit", "ndcg@10", "recall@10", "recall@100", "mrr@10", "queries", "latency_ms"} <= row.keys()
        assert row["queries"] == 2
    assert found["rows"][1]["ndcg@10"] == 1.0  # the model knows what a vehicle is
    assert found["rows"][0]["ndcg@10"] == 0.5  # words alone do not
    with (tmp_path / "rows.csv").open(encoding="utf-8", newline="") as file:
        assert [float(row["ndcg@10"]) for row in csv.DictReader(file)] == [
            row["ndcg@10"] for row in found["rows"]
        ]
    assert len(list((tmp_path / "runs").glob("*.trec"))) == 5
    first = (tmp_path / "runs" / "dense-document-context0-dim384-tokens256.trec").read_text(encoding="utf-8")
    assert first.startswith("1 Q0 ferry 1 ")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["cache"]


def test_a_cache_can_stand_elsewhere_and_is_used_again(
    run: Callable[..., Any], judged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = run(judged, "--cache", tmp_path / "kept")
    assert not (tmp_path / "data").exists()
    from latewood.embedder.serving.engine import LocalEmbedder

    monkeypatch.setattr(LocalEmbedder, "embed_documents_both", None)
    twice = run(judged, "--cache", tmp_path / "kept")
    assert [row["ndcg@10"] for row in once["rows"]] == [row["ndcg@10"] for row in twice["rows"]]


def test_people_get_a_table(run: Callable[..., Any], judged: Path) -> None:
    done = CliRunner().invoke(app, ["evaluate", str(judged), "--modes", "bm25"])
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[0] == "boats:"
    assert "ndcg@10" in done.stdout
    assert "0.5000" in done.stdout


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--modes", "bm25,fuzzy"], "--modes 'fuzzy' is not known; one or more of: hybrid, dense, bm25"),
        (["--modes", ""], "--modes '' is not known"),
        (["--fusion", "best"], "fusion method 'best' is not known"),
        (["--context", "half"], "--context 'half' must be numbers divided by commas"),
        (["--context", "2"], "context is 2.0; it must be from 0 to 1"),
        (["--dimensions", "100"], "dimension 100 is not a size of sentence-transformers"),
        (["--chunk-tokens", "3"], "chunk_tokens is 3; it must be from 16 to 4096"),
        (["--unit", "page"], "unit 'page' is not known; one of: document, passage"),
        (["--unit", "passage"], "boats cannot be scored by passage"),
        (["--unit", "passage", "--chunk-tokens", "64"], "--chunk-tokens has no meaning with --unit passage"),
        (["--tenant", "../x"], "tenant"),
    ],
)
def test_wrong_use_is_refused_with_what_is_known(
    run: Callable[..., Any], judged: Path, options: list[str], complaint: str
) -> None:
    assert complaint in run(judged, *options, code=2)["error"]["message"]


def test_what_is_missing_or_broken_is_named(run: Callable[..., Any], judged: Path, tmp_path: Path) -> None:
    assert run("nowhere", code=3)["error"]["code"] == "dataset_not_found"
    assert "splits there: dev" in run(judged, "--split", "test", code=3)["error"]["message"]
    blocked = tmp_path / "file"
    blocked.write_text("", encoding="utf-8")
    assert run(judged, "--cache", blocked, code=3)["error"]["code"] == "file_unavailable"
    with (judged / "queries.jsonl").open("a", encoding="utf-8") as file:
        file.write("\n{")
    assert "queries.jsonl, line 3: not JSON" in run(judged, code=2)["error"]["message"]


def test_a_model_that_is_not_there_is_named(
    run: Callable[..., Any], judged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATEWOOD_MODEL", "nobody/knows")
    found = run(judged, code=3)["error"]
    assert found["code"] == "model_unavailable"
    assert "nobody/knows" in found["message"]
