"""A command in processes of its own: wall seconds, CPU seconds and memory of it and all its children."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import psutil  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parents[1]
SAMPLE_S = 0.1
LATEWOOD = "from latewood.api.cli.main import main; main()"


@dataclass(frozen=True, slots=True)
class Cost:
    """What a command and all its children cost, and the JSON object it printed.

    Attributes:
        peak_bytes: resident memory of all of them together, at most, as seen ten times a second.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int
    printed: dict[str, Any]


def python(*arguments: str | Path) -> list[str]:
    """A command for this interpreter."""
    return [sys.executable, *map(str, arguments)]


def latewood(*arguments: str | Path) -> list[str]:
    """The command line of this project, as one types it."""
    return python("-c", LATEWOOD, *arguments)


def environment() -> dict[str, str]:
    """This process's, with this project found from everywhere."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def measured(command: Sequence[str]) -> Cost:
    """Run a command that prints one JSON object.

    Raises:
        RuntimeError: it failed; the message ends as its errors do.
    """
    before, started = _children_cpu(), monotonic()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=out, stderr=errors)
        peak = _Peak(process.pid)
        status = process.wait()
        wall = monotonic() - started
        peak_bytes = peak.end()
        out.seek(0)
        errors.seek(0)
        printed = out.read()
        if status not in (0, 1) or not printed:  # 1: done, but some file could not be read
            raise RuntimeError(f"{' '.join(command)} left with {status}: {errors.read()[-2000:]}")
        return Cost(wall, _children_cpu() - before, peak_bytes, json.loads(printed))


class _Peak(threading.Thread):
    """Looks now and then how much memory a process and its children hold."""

    def __init__(self, pid: int) -> None:
        super().__init__(name="peak", daemon=True)
        self._pid = pid
        self._done = threading.Event()
        self._most = 0
        self.start()

    def run(self) -> None:
        while not self._done.wait(SAMPLE_S):
            try:
                root = psutil.Process(self._pid)
                family = [root, *root.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            self._most = max(self._most, sum(_resident(one) for one in family))

    def end(self) -> int:
        """Stop looking; bytes at most."""
        self._done.set()
        self.join()
        return self._most


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def _children_cpu() -> float:
    """Of all children that ended and were waited for, with theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
