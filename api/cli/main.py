"""`latewood`: every command of the contract.

Exit codes: 0 done, 1 something failed, 2 wrong use, 3 cannot reach or open something it needs.
"""

from __future__ import annotations

import logging
import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from latewood.api.cli import render
from latewood.api.cli.ablate import ablate
from latewood.api.cli.backup import backup, restore
from latewood.api.cli.common import (
    FAILED,
    WRONG_USE,
    CommandError,
    Deletion,
    ask,
    by_leg,
    finish,
    ingest_all,
    json_option,
    without_data,
)
from latewood.api.cli.evaluate import evaluate
from latewood.api.cli.jobs import jobs, worker
from latewood.api.cli.keys import keys
from latewood.api.cli.mcp import mcp
from latewood.api.cli.migrate import migrate, optimise
from latewood.api.cli.parity import parity
from latewood.api.cli.tune import tune
from latewood.api.cli.verify import verify
from latewood.api.cli.watch import follow
from latewood.api.owner import with_owner
from latewood.engine.settings import load
from latewood.ingest.sources.patterns import Selection
from latewood.search.stores.generations import layout

app = typer.Typer(
    help="Retrieval for chatbots that must be right: late chunking, hybrid search, nothing lost.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="one JSON object on stdout")]
Data = Annotated[Path | None, typer.Option(help="data directory (LATEWOOD_DATA)")]
Collection = Annotated[str, typer.Option(help="collection")]
Tenant = Annotated[str, typer.Option(help="tenant")]


@app.command()
def ingest(
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE...", help="folders or files")],
    as_json: Json = False,
    data: Data = None,
    collection: Collection = "default",
    tenant: Tenant = "default",
    dry_run: Annotated[bool, typer.Option(help="say what would be done")] = False,
    keep_deleted: Annotated[bool, typer.Option(help="keep documents whose files vanished")] = False,
    allow_empty: Annotated[bool, typer.Option(help="accept a folder that became empty")] = False,
    include: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="take only files that match (repeatable)")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="leave out what matches (repeatable)")
    ] = None,
    hidden: Annotated[bool, typer.Option("--hidden", help="take names that begin with a dot, too")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="go on with every change, until stopped")] = False,
) -> None:
    """Make the collection's documents of these folders equal to what the folders hold."""
    options = {
        "collection": collection,
        "dry_run": dry_run,
        "keep_deleted": keep_deleted,
        "allow_empty": allow_empty,
        "include": include or [],
        "exclude": exclude or [],
        "hidden": hidden,
    }

    def run() -> int:
        settings = load(data=data)
        layout.check_names(tenant, collection)
        Selection(tuple(include or ()), tuple(exclude or ()))
        if watch and dry_run:
            raise CommandError(WRONG_USE, "wrong_use", "--watch with --dry-run does nothing; leave one out")
        if watch:
            return follow(settings, tenant, sources, options, as_json=as_json)
        with without_data(settings) if dry_run else nullcontext(settings) as chosen:
            total = ingest_all(chosen, tenant, sources, options)
        render.emit(as_json, total, render.render_ingest)
        return FAILED if total["failed"] else 0

    finish(as_json, run)


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="the question")],
    as_json: Json = False,
    data: Data = None,
    collection: Collection = "default",
    tenant: Tenant = "default",
    limit: Annotated[int, typer.Option(help="how many passages")] = 10,
    mode: Annotated[str, typer.Option(help="hybrid, dense or bm25")] = "hybrid",
    filters: Annotated[
        str | None, typer.Option("--filter", help='JSON, e.g. {"type":"eq","key":"kind","value":"pdf"}')
    ] = None,
    group_by: Annotated[str | None, typer.Option(help="document: each once, by its best passage")] = None,
    fusion: Annotated[str | None, typer.Option(help="rrf, dbsf or convex, instead of the default")] = None,
    weights: Annotated[
        str | None, typer.Option(help="of the legs, e.g. dense=0.4,bm25=0.6; 1 where left out")
    ] = None,
    min_score: Annotated[
        str | None, typer.Option(help="least score in a leg, e.g. dense=0.3: below it, it does not count")
    ] = None,
    explain: Annotated[bool, typer.Option(help="show why each passage stands where it stands")] = False,
) -> None:
    """Find the passages that answer a question."""

    def run() -> int:
        options: dict[str, Any] = {"collection": collection, "limit": limit, "mode": mode, "explain": explain}
        if filters is not None:
            options["filters"] = json_option("--filter", filters)
        if group_by is not None:
            options["group_by"] = group_by
        if fusion is not None or weights is not None:
            chosen = {} if fusion is None else {"method": fusion}
            options["fusion"] = {**chosen, "weights": by_leg("--weights", weights or "")}
        if min_score is not None:
            options["min_score"] = by_leg("--min-score", min_score)
        found = ask(data, tenant, collection, lambda client: client.search(query, **options))
        render.emit(as_json, found, lambda answer: render.render_results(answer, query, explain=explain))
        return 0

    finish(as_json, run)


