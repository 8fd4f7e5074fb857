"""`latewood evaluate`: how good each mode is on a judged set, without touching any collection."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from latewood.api.cli import render
from latewood.api.cli.common import UNREACHABLE, WRONG_USE, CommandError, finish
from latewood.engine.settings import Settings, load
from latewood.search.fusion import SHIPPED, Fusion
from latewood.search.request import MODES
from latewood.search.stores.generations import layout

if TYPE_CHECKING:  # the command line starts without numpy's, torch's or the evaluation's weight
    from latewood.evaluation.embedding_cache import Progress
    from latewood.evaluation.workbench import Row, Workbench

SAMPLES = "samples"


def evaluate(  # noqa: PLR0913, PLR0917 - a command's options are its arguments
    dataset: Annotated[
        str, typer.Argument(help=f"folder in the BEIR layout, or `{SAMPLES}`: the set that ships")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
    data: Annotated[Path | None, typer.Option(help="data directory (LATEWOOD_DATA), for the cache")] = None,
    collection: Annotated[str, typer.Option(help="collection; none is read or changed")] = "default",
    tenant: Annotated[str, typer.Option(help="tenant; none is read or changed")] = "default",
    modes: Annotated[str, typer.Option(help="which to score, divided by commas")] = "bm25,dense,hybrid",
    split: Annotated[str, typer.Option(help="reads qrels/SPLIT.tsv")] = "dev",
    unit: Annotated[str, typer.Option(help="document, or passage: the set's own")] = "document",
    fusion: Annotated[str, typer.Option(help="of hybrid: shipped, rrf, dbsf, convex")] = "shipped,rrf",
    context: Annotated[str | None, typer.Option(help="0 to 1, e.g. 0,0.5,1")] = None,
    dimensions: Annotated[str | None, typer.Option(help="vector sizes, e.g. 1024,256")] = None,
    chunk_tokens: Annotated[str | None, typer.Option(help="tokens of a chunk, e.g. 128,256")] = None,
    csv: Annotated[Path | None, typer.Option(help="also write the rows to this file")] = None,
    runs: Annotated[Path | None, typer.Option(help="also write TREC run files to this folder")] = None,
    cache: Annotated[Path | None, typer.Option(help="where vectors are kept (DATA/cache/evaluation)")] = None,
) -> None:
    """Build a throw-away index of a judged set and score it."""

    def run() -> int:
        settings = load(data=data)
        layout.check_names(tenant, collection)
        chosen = {
            "modes": _words("--modes", modes, tuple(MODES)),
            "fusions": tuple(map(_fusion, _words("--fusion", fusion, None))),
            "contexts": _numbers("--context", context, float, _if_set(settings.context)),
            "dimensions": _numbers("--dimensions", dimensions, int, settings.dimensions),
            "chunk_tokens": _numbers("--chunk-tokens", chunk_tokens, int, (settings.chunk_tokens,)),
            "k1": (settings.k1,),
            "b": (settings.b,),
            "languages": (settings.language,),
        }
        if unit == "passage":
            if chunk_tokens is not None:
                message = (
                    "--chunk-tokens has no meaning with --unit passage, which cuts at the set's own passages"
                )
                raise CommandError(WRONG_USE, "wrong_use", message)
            del chosen["chunk_tokens"]
        with known_errors(), bench_on(settings, dataset, split, unit, cache) as bench:
            answer = _score(bench, chosen, csv, runs)
        render.emit(as_json, answer, _render)
        return 0

    finish(as_json, run)


def _score(bench: Workbench, chosen: dict[str, Any], csv: Path | None, runs: Path | None) -> dict[str, Any]:
    from latewood.evaluation import tables
    from latewood.evaluation.ablation import Grid

    rows: list[Row] = []
    if runs is not None:
        runs.mkdir(parents=True, exist_ok=True)
    for configuration in Grid(**chosen).configurations():
        row = bench.row(configuration)
        rows.append(row)
        if runs is not None:
            name = tables.file_name(row)
            judged = bench.judged_run(configuration, bench.run(configuration)[0])
            tables.write_trec(runs / f"{name}.trec", judged, name)
    plain = [tables.plain(row) for row in rows]
    if csv is not None:
        tables.write_csv(csv, plain)
    return {"dataset": bench.dataset.name, "notes": list(bench.dataset.notes), "rows": plain}


@contextlib.contextmanager
def bench_on(
    settings: Settings, dataset: str, split: str, unit: str, cache: Path | None
) -> Iterator[Workbench]:
    """A judged set on the workbench, with the model that the settings name; progress goes to stderr."""
    from latewood.embedder.defaults import default_model
    from latewood.embedder.serving.engine import load_embedder
    from latewood.evaluation.datasets import read_dataset
    from latewood.evaluation.workbench import Workbench

    with _folder(dataset) as folder:
        judged = read_dataset(folder, split)
    judged.judged(unit)  # refused before a model is loaded
    embedder = load_embedder(
        default_model() if settings.model == "auto" else settings.model,
        device=settings.device,
        dtype=settings.dtype,
        window=settings.window,
        lead=settings.lead,
        source=settings.source,
    )
    try:
        with _progress() as progress:
            yield Workbench(judged, embedder, cache or settings.data / "cache" / "evaluation", unit, progress)
    finally:
        embedder.close()


@contextlib.contextmanager
def known_errors() -> Iterator[None]:
    """What the evaluation and the model raise on purpose becomes one line and an exit code."""
    from latewood.embedder.types import EmbedderError

    try:
        import latewood.evaluation.metrics  # noqa: F401 - needs the extra
        from latewood.evaluation.configuration import ConfigurationError
        from latewood.evaluation.dataset_files import DatasetNotFoundError, EvaluationError
    except ModuleNotFoundError as error:
        message = f"this command needs an extra: pip install 'latewood[evaluation]' ({error})"
        raise CommandError(UNREACHABLE, "needs_extra", message) from error
    try:
        yield
    except DatasetNotFoundError as error:
        raise CommandError(UNREACHABLE, "dataset_not_found", str(error)) from error
    except (EvaluationError, ConfigurationError) as error:
        raise CommandError(WRONG_USE, "wrong_use", str(error)) from error
    except EmbedderError as error:
        raise CommandError(UNREACHABLE, "model_unavailable", str(error)) from error
    except OSError as error:
        raise CommandError(
            UNREACHABLE, "file_unavailable", f"cannot read or write a file: {error}"
        ) from error


@contextlib.contextmanager
def _folder(dataset: str) -> Iterator[Path]:
    if dataset == SAMPLES and not Path(dataset).exists():
        with as_file(files("latewood.api") / "samples") as samples:
            yield samples / "judged"
    else:
        yield Path(dataset)


@contextlib.contextmanager
def _progress() -> Iterator[Progress]:
    """A bar on a terminal, a line now and then elsewhere."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import MofNCompleteColumn
        from rich.progress import Progress as Bars

        with Bars(
            *Bars.get_default_columns(), MofNCompleteColumn(), console=Console(stderr=True), transient=True
        ) as bars:
            task = bars.add_task("", total=None)
            yield lambda what, done, total: bars.update(task, description=what, completed=done, total=total)
        return
    last = time.monotonic()

    def plain(what: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= render.PLAIN_EVERY:
            last = time.monotonic()
            render.say(f"{what}: {done:,} of {total:,} documents")

    yield plain


def _fusion(word: str) -> Fusion:
    return SHIPPED if word == "shipped" else Fusion(word)


def _if_set(value: float | None) -> tuple[float, ...]:
    return () if value is None else (value,)


def _words(option: str, text: str, known: tuple[str, ...] | None) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    wrong = [word for word in words if known is not None and word not in known]
    if wrong or not words:
        said = ", ".join(known or ()) or "shipped, rrf, dbsf, convex"
        message = f"{option} {(wrong or [text])[0]!r} is not known; one or more of: {said}"
        raise CommandError(WRONG_USE, "wrong_use", message)
    return words


def _numbers(option: str, text: str | None, kind: type[Any], default: tuple[Any, ...]) -> tuple[Any, ...]:
    if text is None:
        return default
    try:
        return tuple(dict.fromkeys(kind(part) for part in text.split(",")))
    except ValueError as error:
        message = f"{option} {text!r} must be numbers divided by commas"
        raise CommandError(WRONG_USE, "wrong_use", message) from error


def _render(answer: dict[str, Any]) -> None:
    from latewood.evaluation import tables

    render.line(f"{answer['dataset']}:")
    for note in answer["notes"]:
        render.line(f"  {note}")
    for line in tables.lines(answer["rows"]):
        render.line(line)
