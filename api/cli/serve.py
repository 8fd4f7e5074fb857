"""`latewood serve`: own the data, serve TCP and the owner's socket until told to stop."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable

from latewood.api.http.api_keys import KeyStore
from latewood.api.http.trusted_hosts import doors, keys_needed
from latewood.api.owner import SocketServer, take_over, uvicorn_server
from latewood.engine import disk
from latewood.engine.errors import ApiError
from latewood.engine.library import Service
from latewood.engine.owner.lock import DataError, private_socket
from latewood.engine.settings import Settings, SettingsError
from latewood.ingest.jobs import JobError

logger = logging.getLogger(__name__)


def serve_forever(settings: Settings, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; `ready` gets the URL once connections are accepted.

    Raises:
        SettingsError: others can reach the service, and there is no key.
        DataError: the port is taken, or another service holds the data.
    """
    if keys_needed(settings) and all(key.expired for key in KeyStore(settings.data).all()):
        raise SettingsError(
            f"HOST = {settings.host!r} with HOSTS = {', '.join(settings.hosts) or 'none'} opens the service "
            "to others, and there is no key to ask them for; `latewood keys create` makes one"
        )
    listener = _listen(settings.host, settings.port)
    with contextlib.closing(listener):
        handle = take_over(settings)
        try:
            with contextlib.closing(Service(settings, lock_fd=handle)) as service:
                _run(service, listener, ready)
        finally:
            os.close(handle)


def _run(service: Service, listener: socket.socket, ready: Callable[[str], None]) -> None:
    host, port = listener.getsockname()[:2]
    service.serving = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    owner = SocketServer(service, private_socket(service.settings.data))
    try:
        threading.Thread(target=_begin, args=[service], name="warm-up", daemon=True).start()
        ready(service.serving)
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn has drained and raises the signal again
            uvicorn_server(
                doors(owner.app, service.settings),
                proxies=service.settings.proxies,
                head_seconds=service.settings.head_seconds,
            ).run([listener])
    finally:
        service.jobs.close()
        owner.close()


def _begin(service: Service) -> None:
    """What need not be done before the first request: jobs that an earlier process left, and the model."""
    try:
        service.desk.start()
    except Exception as error:  # whatever it is: questions are answered
        if disk.explain(error) is None:  # else it is not ready: `/readyz` shows why
            service.warm_up_error = str(error) or type(error).__name__
        logger.error(
            "the queue is not worked on: %s", error, exc_info=not isinstance(error, ApiError | JobError)
        )
    service.warm_up()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise DataError(
            f"cannot listen on {host}:{port}: {error.strerror}; set LATEWOOD_PORT or --port"
        ) from error
    listener.listen(512)
    return listener
