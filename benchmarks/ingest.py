"""How fast a folder becomes searchable, beside a script as one would write it without Latewood.

    python -m benchmarks.ingest [--from FOLDER ...] [--each 100] [--many 20000] [--parts PART ...]
                                [--out FILE.json] [--small]

Parts: `script` (Latewood as shipped beside naive_ingest.py), `fresh` (a new file with an owner up), `workers`
(documents/s with one and two parsers), `many` (memory and a sync without changes over many small files).
Every measurement runs in fresh processes. `--small` takes seconds: its numbers mean nothing, it shows that
all of it works.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from benchmarks.corpus import Corpus, build, build_small, machine_folders
from benchmarks.measuring import ROOT, Cost, environment, latewood, measured, python

MIB = 2**20
PARTS = ("script", "fresh", "workers", "many")
DEADLINE_S = 300.0
FEWER = 10  # how many times fewer files memory is compared with


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure: where files come from, how many, and the model for what is not about the model."""

    parts: Sequence[str]
    folders: Sequence[Path]
    each: int
    many: int
    model: str


def against_script(corpus: Corpus, work: Path) -> dict[str, Any]:
    """Folder to searchable, each from the start of a process to its end."""
    from latewood.embedder.defaults import default_model
    from latewood.embedder.models.sources import locate

    model = locate(default_model())[0]
    ours = measured(latewood("ingest", corpus.folder, "--json", "--data", work / "ours"))
    theirs = measured(python("-m", "benchmarks.naive_ingest", corpus.folder, work / "theirs", model))
    return {
        "latewood": _told(ours),
        "script": _told(theirs),
        "ratio of wall seconds": round(theirs.wall_s / ours.wall_s, 2),
        "ratio of CPU seconds": round(theirs.cpu_s / ours.cpu_s, 2),
    }


def _told(cost: Cost) -> dict[str, Any]:
    return {
        "documents": cost.printed["documents"],
        "chunks": cost.printed["chunks"],
        "wall_s": round(cost.wall_s, 1),
        "cpu_s": round(cost.cpu_s, 1),
        "peak_mib": cost.peak_bytes // MIB,
    }


def fresh_file(corpus: Corpus, work: Path) -> dict[str, Any]:
    """Seconds from `latewood ingest` to the answer of `latewood search`, with an owner that is up.

    CPU seconds are those of the two commands; what the owner does for them is not among these.
    """
    data = work / "owned"
    few = work / "few"
    few.mkdir()
    for path in sorted(corpus.folder.rglob("*.txt"))[:5]:
        (few / path.name).write_bytes(path.read_bytes())
    measured(latewood("ingest", few, "--json", "--data", data))
    with _owner(data):
        search = latewood("search", "What does the zanzibarine cormorant eat?", "--json", "--data", data)
        measured(search)
        (few / "new.txt").write_text(
            "The zanzibarine cormorant eats nothing but herring.\n", encoding="utf-8"
        )
        started = monotonic()
        taken = measured(latewood("ingest", few, "--json", "--data", data))
        found = measured(search)
        seconds = monotonic() - started
    best = found.printed["results"][0]["uri"]
    if not best.endswith("/new.txt"):
        raise RuntimeError(f"the new file does not answer first, {best} does")
    return {
        "ingest_s": round(taken.wall_s, 2),
        "search_s": round(found.wall_s, 2),
        "both_s": round(seconds, 2),
        "ingest_cpu_s": round(taken.cpu_s, 2),
        "search_cpu_s": round(found.cpu_s, 2),
    }


