"""Qdrant's REST paths over the client's in-memory engine: a server on this machine where no Qdrant runs.

As a program, `python qdrant_http.py PORT-FILE [API-KEY]`: a process that outlives those that talk to it.
"""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import TypeAdapter
from pydantic_core import to_json
from qdrant_client import models
from qdrant_memory import LockedClient

Handler = Callable[[Any, str, Any], Any]


def _read(kind: Any, body: bytes) -> Any:
    return TypeAdapter(kind).validate_json(body)


def _create(client: Any, name: str, body: bytes) -> bool:
    asked = _read(models.CreateCollection, body)
    return client.create_collection(
        name, vectors_config=asked.vectors, sparse_vectors_config=asked.sparse_vectors
    )


def _aliases(client: Any, name: str, body: bytes) -> bool:
    return client.update_collection_aliases(_read(models.ChangeAliasesOperation, body).actions)


def _index(client: Any, name: str, body: bytes) -> Any:
    asked = _read(models.CreateFieldIndex, body)
    return client.create_payload_index(name, asked.field_name, asked.field_schema)


def _upsert(client: Any, name: str, body: bytes) -> Any:
    asked = _read(models.PointsList, body)
    return client.upsert(name, asked.points, update_filter=asked.update_filter, update_mode=asked.update_mode)


def _batch(client: Any, name: str, body: bytes) -> Any:
    return client.batch_update_points(name, _read(models.UpdateOperations, body).operations)


def _delete(client: Any, name: str, body: bytes) -> Any:
    return client.delete(name, _read(models.PointsSelector, body))


def _retrieve(client: Any, name: str, body: bytes) -> Any:
    asked = _read(models.PointRequest, body)
    return client.retrieve(
        name, asked.ids, with_payload=asked.with_payload, with_vectors=asked.with_vector or False
    )


def _scroll(client: Any, name: str, body: bytes) -> Any:
    asked = _read(models.ScrollRequest, body)
    points, offset = client.scroll(
        name,
        asked.filter,
        limit=asked.limit or 10,
        offset=asked.offset,
        order_by=asked.order_by,
        with_payload=asked.with_payload if asked.with_payload is not None else True,
        with_vectors=asked.with_vector or False,
    )
    return {"points": points, "next_page_offset": offset}


def _count(client: Any, name: str, body: bytes) -> Any:
    return client.count(name, _read(models.CountRequest, body).filter)


def _query_batch(client: Any, name: str, body: bytes) -> Any:
    return client.query_batch_points(name, _read(models.QueryRequestBatch, body).searches)


def _facet(client: Any, name: str, body: bytes) -> Any:
    asked = _read(models.FacetRequest, body)
    return client.facet(name, asked.key, asked.filter, limit=asked.limit or 10)


ROUTES: list[tuple[str, str, Handler]] = [
    ("GET", r"/collections", lambda client, _name, _body: client.get_collections()),
    ("GET", r"/aliases", lambda client, _name, _body: client.get_aliases()),
    ("POST", r"/collections/aliases", _aliases),
    ("GET", r"/collections/([^/]+)", lambda client, name, _body: client.get_collection(name)),
    (
        "GET",
        r"/collections/([^/]+)/exists",
        lambda client, name, _body: {"exists": client.collection_exists(name)},
    ),
    ("PUT", r"/collections/([^/]+)", _create),
    ("DELETE", r"/collections/([^/]+)", lambda client, name, _body: client.delete_collection(name)),
    ("PUT", r"/collections/([^/]+)/index", _index),
    ("PUT", r"/collections/([^/]+)/points", _upsert),
    ("POST", r"/collections/([^/]+)/points", _retrieve),
    ("POST", r"/collections/([^/]+)/points/batch", _batch),
    ("POST", r"/collections/([^/]+)/points/delete", _delete),
    ("POST", r"/collections/([^/]+)/points/scroll", _scroll),
    ("POST", r"/collections/([^/]+)/points/count", _count),
    ("POST", r"/collections/([^/]+)/points/query/batch", _query_batch),
    ("POST", r"/collections/([^/]+)/facet", _facet),
]


class QdrantHTTP:
    """The server, in threads of this process."""

    def __init__(self, client: LockedClient | None = None, api_key: str = "", port: int = 0) -> None:
        self.client = client or LockedClient()
        self.api_key = api_key
        self.requests: list[str] = []
        outer = self

        class Requests(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, answer = outer.answer(self.command, self.path, body, self.headers.get("api-key"))
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST = do_PUT = do_DELETE = handle_one  # noqa: N815 as the base class wants

            def log_message(self, *args: Any) -> None:
                return None

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Requests)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> QdrantHTTP:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def serve(self) -> None:
        self._server.serve_forever()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, target: str, body: bytes, key: str | None) -> tuple[int, bytes]:
        path = urlsplit(target).path
        self.requests.append(f"{method} {path}")
        if self.api_key and key != self.api_key:
            return 401, b'{"status":{"error":"Invalid API key or JWT"}}'
        if method == "GET" and path in ("/", "/healthz", "/readyz"):
            return 200, json.dumps({"title": "qdrant", "version": "1.20.0"}).encode()
        for verb, pattern, handler in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and verb == method:
                name = unquote(match.group(1)) if match.groups() else ""
                return self._done(lambda: handler(self.client, name, body))  # noqa: B023 called at once
        return 404, b'{"status":{"error":"no such path here"}}'

    def _done(self, work: Callable[[], Any]) -> tuple[int, bytes]:
        try:
            result = work()
        except ValueError as error:
            missing = str(error).endswith("not found")
            return 404 if missing else 400, json.dumps({"status": {"error": str(error)}}).encode()
        return 200, to_json({"result": result, "status": "ok", "time": 0.0}, serialize_unknown=True)


def main() -> None:
    server = QdrantHTTP(api_key=sys.argv[2] if len(sys.argv) > 2 else "")
    note = Path(sys.argv[1])
    aside = note.with_suffix(".partial")
    aside.write_text(f"{server.port}\n")
    aside.rename(note)
    server.serve()


if __name__ == "__main__":
    main()
