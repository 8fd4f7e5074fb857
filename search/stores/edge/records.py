"""The embedded index's records, in a SQLite file of their own next to the engine's files.

A second copy of what the points say: damage to one leaves the other. So nothing that befalls this file stops
the index. A file that is no longer readable is set aside, what is still whole in it moves to a fresh one, and
`latewood verify` names the versions whose record is gone.
"""

from __future__ import annotations

import errno
import logging
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from latewood.search.stores.records import Row, with_info
from latewood.search.types import DiskFullError, DocumentInfo, StoreUnavailableError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    document_id TEXT NOT NULL, version TEXT NOT NULL,
    manifest TEXT NOT NULL, chunks BLOB NOT NULL, checksum BLOB NOT NULL,
    PRIMARY KEY (document_id, version)
);
CREATE INDEX IF NOT EXISTS by_version ON records (version);
CREATE TABLE IF NOT EXISTS digests (
    chunk TEXT NOT NULL PRIMARY KEY, version TEXT NOT NULL, digest BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS digests_by_version ON digests (version);
"""
_COLUMNS = "document_id, version, manifest, chunks, checksum"
_PUT = f"INSERT OR REPLACE INTO records ({_COLUMNS}) VALUES (?, ?, ?, ?, ?)"
_PUT_DIGEST = "INSERT OR REPLACE INTO digests (chunk, version, digest) VALUES (?, ?, ?)"
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}
_JOURNAL_LIMIT = 16 * 2**20

_log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")


class RecordFile:
    """`records.sqlite` in a generation's folder; made by the first write. For one thread of one process."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "records.sqlite"
        self._open: sqlite3.Connection | None = None

    def put(self, rows: Sequence[Row]) -> None:
        """Write records, in one step, over those of the same versions."""

        def write(database: sqlite3.Connection) -> None:
            database.executemany(_PUT, [_values(row) for row in rows])

        self._do("writing records", write, make=True)

    def get(self, ids: Sequence[str]) -> list[Row]:
        """The records of these documents, in the order asked, then by version; not checked yet."""

        def read(database: sqlite3.Connection) -> list[Row]:
            query = f"SELECT {_COLUMNS} FROM records WHERE document_id = ? ORDER BY version"
            return [Row(*values) for one in ids for values in database.execute(query, (one,))]

        return self._do("reading records", read) or []

    def page(self, after: tuple[str, str] | None, limit: int) -> list[tuple[str, str]]:
        """A page of (document id, version), in order."""

        def read(database: sqlite3.Connection) -> list[tuple[str, str]]:
            query = (
                "SELECT document_id, version FROM records WHERE (document_id, version) > (?, ?) "
                "ORDER BY document_id, version LIMIT ?"
            )
            return database.execute(query, (*(after or ("", "")), limit)).fetchall()

        return self._do("listing records", read) or []

    def put_info(self, document_id: str, version: str, info: DocumentInfo) -> None:
        """Rewrite what this version's record says of its document, if there is a whole one."""

        def rewrite(database: sqlite3.Connection) -> None:
            query = f"SELECT {_COLUMNS} FROM records WHERE document_id = ? AND version = ?"
            for values in database.execute(query, (document_id, version)).fetchall():
                row = Row(*values)
                if row.whole:  # a new checksum over a damaged one would hide the damage
                    database.execute(_PUT, _values(with_info(row, info)))

        self._do("rewriting a record", rewrite)

    def sweep(self, versions: Sequence[str]) -> None:
        """Remove the records of these versions."""

        def remove(database: sqlite3.Connection) -> None:
            for table in ("records", "digests"):
                database.executemany(f"DELETE FROM {table} WHERE version = ?", [(one,) for one in versions])

        self._do("removing records", remove)

    def put_digests(self, digests: Sequence[tuple[str, str, bytes]]) -> None:
        """Keep what chunks' vectors were: chunk id, version, digest of each."""

        def write(database: sqlite3.Connection) -> None:
            database.executemany(_PUT_DIGEST, digests)

        self._do("writing digests", write, make=True)

    def digests(self, chunks: Sequence[str]) -> dict[str, bytes]:
        """The digests of these chunks' vectors; chunks of indexes of earlier versions have none."""

        def read(database: sqlite3.Connection) -> dict[str, bytes]:
            query = "SELECT digest FROM digests WHERE chunk = ?"
            found = ((one, database.execute(query, (one,)).fetchone()) for one in chunks)
            return {one: bytes(row[0]) for one, row in found if row is not None}

        return self._do("reading digests", read) or {}

    def remove_digests(self, chunks: Sequence[str]) -> None:
        """Forget the digests of these chunks."""

        def remove(database: sqlite3.Connection) -> None:
            database.executemany("DELETE FROM digests WHERE chunk = ?", [(one,) for one in chunks])

        self._do("removing digests", remove)

    def close(self) -> None:
        """Let go of the file; the next call opens it again."""
        database, self._open = self._open, None
        if database is not None:
            database.close()

    def _do(
        self, doing: str, work: Callable[[sqlite3.Connection], _Answer], *, make: bool = False
    ) -> _Answer | None:
        """One transaction; again on a mended file if this one is damaged. None when there is no file."""
        try:
            if not make and self._open is None and not self._path.exists():
                return None
            try:
                return self._transact(work)
            except sqlite3.DatabaseError as error:
                if _code(error) not in _DAMAGED:
                    raise
                self._mend(error)
                return self._transact(work)
        except (sqlite3.Error, OSError) as error:
            self.close()
            if _code(error) == sqlite3.SQLITE_FULL or getattr(error, "errno", None) == errno.ENOSPC:
                raise DiskFullError(
                    f"{doing} in {self._path} failed because the disk is full; nothing was written; "
                    "free some space and try again"
                ) from error
            raise StoreUnavailableError(f"{doing} in {self._path} failed: {error}; try again") from error

    def _transact(self, work: Callable[[sqlite3.Connection], _Answer]) -> _Answer:
        if self._open is None:
            self._open = _connect(self._path)
        with self._open:
            return work(self._open)

    def _mend(self, error: sqlite3.DatabaseError) -> None:
        """Put a fresh file with every record that is still whole in the place of a damaged one."""
        self.close()
        fresh = self._path.with_name("records.mended.sqlite")
        aside = self._path.with_name("records.damaged.sqlite")
        for ending in ("", "-wal"):
            Path(f"{fresh}{ending}").unlink(missing_ok=True)
            Path(f"{aside}{ending}").unlink(missing_ok=True)
        with closing(_connect(fresh)) as database, database:
            saved = set()
            for row in _readable(self._path):
                database.execute(_PUT, _values(row))
                saved.add((row.document_id, row.version))
            database.executemany(_PUT_DIGEST, _readable_digests(self._path))
        # The journal first: one that stayed would be played into the fresh file.
        for ending in ("-wal", ""):
            if Path(f"{self._path}{ending}").exists():
                Path(f"{self._path}{ending}").rename(f"{aside}{ending}")
        fresh.rename(self._path)
        _log.error(
            "%s is damaged (%s); it now lies at %s and the %d records that are whole were kept; "
            "run `latewood verify --repair` to make the others again",
            *(self._path, error, aside, len(saved)),
        )


def has_records(directory: Path) -> bool:
    """Whether a generation's folder holds any record; to be called while no worker has the file open."""
    records = RecordFile(directory)
    try:
        return bool(records.page(None, 1))
    finally:
        records.close()


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path)
    database.text_factory = _text
    # One process has it open: so no shared memory file, which is one thing less that a full disk can break.
    database.execute("PRAGMA locking_mode = EXCLUSIVE")
    database.execute("PRAGMA journal_mode = WAL")
    # A record is on the disk before its points are written: a power cut never leaves points without it.
    database.execute("PRAGMA synchronous = FULL")
    database.execute(f"PRAGMA journal_size_limit = {_JOURNAL_LIMIT}")
    database.executescript(_SCHEMA)
    return database


