"""What each plan of the dense leg costs and finds: recall@10, milliseconds, memory and disk.

    python -m benchmarks.index --folder FOLDER                     100,000 synthetic vectors of 1,024 numbers
    python -m benchmarks.index --folder FOLDER --data SET ...      as many real ones of 384 (MiniLM's), tiled
    python -m benchmarks.index --folder FOLDER --build hnsw:int8   build this one only, to be asked later
    python -m benchmarks.index --small                             seconds: its numbers mean nothing

A plan is written `hnsw`, `flat` or `256-1024`, then what differs from float32, in memory, not quantised:
`hnsw:int8`, `256-1024:int8:float16:disk`, `hnsw:int8:x1.5` (asked 1.5 times oversampled). Built indexes stay
in FOLDER and are not built again. All are open at once and asked in turns, question by question, at the depth
a service asks (200), through the store's process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from benchmarks.search import spread
from benchmarks.vectors import VectorSet, real, synthetic
from latewood.search.index_config import DTYPES, QUANTIZATIONS, DensePlan, read_stages
from latewood.search.paging import LEG_DEPTH
from latewood.search.stores.edge.store import EdgeStore
from latewood.search.types import Candidate, DenseQuery, IndexConfig, Leg

PLANS = (
    "flat",
    "hnsw",
    "hnsw:float16",
    "hnsw:int8",
    "hnsw:int8:disk",
    "hnsw:turbo",
    "hnsw:binary",
    "flat:int8",
    "flat:binary",
    "256-1024",
    "256-1024:int8",
    "256-1024:int8:disk",
)
OF_384 = tuple(plan for plan in PLANS if not plan[0].isdigit())  # MiniLM is not trained for fewer numbers
_WARM = 10
Report = dict[str, Any]


def read_plan(text: str) -> DensePlan:
    """A plan as the command line has it.

    Raises:
        ValueError: no such plan, or no such part of one.
    """
    name, *parts = text.split(":")
    plan = DensePlan(graph=name != "flat")
    if name not in ("hnsw", "flat"):
        plan = replace(plan, stages=read_stages(name))
    for part in parts:
        if part in DTYPES:
            plan = replace(plan, dtype=part)
        elif part in QUANTIZATIONS:
            plan = replace(plan, quantization=part)
        elif part == "disk":
            plan = replace(plan, on_disk=True)
        elif part.startswith("x"):
            plan = replace(plan, oversampling=float(part[1:]))
        else:
            raise ValueError(
                f"{part!r} in {text!r} is none of {', '.join((*DTYPES, *QUANTIZATIONS, 'disk'))}"
            )
    return plan


@dataclass(frozen=True)
class Bench:
    """Where the indexes of one set of vectors lie."""

    vectors: VectorSet
    folder: Path

    def config(self, text: str) -> IndexConfig:
        """An index with the sizes its plan reads."""
        plan = read_plan(text)
        sizes = {self.vectors.dimension, *plan.stages}
        return IndexConfig(tuple(sorted(sizes, reverse=True)), {"model": "bench"}, plan)

    def place(self, text: str) -> Path:
        """Its folder."""
        return self.folder / f"{self.vectors.name}-{len(self.vectors.rows)}-{text.replace(':', '_')}"

    def build(self, text: str) -> Report:
        """Write and optimise an index, unless it is there; seconds, and CPU seconds of its process.

        What differs only in how it is asked, or in where its vectors are read to, is a copy.
        """
        place = self.place(text)
        note = place / "built.json"
        if note.exists():
            found: Report = json.loads(note.read_text())
            return found
        base = ":".join(part for part in text.split(":") if part != "disk" and not part.startswith("x"))
        if base != text:
            made = self.build(base)
            _copy(self.place(base), place)
            return made
        made = self._written(text, place)
        with closing(EdgeStore(place, self.config(text))) as store:
            started, before = time.perf_counter(), _cpu(store)
            store.optimise()
            made["optimise_s"] = round(time.perf_counter() - started, 1)
            made["optimise_cpu_s"] = round(_cpu(store) - before, 1)
        note.write_text(json.dumps(made))
        return made

    def _written(self, text: str, place: Path) -> Report:
        """Put an index that is not optimised yet into a folder: written once for all plans of these sizes."""
        config = self.config(text)
        named = f"written-{'-'.join(map(str, config.dimensions))}-{config.plan.dtype}"
        written = self.place(named)
        note = written / "written.json"
        if not note.exists():
            written.mkdir(parents=True)
            plain = replace(config, plan=DensePlan(graph=False, dtype=config.plan.dtype))
            with closing(EdgeStore(written, plain)) as store:
                started = time.perf_counter()
                self.vectors.write(store)
                took = round(time.perf_counter() - started, 1)
            note.write_text(json.dumps({"write_s": took}))
        _copy(written, place)
        found: Report = json.loads(note.read_text())
        return found

    def ask(self, plans: Sequence[str]) -> list[Report]:
        """Every plan the same questions, in turns."""
        exact, cosines = self.vectors.exact(LEG_DEPTH)
        with ExitStack() as stack:
            stores = {
                text: stack.enter_context(closing(EdgeStore(self.place(text), self.config(text))))
                for text in plans
            }
            took: dict[str, list[float]] = {text: [] for text in plans}
            answers: dict[str, list[Sequence[Candidate]]] = {text: [] for text in plans}
            for question in self.vectors.questions[:_WARM]:
                for store in stores.values():
                    store.search([Leg("dense", DenseQuery(question), LEG_DEPTH)])
            spent = {text: -_cpu(store) for text, store in stores.items()}
            for question in self.vectors.questions:
                leg = Leg("dense", DenseQuery(question), LEG_DEPTH)
                for text, store in stores.items():
                    started = time.perf_counter()
                    found = store.search([leg])[0]
                    took[text].append(time.perf_counter() - started)
                    answers[text].append(found)
            rows = []
            for text, store in stores.items():
                spent[text] += _cpu(store)
                memory = psutil.Process(store.worker_pid).memory_info()
                rows.append(
                    {
                        "plan": text,
                        **_found(answers[text], exact, cosines),
                        **spread(took[text]),
                        "cpu_ms": round(spent[text] / len(took[text]) * 1e3, 2),
                        "own_mib": round((memory.rss - memory.shared) / 2**20, 1),
                        "files_mib": round(memory.shared / 2**20, 1),
                        "disk_mib": round(store.stats().bytes / 2**20, 1),
                        **self.build(text),
                    }
                )
        return rows


def _copy(folder: Path, to: Path) -> None:
    """With the holes in its files, which would take space as zeros."""
    subprocess.run(["cp", "-r", "--sparse=always", folder, to], check=True)


def _found(answers: Sequence[Sequence[Candidate]], exact: Sequence[Sequence[str]], cosines: Any) -> Report:
    """Share of the ten, and of the two hundred, nearest that were found; how far scores are from exact."""
    ten = whole = 0
    furthest = 0.0
    for answer, right, scores in zip(answers, exact, cosines, strict=True):
        ten += len({one.id for one in answer[:10]} & set(right[:10]))
        whole += len({one.id for one in answer} & set(right))
        known = dict(zip(right, scores.tolist(), strict=True))
        furthest = max([furthest, *(abs(one.score - known[one.id]) for one in answer if one.id in known)])
    return {
        "recall@10": round(ten / (10 * len(answers)), 4),
        f"recall@{LEG_DEPTH}": round(whole / (LEG_DEPTH * len(answers)), 4),
        "score_off": float(f"{furthest:.1e}"),
    }


def _cpu(store: EdgeStore) -> float:
    times = psutil.Process(store.worker_pid).cpu_times()
    return float(times.user + times.system)


def main(arguments: Sequence[str] | None = None) -> None:
    """Build what is not there, ask, and print one JSON object."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument(
        "--folder", type=Path, help="where indexes are kept; without it they are thrown away"
    )
    options.add_argument("--data", type=Path, nargs="+", default=[], help="folders in the BEIR layout")
    options.add_argument("--cache", type=Path, help="where `latewood evaluate` keeps vectors")
    options.add_argument("--points", type=int, default=100_000)
    options.add_argument("--dimension", type=int, default=1024, help="of synthetic vectors")
    options.add_argument("--questions", type=int, default=200)
    options.add_argument("--plans", nargs="+")
    options.add_argument("--build", nargs="+", help="build these and ask nothing")
    options.add_argument("--small", action="store_true", help="a few hundred vectors of 64 numbers")
    chosen = options.parse_args(arguments)
    plans = chosen.plans or (OF_384 if chosen.data else PLANS)
    if chosen.small:
        chosen.points, chosen.dimension, chosen.questions = 600, 64, 5
        plans = ("flat", "hnsw:int8", "hnsw:turbo:float16", "16-64:int8:disk")
    with ExitStack() as stack:
        folder = chosen.folder or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="latewood-bench-"))
        )
        if chosen.data:
            cache = chosen.cache or folder / "vectors"
            vectors = real(chosen.data, chosen.points, chosen.questions, cache)
        else:
            vectors = synthetic(chosen.points, chosen.dimension, chosen.questions)
        bench = Bench(vectors, folder)
        report: Report = {
            "vectors": vectors.name,
            "points": len(vectors.rows),
            "dimension": vectors.dimension,
        }
        report |= {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}
        for text in chosen.build or plans:
            sys.stderr.write(f"{text}: {bench.build(text)}\n")
        if not chosen.build:
            report["plans"] = bench.ask(plans)
        sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
