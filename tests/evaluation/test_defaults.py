"""A collection's defaults: promoted when proven, rolled back to exactly what was, never half written."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from latewood.evaluation import promotions
from latewood.evaluation.configuration import Configuration
from latewood.evaluation.promotions import (
    FILE,
    Defaults,
    NothingToRollBackError,
    Standing,
    promote,
    read,
    rollback,
)
from latewood.evaluation.tune import Decision, Verdict
from latewood.search.types import StoreDamagedError, StoreUnavailableError

SHIPPED = Configuration()
CONVEX = Configuration(method="convex", weights=(("dense", 0.7), ("bm25", 0.3)))
LATE = Configuration(method="convex", context=1.0, k1=0.9)


def verdict(chosen: Configuration, *, promoted: bool = True) -> Verdict:
    return Verdict(chosen, SHIPPED, 0.03, 0.01 if promoted else -0.01, 0.05, promoted, 120)


def put(home: Path, now: Verdict, later: Verdict | None = None) -> Defaults:
    return promote(home, Decision(now, later), dataset="harbour", metric="ndcg@10")


def test_a_collection_without_the_file_has_the_shipped_defaults(tmp_path: Path) -> None:
    assert read(tmp_path) == Defaults(Standing(None, None), ())


def test_what_is_promoted_is_read_back_with_its_proof(tmp_path: Path) -> None:
    made = put(tmp_path, verdict(CONVEX))
    found = read(tmp_path)
    assert found == made
    current = found.now.current
    assert current is not None
    assert current.configuration == CONVEX
    assert current.configuration.fusion.weights == {"dense": 0.7, "bm25": 0.3}
    assert (current.gain, current.low, current.high, current.queries) == (0.03, 0.01, 0.05, 120)
    assert (current.dataset, current.metric) == ("harbour", "ndcg@10")
    assert found.now.wanted is None


def test_what_is_not_proven_changes_nothing(tmp_path: Path) -> None:
    refused = verdict(CONVEX, promoted=False)
    assert put(tmp_path, refused, verdict(LATE, promoted=False)) == Defaults()
    assert list(tmp_path.iterdir()) == []


def test_index_time_values_are_wanted_and_do_not_become_current(tmp_path: Path) -> None:
    put(tmp_path, verdict(SHIPPED, promoted=False), verdict(LATE))
    now = read(tmp_path).now
    assert now.current is None
    assert now.wanted is not None
    assert now.wanted.configuration == LATE


def test_rolling_back_walks_through_everything_that_was_replaced(tmp_path: Path) -> None:
    shipped = read(tmp_path)
    first = put(tmp_path, verdict(CONVEX))
    second = put(tmp_path, verdict(Configuration(method="dbsf")), verdict(LATE))
    assert second.replaced == (shipped.now, first.now)
    assert rollback(tmp_path) == read(tmp_path) == first
    assert rollback(tmp_path) == read(tmp_path) == shipped
    with pytest.raises(NothingToRollBackError, match="the shipped defaults hold"):
        rollback(tmp_path)


def test_a_write_that_dies_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = put(tmp_path, verdict(CONVEX))

    def die(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(promotions.os, "fsync", die)
    with pytest.raises(OSError, match="No space left"):
        put(tmp_path, verdict(LATE))
    monkeypatch.undo()
    assert read(tmp_path) == before
    assert put(tmp_path, verdict(LATE)).replaced == (*before.replaced, before.now)


def test_promotions_at_the_same_time_all_stand_in_the_history(tmp_path: Path) -> None:
    chosen = [Configuration(k=float(k)) for k in range(1, 17)]
    threads = [threading.Thread(target=put, args=(tmp_path, verdict(one))) for one in chosen]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = read(tmp_path)
    standing = [one.current for one in (*found.replaced, found.now) if one.current is not None]
    assert {one.configuration for one in standing} == set(chosen)
    assert len(standing) == len(chosen)


@pytest.mark.parametrize(
    "change",
    [
        lambda whole: whole[: len(whole) // 2],
        lambda whole: "[]",
        lambda whole: whole.replace('"convex"', '"sum"'),
        lambda whole: whole.replace('"gain"', '"game"'),
        lambda whole: whole.replace('"replaced"', '"before"'),
    ],
)
def test_a_file_that_is_not_as_it_was_written_is_named_with_the_remedy(tmp_path: Path, change) -> None:
    put(tmp_path, verdict(CONVEX))
    path = tmp_path / FILE
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(StoreDamagedError, match=r"defaults\.json cannot be read .*remove it"):
        read(tmp_path)


def test_a_file_of_a_newer_program_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(json.dumps({"format": 2, "future": True}), encoding="utf-8")
    with pytest.raises(StoreUnavailableError, match="has format 2; this program reads up to 1"):
        put(tmp_path, verdict(CONVEX))
    assert json.loads((tmp_path / FILE).read_text(encoding="utf-8")) == {"format": 2, "future": True}