@app.command()
def status(
    as_json: Json = False, data: Data = None, collection: Collection = "default", tenant: Tenant = "default"
) -> None:
    """Show what a collection holds, its model, its size."""

    def run() -> int:
        params = {"collection": collection}
        found = ask(data, tenant, collection, lambda client: client.call("GET", "/status", params=params))
        render.emit(as_json, found, render.render_status)
        return 0

    finish(as_json, run)


@app.command("list")
def list_documents(
    as_json: Json = False, data: Data = None, collection: Collection = "default", tenant: Tenant = "default"
) -> None:
    """List the documents."""

    def run() -> int:
        found = ask(data, tenant, collection, lambda client: list(client.documents(collection)))
        render.emit(as_json, {"documents": found}, render.render_documents)
        return 0

    finish(as_json, run)


@app.command()
def show(
    id: Annotated[str, typer.Argument(help="a document's id")],  # noqa: A002 - the contract's name
    as_json: Json = False,
    data: Data = None,
    collection: Collection = "default",
    tenant: Tenant = "default",
) -> None:
    """Show one document with its text."""

    def run() -> int:
        found = ask(data, tenant, collection, lambda client: client.document(id, collection))
        render.emit(as_json, found, render.render_document)
        return 0

    finish(as_json, run)


@app.command()
def delete(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="documents' ids")],
    as_json: Json = False,
    data: Data = None,
    collection: Collection = "default",
    tenant: Tenant = "default",
) -> None:
    """Remove documents; they stop answering at once."""

    def run() -> int:
        deletion = Deletion(ids, collection)
        ask(data, tenant, collection, deletion)
        for key, deleted in deletion.gone.items():
            if not deleted:
                render.say(f"no document {key} here")
        count = sum(deletion.gone.values())
        render.emit(as_json, {"deleted": count}, lambda answer: render.line(f"{answer['deleted']} deleted"))
        return 0 if count == len(deletion.gone) else FAILED

    finish(as_json, run)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="address (LATEWOOD_HOST)")] = None,
    port: Annotated[int | None, typer.Option(help="port (LATEWOOD_PORT), 0 for a free one")] = None,
    as_json: Json = False,
    data: Data = None,
    collection: Collection = "default",
    tenant: Tenant = "default",
) -> None:
    """Serve the HTTP contract and the search page."""

    def run() -> int:
        from latewood.api.cli.serve import serve_forever
        from latewood.api.http import request_logging

        settings = load(data=data, host=host, port=port)
        request_logging.configure(settings.log)
        layout.check_names(tenant, collection)
        serve_forever(
            settings,
            lambda url: render.emit(as_json, {"url": url}, lambda at: render.line(f"serving on {at['url']}")),
        )
        return 0

    finish(as_json, run)


@app.command()
def doctor(
    as_json: Json = False, data: Data = None, collection: Collection = "default", tenant: Tenant = "default"
) -> None:
    """Check settings, model, store, disk and port; say what to do."""

    def run() -> int:
        from latewood.api.cli.doctor import examine

        found = examine(load(data=data), {"data": data}, tenant, collection)
        render.emit(as_json, found, render.render_findings)
        return FAILED if any(finding["status"] == "error" for finding in found["findings"]) else 0

    finish(as_json, run)


@app.command()
def demo(
    as_json: Json = False, data: Data = None, collection: Collection = "demo", tenant: Tenant = "default"
) -> None:
    """Ingest the sample folder and answer three questions."""

    def run() -> int:
        from latewood.api.cli.demo import play

        settings = load(data=data)
        layout.check_names(tenant, collection)
        played = with_owner(settings, tenant, lambda client: play(client, collection))
        render.emit(as_json, played, lambda answer: render.render_demo(answer, collection))
        return FAILED if played["ingest"]["failed"] else 0

    finish(as_json, run)


app.command()(jobs)
app.command()(worker)
app.command()(verify)
app.command()(backup)
app.command()(restore)
app.command()(migrate)
app.command()(optimise)
app.command()(evaluate)
app.command()(tune)
app.command()(ablate)
app.command()(keys)
app.command()(mcp)
app.command()(parity)


def main() -> None:
    """Entry point."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(message)s")
    render.never_refuse_a_letter()
    words = sys.argv[1:]
    if "--json" not in (words[: words.index("--")] if "--" in words else words):
        app()
    try:
        sys.exit(app(standalone_mode=False))
    except typer.TyperException as error:  # an unknown option, a missing argument
        sys.exit(render.fail(True, WRONG_USE, "wrong_use", error.format_message()))


if __name__ == "__main__":
    main()
