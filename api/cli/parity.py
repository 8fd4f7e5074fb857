"""`latewood parity`: does the model rank as well in eight bits; if so, it may serve in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from latewood.api.cli import render
from latewood.api.cli.common import FAILED, WRONG_USE, CommandError, finish
from latewood.api.cli.evaluate import bench_on, known_errors
from latewood.engine import permitted, places
from latewood.engine.settings import Settings, load
from latewood.search.stores.generations import layout

if TYPE_CHECKING:  # the command line starts without numpy's weight
    from latewood.evaluation.parity import Measured

DTYPES = ("int8", "bfloat16")


def parity(  # noqa: PLR0913, PLR0917 - a command's options are its arguments
    dataset: Annotated[
        str, typer.Argument(help="folder in the BEIR layout, or `samples`: the set that ships")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
    data: Annotated[Path | None, typer.Option(help="data directory (LATEWOOD_DATA)")] = None,
    collection: Annotated[str, typer.Option(help="collection whose model is meant")] = "default",
    tenant: Annotated[str, typer.Option(help="tenant")] = "default",
    dtype: Annotated[str, typer.Option(help="int8 or bfloat16, held against float32")] = "int8",
    split: Annotated[str, typer.Option(help="reads qrels/SPLIT.tsv")] = "dev",
    unit: Annotated[str, typer.Option(help="document, or passage: the set's own")] = "document",
    cosine: Annotated[float, typer.Option(help="mean cosine to float32, at least")] = 0.999,
    drop: Annotated[float, typer.Option(help="nDCG@10 that may be lost: low end of the interval")] = 0.01,
    overlap: Annotated[float, typer.Option(help="mean share of the ten best, at least")] = 0.9,
    cache: Annotated[Path | None, typer.Option(help="where vectors are kept (DATA/cache/evaluation)")] = None,
    dry_run: Annotated[bool, typer.Option(help="measure, permit nothing")] = False,
) -> None:
    """Measure whether the model ranks as well in another dtype, and permit it to serve if it does."""

    def run() -> int:
        settings = load(data=data)
        layout.check_names(tenant, collection)
        if dtype not in DTYPES:
            message = f"--dtype {dtype!r} is not known; one of: {', '.join(DTYPES)}"
            raise CommandError(WRONG_USE, "wrong_use", message)
        settings = _with_model(settings, tenant, collection)
        with known_errors():
            from latewood.evaluation.parity import Criterion, compare
            from latewood.evaluation.statistics import StatisticsError

            wanted = Criterion(cosine, drop, overlap)
            exact, name, _ = _measured(settings, "float32", (dataset, split, unit), cache)
            other, _, fingerprint = _measured(settings, dtype, (dataset, split, unit), cache)
            try:
                found = compare(exact, other)
            except StatisticsError as error:
                raise CommandError(WRONG_USE, "wrong_use", str(error)) from error
            failures = found.failures(wanted)
            answer = {
                "dataset": name,
                "model": fingerprint["model"],
                "dtype": dtype,
                **found.to_json(),
                "required": {"cosine": cosine, "drop": drop, "overlap": overlap},
                "holds": not failures,
                "failures": failures,
            }
            permits = not failures and not dry_run and dtype in permitted.MEASURED_FIRST
            if permits:
                permitted.permit(settings.data, dtype, fingerprint, answer)
        answer["permitted"] = permits
        render.emit(as_json, answer, _render)
        return FAILED if failures else 0

    finish(as_json, run)


def _with_model(settings: Settings, tenant: str, collection: str) -> Settings:
    """With `auto`, the collection's own model where there is one."""
    if settings.model != "auto" or not layout.exists(settings.data, tenant, collection):
        return settings
    config = layout.read_config(layout.path_of(settings.data, tenant, collection))
    model = places.model_of(settings.data, config.fingerprint)
    return settings.model_copy(update={"model": model}) if model else settings


def _measured(
    settings: Settings, dtype: str, asked: tuple[str, str, str], cache: Path | None
) -> tuple[Measured, str, Mapping[str, str]]:
    """The set in one dtype, its name, and the model's fingerprint; only one model is in memory at a time."""
    from latewood.evaluation.configuration import Configuration
    from latewood.evaluation.parity import measure

    dataset, split, unit = asked
    with bench_on(settings.model_copy(update={"dtype": dtype}), dataset, split, unit, cache) as bench:
        configuration = Configuration(
            mode="dense",
            context=settings.context,
            chunk_tokens=None if unit == "passage" else settings.chunk_tokens,
            dimensions=max(settings.dimensions, default=None),
        )
        return measure(bench, configuration), bench.dataset.name, bench.fingerprint


def _render(answer: Mapping[str, Any]) -> None:
    render.line(
        f"{answer['dataset']}: {answer['questions']} questions, {answer['model']} in {answer['dtype']} "
        "beside float32"
    )
    for name, values in answer["cosine"].items():
        render.line(f"  cosine of {name}: mean {values['mean']:.5f}, least {values['least']:.5f}")
    score = answer["ndcg@10"]
    low, high = score["interval"]
    gain = f"{score['delta']:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}"
    render.line(f"  nDCG@10 {score['float32']:.4f} {gain}")
    render.line(f"  the same among the ten best: {answer['overlap@10']:.3f}")
    for failure in answer["failures"]:
        render.line(f"  not enough: {failure}")
    if answer["permitted"]:
        render.line(f"  permitted: LATEWOOD_DTYPE={answer['dtype']} may serve with this model")
    elif answer["holds"]:
        render.line("  it holds; nothing was noted")
    else:
        render.line("  not permitted")
