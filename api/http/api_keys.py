"""API keys: made on the service's own machine, shown once, kept as hashes in the data folder.

    lw_ID_SECRET      ID finds the record, SECRET (256 random bits) proves it

`keys.json` is replaced in one step and looked at with every request, so a key that is revoked, by whichever
process, is refused with the next one.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from latewood.engine.settings import RATE
from latewood.search.stores.generations import layout
from latewood.search.types import QueryError

if TYPE_CHECKING:
    from argon2 import PasswordHasher

SCOPES = ("read", "write", "admin")
"""Each includes those before it."""

FORMAT = 1
REMEMBERED_SECONDS = 60.0
_CHECK_CHARACTERS = 16
logger = logging.getLogger(__name__)
_KEY = re.compile(r"lw_([0-9a-f]{12})_([A-Za-z0-9_-]{43})", re.ASCII)


class KeysError(Exception):
    """A key that cannot be made as asked, or a file of keys that cannot be read."""


@dataclass(frozen=True, slots=True)
class Key:
    """What is kept of a key.

    Attributes:
        id: names it; no secret.
        scopes: any of `SCOPES`.
        created, expires: ISO 8601 in UTC; `expires` is empty for a key that does not.
        rate: requests it may make, such as `60/minute`; empty for the service's own limit.
        hash: of its secret, argon2id.
        check: first bytes of the SHA-256 of the whole key, in hex: a wrong key is refused by it without the
            time and memory of argon2id. Empty in keys of before, until they are proven. The secret keeps
            192 random bits that it does not show.
    """

    id: str
    name: str
    tenant: str
    scopes: tuple[str, ...]
    created: str
    expires: str
    rate: str
    hash: str
    check: str = ""

    @property
    def expired(self) -> bool:
        """Whether its time is over."""
        return bool(self.expires) and datetime.now(UTC) >= datetime.fromisoformat(self.expires)

    def public(self) -> dict[str, object]:
        """All but the hash and the check."""
        shown = {name: value for name, value in asdict(self).items() if name not in {"hash", "check"}}
        return {**shown, "scopes": list(self.scopes), "expired": self.expired}


@dataclass(frozen=True, slots=True)
class Wish:
    """A key to be made.

    Raises:
        KeysError: no or an unknown scope, days or a rate out of range, a name that is too long.
        QueryError: a tenant's name that is not allowed.
    """

    tenant: str
    scopes: tuple[str, ...] = ("read",)
    name: str = ""
    days: float | None = None
    rate: str = ""

    def __post_init__(self) -> None:
        layout.check_names(self.tenant)
        unknown = [scope for scope in self.scopes if scope not in SCOPES]
        if unknown or not self.scopes:
            raise KeysError(f"scopes {', '.join(unknown) or 'are none'}; give any of {', '.join(SCOPES)}")
        if self.days is not None and not 0 < self.days <= 36_500:
            raise KeysError(f"days is {self.days:g}; it must be above 0 and at most 36500")
        if self.rate and not RATE.fullmatch(self.rate):
            raise KeysError(f"rate {self.rate!r} must look like 60/minute: of second, minute, hour, day")
        if len(self.name) > 100 or not self.name.isprintable():
            raise KeysError("a key's name must be printable and have at most 100 characters")


class KeyStore:
    """The keys of a data folder. Safe to call from many threads and processes."""

    def __init__(self, data: Path) -> None:
        self._path = data / "keys.json"
        self._guard = threading.Lock()
        self._hashing = threading.Semaphore(2)  # each hash takes 19 MiB: who guesses must not take them all
        self._seen: tuple[int, int, int] | None = None
        self._keys: Mapping[str, Key] = {}
        self._proven: dict[str, tuple[bytes, str, float]] = {}

    def all(self) -> list[Key]:
        """Every key, oldest first.

        Raises:
            KeysError: the file cannot be read; then no key is good.
        """
        return sorted(self._read().values(), key=lambda key: (key.created, key.id))

    def create(self, wish: Wish) -> tuple[Key, str]:
        """Make a key: what is kept of it, and the key itself, which is not kept."""
        identity, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        now = datetime.now(UTC).replace(microsecond=0)
        expires = "" if wish.days is None else (now + timedelta(days=wish.days)).isoformat()
        scopes = tuple(scope for scope in SCOPES if scope in wish.scopes)
        digest = _hasher().hash(secret)
        text = f"lw_{identity}_{secret}"
        key = Key(
            identity,
            wish.name,
            wish.tenant,
            scopes,
            now.isoformat(),
            expires,
            wish.rate,
            digest,
            _check(text),
        )
        with self._changing() as keys:
            self._write([*keys.values(), key])
        return key, text

    def revoke(self, identity: str) -> bool:
        """Forget a key; whether there was one. It is refused from now on."""
        with self._changing() as keys:
            self._write([key for key in keys.values() if key.id != identity])
            return identity in keys

    def remembered(self, text: str) -> Key | None:
        """The key, if it was proven a short while ago and still stands; does not hash."""
        found = self._standing(text)
        if found is None:
            return None
        proven = self._proven.get(found.id)
        if proven is None or proven[1] != found.hash or time.monotonic() > proven[2]:
            return None
        return found if hmac.compare_digest(proven[0], _digest(text)) else None

    def proven(self, text: str) -> Key | None:
        """The key that this is, if it is one that stands; takes the time of a hash.

        Raises:
            KeysError: the file of keys cannot be read.
        """
        from argon2.exceptions import VerificationError

        if not self.plausible(text):
            return None
        with self._hashing:
            found = self.remembered(text) or self._standing(text)  # another request may have proven it by now
            if found is None or self.remembered(text):
                return found
            try:
                _hasher().verify(found.hash, text.removeprefix(f"lw_{found.id}_"))
            except VerificationError:
                return None
        self._proven[found.id] = (_digest(text), found.hash, time.monotonic() + REMEMBERED_SECONDS)
        if not found.check:
            self._add_check(found, text)
        return found

    def plausible(self, text: str) -> bool:
        """Whether this may be a key; does not hash, and is wrong about a foreign one once in 2**64 times."""
        found = self._standing(text)
        return found is not None and (not found.check or hmac.compare_digest(found.check, _check(text)))

    def _add_check(self, found: Key, text: str) -> None:
        """Complete a key that an earlier version made."""
        try:
            with self._changing() as keys:
                changed = {**keys, found.id: replace(found, check=_check(text))} if found.id in keys else keys
                self._write([*changed.values()])
        except (KeysError, OSError) as error:  # the key is good without it
            logger.warning("could not save the check of key %s: %s", found.id, error)

    def _standing(self, text: str) -> Key | None:
        parts = _KEY.fullmatch(text)
        found = None if parts is None else self._read().get(parts[1])
        return None if found is None or found.expired else found

    def _read(self) -> Mapping[str, Key]:
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return {}
        seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        with self._guard:
            if seen != self._seen:
                self._keys, self._seen = self._load(), seen
            return self._keys

    def _load(self) -> Mapping[str, Key]:
        try:
            shape = json.loads(self._path.read_text(encoding="utf-8"))
            if shape["format"] != FORMAT:
                raise ValueError(f"format {shape['format']} is not {FORMAT}")
            keys = [_checked(Key(**{**one, "scopes": tuple(one["scopes"])})) for one in shape["keys"]]
        except (OSError, ValueError, KeyError, TypeError, KeysError, QueryError) as error:
            raise KeysError(
                f"{self._path} cannot be read ({error}); restore it from a backup, or remove it and make new "
                "keys"
            ) from error
        return {key.id: key for key in keys}

    @contextmanager
    def _changing(self) -> Iterator[Mapping[str, Key]]:
        """The keys as they are now, and nobody else changes them meanwhile."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield self._read()
        finally:
            os.close(handle)

    def _write(self, keys: Sequence[Key]) -> None:
        text = json.dumps({"format": FORMAT, "keys": [asdict(key) for key in keys]}, indent=2) + "\n"
        before = os.umask(0o077)
        try:
            layout.write_file(self._path, text)
        finally:
            os.umask(before)


def _checked(key: Key) -> Key:
    """A key as it was read: what cannot be made cannot be used."""
    Wish(key.tenant, key.scopes, key.name, rate=key.rate)
    if key.expires and datetime.fromisoformat(key.expires).tzinfo is None:
        raise ValueError(f"{key.expires!r} names no time zone")
    return key


def _hasher() -> PasswordHasher:
    """Argon2id as OWASP asks for it: 19 MiB, two passes, one lane."""
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def _check(text: str) -> str:
    return _digest(text).hex()[:_CHECK_CHARACTERS]


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
