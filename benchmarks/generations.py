"""What an optimise costs those who search and write meanwhile: the slowest query before, during and after.

    python -m benchmarks.generations            100,000 passages of 384 dimensions
    python -m benchmarks.generations --small    500, to see that it runs

Passages are random unit vectors with short texts, written through the store. One thread searches through
the service's searcher again and again, one commits a document after the other, while the service optimises
the index from start to switch. A query counts in that part of the run in which it ends; "switch" is the
second around it. Times are milliseconds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from latewood.embedder.types import Floats, ModelDescription, Offsets, SpannedText, Task, Vectors
from latewood.engine.library import Service
from latewood.engine.settings import Settings
from latewood.ingest.jobs import FINAL
from latewood.ingest.pipeline import ingest
from latewood.ingest.types import Document, document_id
from latewood.search.request import SearchRequest
from latewood.search.stores.generations import layout
from latewood.search.types import Chunk, DocumentInfo, Manifest, ManifestWrite, Passage, Record

DIMENSION = 384
CHUNKS = 10
WORDS = [f"word{number}" for number in range(5000)]


class RandomModel:
    """Vectors by chance, and no time spent on them."""

    description = ModelDescription("random", "1", "mean", 512, (DIMENSION,), "none", "any", 1.0)
    fingerprint: Mapping[str, str] = {"model": "random"}
    recorded: Mapping[str, str] = {"context": "1.0"}
    dimension = DIMENSION

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)

    def token_offsets(self, text: str) -> Offsets:
        """Each word a token."""
        ends = np.cumsum([len(word) + 1 for word in text.split(" ")])
        return np.stack([np.r_[0, ends[:-1]], ends - 1], axis=1).astype(np.int64)

    def embed_documents(
        self,
        documents: Sequence[SpannedText],
        stop: Callable[[], bool] = lambda: False,
        progress: Callable[[float], object] | None = None,
    ) -> list[Floats]:
        """By chance."""
        return [self.rows(len(document.spans)) for document in documents]

    def embed_texts(
        self, texts: Sequence[str], task: Task, stop: Callable[[], bool] = lambda: False
    ) -> Floats:
        """By chance."""
        return self.rows(len(texts))

    def rows(self, count: int) -> Floats:
        """(count, 384) unit rows."""
        rows = self._random.standard_normal((count, DIMENSION)).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def close(self) -> None:
        """Nothing is held."""


class RandomService(Service):
    """A service with that model."""

    def model(self, name: str) -> RandomModel:
        """The only one there is."""
        return self._embedders.setdefault("random", RandomModel())  # type: ignore[return-value,arg-type]


@dataclass
class Timeline:
    """When each query ended and how long it took, in seconds; and when the run's parts began."""

    queries: list[tuple[float, float]] = field(default_factory=list)
    commits: int = 0
    started: float = 0.0
    switched: float = 0.0

    def between(self, start: float, end: float) -> dict[str, float]:
        """Milliseconds of the queries that ended in between."""
        took = np.array([took for at, took in self.queries if start <= at < end]) * 1e3
        if not len(took):
            return {"queries": 0}
        return {
            "queries": len(took),
            "p50": round(float(np.percentile(took, 50)), 1),
            "p99": round(float(np.percentile(took, 99)), 1),
            "max": round(float(took.max()), 1),
        }


def text_of(random: np.random.Generator) -> str:
    """Twenty words."""
    return " ".join(random.choice(WORDS, 20)) + "."


