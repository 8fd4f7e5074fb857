"""`latewood backup` and `latewood restore`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from latewood.api.cli import render
from latewood.api.cli.common import FAILED, CommandError, existing_data, finish
from latewood.api.owner import with_owner
from latewood.engine import disk
from latewood.engine.settings import load
from latewood.search.stores.generations import layout

_WAIT = 86_400.0

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="of the backup")]
Json = Annotated[bool, typer.Option("--json", help="one JSON object on stdout")]
Data = Annotated[Path | None, typer.Option(help="data directory (LATEWOOD_DATA)")]
Collection = Annotated[str | None, typer.Option(help="only this collection; without, all")]
Tenant = Annotated[str | None, typer.Option(help="only this tenant's; without, all, or default's")]


def backup(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="a new folder, or that of an earlier backup, to renew it")
    ],
    as_json: Json = False,
    data: Data = None,
    collection: Collection = None,
    tenant: Tenant = None,
    base: Annotated[
        Path | None, typer.Option(help="folder of an earlier backup, to share what did not change")
    ] = None,
) -> None:
    """Copy every index, of every tenant, while it answers: compressed, checksummed, only what changed."""

    def run() -> int:
        settings = load(data=data)
        layout.check_names(tenant or "default", collection or "default")
        existing_data(settings)
        body = {
            "folder": str(folder.absolute()),
            "base": None if base is None else str(base.absolute()),
            "tenant": tenant,
            "collection": collection,
        }
        done = with_owner(
            settings,
            tenant or "default",
            lambda client: client.call("POST", "/backup", json=body, timeout=_WAIT),
        )
        render.emit(as_json, done, _render_backup)
        return 0

    finish(as_json, run)


def restore(
    folder: Folder,
    as_json: Json = False,
    data: Data = None,
    collection: Collection = None,
    tenant: Tenant = None,
    with_keys: Annotated[
        bool, typer.Option("--with-keys", help="API keys, too: also those that were revoked since")
    ] = False,
) -> None:
    """Make a data directory of a backup, without its API keys; or add a collection to one that is there."""

    def run() -> int:
        from latewood.engine.backup import backup as saving
        from latewood.engine.backup import restore as restoring
        from latewood.engine.errors import ApiError, describe

        settings = load(data=data)
        selection = saving.selected(tenant, collection)
        try:
            done = restoring.restore(folder, settings.data, selection, with_keys=with_keys)
        except (ApiError, OSError) as error:
            if disk.explain(error) is not None:
                raise
            _, code, message = describe(error)
            raise CommandError(FAILED, code, message) from error
        render.emit(as_json, done, _render_restore)
        return 0

    finish(as_json, run)


def _render_backup(done: Mapping[str, Any]) -> None:
    _render_indexes(done)
    render.line(
        f"{done['files']} files, {_mib(done['bytes'])} in {done['seconds']:.1f} s: {done['folder']} "
        f"({done['copied_files']} files changed, {_mib(done['copied_bytes'])} written)"
    )


def _render_restore(done: Mapping[str, Any]) -> None:
    _render_indexes(done)
    render.line(f"{done['files']} files, {_mib(done['bytes'])} in {done['seconds']:.1f} s: {done['data']}")
    if done["keys_left_out"]:
        render.say(
            "API keys were left out, as some may be revoked since; `latewood keys create` makes new ones, "
            "and a restore with --with-keys brings all back as they were"
        )


def _render_indexes(done: Mapping[str, Any]) -> None:
    for index in done["indexes"]:
        name = f"{index['tenant']}/{index['collection']}"
        render.line(f"{name}: {index['documents']:,} documents, {index['chunks']:,} passages")


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
