"""`latewood tune SET SET…`: one fusion for many judged sets, held against each one's better leg."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latewood.api.cli import render as output
from latewood.api.cli.candidates import Asked, candidates, incumbent, scoring_progress
from latewood.api.cli.common import WRONG_USE, CommandError
from latewood.api.cli.evaluate import bench_on
from latewood.engine.settings import Settings

if TYPE_CHECKING:  # the command line starts without numpy's weight
    from latewood.evaluation.ablation import Comparison
    from latewood.evaluation.configuration import Configuration
    from latewood.evaluation.multi_dataset import Choice, HeldOut, PerQuestion, Scored
    from latewood.evaluation.tune import Decision
    from latewood.evaluation.workbench import Workbench

LEGS = ("bm25", "dense")


def chosen_across(
    settings: Settings, size: int | None, current: Configuration | None, asked: Asked
) -> tuple[Choice, dict[str, Any]]:
    """Score every set, choose by leave-one-set-out cross-validation, and say what came of it.

    Args:
        settings: which model, and what an index is made with.
        size: of the index's vectors; None: the model's own.
        current: what the collection was tuned to; None: as shipped.
        asked: the sets, and what to try.
    """
    from latewood.evaluation.multi_dataset import choose_across
    from latewood.evaluation.tune import TuneError

    scored: list[Scored] = []
    for dataset in asked.datasets:
        unit = asked.unit or ("passage" if (Path(dataset) / "qrels_passage").is_dir() else "document")
        with bench_on(settings, dataset, asked.split, unit, asked.cache) as bench:
            now = incumbent(bench, settings, size, current)
            scored.append(_scored(bench, now, asked))
    try:
        choice = choose_across(scored, _fusion_of(now))
    except TuneError as error:
        raise CommandError(WRONG_USE, "wrong_use", str(error)) from error
    return choice, {
        "datasets": [one.name for one in scored],
        "metric": asked.metric,
        "queries": sum(one.queries for one in choice.sets),
        "configurations": len(scored[0].tried),
        "incumbent": choice.incumbent.to_json(),
        "chosen": choice.chosen.to_json(),
        "delta": choice.over_incumbent.mean,
        "interval": [choice.over_incumbent.low, choice.over_incumbent.high],
        "delta_better_leg": choice.over_leg.mean,
        "interval_better_leg": [choice.over_leg.low, choice.over_leg.high],
        "promoted": choice.promoted,
        "sets": [_said(one) for one in choice.sets],
    }


def as_decision(choice: Choice) -> Decision:
    """What is kept of it as a collection's default."""
    from latewood.evaluation.tune import Decision, Verdict

    gain, queries = choice.over_incumbent, sum(one.queries for one in choice.sets)
    found = Verdict(choice.chosen, choice.incumbent, gain.mean, gain.low, gain.high, choice.promoted, queries)
    return Decision(found, None)


def _scored(bench: Workbench, now: Configuration, asked: Asked) -> Scored:
    """Every fusion on one set; its legs are ranked once, and no two fusions that are one to its questions."""
    from latewood.evaluation.configuration import Configuration
    from latewood.evaluation.multi_dataset import Scored

    score = bench.scorer(asked.metric)
    matters = any(bench.foreign(now))
    known: dict[Configuration, PerQuestion] = {}
    tried: dict[Configuration, PerQuestion] = {}
    wanted, tell = candidates(bench, now, asked), scoring_progress(f" of {bench.dataset.name}")
    for done, one in enumerate(wanted, 1):
        plain = one if matters else replace(one, foreign=1.0)
        if plain not in known:
            known[plain] = score(plain)
        tried[_fusion_of(one)] = known[plain]
        tell(done, len(wanted))
    legs = {
        leg: score(bench.complete(Configuration(**{**now.index_time, "mode": leg}).essential)) for leg in LEGS
    }
    return Scored(bench.dataset.name, tried, legs)


def _fusion_of(configuration: Configuration) -> Configuration:
    """How legs are fused alone: what sets of other units and chunk sizes have in common."""
    from latewood.evaluation.configuration import INDEX_TIME, from_json

    return from_json({**configuration.to_json(), **dict.fromkeys(INDEX_TIME)})


def _said(one: HeldOut) -> dict[str, Any]:
    return {
        "dataset": one.name,
        "queries": one.queries,
        "chosen": one.chosen.to_json(),
        "score": one.mean,
        "better_leg": one.leg,
        "score_better_leg": one.leg_mean,
        **_difference("_better_leg", one.over_leg),
        **_difference("", one.over_incumbent),
    }


def _difference(against: str, found: Comparison) -> dict[str, Any]:
    return {
        f"delta{against}": found.difference.mean,
        f"interval{against}": [found.difference.low, found.difference.high],
        f"p_adjusted{against}": found.adjusted,
    }


def render(answer: Mapping[str, Any]) -> None:
    """A row for each set, then what was chosen."""
    from latewood.evaluation.configuration import from_json
    from latewood.evaluation.multi_dataset import LEAST_PROOF

    output.line(
        f"{len(answer['datasets'])} sets, {answer['queries']:,} questions, {answer['metric']}; each by the "
        f"best on the others of {answer['configurations']} fusions"
    )
    width = max(len(one["dataset"]) for one in answer["sets"])
    output.line(
        f"{'set'.ljust(width)}   score  better leg     difference, 95 % interval     p  "
        "to what is in use              p  best on the others"
    )
    for one in answer["sets"]:
        leg = f"{one['better_leg']:<5} {one['score_better_leg']:.4f}"
        output.line(
            f"{one['dataset'].ljust(width)}  {one['score']:.4f}  {leg}  {_told(one, '_better_leg')}  "
            f"{_told(one, '')}  {from_json(one['chosen']).label}"
        )
    means = "  ".join(
        f"{name} {answer['delta' + key]:+.4f}, {_interval(answer['interval' + key])}"
        for name, key in (("better leg", "_better_leg"), ("in use", ""))
    )
    output.line(f"mean over sets, for sets and questions never seen: {means}")
    output.line(f"fusion: {from_json(answer['chosen']).label}")
    output.line(f"  instead of {from_json(answer['incumbent']).label}")
    if not answer["promoted"] and answer["interval"][0] > 0 and len(answer["sets"]) < LEAST_PROOF:
        few = f"{len(answer['sets'])} sets cannot rule out chance, {LEAST_PROOF} or more can"
        output.line(f"  not promoted: {few}")
    elif not answer["promoted"]:
        output.line("  not promoted: the gain does not lie above zero, or nothing beats what is in use")
    elif answer["dry_run"]:
        output.line("  proven, but nothing was changed (--dry-run)")
    else:
        output.line("  promoted: the collection's default from now on")


def _told(one: Mapping[str, Any], against: str) -> str:
    interval = _interval(one[f"interval{against}"])
    return f"{one[f'delta{against}']:+.4f}, {interval}  {one[f'p_adjusted{against}']:.4f}"


def _interval(found: list[float]) -> str:
    return f"{found[0]:+.4f} to {found[1]:+.4f}"
