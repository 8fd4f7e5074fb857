"""`latewood tune`: a collection's fusion from judgements, promoted only when proven on held-out ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from latewood.api.cli import render
from latewood.api.cli.candidates import Asked, Numbers, candidates, incumbent, number_list, scoring_progress
from latewood.api.cli.common import UNREACHABLE, WRONG_USE, CommandError, finish
from latewood.api.cli.evaluate import bench_on, known_errors
from latewood.api.cli.tune_datasets import as_decision, chosen_across
from latewood.api.cli.tune_datasets import render as render_across
from latewood.engine import places
from latewood.engine.addresses import EMBEDDED
from latewood.engine.settings import Settings, load
from latewood.search.fusion import SHIPPED
from latewood.search.stores.generations import layout
from latewood.search.types import StoreDamagedError, StoreError

if TYPE_CHECKING:  # the command line starts without numpy's weight
    from latewood.evaluation.configuration import Configuration
    from latewood.evaluation.promotions import Defaults
    from latewood.evaluation.tune import Decision, Verdict

SHARES = "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9"
FOREIGN = f"{SHIPPED.foreign:g}"
TRIED = {"k1": "0.9,1.2", "b": "0.4,0.75"}
"""Of one set; for several, an index stays as it is."""
REMEDIES = {
    "context": "ingest into a new collection with LATEWOOD_CONTEXT={value:g}",
    "k1": "ingest into a new collection with LATEWOOD_K1={value:g}",
    "b": "ingest into a new collection with LATEWOOD_B={value:g}",
}


def tune(  # noqa: PLR0913, PLR0917 - a command's options are its arguments
    datasets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[DATASET]...",
            help="folders in the BEIR layout, or `samples`: the set that ships; of several, one fusion is "
            "chosen for all",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
    data: Annotated[Path | None, typer.Option(help="data directory (LATEWOOD_DATA)")] = None,
    collection: Annotated[str, typer.Option(help="collection whose default is chosen")] = "default",
    tenant: Annotated[str, typer.Option(help="tenant")] = "default",
    split: Annotated[str, typer.Option(help="reads qrels/SPLIT.tsv")] = "dev",
    unit: Annotated[
        str | None,
        typer.Option(help="document, or passage: the set's own (document; of several, each set's own)"),
    ] = None,
    metric: Annotated[str, typer.Option(help="what to choose by")] = "ndcg@10",
    fusion: Annotated[str, typer.Option(help="methods to try")] = "rrf,convex",
    shares: Annotated[str, typer.Option(help="weights of the dense leg to try, BM25 has the rest")] = SHARES,
    foreign: Annotated[
        str, typer.Option(help="what it is multiplied by in languages the model does not know, to try")
    ] = FOREIGN,
    context: Annotated[
        str | None,
        typer.Option(help="values to try besides the one in use, of one set (0,0.5,1)"),
    ] = None,
    k1: Annotated[
        str | None, typer.Option(help="values to try beside the one in use, of one set (0.9,1.2)")
    ] = None,
    b: Annotated[
        str | None, typer.Option(help="values to try beside the one in use, of one set (0.4,0.75)")
    ] = None,
    folds: Annotated[int, typer.Option(help="of the cross-validation")] = 5,
    cache: Annotated[Path | None, typer.Option(help="where vectors are kept (DATA/cache/evaluation)")] = None,
    dry_run: Annotated[bool, typer.Option(help="choose and prove, change nothing")] = False,
    rollback: Annotated[bool, typer.Option(help="put back what the last promotion replaced")] = False,
) -> None:
    """Choose how a collection fuses, and make it the default if it is proven on held-out questions."""

    def run() -> int:
        settings = load(data=data)
        layout.check_names(tenant, collection)
        if rollback == bool(datasets) or (rollback and dry_run):
            message = "name a DATASET to choose by, or give --rollback alone"
            raise CommandError(WRONG_USE, "wrong_use", message)
        if settings.store != EMBEDDED:
            message = "chooses for the embedded index only; name the weights in each search of a server's"
            raise CommandError(WRONG_USE, "wrong_use", message)
        there = layout.exists(settings.data, tenant, collection)
        if not there and not dry_run:
            message = f"no collection {collection!r} in {settings.data}; `latewood ingest FOLDER` makes one"
            raise CommandError(UNREACHABLE, "collection_not_found", message)
        with known_errors(), _known_files():
            if rollback or not datasets:
                answer = _rolled_back(layout.home_of(settings.data, tenant, collection))
            else:
                several = len(datasets) > 1
                written = {"context": context, "k1": k1, "b": b}
                numbers = _numbers(written, shares, foreign, several=several)
                methods = tuple(dict.fromkeys(word.strip() for word in fusion.split(",")))
                own = unit or ("" if several else "document")
                asked = Asked(tuple(datasets), split, own, metric, methods, numbers, folds, cache)
                path = layout.path_of(settings.data, tenant, collection) if there else None
                answer = _tuned(settings, path, asked, dry_run=dry_run)
        render.emit(as_json, answer, _render)
        return 0

    finish(as_json, run)


def _numbers(written: Mapping[str, str | None], shares: str, foreign: str, *, several: bool) -> Numbers:
    """The values to try; of what is written into an index none where several sets choose a fusion."""
    named = [name for name, text in written.items() if text]
    if several and named:
        message = f"--{named[0]} is tried on one set alone; of several, an index stays as it is"
        raise CommandError(WRONG_USE, "wrong_use", message)
    context = written["context"]
    contexts = number_list("context", context or "") if several or context is not None else None
    k1, b = (
        number_list(name, "" if several else TRIED[name] if text is None else text)
        for name, text in written.items()
        if name in TRIED
    )
    return Numbers(contexts, k1, b, number_list("shares", shares), number_list("foreign", foreign))


def _tuned(settings: Settings, path: Path | None, asked: Asked, *, dry_run: bool) -> dict[str, Any]:
    """Choose, prove, and promote; `path` is the collection's current generation."""
    from latewood.evaluation import promotions

    index = None if path is None else layout.read_config(path)
    if index is not None and settings.model == "auto" and "model" in index.fingerprint:
        model = places.model_of(settings.data, index.fingerprint)
        settings = settings.model_copy(update={"model": model})
    promotion = None if path is None else promotions.read(path.parent).now.current
    current = None if promotion is None else promotion.configuration
    size = None if index is None else index.dimensions[0]
    if len(asked.datasets) > 1:
        choice, answer = chosen_across(settings, size, current, asked)
        decision = as_decision(choice)
    else:
        decision, answer = _chosen(settings, size, current, asked)
    if path is not None and not dry_run:
        name = ", ".join(answer.get("datasets") or [answer["dataset"]])
        promotions.promote(path.parent, decision, dataset=name, metric=asked.metric)
    return {**answer, "dry_run": dry_run}


