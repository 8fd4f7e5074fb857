"""Which names a service answers to, and which pages may talk to it."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from latewood.api.http.middleware import Refusal, RequestId
from latewood.engine.settings import Settings


class Doors:
    """Check Host and Origin, so that a page elsewhere cannot reach a service by a name of its own."""

    def __init__(
        self, app: ASGIApp, known: Callable[[str], bool], origins: Sequence[str] = (), remedy: str = ""
    ) -> None:
        """Wrap `app`.

        Args:
            app: what answers.
            known: whether a host name is one of the service's own.
            origins: pages of other sites that may talk to it, as `https://app.example`.
            remedy: what to do about a name that is refused.
        """
        self._app = app
        self._known = known
        self._origins = frozenset(origins)
        self._remedy = remedy or "use http://127.0.0.1 or http://localhost"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "http" and (wrong := self._wrong(Headers(scope=scope))):
            refusal = Refusal(403, "forbidden_host", f"{wrong}; {self._remedy}")
            await RequestId(refusal)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _wrong(self, headers: Mapping[str, str]) -> str:
        """What is wrong with where a request says it goes to or comes from; empty when nothing is."""
        host = headers.get("host", "")
        if not self._known(_hostname(host)):
            return f"the Host header {host!r} does not name this machine"
        origin = headers.get("origin")
        if origin is None or origin in self._origins or origin.partition("://")[2] == host:
            return ""
        return f"the Origin header {origin!r} is another site"


class LoopbackOnly(Doors):
    """The doors of a service that only this machine reaches."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app, is_loopback)


def doors(app: ASGIApp, settings: Settings) -> Doors:
    """The doors of a service with these settings."""
    if not keys_needed(settings):
        return Doors(app, is_loopback, settings.origins)
    names = {*settings.hosts, settings.host, socket.gethostname().lower(), socket.getfqdn().lower()}

    def known(name: str) -> bool:
        return name in names or is_loopback(name) or (not settings.hosts and _is_address(name))

    return Doors(app, known, settings.origins, "name it in HOSTS, or its page's address in ORIGINS")


def keys_needed(settings: Settings) -> bool:
    """Whether others than this machine can reach the service, through a proxy or by themselves."""
    return bool(settings.hosts) or not is_loopback(settings.host)


def is_loopback(name: str) -> bool:
    """Whether an address or name can be reached from this machine only."""
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:  # another name, or none
        return False


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _hostname(host: str) -> str:
    """The name in a Host header, without port and brackets; empty when it is malformed."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
