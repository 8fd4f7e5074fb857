"""`latewood tune`: the proven becomes the default, the rest changes nothing, and it can be put back."""

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

from latewood.api.cli import tune as tune_cli
from latewood.api.cli import tune_datasets
from latewood.embedder.types import ModelDescription
from latewood.engine.settings import Settings
from latewood.evaluation.configuration import Configuration
from latewood.evaluation.dataset_files import DatasetError
from latewood.evaluation.promotions import Defaults, read
from latewood.evaluation.workbench import complete
from latewood.search.fusion import SHIPPED
from latewood.search.stores.generations import layout
from latewood.search.types import IndexConfig

MODEL = ModelDescription("words", "1", "mean", 512, (16, 8), "none", "any", 0.5)
GRID = ("--context", "0.5,1", "--k1", "1.2", "--b", "0.75")
app = typer.Typer(pretty_exceptions_enable=False)
app.command()(tune_cli.tune)


class Bench:
    """Forty questions; each configuration's scores are noise around a mean that a test plants."""

    unit = "document"

    def __init__(self, mean: Callable[[Configuration], float], name: str = "planted") -> None:
        self._mean = mean
        self.dataset = SimpleNamespace(name=name)
        self.asked: list[Configuration] = []
        self.settings = Settings()
        self.late_chunking = True

    def complete(self, configuration: Configuration) -> Configuration:
        return complete(configuration, MODEL, self.unit)

    def scorer(self, metric: str) -> Callable[[Configuration], dict[str, float]]:
        if metric != "ndcg@10":
            raise DatasetError(f"metric {metric!r} is not known of planted; one of: ndcg@10")
        return self.score

    def foreign(self, _: Configuration) -> tuple[bool, ...]:
        return (self.dataset.name == "foreign",)

    def score(self, configuration: Configuration) -> dict[str, float]:
        self.asked.append(configuration)
        noise = np.random.default_rng(len(self.asked)).normal(0, 0.02, 40)
        values = self._mean(configuration) + noise
        return {f"q{n}": float(v) for n, v in enumerate(values)}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory with an empty collection, made with the model `words` at 8 of its 16 dimensions."""
    monkeypatch.chdir(tmp_path)
    layout.create(tmp_path / "data", "default", "default", IndexConfig((8,), {"model": "words"}))
    return tmp_path / "data"


@pytest.fixture
def home(data: Path) -> Path:
    return layout.home_of(data, "default", "default")


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Configuration], float]], Bench]:
    def put(mean: Callable[[Configuration], float]) -> Bench:
        bench = Bench(mean)

        @contextlib.contextmanager
        def on(settings: Settings, *_: object) -> Iterator[Bench]:
            bench.settings = settings
            yield bench

        monkeypatch.setattr(tune_cli, "bench_on", on)
        return bench

    return put


@pytest.fixture
def tune(data: Path) -> Callable[..., Any]:
    def call(*words: str, code: int = 0) -> Any:
        result = CliRunner().invoke(app, [*words, "--json", "--data", str(data)])
        assert result.exit_code == code, result.output
        return json.loads(result.stdout)

    return call


def convex_is_better(configuration: Configuration) -> float:
    return (
        0.6 if configuration.method == "convex" and dict(configuration.weights).get("dense") == 0.7 else 0.5
    )


def late_is_better(configuration: Configuration) -> float:
    return 0.6 if configuration.context == 1.0 else 0.5


def test_a_proven_fusion_becomes_the_default_and_is_told_with_its_proof(
    tune: Any, plant: Any, home: Path
) -> None:
    bench = plant(convex_is_better)
    answer = tune("set", *GRID)
    assert (answer["dataset"], answer["metric"], answer["queries"]) == ("planted", "ndcg@10", 40)
    assert answer["configurations"] == len(bench.asked) == len(set(bench.asked)) == 2 * 9 * 2
    assert answer["promoted"] is True
    assert answer["chosen"]["method"] == "convex"
    assert answer["chosen"]["weights"] == {"bm25": 0.3, "dense": 0.7}
    assert answer["incumbent"]["weights"] == dict(SHIPPED.weights)
    assert 0 < answer["interval"][0] < answer["delta"] < answer["interval"][1]
    assert answer["delta"] == pytest.approx(0.1, abs=0.02)
    current = read(home).now.current
    assert current is not None
    assert current.configuration.fusion.weights == {"bm25": 0.3, "dense": 0.7}
    assert (current.gain, current.dataset, current.queries) == (answer["delta"], "planted", 40)


def test_noise_changes_nothing(tune: Any, plant: Any, home: Path) -> None:
    plant(lambda _: 0.5)
    answer = tune("set", *GRID)
    assert answer["promoted"] is False
    assert answer["wanted"]["promoted"] is False
    assert read(home) == Defaults()


def test_a_dry_run_tells_the_same_and_changes_nothing(tune: Any, plant: Any, home: Path) -> None:
    plant(convex_is_better)
    tried = tune("set", *GRID, "--dry-run")
    assert tried.pop("dry_run") is True
    assert read(home) == Defaults()
    plant(convex_is_better)
    done = tune("set", *GRID)
    assert done.pop("dry_run") is False
    assert tried == done


def test_what_needs_another_index_is_wanted_and_told_with_its_remedy(
    tune: Any, plant: Any, home: Path
) -> None:
    plant(late_is_better)
    answer = tune("set", *GRID)
    assert answer["promoted"] is False
    assert answer["wanted"]["promoted"] is True
    assert answer["wanted"]["chosen"]["context"] == 1.0
    assert list(answer["wanted"]["takes_effect"]) == ["context"]
    told = answer["wanted"]["takes_effect"]["context"]
    assert told.startswith("takes effect when the collection is ingested again")
    assert told.endswith("LATEWOOD_CONTEXT=1")
    now = read(home).now
    assert now.current is None
    assert now.wanted is not None
    assert now.wanted.configuration.context == 1.0


def test_without_index_time_values_to_try_nothing_is_wanted(tune: Any, plant: Any) -> None:
    plant(convex_is_better)
    answer = tune("set", "--context", "", "--k1", "", "--b", "")
    assert answer["wanted"] is None
    assert answer["configurations"] == 18


@pytest.mark.parametrize(("late_chunking", "contexts"), [(True, {0, 0.5, 1}), (False, {0, 0.5})])
def test_the_contexts_that_are_tried_are_those_of_the_model(
    late_chunking: bool, contexts: set[float], tune: Any, plant: Any
) -> None:
    bench = plant(convex_is_better)
    bench.late_chunking = late_chunking
    tune("set", "--k1", "", "--b", "")
    assert {one.context for one in bench.asked} == contexts  # 0.5 is in use


def test_the_next_choice_is_made_against_what_was_promoted_and_can_be_rolled_back(
    tune: Any, plant: Any, home: Path
) -> None:
    plant(convex_is_better)
    first = tune("set", *GRID)
    before = read(home)
    plant(lambda one: convex_is_better(one) + 0.2 * (one.weights == ()))
    second = tune("set", *GRID)
    assert second["incumbent"] == first["chosen"]
    assert second["chosen"]["weights"] == {}
    assert tune("--rollback") == {"rolled_back": True, "current": first["chosen"], "wanted": None}
    assert read(home) == before
    assert tune("--rollback") == {"rolled_back": True, "current": None, "wanted": None}
    assert tune("--rollback", code=2)["error"]["message"].startswith("no promotion to roll back")


def test_the_index_is_judged_with_its_own_model_and_size(tune: Any, plant: Any) -> None:
    bench = plant(convex_is_better)
    tune("set", *GRID)
    assert bench.settings.model == "words"
    assert {one.dimensions for one in bench.asked} == {8}


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Configuration], float]], list[Bench]]:
    """Every set that is named is planted with the same mean; the benches in the order they were asked for."""

    def put(mean: Callable[[Configuration], float]) -> list[Bench]:
        benches: list[Bench] = []

        @contextlib.contextmanager
        def on(settings: Settings, dataset: str, split: str, unit: str, *_: object) -> Iterator[Bench]:
            benches.append(Bench(mean, Path(dataset).name))
            benches[-1].unit = unit
            yield benches[-1]

        monkeypatch.setattr(tune_datasets, "bench_on", on)
        return benches

    return put


def test_several_sets_choose_one_fusion_which_becomes_the_default(
    tune: Any, several: Any, home: Path
) -> None:
    benches = several(convex_is_better)
    names = [*"abcdefg", "foreign"]
    answer = tune(*names, "--foreign", "0.25,1")
    assert (answer["datasets"], answer["queries"]) == (names, 320)
    assert answer["configurations"] == 2 * 9 * 2
    assert (answer["promoted"], answer["chosen"]["weights"]) == (True, {"bm25": 0.3, "dense": 0.7})
    assert answer["interval"][0] > 0
    for one in answer["sets"]:
        assert one["chosen"]["weights"] == {"bm25": 0.3, "dense": 0.7}
        assert one["delta_better_leg"] == pytest.approx(one["score"] - one["score_better_leg"])
        assert one["interval"][0] < one["delta"] < one["interval"][1]
        assert 0 < one["p_adjusted"] <= 1
    current = read(home).now.current
    assert current is not None
    assert (current.dataset, current.queries) == (", ".join(names), 320)
    assert current.configuration.fusion.weights == {"bm25": 0.3, "dense": 0.7}
    assert all({"bm25", "dense"} <= {one.mode for one in bench.asked} for bench in benches)
    # What is the same to a set without foreign questions is scored once.
    assert [len(bench.asked) for bench in benches] == [18 + 2] * 7 + [36 + 2]


def test_a_set_of_several_is_scored_by_its_own_passages_where_it_has_them(
    tune: Any, several: Any, tmp_path: Path
) -> None:
    benches = several(convex_is_better)
    (tmp_path / "parted" / "qrels_passage").mkdir(parents=True)
    tune("a", "b", "parted", "--dry-run")
    assert [bench.unit for bench in benches] == ["document", "document", "passage"]
    tune("a", "b", "parted", "--unit", "document", "--dry-run")
    assert {bench.unit for bench in benches[3:]} == {"document"}


def test_people_are_told_of_several_sets_in_a_table(several: Any, data: Path, home: Path) -> None:
    several(convex_is_better)
    told = CliRunner().invoke(app, [*"abcdefgh", "--dry-run", "--data", str(data)]).stdout
    assert told.startswith("8 sets, 320 questions, ndcg@10; each by the best on the others of 18 fusions")
    assert [line[0] for line in told.splitlines()[2:10]] == list("abcdefgh")
    assert "proven, but nothing was changed (--dry-run)" in told
    assert read(home) == Defaults()


def test_so_few_sets_that_chance_is_not_ruled_out_promote_nothing(
    several: Any, data: Path, home: Path
) -> None:
    several(convex_is_better)
    told = CliRunner().invoke(app, [*"abc", "--data", str(data)]).stdout
    assert "not promoted: 3 sets cannot rule out chance, 8 or more can" in told
    assert read(home) == Defaults()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("a", "b"), "2 sets were given; name one, or at least 3"),
        (("a", "b", "a"), "the set 'a' was given twice"),
        (("a", "b", "c", "--k1", "1"), "--k1 is tried on one set alone"),
    ],
)
def test_wrong_use_of_several_sets_is_told(
    tune: Any, several: Any, home: Path, words: tuple[str, ...], told: str
) -> None:
    several(convex_is_better)
    assert told in tune(*words, code=2)["error"]["message"]
    assert read(home) == Defaults()


def test_people_are_told_in_lines(plant: Any, data: Path) -> None:
    plant(lambda one: convex_is_better(one) + late_is_better(one))
    runner = CliRunner()
    told = runner.invoke(app, ["set", *GRID, "--data", str(data)]).stdout
    assert "planted: 40 questions, 36 configurations, ndcg@10" in told
    assert "promoted: the collection's default from now on" in told
    assert "noted as wanted" in told
    assert "LATEWOOD_CONTEXT=1" in told
    assert "as shipped" in runner.invoke(app, ["--rollback", "--data", str(data)]).stdout


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ((), 2, "name a DATASET to choose by, or give --rollback alone"),
        (("set", "--rollback"), 2, "give --rollback alone"),
        (("--rollback", "--dry-run"), 2, "give --rollback alone"),
        (("set", "--collection", "other"), 3, "no collection 'other'"),
        (("set", "--collection", "Not a name"), 2, "collection name 'Not a name' is not allowed"),
        (("set", "--metric", "map"), 2, "metric 'map' is not known of planted; one of: ndcg@10"),
        (("set", "--fusion", "sum"), 2, "--fusion: fusion method 'sum' is not known"),
        (("set", "--context", "a"), 2, "--context 'a' must be numbers"),
        (("set", "--context", "2"), 2, "context is 2.0; it must be from 0 to 1"),
        (("set", *GRID, "--folds", "41"), 2, "folds is 41; it must be from 2 to the number of queries, 40"),
    ],
)
def test_wrong_use_is_told_and_changes_nothing(
    tune: Any, plant: Any, home: Path, words: tuple[str, ...], code: int, told: str
) -> None:
    plant(convex_is_better)
    assert told in tune(*words, code=code)["error"]["message"]
    assert read(home) == Defaults()


def test_defaults_that_cannot_be_read_are_not_written_over(tune: Any, plant: Any, home: Path) -> None:
    plant(convex_is_better)
    (home / "defaults.json").write_text("{", encoding="utf-8")
    for words in (("set", *GRID), ("--rollback",)):
        assert tune(*words, code=3)["error"]["code"] == "index_damaged"
    assert (home / "defaults.json").read_text(encoding="utf-8") == "{"
