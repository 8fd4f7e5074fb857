"""`latewood ablate`: every combination of settings on a judged set, held against one baseline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from latewood.api.cli import render
from latewood.api.cli.candidates import number_list, scoring_progress
from latewood.api.cli.common import WRONG_USE, CommandError, finish
from latewood.api.cli.evaluate import bench_on, known_errors
from latewood.engine.settings import load
from latewood.search.fusion import Fusion
from latewood.search.stores.generations import layout
from latewood.search.types import QueryError

if TYPE_CHECKING:  # the command line starts without numpy's weight
    from latewood.evaluation.ablation import AblationRow, Grid, Journal
    from latewood.evaluation.configuration import Configuration
    from latewood.evaluation.workbench import Workbench


def ablate(  # noqa: PLR0913, PLR0917 - a command's options are its arguments
    dataset: Annotated[
        str, typer.Argument(help="folder in the BEIR layout, or `samples`: the set that ships")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
    data: Annotated[Path | None, typer.Option(help="data directory (LATEWOOD_DATA), for the cache")] = None,
    collection: Annotated[str, typer.Option(help="collection; none is read or changed")] = "default",
    tenant: Annotated[str, typer.Option(help="tenant; none is read or changed")] = "default",
    baseline: Annotated[str, typer.Option(help="mode to compare with, at the first of each value")] = "bm25",
    metric: Annotated[str, typer.Option(help="what to compare by")] = "ndcg@10",
    split: Annotated[str, typer.Option(help="reads qrels/SPLIT.tsv")] = "dev",
    unit: Annotated[str, typer.Option(help="document, or passage: the set's own")] = "document",
    modes: Annotated[str, typer.Option(help="modes, divided by commas")] = "bm25,dense,hybrid",
    fusion: Annotated[str, typer.Option(help="methods of hybrid: rrf, dbsf, convex")] = "rrf,convex",
    shares: Annotated[str, typer.Option(help="weights of the dense leg, BM25 has the rest")] = "0.5",
    context: Annotated[str, typer.Option(help="0 to 1, e.g. 0,0.5,1")] = "",
    dimensions: Annotated[str, typer.Option(help="vector sizes, e.g. 1024,256")] = "",
    chunk_tokens: Annotated[str, typer.Option(help="tokens of a chunk, e.g. 128,256")] = "",
    k1: Annotated[str, typer.Option(help="of BM25, e.g. 0.9,1.2")] = "",
    b: Annotated[str, typer.Option(help="of BM25, e.g. 0.4,0.75")] = "",
    language: Annotated[str, typer.Option(help="of the analyser, e.g. auto,en,none")] = "",
    cache: Annotated[Path | None, typer.Option(help="where vectors are kept (DATA/cache/evaluation)")] = None,
) -> None:
    """Score every combination of settings, each with its interval and corrected p against a baseline."""

    def run() -> int:
        settings = load(data=data)
        layout.check_names(tenant, collection)
        with known_errors():
            texts = {
                "context": context,
                "dimensions": dimensions,
                "chunk-tokens": chunk_tokens,
                "k1": k1,
                "b": b,
            }
            numbers = {name: number_list(name, text) for name, text in texts.items()}
            fused = _fusions(_words(fusion), number_list("shares", shares))
            grid = _grid(_words(modes), fused, numbers, _words(language))
            if unit == "passage" and grid.chunk_tokens:
                message = "--chunk-tokens has no meaning with --unit passage, cut at the set's own passages"
                raise CommandError(WRONG_USE, "wrong_use", message)
            if unit == "document" and not grid.chunk_tokens:
                grid = replace(grid, chunk_tokens=(settings.chunk_tokens,))
            grid = replace(
                grid,
                k1=grid.k1 or (settings.k1,),
                b=grid.b or (settings.b,),
                languages=grid.languages or (settings.language,),
            )
            with bench_on(settings, dataset, split, unit, cache) as bench:
                kept = cache or settings.data / "cache" / "evaluation"
                answer = _ablated(bench, grid, baseline, metric, kept)
        render.emit(as_json, answer, _render)
        return 0

    finish(as_json, run)


def _fusions(methods: tuple[str, ...], shares: tuple[float, ...]) -> tuple[Fusion, ...]:
    from latewood.evaluation.ablation import fusions

    try:
        return fusions(methods, shares)
    except QueryError as error:
        raise CommandError(WRONG_USE, "wrong_use", str(error)) from error


def _grid(
    modes: tuple[str, ...],
    fusions: tuple[Fusion, ...],
    numbers: Mapping[str, tuple[float, ...]],
    languages: tuple[str, ...],
) -> Grid:
    from latewood.evaluation.ablation import Grid

    if not modes or not fusions:
        message = "--modes, --fusion and --shares need at least one value each"
        raise CommandError(WRONG_USE, "wrong_use", message)
    return Grid(
        modes=modes,
        fusions=fusions,
        contexts=numbers["context"],
        chunk_tokens=_whole("chunk-tokens", numbers),
        dimensions=_whole("dimensions", numbers),
        k1=numbers["k1"],
        b=numbers["b"],
        languages=languages,
    )


def _ablated(bench: Workbench, grid: Grid, mode: str, metric: str, cache: Path) -> dict[str, Any]:
    from latewood.evaluation.ablation import ablate as held_against

    score = bench.scorer(metric)
    order = [bench.complete(one) for one in grid.configurations()]
    baseline = bench.complete(_first(grid, mode))
    rows = held_against(
        order,
        baseline,
        score,
        journal=_journal(bench, baseline, metric, cache),
        progress=scoring_progress(),
    )
    return {
        "dataset": bench.dataset.name,
        "metric": metric,
        "baseline": baseline.label,
        "rows": [_said(row) for row in rows],
    }


def _first(grid: Grid, mode: str) -> Configuration:
    """The mode at the first of each value."""
    firsts = {
        name: getattr(grid, name)[:1]
        for name in ("fusions", "contexts", "chunk_tokens", "dimensions", "k1", "b", "languages")
    }
    return replace(grid, modes=(mode,), **firsts).configurations()[0]


def _journal(bench: Workbench, baseline: Configuration, metric: str, cache: Path) -> Journal:
    from latewood.evaluation.ablation import Journal

    subject = json.dumps([bench.subject(baseline), metric])
    cache.mkdir(parents=True, exist_ok=True)
    return Journal(cache / "ablation.jsonl", subject)


def _said(row: AblationRow) -> dict[str, Any]:
    found = row.comparison
    return {
        "label": row.configuration.label,
        "configuration": row.configuration.to_json(),
        "mean": row.mean,
        "queries": row.queries,
        "difference": None if found is None else found.difference.mean,
        "interval": None if found is None else [found.difference.low, found.difference.high],
        "p": None if found is None else found.p,
        "p_adjusted": None if found is None else found.adjusted,
    }


def _whole(name: str, numbers: Mapping[str, tuple[float, ...]]) -> tuple[int, ...]:
    broken = [one for one in numbers[name] if not one.is_integer()]
    if broken:
        raise CommandError(WRONG_USE, "wrong_use", f"--{name} {broken[0]} must be a whole number")
    return tuple(int(one) for one in numbers[name])


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _render(answer: Mapping[str, Any]) -> None:
    render.line(f"{answer['dataset']}: {answer['metric']} against {answer['baseline']}")
    width = max(len(row["label"]) for row in answer["rows"])
    render.line(f"{'configuration'.ljust(width)}    mean  difference         95 % interval       p  adjusted")
    for row in answer["rows"]:
        told = f"{row['label'].ljust(width)}  {row['mean']:.4f}"
        if row["interval"] is None:
            render.line(f"{told}    baseline")
            continue
        low, high = row["interval"]
        render.line(
            f"{told}     {row['difference']:+.4f}  {low:+.4f} to {high:+.4f}  {row['p']:.4f}    "
            f"{row['p_adjusted']:.4f}"
        )
