"""`latewood tune`: a collection's fusion from judgements, promoted only when proven on held-out ones."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api import output, places
from api.commands import UNREACHABLE, WRONG_USE, CommandError, finish
from api.evaluate_cli import bench_on, known_errors
from api.settings import EMBEDDED, Settings, load
from search.stores import catalog
from search.types import StoreDamagedError, StoreError

if TYPE_CHECKING:  # the command line starts without numpy's weight
    from evaluation.configuration import Configuration
    from evaluation.defaults import Defaults
    from evaluation.run import Workbench
    from evaluation.tune import Verdict

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
REMEDIES = {
    "context": "ingest into a new collection with LATEWOOD_CONTEXT={value:g}",
    "k1": "ingest into a new collection with LATEWOOD_K1={value:g}",
    "b": "ingest into a new collection with LATEWOOD_B={value:g}",
}


@dataclass(frozen=True, slots=True)
class Numbers:
    """What to try besides methods, and in how many folds."""

    contexts: tuple[float, ...]
    k1: tuple[float, ...]
    b: tuple[float, ...]
    shares: tuple[float, ...]
    folds: int


@dataclass(frozen=True, slots=True)
class Asked:
    """What to try, on what, judged by what."""

    dataset: str
    split: str
    unit: str
    metric: str
    methods: tuple[str, ...]
    numbers: Numbers
    cache: Path | None


def tune(  # noqa: PLR0913, PLR0917 - a command's options are its arguments
    dataset: Annotated[
        str | None, typer.Argument(help="folder in the BEIR layout, or `samples`: the set that ships")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
    data: Annotated[Path | None, typer.Option(help="data directory (LATEWOOD_DATA)")] = None,
    collection: Annotated[str, typer.Option(help="collection whose default is chosen")] = "default",
    tenant: Annotated[str, typer.Option(help="tenant")] = "default",
    split: Annotated[str, typer.Option(help="reads qrels/SPLIT.tsv")] = "dev",
    unit: Annotated[str, typer.Option(help="document, or passage: the set's own")] = "document",
    metric: Annotated[str, typer.Option(help="what to choose by")] = "ndcg@10",
    fusion: Annotated[str, typer.Option(help="methods to try")] = "rrf,convex",
    context: Annotated[str, typer.Option(help="values to try beside the one in use")] = "0,0.5,1",
    k1: Annotated[str, typer.Option(help="values to try beside the one in use")] = "0.9,1.2",
    b: Annotated[str, typer.Option(help="values to try beside the one in use")] = "0.4,0.75",
    folds: Annotated[int, typer.Option(help="of the cross-validation")] = 5,
    cache: Annotated[Path | None, typer.Option(help="where vectors are kept (DATA/cache/evaluation)")] = None,
    dry_run: Annotated[bool, typer.Option(help="choose and prove, change nothing")] = False,
    rollback: Annotated[bool, typer.Option(help="put back what the last promotion replaced")] = False,
) -> None:
    """Choose how a collection fuses, and make it the default if it is proven on held-out questions."""

    def run() -> int:
        settings = load(data=data)
        catalog.check_names(tenant, collection)
        if rollback == (dataset is not None) or (rollback and dry_run):
            message = "name a DATASET to choose by, or give --rollback alone"
            raise CommandError(WRONG_USE, "wrong_use", message)
        if settings.store != EMBEDDED:
            message = "chooses for the embedded index only; name the weights in each search of a server's"
            raise CommandError(WRONG_USE, "wrong_use", message)
        there = catalog.exists(settings.data, tenant, collection)
        if not there and not dry_run:
            message = f"no collection {collection!r} in {settings.data}; `latewood ingest FOLDER` makes one"
            raise CommandError(UNREACHABLE, "collection_not_found", message)
        with known_errors(), _known_files():
            if dataset is None:
                answer = _rolled_back(catalog.home_of(settings.data, tenant, collection))
            else:
                numbers = Numbers(
                    number_list("context", context), number_list("k1", k1), number_list("b", b), SHARES, folds
                )
                methods = tuple(dict.fromkeys(word.strip() for word in fusion.split(",")))
                asked = Asked(dataset, split, unit, metric, methods, numbers, cache)
                path = catalog.path_of(settings.data, tenant, collection) if there else None
                answer = _tuned(settings, path, asked, dry_run=dry_run)
        output.emit(as_json, answer, _render)
        return 0

    finish(as_json, run)


def _tuned(settings: Settings, path: Path | None, asked: Asked, *, dry_run: bool) -> dict[str, Any]:
    """Choose, prove, and promote; `path` is the collection's current generation."""
    from evaluation import defaults
    from evaluation.ablation import score_all
    from evaluation.tune import TuneError, decide

    index = None if path is None else catalog.read_config(path)
    if index is not None and settings.model == "auto" and "model" in index.fingerprint:
        model = places.model_of(settings.data, index.fingerprint)
        settings = settings.model_copy(update={"model": model})
    current = None if path is None else defaults.read(path.parent).now.current
    with bench_on(settings, asked.dataset, asked.split, asked.unit, asked.cache) as bench:
        score = bench.scorer(asked.metric)
        size = None if index is None else index.dimensions[0]
        incumbent = _incumbent(bench, settings, size, None if current is None else current.configuration)
        configurations = _candidates(bench, incumbent, asked)
        scores = score_all(configurations, score, progress=scoring_progress())
        name = bench.dataset.name
    try:
        decision = decide(scores, incumbent, folds=asked.numbers.folds)
    except TuneError as error:
        raise CommandError(WRONG_USE, "wrong_use", str(error)) from error
    if path is not None and not dry_run:
        defaults.promote(path.parent, decision, dataset=name, metric=asked.metric)
    now, later = decision.now, decision.later
    return {
        "dataset": name,
        "metric": asked.metric,
        "queries": now.queries,
        "configurations": len(configurations),
        "dry_run": dry_run,
        **_said(now),
        "wanted": None if later is None else {**_said(later), "takes_effect": _remedies(later)},
    }


