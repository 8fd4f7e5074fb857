"""`latewood mcp`: the tools for agents over stdin and stdout, as a client of whoever owns the data."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from latewood.api.cli.common import existing_data, finish
from latewood.api.owner import WAIT_SECONDS, connected
from latewood.client.client import Client, LatewoodError, UnreachableError
from latewood.engine.settings import Settings, load
from latewood.ingest.report import CLOSING
from latewood.search.stores.generations import layout

LOOK_SECONDS = 1.0
Body = dict[str, Any]


def mcp(
    as_json: Annotated[bool, typer.Option("--json", help="errors as one JSON object on stdout")] = False,
    data: Annotated[Path | None, typer.Option(help="data directory (LATEWOOD_DATA)")] = None,
    collection: Annotated[str, typer.Option(help="collection that is meant by `default`")] = "default",
    tenant: Annotated[str, typer.Option(help="tenant")] = "default",
) -> None:
    """Serve the tools search, get_document and list_documents to an agent over stdin and stdout."""

    def run() -> int:
        settings = load(data=data)
        layout.check_names(tenant, collection)
        existing_data(settings)
        from latewood.api.mcp.tools import make_server

        with contextlib.closing(OwnerLibrary(settings, tenant, collection)) as library:
            make_server(lambda request: library).run("stdio")
        return 0

    finish(as_json, run)


class OwnerLibrary:
    """What the owner of the data holds, for as long as there are owners; this process is one if nobody is.

    It makes room when `latewood serve` asks for the data, and is its client from then on.
    """

    def __init__(self, settings: Settings, tenant: str, collection: str) -> None:
        self._settings = settings
        self._tenant = tenant
        self._collection = collection
        self._guard = threading.Lock()
        self._held = contextlib.ExitStack()
        self._client: Client | None = None
        self._ended = threading.Event()
        self._looking = threading.Thread(target=self._look, name="owner look-out", daemon=True)
        self._looking.start()

    def search(self, body: Body) -> Body:
        """See `api.mcp.Library.search`."""
        asked = {**body, "collection": self._meant(body["collection"])}
        return self._call(lambda client: client.call("POST", "/search", json=asked))

    def document(self, document_id: str, collection: str) -> Body:
        """See `api.mcp.Library.document`."""
        return self._call(lambda client: dict(client.document(document_id, self._meant(collection))))

    def documents(self, collection: str, cursor: str | None, limit: int) -> Body:
        """See `api.mcp.Library.documents`."""
        params = {"collection": self._meant(collection), "limit": str(limit)}
        params |= {"cursor": cursor} if cursor else {}
        return self._call(lambda client: client.call("GET", "/documents", params=params))

    def close(self) -> None:
        """Let go of the data."""
        self._ended.set()
        self._looking.join()
        with self._guard:
            self._let_go()

    def _meant(self, collection: str) -> str:
        return self._collection if collection == "default" else collection

    def _call(self, work: Callable[[Client], Body]) -> Body:
        """Ask the owner, and the next one when it goes.

        Raises:
            LatewoodError: it refuses.
            DataError, UnreachableError: none answers for 30 seconds.
        """
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            with self._guard:
                try:
                    if self._client is None:
                        self._client = self._held.enter_context(connected(self._settings, self._tenant))
                    return work(self._client)
                except (LatewoodError, UnreachableError) as error:
                    if isinstance(error, LatewoodError) and error.code != CLOSING:
                        raise
                    self._let_go()
                    if time.monotonic() > deadline:
                        raise
            time.sleep(0.1)  # whoever asked for the data takes it now

    def _look(self) -> None:
        """Let go of the data as soon as someone else asks for it."""
        while not self._ended.wait(LOOK_SECONDS):
            with self._guard:
                if self._client is None:
                    continue
                try:
                    closing = self._client.call("GET", "/owner")["closing"]
                except (LatewoodError, UnreachableError):
                    closing = True
                if closing:
                    self._let_go()

    def _let_go(self) -> None:
        self._client = None
        self._held.close()
        self._held = contextlib.ExitStack()
