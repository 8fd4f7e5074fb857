"""What a question costs the embedded index, beside what one would use without it; all in one run.

    python -m benchmarks.search                       20,000 passages of 384 dimensions: minutes
    python -m benchmarks.search --points 100000       the aim's own size
    python -m benchmarks.search --parts curve --plot curve.png
    python -m benchmarks.search --small               seconds, to see that it runs: its numbers mean nothing

Parts: `hybrid` (without embedding: p50, p95, recall@10 against exact answers, our own Python), `filtered`
(one passage of a hundred, and of ten), `searchers` (eight at once), `bm25` (beside rank_bm25 and bm25s),
`local` (beside qdrant-client's local mode) and `curve` (10,000 to 300,000). What is compared is measured in
turns, so that other work on the machine slows both.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import beside
from benchmarks.busy import owners_python, searchers, workers_python
from benchmarks.passages import DIMENSION, Exact, Passages
from latewood.embedder.types import Floats
from latewood.search.analysis.analyzer import Analyzer
from latewood.search.request import SearchRequest
from latewood.search.searcher import Searcher
from latewood.search.stores.edge.store import EdgeStore
from latewood.search.types import Comparison, IndexConfig

PARTS = ("hybrid", "filtered", "searchers", "bm25", "local")
CONFIG = IndexConfig((DIMENSION,), {"model": "bench"})
Report = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """An index with its passages, and questions to ask it.

    Attributes:
        built: seconds of writing and of optimising, MiB on disk and of the store's process.
    """

    passages: Passages
    analyzer: Analyzer
    store: EdgeStore
    folder: Path
    questions: Sequence[tuple[Floats, str]]
    built: Mapping[str, float]

    @property
    def searcher(self) -> Searcher:
        """As the service has it, with the questions' vectors at hand."""
        vectors = {words: vector for vector, words in self.questions}
        return Searcher(self.store, vectors.__getitem__, self.analyzer)