def _chosen(
    settings: Settings, size: int | None, current: Configuration | None, asked: Asked
) -> tuple[Decision, dict[str, Any]]:
    """Choose on one set, and say what came of it."""
    from latewood.evaluation.ablation import score_all
    from latewood.evaluation.tune import TuneError, decide

    (dataset,) = asked.datasets
    with bench_on(settings, dataset, asked.split, asked.unit, asked.cache) as bench:
        score = bench.scorer(asked.metric)
        now = incumbent(bench, settings, size, current)
        configurations = candidates(bench, now, asked)
        scores = score_all(configurations, score, progress=scoring_progress())
        name = bench.dataset.name
    try:
        decision = decide(scores, now, folds=asked.folds)
    except TuneError as error:
        raise CommandError(WRONG_USE, "wrong_use", str(error)) from error
    found, later = decision.now, decision.later
    return decision, {
        "dataset": name,
        "metric": asked.metric,
        "queries": found.queries,
        "configurations": len(configurations),
        **_said(found),
        "wanted": None if later is None else {**_said(later), "takes_effect": _remedies(later)},
    }


def _said(verdict: Verdict) -> dict[str, Any]:
    return {
        "incumbent": verdict.incumbent.to_json(),
        "chosen": verdict.chosen.to_json(),
        "delta": verdict.gain,
        "interval": [verdict.low, verdict.high],
        "promoted": verdict.promoted,
    }


def _remedies(verdict: Verdict) -> dict[str, str]:
    """What has to be done before each index-time value that was chosen counts."""
    before, after = verdict.incumbent.index_time, verdict.chosen.index_time
    return {
        name: f"takes effect when the collection is ingested again: {remedy.format(value=after[name])}"
        for name, remedy in REMEDIES.items()
        if after[name] != before[name]
    }


def _rolled_back(home: Path) -> dict[str, Any]:
    from latewood.evaluation import promotions

    try:
        found = promotions.rollback(home)
    except promotions.NothingToRollBackError as error:
        raise CommandError(WRONG_USE, "wrong_use", str(error)) from error
    return {"rolled_back": True, **_standing(found)}


def _standing(found: Defaults) -> dict[str, Any]:
    return {
        name: None if promotion is None else promotion.configuration.to_json()
        for name, promotion in (("current", found.now.current), ("wanted", found.now.wanted))
    }


@contextlib.contextmanager
def _known_files() -> Iterator[None]:
    """What cannot be read beside an index becomes one line and an exit code."""
    try:
        yield
    except StoreError as error:
        code = "index_damaged" if isinstance(error, StoreDamagedError) else "store_unavailable"
        raise CommandError(UNREACHABLE, code, str(error)) from error


def _render(answer: Mapping[str, Any]) -> None:
    from latewood.evaluation.configuration import from_json

    if "rolled_back" in answer:
        current = answer["current"]
        render.line(f"rolled back; the default is {from_json(current).label if current else 'as shipped'}")
        return
    if "sets" in answer:
        render_across(answer)
        return
    render.line(
        f"{answer['dataset']}: {answer['queries']} questions, {answer['configurations']} configurations, "
        f"{answer['metric']}"
    )
    _render_verdict("fusion", answer, answer["dry_run"])
    if answer["wanted"] is not None:
        _render_verdict("index", answer["wanted"], answer["dry_run"])
        if answer["wanted"]["promoted"]:
            for name, remedy in answer["wanted"]["takes_effect"].items():
                render.line(f"  {name}: {remedy}")


def _render_verdict(what: str, said: Mapping[str, Any], dry_run: bool) -> None:
    from latewood.evaluation.configuration import from_json

    low, high = said["interval"]
    render.line(f"{what}: {from_json(said['chosen']).label}")
    render.line(f"  instead of {from_json(said['incumbent']).label}")
    render.line(f"  held-out gain {said['delta']:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}")
    if not said["promoted"]:
        render.line("  not promoted: the interval does not lie above zero, or nothing beats what is in use")
    else:
        kept = "noted as wanted" if what == "index" else "promoted: the collection's default from now on"
        render.line(f"  {'proven, but nothing was changed (--dry-run)' if dry_run else kept}")