def fill(service: RandomService, points: int) -> None:
    """Write documents of ten passages, many at a time, as the commit walk would leave them."""
    list(ingest(service.open("default", "default", create=True).index, [made("first", "The first.")]))
    store, random, model = service.open("default", "default").store, np.random.default_rng(1), RandomModel()
    for first in range(0, points // CHUNKS, 100):
        manifests, passages, records = [], [], []
        for number in range(first, min(first + 100, points // CHUNKS)):
            document = made(f"filled-{number}", "")
            info = DocumentInfo(document.id, document.uri, document.source, "", "txt", "en", "", "")
            version, start, chunks = str(uuid.uuid4()), 0, []
            for ordinal in range(CHUNKS):
                text = text_of(random)
                chunks.append(Chunk(document.id, version, ordinal, start, start + len(text), text))
                start += len(text)
            manifests.append(
                Manifest(info, str(uuid.uuid4()), "h", live=version, chunks=CHUNKS, characters=start)
            )
            records.append(Record(manifests[-1], tuple(chunks)))
            passages += [Passage(chunk, info) for chunk in chunks]
        sparse = tuple(service.analyzer.passage_vector(one.chunk.text) for one in passages)
        store.put_records(records)
        store.put_chunks(passages, Vectors(model.rows(len(passages)), sparse))
        assert all(store.put_manifests([ManifestWrite(one.id, None, one) for one in manifests]))


def made(name: str, text: str) -> Document:
    """A document of the benchmark's folder."""
    uri = f"file:///bench/{name}.txt"
    key = document_id("default", "default", uri)
    return Document(key, uri, "file:///bench/", name, "txt", text or "-", (), f"hash {name} {text}")


def read(service: RandomService, line: Timeline, done: threading.Event) -> None:
    """Search, some dozens of times a second; any error ends the benchmark."""
    random = np.random.default_rng(2)
    while not done.is_set():
        started = time.perf_counter()
        query = " ".join(random.choice(WORDS, 3))
        hits = service.open("default", "default").searcher.search(SearchRequest(query)).hits
        ended = time.perf_counter()
        assert hits
        line.queries.append((ended, ended - started))
        done.wait(0.02)


def write(service: RandomService, line: Timeline, done: threading.Event) -> None:
    """Commit one document after the other, of ten that are replaced in turn."""
    random = np.random.default_rng(3)
    index = service.open("default", "default").index
    while not done.is_set():
        text = " ".join(text_of(random) for _ in range(CHUNKS))
        (outcome,) = ingest(index, [made(f"written-{line.commits % 10}", text)])
        assert outcome.error is None
        line.commits += 1
        done.wait(0.05)


def disk(folder: Path) -> int:
    """Bytes taken."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += (Path(root) / name).stat().st_blocks * 512
    return total


def run(points: int, calm: float) -> dict[str, Any]:
    """The whole benchmark; what is to be reported."""
    with tempfile.TemporaryDirectory() as folder:
        service = RandomService(Settings(data=Path(folder), optimise_after=0, chunk_tokens=64, jobs="memory"))
        try:
            started = time.perf_counter()
            fill(service, points)
            filled = time.perf_counter() - started
            size = disk(Path(folder))
            sys.stderr.write(f"filled in {filled:.1f} s\n")
            report = measure(service, calm, Path(folder))
            counted = service.open("default", "default").store.stats()
            report |= {"points": points, "filled_s": round(filled, 1), "mib_before": size >> 20}
            return report | {"mib_after": disk(Path(folder)) >> 20, "chunks_after": counted.chunks}
        finally:
            service.close()


def measure(service: RandomService, calm: float, folder: Path) -> dict[str, Any]:
    """Search and write, optimise meanwhile, and go on for a while."""
    line, done, errors, peak = Timeline(), threading.Event(), [], 0

    def guarded(work: Callable[[RandomService, Timeline, threading.Event], None]) -> None:
        try:
            work(service, line, done)
        except BaseException as error:  # noqa: BLE001 - raised below, once the others have ended
            errors.append(error)
            done.set()

    threads = [threading.Thread(target=guarded, args=[one]) for one in (read, write)]
    for thread in threads:
        thread.start()
    began = time.perf_counter()
    done.wait(calm)
    home = layout.home_of(service.data, "default", "default")
    old, line.started = layout.current(home), time.perf_counter()
    job = service.rebuilds.optimise("default", "default")
    while job.status not in FINAL and not errors:
        peak = max(peak, disk(folder))
        done.wait(0.05)
        if not line.switched and layout.current(home) != old:
            line.switched = time.perf_counter()
    if errors:  # a query or a commit failed: that is what is to be known, not how far the job is
        done.set()
        for thread in threads:
            thread.join()
        raise errors[0]
    assert job.status == "completed", (job.status, job.error)
    line.switched = line.switched or time.perf_counter()
    done.wait(calm)
    ended = time.perf_counter()
    done.set()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return {
        "before": line.between(began, line.started),
        "during": line.between(line.started, line.switched - 0.5),
        "switch": line.between(line.switched - 0.5, line.switched + 0.5),
        "after": line.between(line.switched + 0.5, ended),
        "commits": line.commits,
        "optimise_s": round(line.switched - line.started, 1),
        "mib_peak": peak >> 20,
    }


def main() -> None:
    """Run and print."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--small", action="store_true", help="500 passages, to see that it runs")
    options.add_argument("--json", action="store_true", help="one JSON object")
    chosen = options.parse_args()
    report = run(500, 0.5) if chosen.small else run(100_000, 15.0)
    if chosen.json:
        sys.stdout.write(json.dumps(report) + "\n")
        return
    for name, value in report.items():
        sys.stdout.write(f"{name:<14}{value}\n")
    sys.stdout.write(f"{'cores':<14}{os.cpu_count()}\n")


if __name__ == "__main__":
    main()
