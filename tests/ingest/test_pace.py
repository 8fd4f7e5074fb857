"""The time left falls while work is done, and a pause does not make it jump."""

from __future__ import annotations

from itertools import pairwise

from latewood.ingest.pace import Pace
from latewood.ingest.report import Share

# (seconds since the start, part done) of an ingest of 40 files of which the 12th is long: first the model is
# loaded, then come small files, one document of many batches, and small files again.
RECORDED = [
    *((float(second), 0.0) for second in range(6)),
    *((6.0 + step, 0.012 * (step + 1)) for step in range(10)),
    *((16.0 + step * 2.0, 0.12 + 0.0058 * step) for step in range(100)),
    *((216.0 + step, 0.70 + 0.01 * step) for step in range(30)),
]


def test_the_time_left_of_a_recorded_ingest_does_not_climb() -> None:
    pace = Pace()
    told = [(seconds, pace.left(seconds, share)) for seconds, share in RECORDED]
    known = [(seconds, left) for seconds, left in told if left is not None]
    assert len(known) > 100
    # It may climb no faster than the clock runs: the moment of the end moves, the number shown stays.
    assert all(later <= earlier + 2.0 for (_, earlier), (_, later) in pairwise(known))
    ends = [seconds + left for seconds, left in known[len(known) // 2 :]]
    assert max(ends) - min(ends) < 150
    assert known[-1][1] < 10


def test_a_pause_does_not_make_the_time_left_jump() -> None:
    pace = Pace()
    before = pace.left(100.0, 0.5)
    after = pace.left(101.0, 0.5)
    assert before == 100.0
    assert after is not None
    assert before - 1.0 <= after <= before + 1.0


def test_nothing_is_told_before_enough_is_done() -> None:
    pace = Pace()
    assert pace.left(1.0, 0.5) is None
    assert pace.left(100.0, 0.0) is None
    assert pace.left(100.0, 1.0) == 0.0


def test_the_share_moves_within_a_long_document_and_never_back() -> None:
    share = Share({"long": 98_000, "short": 0})
    assert share.reached(["long"], 0.5) == 0.5 * 100_000 / 102_000
    assert share.reached(["long"], 0.25) == 0.5 * 100_000 / 102_000
    assert share.reached(["elsewhere"], 1.0) == 0.5 * 100_000 / 102_000
    share.reached(["long", "short"], 1.0)
    assert share.reached([], 1.0) == 1.0
