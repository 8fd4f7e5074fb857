from __future__ import annotations

from pathlib import Path

import pytest

from latewood.evaluation.dataset_files import EvaluationError
from latewood.evaluation.regression_floors import (
    CONFIGURATIONS,
    FLOORS,
    Floor,
    drops,
    floors_json,
    gains,
    read_floors,
)

FLOOR = Floor("some/set", "document", dict.fromkeys(CONFIGURATIONS, 0.8))


def test_the_shipped_set_has_floors_that_mean_something():
    floors = read_floors()
    shipped = floors["averill-sound"]
    assert (Path(__file__).resolve().parents[2] / shipped.folder / "queries.jsonl").is_file()
    assert min(shipped.scores.values()) > 0.7
    assert FLOORS.read_text(encoding="utf-8") == floors_json(floors)


def test_a_drop_of_a_hundredth_is_allowed_and_more_is_named():
    measured = {**FLOOR.scores, "bm25": 0.7901, "dense": 0.78, "hybrid rrf": 0.9}
    assert drops(FLOOR, measured) == [
        "ndcg@10 of dense is 0.7800, 0.0200 below its floor 0.8000; 0.01 is allowed"
    ]


def test_a_gain_that_is_not_kept_yet_is_named():
    measured = {**FLOOR.scores, "bm25": 0.8099, "dense": 0.83, "hybrid rrf": 0.1}
    assert gains(FLOOR, measured) == [
        "ndcg@10 of dense is 0.8300, 0.0300 above its floor; `python scripts/quality.py --write` keeps it"
    ]


def test_what_was_not_measured_counts_as_fallen():
    measured = {name: score for name, score in FLOOR.scores.items() if name != "hybrid rrf"}
    assert drops(FLOOR, measured) == ["hybrid rrf was not measured; its floor is 0.8000"]


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"a": {"folder": "x"}}', '{"a": {"folder": "x", "unit": "document", "ndcg@10": {}}}']
)
def test_a_file_without_floors_is_refused(tmp_path, text):
    path = tmp_path / "floors.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"floors\.json"):
        read_floors(path)


def test_floors_are_kept_as_they_were(tmp_path):
    (tmp_path / "floors.json").write_text(floors_json({"a": FLOOR}), encoding="utf-8")
    assert read_floors(tmp_path / "floors.json") == {"a": FLOOR}
