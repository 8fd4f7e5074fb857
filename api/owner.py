"""Who holds the data directory: one owner, everyone else its client (design, decision 6).

The owner holds a kernel file lock, taken before the engine touches the directory and inherited by the
store's worker process, so that it is free only when both are gone. While it lives it serves the HTTP
contract on a Unix socket of mode 0600. Nothing needs cleaning after a crash: the kernel drops the lock, the
next owner replaces the socket.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from latewood.api.cli import render
from latewood.client.client import Client, LatewoodError, UnreachableError
from latewood.engine.addresses import MEMORY, SQLITE
from latewood.engine.owner.lock import DataError, listen, owner_sockets, private_socket, try_lock
from latewood.engine.settings import Settings
from latewood.ingest.report import CLOSING

if TYPE_CHECKING:
    import uvicorn

    from latewood.engine.library import Service
    from latewood.engine.owner.writer_rpc import Link

T = TypeVar("T")
TENANT_HEADER = "X-Latewood-Tenant"
KEEP_ALIVE_SECONDS = 75  # longer than httpx and most proxies keep one: or it closes under a question
HEAD_SECONDS = 10.0
WAIT_SECONDS = 30.0
CHANGE_SECONDS = 60.0
ASK_SECONDS = 1.0
TELL_SECONDS = 2.0


class OwnerGoneError(Exception):
    """The owner let go of the data while we were its client; ask again."""


class SocketServer:
    """Serves a service on the owner's socket from a thread of this process.

    Raises:
        DataError: the socket cannot be made.
    """

    def __init__(self, service: Service, path: Path) -> None:
        from latewood.api.http.app import Admin, create_app

        self.app = create_app(service)
        self._path = path
        self._listener = listen(path)
        self._server = uvicorn_server(Admin(self.app))
        self._thread = threading.Thread(
            target=self._server.run, args=([self._listener],), name="owner socket", daemon=True
        )
        self._thread.start()
        self._link = _link(service, path)

    def close(self) -> None:
        """Answer what is running, then stop."""
        if self._link is not None:
            self._link.close()
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise DataError(f"cannot remove the owner's socket {self._path}: {error.strerror}") from error
        finally:
            self._server.should_exit = True
            self._thread.join()
            self._listener.close()


def _link(service: Service, path: Path) -> Link | None:
    """Where workers of other processes write through this owner, when it has any."""
    if service.settings.jobs in {SQLITE, MEMORY}:
        return None
    from latewood.engine.owner import writer_rpc

    return writer_rpc.Link(service, path.with_name(writer_rpc.NAME))


def uvicorn_server(
    app: object, *, proxies: Sequence[str] = (), head_seconds: float = HEAD_SECONDS
) -> uvicorn.Server:
    """A uvicorn server with this project's settings.

    Args:
        app: what answers.
        proxies: addresses and networks whose forwarded headers are believed.
        head_seconds: time for a request's head to arrive.
    """
    import uvicorn

    from latewood.api.http.connections import limited
    from latewood.api.http.middleware import HEAD_BYTES

    config = uvicorn.Config(
        app,
        http=limited(head_seconds),
        h11_max_incomplete_event_size=HEAD_BYTES,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
        timeout_graceful_shutdown=10,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        server_header=False,
    )
    return uvicorn.Server(config)


@contextlib.contextmanager
def connected(settings: Settings, tenant: str) -> Iterator[Client]:
    """A client of whoever owns the data; this process becomes the owner when nobody is.

    Raises:
        DataError: the data directory cannot be used, or its owner does not answer for 30 seconds.
    """
    headers = {TENANT_HEADER: tenant}
    started = time.monotonic()
    deadline = started + WAIT_SECONDS
    path = private_socket(settings.data)
    places = owner_sockets(settings.data)
    told = False
    while True:
        handle = try_lock(settings.data)
        if handle is not None:
            with _owning(settings, handle, path), Client(socket=path, headers=headers, timeout=600) as client:
                yield client
            return
        for place in places:
            with Client(socket=place, headers=headers, timeout=600) as client:
                if _answers(client):
                    yield client
                    return
        if time.monotonic() > deadline:
            raise DataError(
                f"{settings.data} is held by {_holder(settings.data)}, which does not answer on "
                f"{' or '.join(map(str, places))}"
            )
        told = told or _tell_wait(settings.data, started)
        time.sleep(0.05)


@contextlib.contextmanager
def _owning(settings: Settings, handle: int, path: Path) -> Iterator[None]:
    from latewood.engine.library import Service

    try:
        with contextlib.closing(Service(settings, lock_fd=handle)) as service:
            server = SocketServer(service, path)
            try:
                yield
            finally:
                service.jobs.close()
                server.close()
    finally:
        os.close(handle)


def with_owner(settings: Settings, tenant: str, work: Callable[[Client], T]) -> T:
    """Run `work` against the owner, again with the next one when an owner closes or dies under it.

    Everything asked of an owner may be asked twice: an ingest goes on where it was.

    Raises:
        DataError: no owner could be reached for 30 seconds, or none took the work for 60.
    """
    reached = through = time.monotonic()
    told = False
    while True:
        started = time.monotonic()
        try:
            with connected(settings, tenant) as client:
                return work(client)
        except (OwnerGoneError, UnreachableError, LatewoodError) as error:
            if isinstance(error, LatewoodError) and error.code != CLOSING:
                raise
            reason = error
        now = time.monotonic()
        if now - started > WAIT_SECONDS:  # it got through: the work had begun before the owner went
            reached = through = now
        if isinstance(reason, UnreachableError):
            if now - reached > WAIT_SECONDS:
                raise DataError(f"the owner of {settings.data} broke off: {reason}") from reason
        else:
            reached = now
        if now - through > CHANGE_SECONDS:
            raise DataError(
                f"no owner of {settings.data} took the work for {CHANGE_SECONDS:.0f} seconds "
                f"({_holder(settings.data)} has it now); run the command again"
            ) from reason
        if not told:
            told = True
            render.say(f"waiting for the next owner of {settings.data}")
        time.sleep(0.5)  # whoever asked for the data takes it now


def take_over(settings: Settings) -> int:
    """The owner's lock for `serve`: a short-lived owner is asked to make room.

    Raises:
        DataError: another service holds the data, or its owner does not let go for 30 seconds.
    """
    started = time.monotonic()
    deadline = started + WAIT_SECONDS
    places = owner_sockets(settings.data)
    asked = -math.inf
    told = False
    while True:
        handle = try_lock(settings.data)
        if handle is not None:
            return handle
        if time.monotonic() - asked >= ASK_SECONDS:  # again: a command that waited may own the data by now
            for place in places:
                with Client(socket=place, timeout=10) as client:
                    asked = time.monotonic() if _ask_to_yield(client) else asked
        if time.monotonic() > deadline:
            raise DataError(f"{settings.data} is held by {_holder(settings.data)}, which does not let go")
        told = told or _tell_wait(settings.data, started)
        time.sleep(0.05)


def _tell_wait(data: Path, started: float) -> bool:
    """Print whom the command waits for, once the wait is noticeable; return whether it did."""
    if time.monotonic() - started < TELL_SECONDS:
        return False
    render.say(f"waiting for {_holder(data)}, which holds {data}")
    return True


def _ask_to_yield(client: Client) -> bool:
    try:
        client.call("POST", "/owner/yield")
    except UnreachableError:
        return False
    except LatewoodError as error:
        raise DataError(error.message) from error
    return True


def _answers(client: Client) -> bool:
    try:
        client.call("GET", "/healthz", timeout=5.0)
    except UnreachableError:
        return False
    return True


def _holder(data: Path) -> str:
    """Return a name for the process that holds the data; its number may be missing on a full disk."""
    try:
        number = (data / "owner.lock").read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        number = ""
    return f"process {number or '?'}"