def _incumbent(
    bench: Workbench, settings: Settings, size: int | None, current: Configuration | None
) -> Configuration:
    """What answers now: the collection's fusion, and what the settings and the model give an index."""
    from evaluation.configuration import Configuration

    serving = current or Configuration()
    return bench.complete(
        Configuration(
            method=serving.method,
            k=serving.k,
            weights=serving.weights,
            context=settings.context,
            chunk_tokens=None if bench.unit == "passage" else settings.chunk_tokens,
            dimensions=size,
            k1=settings.k1,
            b=settings.b,
            language=settings.language,
        )
    )


def _candidates(bench: Workbench, incumbent: Configuration, asked: Asked) -> list[Configuration]:
    """The incumbent, then every combination."""
    from evaluation.ablation import Grid, fusions
    from search.types import QueryError

    try:
        tried = fusions(asked.methods, asked.numbers.shares)
    except QueryError as error:
        raise CommandError(WRONG_USE, "wrong_use", f"--fusion: {error}") from error
    grid = Grid(
        modes=("hybrid",),
        fusions=tried,
        contexts=_with(incumbent.context, asked.numbers.contexts),
        chunk_tokens=_with(incumbent.chunk_tokens, ()),
        dimensions=_with(incumbent.dimensions, ()),
        k1=_with(incumbent.k1, asked.numbers.k1),
        b=_with(incumbent.b, asked.numbers.b),
        languages=_with(incumbent.language, ()),
    )
    return list(dict.fromkeys([incumbent, *map(bench.complete, grid.configurations())]))


def _with(own: Any, others: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(one for one in (own, *others) if one is not None))


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
    from evaluation import defaults

    try:
        found = defaults.rollback(home)
    except defaults.NothingToRollBackError as error:
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


def number_list(name: str, text: str) -> tuple[float, ...]:
    """An option that is numbers divided by commas; empty for none."""
    try:
        return tuple(dict.fromkeys(float(part) for part in text.split(",") if part.strip()))
    except ValueError as error:
        message = f"--{name} {text!r} must be numbers divided by commas"
        raise CommandError(WRONG_USE, "wrong_use", message) from error


def scoring_progress() -> Callable[[int, int], None]:
    """A line on stderr now and then."""
    last = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= output.PLAIN_EVERY:
            last = time.monotonic()
            output.say(f"scoring: {done:,} of {total:,} configurations")

    return tell


def _render(answer: Mapping[str, Any]) -> None:
    from evaluation.configuration import from_json

    if "rolled_back" in answer:
        current = answer["current"]
        output.line(f"rolled back; the default is {from_json(current).label if current else 'as shipped'}")
        return
    output.line(
        f"{answer['dataset']}: {answer['queries']} questions, {answer['configurations']} configurations, "
        f"{answer['metric']}"
    )
    _render_verdict("fusion", answer, answer["dry_run"])
    if answer["wanted"] is not None:
        _render_verdict("index", answer["wanted"], answer["dry_run"])
        if answer["wanted"]["promoted"]:
            for name, remedy in answer["wanted"]["takes_effect"].items():
                output.line(f"  {name}: {remedy}")


def _render_verdict(what: str, said: Mapping[str, Any], dry_run: bool) -> None:
    from evaluation.configuration import from_json

    low, high = said["interval"]
    output.line(f"{what}: {from_json(said['chosen']).label}")
    output.line(f"  instead of {from_json(said['incumbent']).label}")
    output.line(f"  held-out gain {said['delta']:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}")
    if not said["promoted"]:
        output.line("  not promoted: the interval does not lie above zero, or nothing beats what is in use")
    else:
        kept = "noted as wanted" if what == "index" else "promoted: the collection's default from now on"
        output.line(f"  {'proven, but nothing was changed (--dry-run)' if dry_run else kept}")