@contextmanager
def _owner(data: Path) -> Iterator[None]:
    """A server that holds the data and is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            latewood("serve", "--port", port, "--data", data), env=environment(), stdout=log, stderr=log
        )
        try:
            _wait_ready(f"http://127.0.0.1:{port}/readyz", process)
            yield
        finally:
            process.terminate()
            process.wait()


def _wait_ready(address: str, process: subprocess.Popen[bytes]) -> None:
    import httpx

    end = monotonic() + DEADLINE_S
    while monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the server left with {process.returncode}")
        try:
            if httpx.get(address, timeout=5).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass  # it does not listen yet
        sleep(0.1)
    raise RuntimeError(f"the server was not ready after {DEADLINE_S:g} s")


def workers(corpus: Corpus, work: Path, model: str) -> dict[str, Any]:
    """Documents/s with one and with two parsers, and how busy the cores were kept."""
    return {
        f"{readers} parser(s)": _inside(corpus, work / f"readers{readers}", model, readers)[0]
        for readers in (1, 2)
    }


def many_files(work: Path, many: int, hold: Sequence[str]) -> dict[str, Any]:
    """Peak memory of the pipeline's process at many files and at a tenth, and a sync without changes."""
    fewer = build_small(work / "fewer", many // FEWER)
    (less,) = _inside(fewer, work / "less", "words", 2, *hold)
    first, second = _inside(build_small(work / "many", many), work / "more", "words", 2, "--again", *hold)
    more_bytes = first["peak_bytes"] - less["peak_bytes"]
    return {
        f"peak_mib at {many // FEWER}": less["peak_bytes"] // MIB,
        f"peak_mib at {many}": first["peak_bytes"] // MIB,
        "ratio of peaks": round(first["peak_bytes"] / less["peak_bytes"], 2),
        "bytes for one more file": more_bytes // (many - many // FEWER),
        "documents_per_s": first["documents_per_s"],
        "unchanged": second["unchanged"],
        "unchanged_s": second["wall_s"],
        "unchanged_cpu_s": second["cpu_s"],
    }


def _inside(corpus: Corpus, data: Path, model: str, readers: int, *more: str) -> list[dict[str, Any]]:
    arguments: list[str | Path] = [corpus.folder, data, "--readers", str(readers), "--model", model, *more]
    runs: list[dict[str, Any]] = measured(python("-m", "benchmarks.inside", *arguments)).printed["runs"]
    return runs


def run(plan: Plan) -> dict[str, Any]:
    """Measure all parts of a plan, one after another."""
    with tempfile.TemporaryDirectory(prefix="latewood-benchmark-") as folder:
        work = Path(folder)
        corpus = build(work / "corpus", plan.folders, plan.each)
        found: dict[str, Any] = {"machine": _machine(), "files": corpus.counts}
        if "script" in plan.parts:
            found["script"] = against_script(corpus, work)
        if "fresh" in plan.parts:
            found["fresh"] = fresh_file(corpus, work)
        if "workers" in plan.parts:
            found["workers"] = workers(corpus, work, plan.model)
        if "many" in plan.parts:
            found["many"] = many_files(work, plan.many, () if plan.model == "words" else ("--hold",))
        found["machine"]["load after"] = round(os.getloadavg()[1], 1)
        return found


def _machine() -> dict[str, Any]:
    return {
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "load before": round(os.getloadavg()[1], 1),
    }


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown: one table a part."""
    lines: list[str] = []
    for part, figures in found.items():
        lines += [f"**{part}**", ""]
        rows = {name: value for name, value in figures.items() if isinstance(value, dict)}
        if rows:
            columns = list(next(iter(rows.values())))
            lines += [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
            lines += [
                f"| {name} | {' | '.join(str(row[one]) for one in columns)} |" for name, row in rows.items()
            ]
            lines.append("")
        lines += [f"{name}: {value}  " for name, value in figures.items() if name not in rows]
        lines.append("")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run as a command: tables on stdout, the same as JSON into a file when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--from", dest="folders", type=Path, nargs="+", default=None)
    parser.add_argument("--each", type=int, default=100, help="files of each of four kinds")
    parser.add_argument("--many", type=int, default=None, help="small files")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=None)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--small", action="store_true")
    chosen = parser.parse_args(arguments)
    folders = chosen.folders or machine_folders()
    plan = Plan(chosen.parts or PARTS, folders, chosen.each, chosen.many or 20_000, "default")
    if chosen.small:  # no model is loaded
        samples = [ROOT / "api" / "samples", ROOT / "docs", ROOT / "tests" / "fixtures"]
        plan = Plan(
            chosen.parts or ("workers", "many"), chosen.folders or samples, 2, chosen.many or 50, "words"
        )
    found = run(plan)
    if chosen.out is not None:
        chosen.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(table(found))


if __name__ == "__main__":
    main()
