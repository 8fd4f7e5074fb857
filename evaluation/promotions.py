"""What tuning made a collection's default, and what it replaced: one small file beside the index.

    DATA/indexes/TENANT/COLLECTION/defaults.json

How legs are fused takes effect with the next question. `context`, k1 and b are written into an index when it
is made: here they can only be noted as wanted.
"""

from __future__ import annotations

import datetime
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from latewood.evaluation.configuration import Configuration, ConfigurationError, from_json
from latewood.evaluation.tune import Decision, Verdict
from latewood.search.types import StoreDamagedError, StoreUnavailableError

FORMAT = 1
FILE = "defaults.json"


class NothingToRollBackError(ValueError):
    """No promotion has replaced anything."""


@dataclass(frozen=True, slots=True)
class Promotion:
    """A configuration and the proof it was promoted on.

    Attributes:
        gain, low, high: held-out gain over what served before, and its interval.
        dataset, metric: what it was judged on and by.
        at: ISO 8601 in UTC.
    """

    configuration: Configuration
    gain: float
    low: float
    high: float
    queries: int
    dataset: str
    metric: str
    at: str


@dataclass(frozen=True, slots=True)
class Standing:
    """What holds for a collection at one time.

    Attributes:
        current: its fusion answers questions that name none; None: as shipped.
        wanted: proven better, but takes effect only in an index built with its index-time values.
    """

    current: Promotion | None = None
    wanted: Promotion | None = None


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds now, and each standing that a promotion replaced, oldest first."""

    now: Standing = Standing()
    replaced: tuple[Standing, ...] = ()


def read(home: Path) -> Defaults:
    """The defaults of the collection in folder `home`; as shipped where there are none.

    Raises:
        StoreDamagedError: the file is not as it was written.
        StoreUnavailableError: it was written by a newer program.
    """
    path = home / FILE
    try:
        found = json.loads(path.read_bytes())
        version = int(found["format"])
        if version > FORMAT:
            raise StoreUnavailableError(
                f"{path} has format {version}; this program reads up to {FORMAT}; use a newer latewood"
            )
        return Defaults(_standing(found["now"]), tuple(_standing(one) for one in found["replaced"]))
    except FileNotFoundError:
        return Defaults()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreDamagedError(
            f"{path} cannot be read ({error}); remove it to answer with the shipped defaults, then tune again"
        ) from error


def promote(home: Path, decision: Decision, *, dataset: str, metric: str) -> Defaults:
    """Make what was proven the collection's default; changes nothing when nothing was.

    Raises:
        StoreDamagedError, StoreUnavailableError: see `read`.
        OSError: the file cannot be written.
    """
    at = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    with _alone(home):
        defaults = read(home)
        now = defaults.now
        if decision.now.promoted:
            now = replace(now, current=_promotion(decision.now, dataset, metric, at))
        if decision.later is not None and decision.later.promoted:
            now = replace(now, wanted=_promotion(decision.later, dataset, metric, at))
        if now != defaults.now:
            defaults = Defaults(now, (*defaults.replaced, defaults.now))
            _write(home, defaults)
    return defaults


def rollback(home: Path) -> Defaults:
    """Put back what the last promotion replaced.

    Raises:
        NothingToRollBackError: the shipped defaults hold, or nothing was replaced.
        StoreDamagedError, StoreUnavailableError: see `read`.
        OSError: the file cannot be written.
    """
    with _alone(home):
        defaults = read(home)
        if not defaults.replaced:
            raise NothingToRollBackError("no promotion to roll back: the shipped defaults hold")
        defaults = Defaults(defaults.replaced[-1], defaults.replaced[:-1])
        _write(home, defaults)
    return defaults


def _promotion(verdict: Verdict, dataset: str, metric: str, at: str) -> Promotion:
    return Promotion(
        verdict.chosen, verdict.gain, verdict.low, verdict.high, verdict.queries, dataset, metric, at
    )


def _standing(value: Mapping[str, Any]) -> Standing:
    return Standing(_promoted(value["current"]), _promoted(value["wanted"]))


def _promoted(value: Mapping[str, Any] | None) -> Promotion | None:
    if value is None:
        return None
    known = {field.name for field in fields(Promotion)}
    if value.keys() != known:
        raise ConfigurationError(f"a promotion has {sorted(value)}, not {sorted(known)}")
    return Promotion(**{**value, "configuration": from_json(value["configuration"])})


def _written(standing: Standing) -> dict[str, Any]:
    return {
        name: None if found is None else {**asdict(found), "configuration": found.configuration.to_json()}
        for name, found in (("current", standing.current), ("wanted", standing.wanted))
    }


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Two commands that read and write the file do so one after the other; readers need no lock."""
    folder = os.open(home, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write(home: Path, defaults: Defaults) -> None:
    """In one step that survives a power cut: a reader sees the old file or the new one."""
    whole = {
        "format": FORMAT,
        "now": _written(defaults.now),
        "replaced": [_written(one) for one in defaults.replaced],
    }
    aside = home / f"{FILE}.partial"
    with aside.open("w", encoding="utf-8") as file:
        json.dump(whole, file, indent=2, ensure_ascii=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    aside.replace(home / FILE)
    folder = os.open(home, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
