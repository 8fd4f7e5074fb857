"""Which workers live: each says so now and then in a table beside DBOS's own, by the database's clock.

DBOS leaves a dead worker's job with it until someone of its name comes back; here the others take it over.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

import sqlalchemy as sa

_CREATE = (
    "CREATE TABLE IF NOT EXISTS latewood_workers "
    "(id TEXT PRIMARY KEY, host TEXT NOT NULL, pid INTEGER NOT NULL, beat DOUBLE PRECISION NOT NULL)"
)
_NOW = {
    "postgresql": "extract(epoch from clock_timestamp())",
    "sqlite": "(julianday('now') - 2440587.5) * 86400.0",
}


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker as the table has it; `silent` is the number of seconds since it last gave a sign."""

    id: str
    host: str
    pid: int
    silent: float


class Beats:
    """The table of workers. Raises SQLAlchemyError where the database does not answer."""

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(url, pool_pre_ping=True, pool_size=1)
        self._now = _NOW[self._engine.dialect.name]
        with self._engine.begin() as connection:
            connection.execute(sa.text(_CREATE))

    def give(self, worker: str) -> None:
        """A sign of life."""
        with self._engine.begin() as connection:
            connection.execute(
                sa.text(
                    "INSERT INTO latewood_workers (id, host, pid, beat) "
                    f"VALUES (:id, :host, :pid, {self._now}) "
                    "ON CONFLICT (id) DO UPDATE SET host = excluded.host, pid = excluded.pid, "
                    "beat = excluded.beat"
                ),
                {"id": worker, "host": socket.gethostname(), "pid": os.getpid()},
            )

    def leave(self, worker: str) -> None:
        """It ends, and what it had may be taken over now."""
        with self._engine.begin() as connection:
            connection.execute(sa.text("DELETE FROM latewood_workers WHERE id = :id"), {"id": worker})

    def all(self) -> list[Worker]:
        """Every worker that did not say goodbye, in order of id."""
        with self._engine.begin() as connection:
            found = connection.execute(
                sa.text(f"SELECT id, host, pid, {self._now} - beat FROM latewood_workers ORDER BY id")
            )
            return [Worker(str(row[0]), str(row[1]), int(row[2]), float(row[3])) for row in found]

    def close(self) -> None:
        """Let go of the connection."""
        self._engine.dispose()
