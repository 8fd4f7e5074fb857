"""`latewood jobs` and `latewood worker`: the queue, and who works on it."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from latewood.api.cli import render
from latewood.api.cli.common import FAILED, WRONG_USE, CommandError, existing_data, finish, follow_job
from latewood.api.owner import with_owner
from latewood.client.client import Client, JobState
from latewood.engine.settings import load
from latewood.search.stores.generations import layout


def jobs(
    id: Annotated[str | None, typer.Argument(metavar="[ID]", help="one job")] = None,  # noqa: A002
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
    data: Annotated[Path | None, typer.Option(help="data directory (LATEWOOD_DATA)")] = None,
    collection: Annotated[str, typer.Option(help="collection")] = "default",
    tenant: Annotated[str, typer.Option(help="tenant")] = "default",
    cancel: Annotated[bool, typer.Option("--cancel", help="end it; what it committed stays")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="a new job for its failed files")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="wait for its end, with progress")] = False,
) -> None:
    """List the jobs of every collection, or show, cancel, retry or follow one."""

    def ask(client: Client) -> dict[str, Any]:
        if id is None:
            return {"jobs": client.jobs()}
        state: JobState | dict[str, Any] = client.job(id)
        if cancel:
            state = client.cancel(id)
        elif retry:
            state = client.retry(id)
        if follow:
            state = follow_job(client, state["id"], render.place(state["source"]))
        return dict(state)

    def run() -> int:
        settings = load(data=data)
        layout.check_names(tenant, collection)
        if cancel + retry + follow > 0 and id is None:
            raise CommandError(WRONG_USE, "wrong_use", "name the job's id; `latewood jobs` lists them")
        if cancel and (retry or follow):
            raise CommandError(WRONG_USE, "wrong_use", "--cancel goes with neither --retry nor --follow")
        existing_data(settings)
        found = with_owner(settings, tenant, ask)
        render.emit(as_json, found, render.render_jobs if id is None else render.render_job)
        failed = id is not None and (found["status"] == "failed" or (follow and found["errors"]))
        return FAILED if failed else 0

    finish(as_json, run)


def worker(
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
    data: Annotated[Path | None, typer.Option(help="data directory (LATEWOOD_DATA)")] = None,
    collection: Annotated[str, typer.Option(help="collection")] = "default",
    tenant: Annotated[str, typer.Option(help="tenant")] = "default",
    until_idle: Annotated[bool, typer.Option("--until-idle", help="end when the queue is empty")] = False,
) -> None:
    """Work on the queue until stopped, for every collection and tenant."""

    def run() -> int:
        from latewood.api.worker import work

        logging.basicConfig(
            stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
        )
        settings = load(data=data)
        layout.check_names(tenant, collection)

        def ready(name: str) -> None:
            render.emit(as_json, {"worker": name}, lambda said: render.line(f"working as {said['worker']}"))

        work(settings, ready, until_idle=until_idle)
        return 0

    finish(as_json, run)
