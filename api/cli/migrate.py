"""`latewood migrate` and `latewood optimise`: rebuild an index while it answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from latewood.api.cli import render
from latewood.api.cli.common import WRONG_USE, CommandError, ask, finish, follow_job
from latewood.client.client import Client
from latewood.engine import places
from latewood.engine.settings import load

Json = Annotated[bool, typer.Option("--json", help="one JSON object on stdout")]
Data = Annotated[Path | None, typer.Option(help="data directory (LATEWOOD_DATA)")]
Collection = Annotated[str, typer.Option(help="collection")]
Tenant = Annotated[str, typer.Option(help="tenant")]


def migrate(
    as_json: Json = False,
    data: Data = None,
    collection: Collection = "default",
    tenant: Tenant = "default",
    model: Annotated[str | None, typer.Option(help="the model to go to")] = None,
    rollback: Annotated[bool, typer.Option("--rollback", help="go back to the model before")] = False,
    store: Annotated[
        str | None, typer.Option(help="the store to copy to: a Qdrant server's URL or `embedded`")
    ] = None,
) -> None:
    """Give an index another embedding model or another store; the old one answers meanwhile."""

    def run() -> int:
        if (model is not None) + rollback + (store is not None) != 1:
            raise CommandError(WRONG_USE, "wrong_use", "give one of --model M, --rollback and --store URL")
        if store is not None:
            moved = {"collection": collection, "store": store}
            title = f"copying to {store}"
            done = ask(data, tenant, collection, lambda client: _carry_out(client, "/migrate", moved, title))
            render.emit(as_json, done, _render_moved)
            return 0
        # The owner may stand in another folder.
        there = places.absolute(model, load(data=data).source) if model else ""
        body = {"collection": collection, "model": there, "rollback": rollback}
        title = f"migrating to {model}" if model else "going back to the model before"
        done = ask(data, tenant, collection, lambda client: _carry_out(client, "/migrate", body, title))
        render.emit(as_json, done, _render_migrated)
        return 0

    finish(as_json, run)


def optimise(
    as_json: Json = False, data: Data = None, collection: Collection = "default", tenant: Tenant = "default"
) -> None:
    """Build the engine's indexes now, as is done in the background when much was written."""

    def run() -> int:
        body = {"collection": collection}
        done = ask(
            data, tenant, collection, lambda client: _carry_out(client, "/optimise", body, "optimising")
        )
        render.emit(as_json, done, _render_optimised)
        return 0

    finish(as_json, run)


def _carry_out(client: Client, route: str, body: Mapping[str, Any], title: str) -> dict[str, Any]:
    job = client.call("POST", route, json=body)["job_id"]
    result: dict[str, Any] = follow_job(client, job, title)["result"]
    return result


def _render_migrated(found: Mapping[str, Any]) -> None:
    model = f"{found['model']} ({', '.join(map(str, found['dimensions']))} dimensions)"
    if not found["changed"]:
        render.line(f"the index has {model} already: {_told(found)}")
        return
    render.line(f"{model} answers now: {_told(found)}")
    render.line(f"the index of {found['previous']} is kept; `latewood migrate --rollback` goes back to it")


def _render_optimised(found: Mapping[str, Any]) -> None:
    render.line(f"optimised {_told(found)}")
    render.line(f"dense leg: {found['plan']}")


def _render_moved(found: Mapping[str, Any]) -> None:
    render.line(f"{found['store']} has it all now, compared document by document: {_told(found)}")
    render.line(
        f"to answer from there, start again with LATEWOOD_STORE={found['store']}; "
        f"what is here ({found['previous']}) stays as it is"
    )


def _told(found: Mapping[str, Any]) -> str:
    counts = f"{found['documents']:,} documents, {found['chunks']:,} passages"
    return f"{counts} ({found['moved']:,} documents written in {found['seconds']:.1f} s)"