def _readable(path: Path) -> Iterator[Row]:
    """Whole records of a damaged file: from either end up to where it cannot be read."""
    for direction in ("ASC", "DESC"):
        with closing(sqlite3.connect(path)) as database:
            database.text_factory = _text
            query = f"SELECT {_COLUMNS} FROM records NOT INDEXED ORDER BY rowid {direction}"
            try:
                for values in database.execute(query):
                    row = Row(*values)
                    if row.whole:
                        yield row
                return
            except (sqlite3.DatabaseError, TypeError, AttributeError, ValueError) as error:
                _log.warning("%s: reading %s ended early: %s", path, direction, error)


def _readable_digests(path: Path) -> Iterator[tuple[str, str, bytes]]:
    """Digests of a damaged file, up to where it cannot be read; a chunk can do without."""
    with closing(sqlite3.connect(path)) as database:
        database.text_factory = _text
        try:
            yield from database.execute("SELECT chunk, version, digest FROM digests ORDER BY chunk")
        except sqlite3.DatabaseError as error:
            _log.warning("%s: reading digests ended early: %s", path, error)


def _text(raw: bytes) -> str:
    """Damage shows in the checksum, not as an error about bytes that are no text."""
    return raw.decode("utf-8", "replace")


def _values(row: Row) -> tuple[str, str, str, bytes, bytes]:
    return row.document_id, row.version, row.manifest, row.chunks, row.checksum


def _code(error: Exception) -> int:
    """The primary result code; extended ones keep it in their low byte."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
