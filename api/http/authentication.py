"""The gate: which key a request shows, and how often that key may ask."""

from __future__ import annotations

import ipaddress
import logging
import math
import time
from typing import TYPE_CHECKING

from anyio import CapacityLimiter, to_thread
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from latewood.api.http.api_keys import SCOPES, Key, KeysError, KeyStore
from latewood.api.http.authorization import ANYONE, OWNER, Access
from latewood.api.http.middleware import Refusal
from latewood.api.http.routes.web import DOCS_PATHS

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.strategies import MovingWindowRateLimiter

OPEN = frozenset({"/", "/healthz", "/readyz", "/openapi.json", *DOCS_PATHS})
"""Paths that tell nothing of anyone's documents: answered without a key."""

GUESSES = "30/minute"
"""Wrong keys from one address before they get 429 in place of 401; a good key is let in in any case."""

logger = logging.getLogger(__name__)


class Gate:
    """Settle what each request may do, as `scope["state"]["access"]`."""

    def __init__(self, app: ASGIApp, keys: KeyStore, *, required: bool, rate: str) -> None:
        """Wrap `app`.

        Args:
            app: what answers.
            keys: those there are.
            required: whether a request without one is refused.
            rate: what a key may ask that has no rate of its own, as `60/minute`; empty: as often as it likes.
        """
        self._app = app
        self._keys = keys
        self._required = required
        self._rate = rate
        self._rates = Rates()
        self._limiter: CapacityLimiter | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        found = OWNER if state.get("admin") else await self._admitted(scope)
        if isinstance(found, Refusal):
            await found(scope, receive, send)
            return
        state["access"] = found
        await self._app(scope, receive, send)

    async def _admitted(self, scope: Scope) -> Access | Refusal:
        shown = _shown(scope)
        if not shown.startswith("lw_") and not self._required:
            return ANYONE  # packages of others send something in any case
        if not shown:
            return ANYONE if scope["path"] in OPEN else _unauthorized("this service needs a key")
        try:
            key = self._keys.remembered(shown)
            if key is None and self._keys.plausible(shown):
                key = await to_thread.run_sync(self._keys.proven, shown, limiter=self._hashing())
        except KeysError as error:
            logger.error("%s", error)
            return Refusal(503, "keys_unreadable", "no key can be checked; the service's log has the details")
        if key is None:
            if wait := self._rates.take(GUESSES, f"guess {_network(scope)}"):
                return _too_many("too many keys from this address were wrong", wait)
            return _unauthorized("this key is not known, revoked or expired")
        return self._within_rate(key)

    def _hashing(self) -> CapacityLimiter:
        """Threads for proofs: routes share a pool of their own, which proofs must not fill."""
        if self._limiter is None:  # made on the event loop
            self._limiter = CapacityLimiter(2)
        return self._limiter

    def _within_rate(self, key: Key) -> Access | Refusal:
        rate = key.rate or self._rate
        if rate and (wait := self._rates.take(rate, key.id)):
            return _too_many(f"this key may ask {rate}", wait)
        return Access(key.tenant, max(key.scopes, key=SCOPES.index), key.id)


class Rates:
    """How often something may happen, by name; a window that moves with the time, kept in memory."""

    def __init__(self) -> None:
        self._limiter: MovingWindowRateLimiter | None = None
        self._items: dict[str, RateLimitItem] = {}

    def take(self, rate: str, name: str) -> int:
        """Count one; 0 when it was within the rate, else the seconds to wait."""
        limiter, item = self._of(rate)
        return 0 if limiter.hit(item, name) else self._wait(rate, name)

    def _wait(self, rate: str, name: str) -> int:
        limiter, item = self._of(rate)
        return max(1, math.ceil(limiter.get_window_stats(item, name).reset_time - time.time()))

    def _of(self, rate: str) -> tuple[MovingWindowRateLimiter, RateLimitItem]:
        if self._limiter is None:
            from limits.storage import MemoryStorage
            from limits.strategies import MovingWindowRateLimiter

            self._limiter = MovingWindowRateLimiter(MemoryStorage())
        if rate not in self._items:
            from limits import parse

            self._items[rate] = parse(rate)
        return self._limiter, self._items[rate]


def _network(scope: Scope) -> str:
    """Who guesses: an IPv4 address, or the network of an IPv6 one, whose owner has 2**64 addresses."""
    address = (scope.get("client") or ("",))[0]
    try:
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    except ValueError:
        return address


def _shown(scope: Scope) -> str:
    kind, _, shown = Headers(scope=scope).get("authorization", "").partition(" ")
    return shown.strip() if kind.lower() == "bearer" else ""


def _unauthorized(message: str) -> Refusal:
    told = f"{message}; send `Authorization: Bearer KEY`, `latewood keys create` makes one"
    return Refusal(401, "unauthorized", told, {"WWW-Authenticate": "Bearer"})


def _too_many(message: str, wait: int) -> Refusal:
    return Refusal(429, "rate_limited", f"{message}; ask again in {wait} s", {"Retry-After": str(wait)})
