"""`latewood backup` and `latewood restore`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from api import output
from api.commands import FAILED, CommandError, existing_data, finish
from api.owner import with_owner
from api.settings import load
from search.stores import catalog

_WAIT = 86_400.0


def backup(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="an empty folder, or a new one")],
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
    data: Annotated[Path | None, typer.Option(help="data directory (LATEWOOD_DATA)")] = None,
    collection: Annotated[str, typer.Option(help="collection")] = "default",
    tenant: Annotated[str, typer.Option(help="tenant")] = "default",
) -> None:
    """Copy every index, of every tenant, while it answers; checksummed."""

    def run() -> int:
        settings = load(data=data)
        catalog.check_names(tenant, collection)
        existing_data(settings)
        body = {"folder": str(folder.absolute())}
        done = with_owner(
            settings, tenant, lambda client: client.call("POST", "/backup", json=body, timeout=_WAIT)
        )
        output.emit(as_json, done, lambda said: _render(said, said["folder"]))
        return 0

    finish(as_json, run)


def restore(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="a backup")],
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
    data: Annotated[Path | None, typer.Option(help="data directory (LATEWOOD_DATA)")] = None,
    collection: Annotated[str, typer.Option(help="collection")] = "default",
    tenant: Annotated[str, typer.Option(help="tenant")] = "default",
) -> None:
    """Make a data directory of a backup; it must not be there yet, or be empty."""

    def run() -> int:
        from api import backup as saving
        from api.errors import ApiError, describe

        settings = load(data=data)
        catalog.check_names(tenant, collection)
        try:
            done = saving.restore(folder, settings.data)
        except (ApiError, OSError) as error:
            _, code, message = describe(error)
            raise CommandError(FAILED, code, message) from error
        output.emit(as_json, done, lambda said: _render(said, said["data"]))
        return 0

    finish(as_json, run)


def _render(done: Mapping[str, Any], where: str) -> None:
    for index in done["indexes"]:
        name = f"{index['tenant']}/{index['collection']}"
        output.line(f"{name}: {index['documents']:,} documents, {index['chunks']:,} passages")
    output.line(
        f"{done['files']} files, {done['bytes'] / 2**20:,.1f} MiB in {done['seconds']:.1f} s: {where}"
    )
