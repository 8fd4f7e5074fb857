"""Addresses that settings may hold: of a store, of a queue; and how they are shown."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

EMBEDDED = "embedded"
SQLITE = "sqlite"
MEMORY = "memory"


def masked(text: str) -> str:
    """A text with URLs, without the names and passwords in them."""
    return re.sub(r"//[^/\s]*@", "//***@", text)


def check_place(store: str) -> None:
    """Hold a store against what can be one.

    Raises:
        ValueError: neither `embedded` nor a URL without a name and password in it.
    """
    parts = urlsplit(store)
    if store != EMBEDDED and (parts.scheme not in {"http", "https"} or not parts.hostname):
        raise ValueError("must be `embedded` or the URL of a Qdrant server, such as http://localhost:6333")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("takes no name, password or query in the URL; the key goes to STORE_API_KEY")


def check_queue(jobs: str) -> None:
    """Hold a place for jobs against what can be one.

    Raises:
        ValueError: neither `sqlite`, nor `memory`, nor the url of a PostgreSQL database.
    """
    parts = urlsplit(jobs)
    url = parts.scheme in {"postgresql", "postgres"} and parts.path.strip("/")
    if jobs not in {SQLITE, MEMORY} and not url:
        raise ValueError("must be sqlite, memory, or postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
