"""`latewood keys`: make, list and revoke API keys. Works beside a service that runs, and without one."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from latewood.api.cli import render
from latewood.api.cli.common import FAILED, WRONG_USE, CommandError, existing_data, finish
from latewood.api.http.api_keys import KeyStore, Wish
from latewood.engine.settings import load


class Action(StrEnum):
    """What to do."""

    CREATE = "create"
    LIST = "list"
    REVOKE = "revoke"


def keys(  # noqa: PLR0913, PLR0917 - a command's options are its arguments
    action: Annotated[Action, typer.Argument(help="create, list or revoke")],
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="keys to revoke")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
    data: Annotated[Path | None, typer.Option(help="data directory (LATEWOOD_DATA)")] = None,
    collection: Annotated[str, typer.Option(help="collection; keys are for all of a tenant's")] = "default",
    tenant: Annotated[str, typer.Option(help="tenant that a new key is bound to")] = "default",
    scopes: Annotated[str, typer.Option(help="read, write, admin; each includes those before")] = "read",
    name: Annotated[str, typer.Option(help="to tell it from others")] = "",
    days: Annotated[float | None, typer.Option(help="days it can be used; without, for good")] = None,
    rate: Annotated[str, typer.Option(help="requests it may make, e.g. 60/minute (LATEWOOD_RATE)")] = "",
) -> None:
    """Make, list and revoke API keys; a new one is shown once and kept as a hash."""

    def run() -> int:
        settings = load(data=data)
        store = KeyStore(settings.data)
        if bool(ids) != (action is Action.REVOKE):
            raise CommandError(
                WRONG_USE, "wrong_use", "revoke names the ids of keys; create and list name none"
            )
        if action is Action.CREATE:
            split = tuple(part.strip() for part in scopes.split(",") if part.strip())
            key, secret = store.create(Wish(tenant, split, name, days, rate))
            render.emit(as_json, {"key": secret, **key.public()}, _render_created)
            return 0
        existing_data(settings)
        if action is Action.LIST:
            render.emit(as_json, {"keys": [key.public() for key in store.all()]}, _render_list)
            return 0
        return _revoke(store, ids or [], as_json=as_json)

    finish(as_json, run)


def _revoke(store: KeyStore, ids: list[str], *, as_json: bool) -> int:
    gone = {identity: store.revoke(identity) for identity in ids}
    for identity, was_there in gone.items():
        if not was_there:
            render.say(f"no key {identity} here")
    told = {"revoked": sum(gone.values())}
    render.emit(as_json, told, lambda answer: render.line(f"{answer['revoked']} revoked"))
    return 0 if all(gone.values()) else FAILED


def _render_created(key: Mapping[str, Any]) -> None:
    render.line(key["key"])
    render.say(
        f"id {key['id']}, tenant {key['tenant']}, {', '.join(key['scopes'])}; shown this once, keep it safe"
    )


def _render_list(found: Mapping[str, Any]) -> None:
    for key in found["keys"]:
        until = (
            f"{'expired' if key['expired'] else 'until'} {key['expires']}" if key["expires"] else "for good"
        )
        parts = [key["id"], key["tenant"], ",".join(key["scopes"]), until, key["rate"], key["name"]]
        render.line("  ".join(part for part in parts if part))
    if not found["keys"]:
        render.line("no keys")
