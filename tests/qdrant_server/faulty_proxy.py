"""A proxy that fails on purpose: delays, resets, half answers, errors; before the server hears or after."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Fault:
    """What becomes of a request.

    kind: `delay` (seconds, then as usual), `reset`, `half` (of the body, then the end), `status` (an error of
    its own), `garbage` (a body that is no JSON), `empty` (an answer without a result).
    after: the server hears of the request first, and only its answer is lost.
    """

    kind: str
    value: float = 0
    after: bool = False


Plan = Callable[[str, str], Fault | None]


class FaultyProxy:
    """Between a client and a server; `plan` decides for each request by its method and path."""

    def __init__(self, upstream: str) -> None:
        self.plan: Plan = lambda method, path: None
        self.requests: list[str] = []
        self._upstream = urlsplit(upstream).netloc
        outer = self

        class Requests(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                outer.handle(self)

            do_GET = do_POST = do_PUT = do_DELETE = handle_one  # noqa: N815 as the base class wants

            def log_message(self, *args: Any) -> None:
                return None

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Requests)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> FaultyProxy:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fail(self, path: str, *faults: Fault | None) -> None:
        """The next requests whose path ends so meet these faults, one each; later ones none."""
        left = list(faults)
        lock = threading.Lock()

        def plan(method: str, asked: str) -> Fault | None:
            with lock:
                return left.pop(0) if left and urlsplit(asked).path.endswith(path) else None

        self.plan = plan

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        self.requests.append(f"{request.command} {urlsplit(request.path).path}")
        fault = self.plan(request.command, request.path)
        if fault is None:
            _send(request, *self._forward(request, body))
        elif fault.kind == "delay":
            time.sleep(fault.value)
            _send(request, *self._forward(request, body))
        else:
            answer = (200, b"{}")
            if fault.after or fault.kind == "half":
                answer = self._forward(request, body)
            _break(request, fault, answer)

    def _forward(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self._upstream, timeout=60)
        try:
            connection.connect()
        except OSError:
            return 502, b'{"status":{"error":"nobody is behind the proxy"}}'
        try:
            headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
            connection.request(request.command, request.path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


def _break(request: BaseHTTPRequestHandler, fault: Fault, answer: tuple[int, bytes]) -> None:
    if fault.kind == "status":
        _send(request, int(fault.value), b'{"status":{"error":"a node of the cluster is down"}}')
    elif fault.kind == "garbage":
        _send(request, 200, b'{"result": [[[')
    elif fault.kind == "empty":
        _send(request, 200, b'{"result": null, "status": "ok", "time": 0.0}')
    elif fault.kind == "half":
        _send(request, *answer, half=True)
    else:
        request.close_connection = True
        # No farewell: the other end sees a reset.
        request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.connection.close()


def _send(request: BaseHTTPRequestHandler, status: int, body: bytes, *, half: bool = False) -> None:
    request.send_response(status)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    try:
        request.wfile.write(body[: len(body) // 2] if half else body)
        request.wfile.flush()
    except (BrokenPipeError, ConnectionResetError):
        request.close_connection = True  # the client did not wait
    if half:
        request.close_connection = True
        request.connection.shutdown(socket.SHUT_RDWR)
