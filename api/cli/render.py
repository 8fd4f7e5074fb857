"""What commands show: JSON for programs, text for people, progress on stderr."""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import unquote

from latewood.api.cli.excerpt import excerpt
from latewood.client.client import JobState

T = TypeVar("T")
COUNTS = ("added", "updated", "unchanged", "deleted")
PLAIN_EVERY = 5.0
BEST_LINES = 24
LINES = 6
_CONTROLS = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)), "\ufffd") | {9: "\t", 10: "\n"}
_BREAKS = {9: "\ufffd", 10: "\ufffd"}


def line(text: str = "") -> None:
    """A line for people on stdout."""
    sys.stdout.write(_harmless(text) + "\n")


def say(text: str) -> None:
    """A line on stderr: progress, notes, errors."""
    sys.stderr.write(_harmless(text) + "\n")
    sys.stderr.flush()


def _harmless(text: str) -> str:
    """What can be written: no lone surrogates, no control characters of a document that a terminal obeys."""
    return text.translate(_CONTROLS).encode("utf-8", "replace").decode("utf-8")


def emit(as_json: bool, answer: T, render: Callable[[T], None]) -> None:
    """One JSON object, or its rendering."""
    if as_json:
        sys.stdout.write(_json(answer) + "\n")
    else:
        render(answer)
    sys.stdout.flush()


def fail(as_json: bool, exit_code: int, code: str, message: str) -> int:
    """Say what went wrong, in the same shape as over HTTP; returns the exit code."""
    if as_json:
        sys.stdout.write(_json({"error": {"code": code, "message": message}}) + "\n")
    else:
        say(f"latewood: {message}")
    return exit_code


def _json(answer: object) -> str:
    """JSON that says the same on every terminal: what stdout cannot hold is escaped."""
    utf8 = codecs.lookup(sys.stdout.encoding or "ascii").name == "utf-8"
    return json.dumps(answer, ensure_ascii=not utf8).encode("utf-8", "replace").decode("utf-8")


def never_refuse_a_letter() -> None:
    """Let stdout and stderr show a letter that their encoding lacks as "?" instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def place(uri: str) -> str:
    """A uri as people read it, on one line whatever its name holds."""
    return unquote(uri.removeprefix("file://"), errors="replace").translate(_BREAKS)


def ingest_total(states: Sequence[JobState], failed: Sequence[dict[str, str]] = ()) -> dict[str, Any]:
    """The contract's counts over several sources; documents and chunks stand after the last.

    `failed` holds the sources that failed as a whole.
    """
    counts = [state["counts"] for state in states]
    return {
        **{name: sum(count[name] for count in counts) for name in COUNTS},
        "skipped": [
            {"uri": item["uri"], "code": item["code"]} for state in states for item in state["skipped"]
        ],
        "failed": [*(item for state in states for item in state["errors"]), *failed],
        "documents": counts[-1]["documents"],
        "chunks": counts[-1]["chunks"],
        "tokens": sum(count["tokens"] for count in counts),
        "seconds": round(sum(count["seconds"] for count in counts), 3),
    }


def render_ingest(total: Mapping[str, Any]) -> None:
    """Counts, then every file that failed."""
    done = ", ".join(f"{total[name]} {name}" for name in COUNTS)
    if total.get("dry_run"):
        done = f"dry run, nothing was changed; an ingest would give: {done}"
    speed = (
        f", {total['tokens'] / total['seconds']:,.0f} tokens/s"
        if total["tokens"] and total["seconds"]
        else ""
    )
    line(f"{done} in {total['seconds']:.1f} s ({total['tokens']:,} tokens{speed})")
    line(f"the collection holds {total['documents']:,} documents, {total['chunks']:,} passages")
    for item in total["skipped"]:
        line(f"  skipped {place(item['uri'])}: {item['code']}")
    for item in total["failed"]:
        line(f"  failed  {place(item['uri'])}: {item['message']} [{item['code']}]")


@contextlib.contextmanager
def progress(source: str) -> Iterator[Callable[[JobState], None]]:
    """Show a job's progress: a bar on a terminal, a line now and then elsewhere. Always on stderr."""
    started = time.monotonic()
    if sys.stderr.isatty():
        yield from _bar(source, started)
        return
    last = started
    waited_for: str | None = None

    def plain(state: JobState) -> None:
        nonlocal last, waited_for
        now = time.monotonic()
        if state["status"] == "queued" and waited_for is None:
            waited_for = _describe(state, 0.0)
            say(f"{source}: {waited_for}")
        elif state["status"] in {"queued", "in_progress"} and now - last >= PLAIN_EVERY:
            last = now
            say(f"{source}: {_describe(state, now - started)}")

    yield plain


