"""One ingest in this process, measured: documents/s, CPU seconds, how busy the cores were kept, peak memory.

    python -m benchmarks.inside FOLDER DATA [--readers 2] [--model NAME | --model words] [--hold] [--again]

`words` stands for a model that costs nothing, so that files and memory are what is measured. The result is
one JSON object. `--hold` has the default model in memory beside it, as every ingest has. `--again` ingests
the unchanged folder a second time and measures that too.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]

from latewood.embedder.defaults import default_model
from latewood.embedder.types import Embedder, Floats, ModelDescription, Offsets, SpannedText, Task
from latewood.ingest.parsing.sandbox.pool import ParserPool
from latewood.ingest.pipeline import Index
from latewood.ingest.sync import SyncOptions, Work, sync
from latewood.search.analysis.analyzer import Analyzer
from latewood.search.stores.edge.store import EdgeStore
from latewood.search.types import IndexConfig

CHUNK_TOKENS = 256
SAMPLE_S = 0.05


class WordEmbedder:
    """A model that costs nothing: a vector is drawn by the checksum of its text."""

    description = ModelDescription("words", "1", "mean", 512, (384,), "none", "any", 1.0)
    fingerprint: Mapping[str, str] = {"model": "words"}
    recorded: Mapping[str, str] = {"context": "1"}
    dimension = 384

    def token_offsets(self, text: str) -> Offsets:
        """Words and single marks."""
        spans = [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]
        return np.array(spans, dtype=np.int64).reshape(-1, 2)

    def embed_documents(
        self,
        documents: Sequence[SpannedText],
        stop: Callable[[], bool] = lambda: False,
        progress: Callable[[float], object] | None = None,
    ) -> list[Floats]:
        """(spans, 384) float32 unit rows for each document."""
        return [
            self.embed_texts([one.text[span.start : span.end] for span in one.spans], Task.PASSAGE)
            for one in documents
        ]

    def embed_texts(
        self, texts: Sequence[str], task: Task, stop: Callable[[], bool] = lambda: False
    ) -> Floats:
        """(texts, 384) float32 unit rows."""
        rows = [np.random.default_rng(zlib.crc32(text.encode())).standard_normal(384) for text in texts]
        return np.stack([row / np.linalg.norm(row) for row in rows]).astype(np.float32)

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one ingest cost, over all processes: this one, the parsers, the store's worker.

    Attributes:
        used: CPU seconds over wall seconds and cores: the issue's measure, on a machine without other load.
        ready: mean share of cores for which there was a thread to run; other load hardly changes it.
        peak_bytes: of this process since it began.
    """

    documents: int
    chunks: int
    tokens: int
    unchanged: int
    wall_s: float
    cpu_s: float
    used: float
    ready: float
    documents_per_s: float
    peak_bytes: int


class _Sampler(threading.Thread):
    """Looks now and then how many threads of this process and its children want a core."""

    def __init__(self, cores: int) -> None:
        super().__init__(name="sampler", daemon=True)
        self._cores = cores
        self._done = threading.Event()
        self.shares: list[float] = []

    def run(self) -> None:
        mine = threading.get_native_id()
        while not self._done.wait(SAMPLE_S):
            wanting = sum(_wants_core(pid, mine) for pid in _family())
            self.shares.append(min(wanting, self._cores) / self._cores)

    def end(self) -> float:
        """Stop looking; the mean share of cores that were wanted."""
        self._done.set()
        self.join()
        return sum(self.shares) / max(1, len(self.shares))


def _family() -> list[int]:
    return [os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))]


def _wants_core(pid: int, without: int) -> int:
    """Threads of a process that run or wait for a core."""
    wanting = 0
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            if int(task.name) != without:
                stat = (task / "stat").read_text(encoding="utf-8", errors="replace")
                wanting += stat.rpartition(")")[2].split()[0] == "R"
    except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
        return wanting
    return wanting


def _cpu_seconds() -> float:
    """Of this process, its children that ended, and those that live."""
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        total += usage.ru_utime + usage.ru_stime
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def run(folder: str, data: Path, readers: int, model: str, again: bool) -> list[Figures]:
    """Ingest a folder into a new index, and once more if asked; the figures of each time.

    The model is loaded and the parsers are started before the clock runs, as with an owner that is up.
    """
    embedder = _embedder(model)
    config = IndexConfig((embedder.dimension,), dict(embedder.fingerprint))
    data.mkdir(parents=True)
    store = EdgeStore(data, config)
    index = Index("default", "default", store, lambda: embedder, Analyzer(), CHUNK_TOKENS)
    try:
        with ParserPool(readers) as pool:
            return [_measured(index, folder, pool, readers) for _ in range(1 + again)]
    finally:
        store.close()
        embedder.close()


def _embedder(model: str) -> Embedder:
    if model == "words":
        return WordEmbedder()
    from latewood.embedder.serving.engine import load_embedder

    return load_embedder(default_model() if model == "default" else model)


def _measured(index: Index, folder: str, pool: ParserPool, readers: int) -> Figures:
    cores = len(os.sched_getaffinity(0))
    sampler = _Sampler(cores)
    before, started = _cpu_seconds(), monotonic()
    sampler.start()
    report = sync(
        lambda: index, folder, SyncOptions(), Work(pool, lambda report: None, lambda: False, readers)
    )
    wall, cpu = monotonic() - started, _cpu_seconds() - before
    return Figures(
        documents=report.documents,
        chunks=report.chunks,
        tokens=report.tokens,
        unchanged=report.unchanged,
        wall_s=round(wall, 2),
        cpu_s=round(cpu, 2),
        used=round(cpu / wall / cores, 3),
        ready=round(sampler.end(), 3),
        documents_per_s=round(report.added / wall, 2),
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run as a command; one JSON object on stdout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("data", type=Path)
    parser.add_argument("--readers", type=int, default=2)
    parser.add_argument("--model", default="default")
    parser.add_argument("--hold", action="store_true")
    parser.add_argument("--again", action="store_true")
    chosen: Any = parser.parse_args(arguments)
    held = [_embedder("default")] if chosen.hold else []
    figures = run(chosen.folder, chosen.data, chosen.readers, chosen.model, chosen.again)
    for one in held:
        one.close()
    print(json.dumps({"runs": [asdict(one) for one in figures]}))


if __name__ == "__main__":
    main()
