"""What `latewood doctor` says of the queue."""

from __future__ import annotations

from contextlib import closing

from sqlalchemy.exc import SQLAlchemyError

from latewood.engine.addresses import SQLITE
from latewood.engine.errors import ApiError
from latewood.engine.jobs.dbos_store import Database
from latewood.engine.jobs.heartbeats import Beats, Worker
from latewood.engine.settings import Settings


def look(settings: Settings) -> tuple[str, str]:
    """Whether the queue can be reached, what waits in it, and who works on it: a status and a sentence."""
    try:
        with closing(Database(settings.jobs, settings.data)) as database:
            waiting = len(database.open())
            shown = database.shown
            if settings.jobs == SQLITE:
                return "ok", f"{shown} can be read; {waiting} jobs wait or run"
            with closing(Beats(database.url)) as beats:
                workers = beats.all()
    except (ApiError, SQLAlchemyError) as error:
        return "error", str(error) if isinstance(error, ApiError) else f"the queue: {type(error).__name__}"
    return _workers(settings, workers, f"{shown} answers; {waiting} jobs wait or run")


def _workers(settings: Settings, workers: list[Worker], told: str) -> tuple[str, str]:
    alive = [one for one in workers if one.silent < settings.worker_seconds]
    if not alive:
        return "warn", f"{told}, and nobody works on them; start `latewood worker`"
    silent = [f"{one.id} on {one.host}" for one in workers if one not in alive]
    told += f"; {len(alive)} workers give signs of life"
    return "ok", told + (f"; {', '.join(silent)} did not say goodbye" if silent else "")
