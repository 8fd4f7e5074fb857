"""`latewood ablate`: one row a combination, each against the baseline; what is scored is not scored again."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from latewood.api.cli import ablate as ablate_cli
from latewood.embedder.types import ModelDescription
from latewood.evaluation.configuration import Configuration
from latewood.evaluation.dataset_files import DatasetError
from latewood.evaluation.workbench import complete

MODEL = ModelDescription("words", "1", "mean", 512, (16, 8), "none", "any", 0.5)
MEANS = {"bm25": 0.4, "dense": 0.4, "hybrid": 0.6}
app = typer.Typer(pretty_exceptions_enable=False)
app.command()(ablate_cli.ablate)


class Bench:
    """Forty questions; a mode's scores are noise around its mean."""

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self.asked: list[Configuration] = []
        self.depends_on = "vectors and grades"
        self.dataset = SimpleNamespace(name="planted")

    def complete(self, configuration: Configuration) -> Configuration:
        return complete(configuration, MODEL, self.unit)

    def subject(self, _: Configuration) -> str:
        return self.depends_on

    def scorer(self, metric: str) -> Callable[[Configuration], dict[str, float]]:
        if metric != "ndcg@10":
            raise DatasetError(f"metric {metric!r} is not known of planted; one of: ndcg@10")
        return self.score

    def score(self, configuration: Configuration) -> dict[str, float]:
        self.asked.append(configuration)
        noise = np.random.default_rng(len(configuration.key)).normal(0, 0.02, 40)
        values = MEANS[configuration.mode] + noise
        return {f"q{n}": float(v) for n, v in enumerate(values)}


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bench:
    monkeypatch.chdir(tmp_path)
    made = Bench("document")

    @contextlib.contextmanager
    def on(_settings: object, _dataset: str, _split: str, unit: str, _cache: object) -> Iterator[Bench]:
        made.unit = unit
        yield made

    monkeypatch.setattr(ablate_cli, "bench_on", on)
    return made


@pytest.fixture
def ablate(bench: Bench, tmp_path: Path) -> Callable[..., Any]:
    def call(*words: str, code: int = 0) -> Any:
        result = CliRunner().invoke(app, ["set", *words, "--json", "--data", str(tmp_path / "data")])
        assert result.exit_code == code, result.output
        return json.loads(result.stdout)

    return call


def test_each_combination_is_a_row_against_the_baseline(ablate: Any, bench: Bench) -> None:
    answer = ablate("--context", "0,1", "--shares", "0.3,0.5", "--fusion", "convex")
    modes = [row["configuration"]["mode"] for row in answer["rows"]]
    assert modes == ["bm25"] + ["dense"] * 2 + ["hybrid"] * 4
    assert answer["baseline"] == answer["rows"][0]["label"]
    assert answer["rows"][0]["difference"] is None
    for row in answer["rows"][1:]:
        low, high = row["interval"]
        assert low <= row["difference"] <= high
        assert row["difference"] == pytest.approx(row["mean"] - answer["rows"][0]["mean"])
        assert row["p"] <= row["p_adjusted"]
    assert all(row["p_adjusted"] < 0.01 for row in answer["rows"] if row["configuration"]["mode"] == "hybrid")
    assert all(one.chunk_tokens == 256 for one in bench.asked)


def test_the_baseline_is_a_mode_at_the_first_of_each_value(ablate: Any) -> None:
    answer = ablate("--baseline", "dense", "--context", "1,0", "--dimensions", "8,16", "--modes", "bm25")
    assert answer["baseline"] == "dense context=1 chunk_tokens=256 dimensions=8"
    assert [row["configuration"]["mode"] for row in answer["rows"]] == ["dense", "bm25"]


def test_what_is_scored_is_not_scored_again_until_something_it_depends_on_changes(
    ablate: Any, bench: Bench
) -> None:
    first = ablate()
    scored = len(bench.asked)
    assert ablate() == first
    assert len(bench.asked) == scored
    ablate("--context", "1")
    assert [one.context for one in bench.asked[scored:]] == [1.0, 1.0, 1.0]
    scored = len(bench.asked)
    bench.depends_on = "other grades"
    assert ablate() == first
    assert len(bench.asked) == scored + 4


def test_the_sets_own_passages_have_no_chunk_size(ablate: Any) -> None:
    rows = ablate("--unit", "passage")["rows"]
    assert {row["configuration"]["chunk_tokens"] for row in rows} == {None}


def test_people_are_told_in_a_table(bench: Bench, tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["set", "--data", str(tmp_path / "data")]).stdout.splitlines()
    assert told[0].startswith("planted: ndcg@10 against bm25")
    assert [line.split()[0] for line in told[1:]] == ["configuration", "bm25", "dense", "hybrid", "hybrid"]
    assert told[2].endswith("baseline")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--modes", "sparse"), "mode 'sparse' is not known; one of: hybrid, dense, bm25"),
        (("--baseline", "best"), "mode 'best' is not known"),
        (("--fusion", "sum"), "fusion method 'sum' is not known"),
        (("--shares", "1.5"), "fusion weight of 'bm25' is -0.5"),
        (("--fusion", ","), "--modes, --fusion and --shares need at least one value each"),
        (("--metric", "map"), "metric 'map' is not known of planted; one of: ndcg@10"),
        (("--dimensions", "7"), "dimension 7 is not a size of words; one of: 16, 8"),
        (("--dimensions", "8.5"), "--dimensions 8.5 must be a whole number"),
        (("--unit", "passage", "--chunk-tokens", "64"), "--chunk-tokens has no meaning with --unit passage"),
        (("--k1", "x"), "--k1 'x' must be numbers divided by commas"),
    ],
)
def test_wrong_use_is_told(ablate: Any, words: tuple[str, ...], told: str) -> None:
    assert told in ablate(*words, code=2)["error"]["message"]