def _bar(source: str, started: float) -> Iterator[Callable[[JobState], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[told]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(source, total=None, told="waiting")

        def show(state: JobState) -> None:
            counts = state["counts"]
            told = _describe(state, time.monotonic() - started)
            total = 1.0 if counts["total"] else None
            bars.update(task, total=total, completed=counts["share"], told=told)

        yield show


def _describe(state: JobState, seconds: float) -> str:
    """Documents, tokens per second, time left."""
    if state["status"] == "queued":
        return f"waiting for {state.get('waits_for') or 'its turn'}"
    counts = state["counts"]
    finished, total = counts["finished"], counts["total"]
    told = f"{finished:,} of {total:,} files"
    if counts["tokens"] and seconds > 0:
        told += f", {counts['tokens'] / seconds:,.0f} tokens/s"
    if state["seconds_left"] is not None:
        told += f", about {state['seconds_left']:,.0f} s left"
    return f"dry run: {told}" if state.get("dry_run") else told


def render_results(answer: Mapping[str, Any], question: str, *, explain: bool) -> None:
    """Passages with title, place, page, headings and score; the best one whole unless it is very long."""
    if not answer["results"]:
        line("nothing found")
    for number, result in enumerate(answer["results"], 1):
        _render_result(number, result, question, explain=explain)
    if explain and answer.get("fusion"):
        _render_fusion(answer["fusion"])
    took = answer["took_ms"]
    count = len(answer["results"])
    line(f"{count} passage{'s' * (count != 1)}, {answer['mode']}, {took['total']:.0f} ms")


def _render_result(number: int, result: Mapping[str, Any], question: str, *, explain: bool) -> None:
    page = _pages(result)
    line(f"{number}. {result['title']}{page}  [{result['score']:.4f}]")
    line(f"   {place(result['uri'])}")
    if result["headings"]:
        line(f"   {' > '.join(result['headings'])}")
    for text in excerpt(result["text"], question, most=BEST_LINES if number == 1 else LINES):
        line(f"   | {text}")
    if explain and result["explain"]:
        for name, leg in result["explain"]["legs"].items():
            line(f"   {name}: rank {leg['rank']}, score {leg['score']:.4f}, adds {leg['contribution']:.5f}")
    line()


def _render_fusion(fusion: Mapping[str, Any]) -> None:
    weights = ", ".join(f"{leg} {weight:g}" for leg, weight in fusion["weights"].items())
    told = " (the model does not know the question's language)" if fusion["foreign"] else ""
    line(f"fused by {fusion['method']}: {weights}{told}")


def _pages(result: Mapping[str, Any]) -> str:
    first, last = result["page_start"], result["page_end"]
    if first is None:
        return ""
    return f", page {first}" if first == last else f", pages {first}-{last}"


def render_demo(played: Mapping[str, Any], collection: str) -> None:
    """What was ingested, each question with its passages, and what to type next."""
    render_ingest(played["ingest"])
    for answer in played["answers"]:
        line()
        line(f"? {answer['question']}")
        render_results(answer, answer["question"], explain=True)
    line(f'ask on: latewood search "…" --collection {collection}    or serve a page: latewood serve')


def render_status(found: Mapping[str, Any]) -> None:
    """Counts, model, size."""
    name = f"{found['tenant']}/{found['collection']}"
    line(f"{name}: {found['documents']:,} documents, {found['chunks']:,} passages")
    line(f"model {found['model']}, dimensions {', '.join(map(str, found['dimensions']))}")
    line(f"dense leg {found['plan']}")
    if found["plan_set"]:
        line(f"  set now, for `latewood optimise` to build: {found['plan_set']}")
    line(f"store {found['store']}, {found['bytes'] / 2**20:.1f} MiB on disk")
    for name, value in found["fingerprint"].items():
        line(f"  {name}: {value}")


def render_jobs(found: Mapping[str, Any]) -> None:
    """A line per job, the newest first."""
    for job in found["jobs"]:
        counts = job["counts"]
        done = f"{counts['finished']} of {counts['total']} files"
        dry = "dry run of " if job["dry_run"] else ""
        line(f"{job['id']}  {job['status']:<11}  {job['created']}  {done:<18}  {dry}{place(job['source'])}")
    line(f"{len(found['jobs'])} jobs")


def render_job(job: Mapping[str, Any]) -> None:
    """One job: how far it is or how it ended, and every file that failed."""
    counts = job["counts"]
    dry = "dry run of " if job["dry_run"] else ""
    line(f"{job['id']}  {job['status']}  {dry}{place(job['source'])}")
    if job["waits_for"]:
        line(f"  waits for {job['waits_for']}")
    done = ", ".join(f"{counts[name]} {name}" for name in COUNTS)
    line(f"{counts['finished']:,} of {counts['total']:,} files, {counts['tokens']:,} tokens: {done}")
    if counts["current"]:
        line(f"  at {place(counts['current'])}")
    if job["seconds_left"] is not None:
        line(f"  about {job['seconds_left']:,.0f} s left")
    for item in job["errors"]:
        line(f"  failed  {place(item['uri'])}: {item['message']} [{item['code']}]")
    if job["error"]:
        line(f"  {job['error']['message']} [{job['error']['code']}]")


def render_documents(found: Mapping[str, Any]) -> None:
    """A line per document."""
    for document in found["documents"]:
        line(f"{document['id']}  {document['chunks']:>5}  {document['title']}  {place(document['uri'])}")
    line(f"{len(found['documents'])} documents")


def render_document(document: Mapping[str, Any]) -> None:
    """One document: facts, then its text."""
    for name in (
        "id",
        "title",
        "uri",
        "kind",
        "chunks",
        "version",
        "modified",
        "ingested",
        "metadata",
        "notes",
    ):
        if document[name]:
            line(f"{name}: {document[name]}")
    if document["failure"]:
        line(f"the newest content could not be read: {document['failure']['message']}")
    line()
    line(document["text"])


def render_findings(found: Mapping[str, Any]) -> None:
    """Findings, then settings."""
    for finding in found["findings"]:
        line(f"{finding['status']:<5} {finding['check']}: {finding['message']}")
    line()
    for value in found["settings"]:
        line(f"{value['name']:<18} {value['value']:<24} {value['origin']}")
