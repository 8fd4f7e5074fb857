"""`latewood parity`: int8 serves once it was shown to rank as well, and only then."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from latewood.api.cli.main import app
from latewood.embedder.models.registry import MINILM
from latewood.embedder.quantization.int8 import missing_for_int8
from latewood.embedder.types import Task
from latewood.engine import permitted
from latewood.engine.models import Models
from latewood.engine.settings import load

TEXTS = {
    "ferry": "The ferry leaves the harbour at nine and carries forty cars. " * 8,
    "seals": "Seals sleep on the skerries, far from any harbour. " * 8,
    "fares": "A bicycle travels for two crowns; children travel free. " * 8,
}
QUERIES = {"1": "How many vehicles fit on the boat to the island?", "2": "What does a bicycle cost?"}
needs_int8 = pytest.mark.skipif(bool(missing_for_int8()), reason=f"needs {missing_for_int8()}")


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    folder = tmp_path / "boats"
    (folder / "qrels").mkdir(parents=True)
    corpus = [{"_id": key, "title": key, "text": text} for key, text in TEXTS.items()]
    queries = [{"_id": key, "text": text} for key, text in QUERIES.items()]
    for name, lines in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    (folder / "qrels" / "dev.tsv").write_text("q\td\ts\n1\tferry\t1\n2\tfares\t1\n", encoding="utf-8")
    return folder


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LATEWOOD_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("LATEWOOD_MODEL", MINILM.name)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


@pytest.fixture
def parity(data: Path, judged: Path) -> Callable[..., Any]:
    def command(*args: str, code: int = 0) -> Any:
        done = CliRunner().invoke(app, ["parity", str(judged), *args, "--json"])
        assert done.exit_code == code, done.output + done.stderr
        return json.loads(done.stdout)

    return command


def served(monkeypatch: pytest.MonkeyPatch) -> str:
    """The dtype that a question is embedded in with `DTYPE=int8`."""
    monkeypatch.setenv("LATEWOOD_DTYPE", "int8")
    models = Models(load())
    try:
        embedder = models.named(MINILM.name)
        assert embedder.embed_texts(["ferry"], Task.QUERY).shape == (1, 384)
        return embedder.recorded["dtype"]
    finally:
        models.close()
        monkeypatch.delenv("LATEWOOD_DTYPE")


@needs_int8
def test_int8_serves_once_it_ranks_as_well_and_not_before(
    parity: Callable[..., Any], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(permitted.NotMeasuredError, match="latewood parity DATASET --dtype int8"):
        served(monkeypatch)
    tried = parity("--dry-run", "--cosine", "0.995")
    assert (tried["holds"], tried["permitted"]) == (True, False)
    assert not (data / permitted.FILE).exists()
    missed = parity("--cosine", "1", code=1)
    assert (missed["holds"], missed["permitted"]) == (False, False)
    assert "below 1.0" in missed["failures"][0]
    with pytest.raises(permitted.NotMeasuredError):
        served(monkeypatch)

    found = parity("--cosine", "0.995")
    assert (found["holds"], found["permitted"], found["failures"]) == (True, True, [])
    assert (found["dataset"], found["model"], found["dtype"]) == ("boats", MINILM.name, "int8")
    assert found["questions"] == 2
    assert 0.995 < found["cosine"]["passages"]["least"] <= found["cosine"]["passages"]["mean"] < 1
    assert found["ndcg@10"] == {"float32": 1.0, "delta": 0.0, "interval": [0.0, 0.0]}
    assert found["overlap@10"] == 1
    assert served(monkeypatch) == "int8"
    kept = json.loads((data / permitted.FILE).read_text(encoding="utf-8"))["permitted"]
    assert [one["cosine"] for one in kept.values()] == [found["cosine"]]


def test_bfloat16_is_measured_and_needs_no_note(parity: Callable[..., Any], data: Path) -> None:
    found = parity("--dtype", "bfloat16")
    assert (found["dtype"], found["holds"], found["permitted"]) == ("bfloat16", True, False)
    assert not (data / permitted.FILE).exists()


def test_an_unknown_dtype_and_a_criterion_out_of_range_are_wrong_use(parity: Callable[..., Any]) -> None:
    assert "int8, bfloat16" in parity("--dtype", "int4", code=2)["error"]["message"]
    assert "not between 0 and 1" in parity("--overlap", "90", code=2)["error"]["message"]


def test_a_note_counts_for_the_weights_prompts_and_dtype_it_was_made_for(data: Path) -> None:
    settings = load(dtype="int8")
    mine = {"model": "acme/encoder", "weights": "aa", "prompts": "{}"}
    permitted.permit(data, "int8", mine, {"holds": True})
    permitted.require(settings, mine)
    for other in ({**mine, "weights": "bb"}, {**mine, "prompts": '{"query": "q: "}'}):
        with pytest.raises(permitted.NotMeasuredError, match="acme/encoder"):
            permitted.require(settings, other)
    permitted.permit(data, "int8", {**mine, "weights": "bb"}, {"holds": True})
    permitted.require(settings, mine)  # still there
    permitted.require(load(dtype="bfloat16"), {"model": "any"})


@pytest.mark.parametrize(
    ("content", "words"),
    [("{", "measure again"), ("[]", "measure again"), ('{"format": 9, "permitted": {}}', "newer latewood")],
)
def test_a_note_that_cannot_be_read_permits_nothing(data: Path, content: str, words: str) -> None:
    data.mkdir()
    (data / permitted.FILE).write_text(content, encoding="utf-8")
    with pytest.raises(permitted.NotMeasuredError, match=words):
        permitted.require(load(dtype="int8"), {"model": "any"})


@needs_int8
def test_doctor_says_what_int8_needs(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATEWOOD_DTYPE", "int8")
    done = CliRunner().invoke(app, ["doctor", "--json"])
    model = json.loads(done.stdout)["findings"][0]
    assert (model["check"], model["status"]) == ("model", "error")
    assert "latewood parity DATASET --dtype int8" in model["message"]


def test_a_cross_encoder_is_not_rounded() -> None:
    assert permitted.reranker_dtype(load(dtype="int8")) == "auto"
    assert permitted.reranker_dtype(load(dtype="float32")) == "float32"
