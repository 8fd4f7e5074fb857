"""Floors: how good each mode was when last looked at, and what fell since."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from latewood.evaluation.configuration import Configuration
from latewood.evaluation.dataset_files import EvaluationError

FLOORS = Path(__file__).with_name("floors.json")
METRIC = "ndcg@10"
ALLOWED_DROP = 0.01
CONFIGURATIONS = {
    "bm25": Configuration("bm25"),
    "dense": Configuration("dense"),
    "hybrid": Configuration("hybrid"),
    "hybrid rrf": Configuration("hybrid", method="rrf"),
    "hybrid convex": Configuration("hybrid", method="convex"),
}
"""What is scored: each mode as a fresh index with the bundled model has it."""


@dataclass(frozen=True, slots=True)
class Floor:
    """A judged set and what it scored.

    Attributes:
        folder: relative to the repository; a set beside it may be absent.
        scores: nDCG@10 by the names of `CONFIGURATIONS`.
    """

    folder: str
    unit: str
    scores: Mapping[str, float]


def read_floors(path: Path = FLOORS) -> dict[str, Floor]:
    """Floors by name of the set.

    Raises:
        EvaluationError: the file is not what `floors_json` writes.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        found = {name: Floor(one["folder"], one["unit"], one[METRIC]) for name, one in told.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvaluationError(f"{path} holds no floors ({error!r}); write them anew") from error
    for name, floor in found.items():
        if floor.scores.keys() != CONFIGURATIONS.keys():
            known = ", ".join(CONFIGURATIONS)
            raise EvaluationError(f"{path}: {name} must have a floor for each of {known}")
    return found


def floors_json(floors: Mapping[str, Floor]) -> str:
    """Floors as they are kept in the file."""
    told = {
        name: {
            "folder": floor.folder,
            "unit": floor.unit,
            METRIC: {one: round(score, 4) for one, score in floor.scores.items()},
        }
        for name, floor in floors.items()
    }
    return json.dumps(told, indent=2) + "\n"


def drops(floor: Floor, measured: Mapping[str, float]) -> list[str]:
    """What fell by more than `ALLOWED_DROP`, in words; a floor that was not measured counts as fallen."""
    fallen = []
    for name, least in floor.scores.items():
        score = measured.get(name)
        if score is None:
            fallen.append(f"{name} was not measured; its floor is {least:.4f}")
        elif score < least - ALLOWED_DROP:
            fallen.append(
                f"{METRIC} of {name} is {score:.4f}, {least - score:.4f} below its floor {least:.4f}; "
                f"{ALLOWED_DROP} is allowed"
            )
    return fallen


def gains(floor: Floor, measured: Mapping[str, float]) -> list[str]:
    """What rose by more than `ALLOWED_DROP`, in words: until it is kept, it can be lost unnoticed."""
    return [
        f"{METRIC} of {name} is {score:.4f}, {score - floor.scores[name]:.4f} above its floor; "
        "`python scripts/quality.py --write` keeps it"
        for name, score in measured.items()
        if score > floor.scores[name] + ALLOWED_DROP
    ]