@contextmanager
def opened(points: int, questions: int) -> Iterator[Bench]:
    """Write and optimise an index."""
    passages, analyzer = Passages(points), Analyzer()
    with tempfile.TemporaryDirectory(prefix="latewood-bench-") as folder:
        store = EdgeStore(Path(folder), CONFIG)
        try:
            started = time.perf_counter()
            passages.write(store, analyzer)
            written = time.perf_counter()
            store.optimise()
            done = time.perf_counter()
            built = {
                "write_s": round(written - started, 1),
                "optimise_s": round(done - written, 1),
                "disk_mib": round(store.stats().bytes / 2**20, 1),
                "worker_mib": round(beside.resident(store.worker_pid or 0) / 2**20, 1),
            }
            yield Bench(passages, analyzer, store, Path(folder), passages.questions(questions), built)
        finally:
            store.close()


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Milliseconds in the middle, and of the slowest twentieth."""
    took = np.array(seconds) * 1e3
    return {"p50": round(float(np.percentile(took, 50)), 3), "p95": round(float(np.percentile(took, 95)), 3)}


def timed(searcher: Searcher, request: SearchRequest) -> float:
    """Seconds."""
    started = time.perf_counter()
    searcher.search(request)
    return time.perf_counter() - started


def hybrid(bench: Bench) -> Report:
    """Hybrid questions: how long, how right, and how much of it is our own Python."""
    searcher = bench.searcher
    for _, words in bench.questions[:10]:
        searcher.search(SearchRequest(words))
    took, answers = [], []
    before = beside.cpu_seconds(bench.store.worker_pid or 0)
    for _, words in bench.questions:
        started = time.perf_counter()
        found = searcher.search(SearchRequest(words)).hits
        took.append(time.perf_counter() - started)
        answers.append({hit.passage.chunk.id for hit in found})
    cpu = beside.cpu_seconds(bench.store.worker_pid or 0) - before
    exact = Exact(bench.passages, bench.analyzer)
    right = sum(
        len(answer & set(exact.top(vector, words, 10)))
        for answer, (vector, words) in zip(answers, bench.questions, strict=True)
    )
    return {
        **spread(took),
        "cpu_ms": round(cpu / len(bench.questions) * 1e3, 3),
        "recall@10": round(right / (10 * len(bench.questions)), 4),
        "owner_python_ms": owners_python(searcher, [words for _, words in bench.questions]),
    }


def filtered(bench: Bench) -> Report:
    """The same questions of all, of one passage in ten and of one in a hundred, by a word and by a number."""
    searcher = bench.searcher
    wheres = {
        "all": None,
        "tenth": Comparison("eq", "share", "tenth"),
        "percent": Comparison("eq", "share", "percent"),
        "tenth_by_number": Comparison("lt", "number", 10),
        "percent_by_number": Comparison("lt", "number", 1),
    }
    took: dict[str, list[float]] = {name: [] for name in wheres}
    for _, words in bench.questions:
        for name, where in wheres.items():
            took[name].append(timed(searcher, SearchRequest(words, where=where)))
    found = {name: spread(seconds) for name, seconds in took.items()}
    whole = found["all"]["p50"]
    ratios = {f"{name}_times": round(one["p50"] / whole, 2) for name, one in found.items() if name != "all"}
    return {**found, **ratios}


def curve(sizes: Sequence[int], questions: int) -> list[Report]:
    """p50, build, disk and memory as the index grows."""
    rows = []
    for size in sizes:
        with opened(size, questions) as bench:
            searcher = bench.searcher
            took = [timed(searcher, SearchRequest(words)) for _, words in bench.questions]
            rows.append({"points": size, **spread(took), **bench.built})
            sys.stderr.write(f"{rows[-1]}\n")
    return rows


def plot(rows: Sequence[Mapping[str, float]], path: Path) -> None:
    """The curve as a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    panels = {
        "ms of a hybrid question": ("p50", "p95"),
        "seconds to build": ("write_s", "optimise_s"),
        "MiB": ("disk_mib", "worker_mib"),
    }
    figure, axes = pyplot.subplots(1, len(panels), figsize=(12, 3.6), layout="constrained")
    for axis, (title, names) in zip(axes, panels.items(), strict=True):
        for name in names:
            axis.plot([row["points"] for row in rows], [row[name] for row in rows], marker="o", label=name)
        axis.set(title=title, xlabel="passages", xscale="log")
        axis.set_ylim(bottom=0)
        axis.legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def run(points: int, parts: Sequence[str], questions: int, seconds: float) -> Report:
    """What was asked for, on one index."""
    report: Report = {"points": points, "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}
    with opened(points, questions) as bench:
        report["built"] = dict(bench.built)
        sys.stderr.write(f"built: {report['built']}\n")
        measures: dict[str, Callable[[], Report]] = {
            "hybrid": lambda: hybrid(bench),
            "filtered": lambda: filtered(bench),
            "searchers": lambda: searchers(bench.searcher, bench.store, bench.questions, seconds),
            "bm25": lambda: beside.bm25(bench.passages, bench.analyzer, bench.store, bench.questions),
            "local": lambda: beside.local(bench.passages, bench.analyzer, bench.searcher, bench.questions),
        }
        for part in parts:
            report[part] = measures[part]()
            sys.stderr.write(f"{part}: {report[part]}\n")
        if "hybrid" in parts:
            bench.store.close()
            report["hybrid"]["worker_python_ms"] = workers_python(bench.folder, CONFIG, bench.questions)
    return report


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print one JSON object."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--points", type=int, default=20_000)
    options.add_argument("--questions", type=int, default=200)
    options.add_argument("--seconds", type=float, default=10.0, help="of the part `searchers`")
    options.add_argument("--parts", nargs="+", choices=(*PARTS, "curve"), default=PARTS)
    options.add_argument("--sizes", type=int, nargs="+", default=[10_000, 30_000, 100_000, 300_000])
    options.add_argument("--plot", type=Path, help="PNG of the curve")
    options.add_argument("--small", action="store_true", help="a few hundred passages, every part")
    chosen = options.parse_args(arguments)
    if chosen.small:
        chosen.points, chosen.questions, chosen.seconds = 400, 5, 0.5
        chosen.sizes, chosen.parts = [200, 400], (*PARTS, "curve")
    parts = [part for part in chosen.parts if part != "curve"]
    report = run(chosen.points, parts, chosen.questions, chosen.seconds) if parts else {}
    if "curve" in chosen.parts:
        report["curve"] = curve(chosen.sizes, chosen.questions)
        if chosen.plot is not None:
            plot(report["curve"], chosen.plot)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
