"""The counter that puts uploads and jobs in order never gives a number out twice and never goes back."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from latewood.ingest.sequence import Sequence

ROOT = Path(__file__).resolve().parents[2]
TAKE = "import sys, pathlib; from latewood.ingest.sequence import Sequence\n" + (
    "for _ in range(50): print(Sequence(pathlib.Path(sys.argv[1])).next())"
)


def test_numbers_rise_in_one_process_and_over_restarts(tmp_path: Path) -> None:
    first = Sequence(tmp_path / "made" / "sequence")
    assert [first.next() for _ in range(3)] == [1, 2, 3]
    assert Sequence(tmp_path / "made" / "sequence").next() == 4
    assert first.next() == 5


def test_a_number_is_above_what_the_caller_knows(tmp_path: Path) -> None:
    sequence = Sequence(tmp_path / "sequence")
    assert sequence.next(above=41) == 42
    assert sequence.next(above=7) == 43


def test_a_damaged_file_begins_anew_above_what_the_caller_knows(tmp_path: Path) -> None:
    (tmp_path / "sequence").write_bytes(b"\xff\xfe")
    assert Sequence(tmp_path / "sequence").next(above=9) == 10


def test_threads_never_share_a_number(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        given = list(threads.map(lambda _: Sequence(tmp_path / "sequence").next(), range(100)))
    assert sorted(given) == list(range(1, 101))


def test_processes_never_share_a_number(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TAKE, str(tmp_path / "sequence")]
    running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    given = [[int(word) for word in process.communicate()[0].split()] for process in running]
    assert all(one == sorted(one) for one in given)
    assert sorted(number for one in given for number in one) == list(range(1, 101))
