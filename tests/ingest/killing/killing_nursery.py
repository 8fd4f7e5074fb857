"""A process that has everything imported and forks: owners to be killed, and store workers, in milliseconds.

A killed owner and the check after it take two store workers and an owner; started as they are in use, each
would cost a second of imports. So this process, which has one thread and holds nothing open, forks them. What
runs in a fork is the program's own: `search.stores.edge_worker.main` and `ingest.sync.sync`.

Run as `python killing_nursery.py SOCKET`; used through `Nursery`.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

PATIENCE = 120.0
_HERE = Path(__file__)


class Nursery:
    """The side that asks. `spawn` may be used by many processes, each call makes a connection of its own."""

    def __init__(self, path: str) -> None:
        self.path = path

    def spawn(self, what: str, fds: list[int], spec: dict[str, Any] | None = None) -> int:
        """Fork a `worker` or an `owner`, which gets these file descriptors; its process id."""
        return int(self._ask({"do": what, "spec": spec or {}}, fds)["pid"])

    def status(self, pid: int) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        found: int | None = self._ask({"do": "status", "pid": pid}, [])["status"]
        return found

    def wait(self, pid: int, seconds: float = PATIENCE) -> int:
        """Exit status of a process that is about to end."""
        deadline = time.monotonic() + seconds
        while (status := self.status(pid)) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(pid), seconds)
            time.sleep(0.002)
        return status

    def _ask(self, message: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as to:
            to.connect(self.path)
            socket.send_fds(to, [json.dumps(message).encode()], fds)
            answer: dict[str, Any] = json.loads(to.recv(1 << 16))
            return answer

    def subprocess_module(self) -> SimpleNamespace:
        """What stands in for `subprocess` where a store starts its worker."""
        nursery = self

        class Popen:
            def __init__(self, command: list[str], *, pass_fds: tuple[int, ...], **_: object) -> None:
                assert command[-2:] == ["latewood.search.stores.edge.worker", str(pass_fds[0])]
                self.pid = nursery.spawn("worker", list(pass_fds))

            def kill(self) -> None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGKILL)

            def wait(self, timeout: float = PATIENCE) -> int:
                return nursery.wait(self.pid, timeout)

        return SimpleNamespace(
            Popen=Popen, DEVNULL=subprocess.DEVNULL, TimeoutExpired=subprocess.TimeoutExpired
        )


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Nursery]:
    """A nursery with its socket in `folder`; every process it made is gone when this is left."""
    path = str(folder / "nursery.sock")
    # One thread each for what numpy brings: a fork carries over the thread that forks and no other.
    single = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, str(_HERE), path], start_new_session=True, env={**os.environ, **single}
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while not Path(path).exists():
            assert process.poll() is None, "the nursery ended"
            assert time.monotonic() < deadline, "the nursery does not listen"
            time.sleep(0.01)
        yield Nursery(path)
    finally:
        process.terminate()
        process.wait(PATIENCE)


# --- the process itself -------------------------------------------------------------------------------------


def _worker(fds: list[int], spec: dict[str, Any], path: str) -> None:
    from latewood.search.stores.edge import worker

    sys.argv = ["edge_worker", str(fds[0])]
    worker.main()


def _owner(fds: list[int], spec: dict[str, Any], path: str) -> None:
    from killing_owner import own

    own(Nursery(path), socket.socket(fileno=fds[0]), spec)


_KINDS: dict[str, Callable[[list[int], dict[str, Any], str], None]] = {"worker": _worker, "owner": _owner}


class _Server:
    def __init__(self, path: str) -> None:
        self._path = path
        self._ended: dict[int, int] = {}
        self._running: set[int] = set()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(f"{path}.new")
        self._listener.listen(64)
        Path(f"{path}.new").rename(path)

    def serve(self) -> None:
        while True:
            select.select([self._listener], [], [])
            connection, _ = self._listener.accept()
            # Who asks may be an owner that is killed before it has asked or heard: that ends nobody else.
            with connection, contextlib.suppress(ConnectionError):
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        message, fds, _, _ = socket.recv_fds(connection, 1 << 16, 4)
        if not message:
            return
        request = json.loads(message)
        if request["do"] == "status":
            self._reap()
            connection.send(json.dumps({"status": self._ended.get(request["pid"])}).encode())
            return
        pid = self._fork(request, fds, connection)
        for fd in fds:
            os.close(fd)
        connection.send(json.dumps({"pid": pid}).encode())

    def _fork(self, request: dict[str, Any], fds: list[int], connection: socket.socket) -> int:
        pid = os.fork()
        if pid:
            self._running.add(pid)
            self._ended.pop(pid, None)  # of an earlier process that had the same number
            return pid
        status = 1
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._listener.close()
            connection.close()
            _KINDS[request["do"]](fds, request["spec"], self._path)
            status = 0
        finally:  # whatever happened: the fork must not go on as the nursery
            if status:
                traceback.print_exc()
            sys.stderr.flush()
            os._exit(status)

    def _reap(self) -> None:
        while self._running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            self._running.discard(pid)
            self._ended[pid] = os.waitstatus_to_exitcode(status)

    def end(self) -> None:
        self._reap()
        for pid in self._running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def main() -> None:
    """Listen until terminated."""
    import killing_owner  # noqa: F401

    import latewood.search.stores.edge.worker  # noqa: F401

    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a fork of several threads is not safe"
    server = _Server(sys.argv[1])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        server.serve()
    finally:
        server.end()


if __name__ == "__main__":
    main()
