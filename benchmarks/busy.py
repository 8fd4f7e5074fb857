"""Where the time of a question goes: how busy the store's process is kept, and what our own Python costs."""

from __future__ import annotations

import cProfile
import pstats
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from latewood.embedder.types import Floats
from latewood.search.analysis.analyzer import Analyzer
from latewood.search.request import SearchRequest
from latewood.search.searcher import Searcher
from latewood.search.stores.edge.index import EdgeIndex
from latewood.search.stores.edge.store import EdgeStore
from latewood.search.types import DenseQuery, IndexConfig, Leg

_ELSEWHERE = ("'query_batch'", "'query'", "'retrieve'", "'acquire'", "posix.read", "posix.write")
_LOOK_S = 0.005


def searchers(
    searcher: Searcher, store: EdgeStore, questions: Sequence[tuple[Floats, str]], seconds: float
) -> dict[str, Any]:
    """One searcher, then eight at once: questions a second, and how busy the store's process is.

    Busy: the share of moments, looked at two hundred times a second, in which any of its threads ran or had
    to wait for a core only.
    """
    found: dict[str, Any] = {}
    for number in (1, 8):
        done, asked = threading.Event(), [0] * number

        def ask(own: int, done: threading.Event = done, asked: list[int] = asked) -> None:
            while not done.is_set():
                words = questions[(asked[own] * 7 + own) % len(questions)][1]
                searcher.search(SearchRequest(words))
                asked[own] += 1

        threads = [threading.Thread(target=ask, args=[own]) for own in range(number)]
        for thread in threads:
            thread.start()
        busy = _busy(store.worker_pid or 0, seconds)
        done.set()
        for thread in threads:
            thread.join()
        found[f"searchers_{number}"] = {"a_second": round(sum(asked) / seconds, 1), "busy": busy}
    return found


def _busy(pid: int, seconds: float) -> float:
    moments = ready = 0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        moments += 1
        ready += any(_state(task) == "R" for task in Path(f"/proc/{pid}/task").iterdir())
        time.sleep(_LOOK_S)
    return round(ready / max(1, moments), 3)


def _state(task: Path) -> str:
    try:
        return (task / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""


def owners_python(searcher: Searcher, questions: Sequence[str]) -> float:
    """Milliseconds of Python a question costs the process that serves, waiting for the store left out."""

    def work() -> None:
        for words in questions:
            searcher.search(SearchRequest(words))

    return _python(work, len(questions))


def workers_python(folder: Path, config: IndexConfig, questions: Sequence[tuple[Floats, str]]) -> float:
    """The same of the store's process, the engine's own time left out; for an index nobody has open."""
    index, analyzer = EdgeIndex(folder, config, 0), Analyzer()
    legs = [
        [Leg("dense", DenseQuery(vector), 200), Leg("bm25", analyzer.query_vector(words), 200)]
        for vector, words in questions
    ]

    def work() -> None:
        for both in legs:
            index.search(both, None)

    try:
        return _python(work, len(questions))
    finally:
        index.close()


def _python(work: Any, questions: int) -> float:
    """Under the profiler, which makes Python slower than it is; never faster."""
    profile = cProfile.Profile()
    profile.runcall(work)
    elsewhere = total = 0.0
    for (_, _, name), row in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        total += row[2]
        if name.startswith(("<built-in", "<method", "{")) and any(one in name for one in _ELSEWHERE):
            elsewhere += row[2]
    return round((total - elsewhere) / questions * 1e3, 3)
