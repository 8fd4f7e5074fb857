"""Queues in both databases: a file, and a PostgreSQL cluster of the tests' own."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from latewood.engine.jobs.durable_queue import DurableDesk
from latewood.engine.library import Service

USER = "postgres"
NUMBER = itertools.count()


def programs() -> Path | None:
    """Where Debian keeps the newest server's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


def why_not() -> str:
    """Why no cluster can be made here; empty when one can."""
    if programs() is None:
        return "PostgreSQL is not installed (Debian: apt-get install postgresql)"
    if os.geteuid() == 0:
        if shutil.which("runuser") is None:
            return "there is no runuser, and PostgreSQL refuses to run as root"
        if USER not in {one.pw_name for one in pwd.getpwall()}:
            return "there is no user postgres to run the server as"
    return ""


def as_server(*command: str, folder: Path) -> None:
    """Run one of PostgreSQL's programs as a user it accepts."""
    words = ["runuser", "-u", USER, "--", *command] if os.geteuid() == 0 else list(command)
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr + done.stdout


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The url of a fresh cluster, without a database's name."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    bin_folder = programs()
    assert bin_folder is not None
    with tempfile.TemporaryDirectory(prefix="latewood-pg-") as name, socket.socket() as free:
        folder = Path(name)
        if os.geteuid() == 0:
            shutil.chown(folder, USER)
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        cluster = str(folder / "data")
        as_server(str(bin_folder / "initdb"), "-D", cluster, "-U", "latewood", "-A", "trust", folder=folder)
        settings = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
        control = str(bin_folder / "pg_ctl")
        log = str(folder / "log")
        as_server(control, "-D", cluster, "-w", "-l", log, "-o", settings, "start", folder=folder)
        try:
            yield f"postgresql://latewood:kept-secret@127.0.0.1:{port}"
        finally:
            as_server(control, "-D", cluster, "-w", "-m", "immediate", "stop", folder=folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def setting(request: pytest.FixtureRequest) -> str:
    """A value of `JOBS` whose database is fresh."""
    if request.param == "sqlite":
        return "sqlite"
    return f"{request.getfixturevalue('postgres')}/queue{next(NUMBER)}"


@pytest.fixture
def open_durable(open_service: Callable[..., Service], setting: str) -> Iterator[Callable[..., Service]]:
    """Opens services that keep their jobs and run them themselves, one at a time."""
    opened: list[Service] = []

    def open_one(data: Path | None = None, **settings: Any) -> Service:
        service = open_service(data, jobs=setting, **settings)
        service.desk = DurableDesk(service, "" if setting == "sqlite" else "here")
        opened.append(service)
        return service

    yield open_one
    for service in opened:
        service.close()
