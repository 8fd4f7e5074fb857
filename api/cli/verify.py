"""`latewood verify`: name what differs in an index; with `--repair` put it right."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from latewood.api.cli import render as output
from latewood.api.cli.common import FAILED, ask, finish, follow_job
from latewood.client.client import Client

_LISTS = {
    "missing": "missing",
    "orphaned": "orphaned",
    "stale": "stale",
    "damaged_records": "record",
    "differing": "differs",
    "indexes": "index",
}


def verify(
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
    data: Annotated[Path | None, typer.Option(help="data directory (LATEWOOD_DATA)")] = None,
    collection: Annotated[str, typer.Option(help="collection")] = "default",
    tenant: Annotated[str, typer.Option(help="tenant")] = "default",
    repair: Annotated[bool, typer.Option("--repair", help="put right what differs")] = False,
) -> None:
    """Hold what the index keeps against itself, and name what differs."""

    def work(client: Client) -> dict[str, Any]:
        body = {"collection": collection, "repair": repair}
        job = client.call("POST", "/verify", json=body)["job_id"]
        state = follow_job(client, job, "repairing" if repair else "verifying")
        found: dict[str, Any] = state["result"]
        return found

    def run() -> int:
        found = ask(data, tenant, collection, work)
        output.emit(as_json, found, render)
        return FAILED if differs(found, repair=repair) else 0

    finish(as_json, run)


def differs(found: Mapping[str, Any], *, repair: bool) -> bool:
    """Whether anything is left that differs."""
    return bool(found["unrepaired"]) or (not repair and any(found[name] for name in _LISTS))


def render(found: Mapping[str, Any]) -> None:
    """Each finding in a line, then what became of them."""
    for name, word in _LISTS.items():
        for one in found[name]:
            output.line(f"  {word:<9}{_place(one)}: {_told(one)} [{one['code']}]")
    for one in found["unrepaired"]:
        output.line(f"  left     {_place(one)}: {one['message']} [{one['code']}]")
    count = sum(len(found[name]) for name in _LISTS)
    said = f"{count} found, {found['repaired']} repaired" if count else "nothing differs"
    left = f", {len(found['unrepaired'])} left" if found["unrepaired"] else ""
    output.line(f"{said}{left}; {found['documents']:,} documents, {found['chunks']:,} passages")


def _place(one: Mapping[str, Any]) -> str:
    return output.place(one["uri"]) if one["uri"] else str(one["id"])


def _told(one: Mapping[str, Any]) -> str:
    if str(one["id"]).startswith("index:"):
        return f"finds {one['chunks']} where {one['of']} match"
    if not one["chunks"]:
        return "what is kept beside its passages"
    of = f" of {one['of']}" if one["of"] else ""
    return f"{one['chunks']}{of} passages"
