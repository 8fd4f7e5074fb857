"""A real service behind a real server, on TCP as `latewood serve` does it and on the owner's socket."""

from __future__ import annotations

import re
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latewood.api.http.app import LoopbackOnly
from latewood.api.owner import SocketServer, uvicorn_server
from latewood.embedder.types import Embedder, Floats, ModelDescription, Offsets, SpannedText, Task
from latewood.engine.library import Service
from latewood.engine.settings import Settings


class LetterEmbedder:
    """A text's vector counts its letters: enough to ingest, and quick."""

    description = ModelDescription("letters", "1", "mean", 512, (26,), "none", "any", 1.0)
    fingerprint: Mapping[str, str] = {"model": "letters"}
    recorded: Mapping[str, str] = {"context": "1.0"}
    dimension = 26

    def token_offsets(self, text: str) -> Offsets:
        spans = [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]
        return np.array(spans, dtype=np.int64).reshape(-1, 2)

    def embed_documents(
        self,
        documents: Sequence[SpannedText],
        stop: Callable[[], bool] = lambda: False,
        context: float | None = None,
        progress: Callable[[float], object] | None = None,
    ) -> list[Floats]:
        return [
            np.stack([_letters(document.text[span.start : span.end]) for span in document.spans])
            for document in documents
        ]

    def embed_texts(
        self, texts: Sequence[str], task: Task, stop: Callable[[], bool] = lambda: False
    ) -> Floats:
        return np.stack([_letters(text) for text in texts])

    def close(self) -> None:
        """Nothing is held."""


def _letters(text: str) -> Floats:
    counts = np.array([text.lower().count(chr(97 + place)) for place in range(26)], dtype=np.float32) + 1e-3
    return counts / np.linalg.norm(counts)


class LetterService(Service):
    """A service whose model is known letters."""

    def embedder(self, index_model: str | None) -> Embedder:
        return self._embedders.setdefault("letters", LetterEmbedder())


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A short path, as a socket's name must be, in memory where there is such a place."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="lw-", dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


@pytest.fixture(scope="session")
def service(folder: Path) -> Iterator[Service]:
    with closing(LetterService(Settings(data=folder / "data", jobs="memory"))) as made:
        yield made


@pytest.fixture(scope="session")
def owner(service: Service, folder: Path) -> Iterator[tuple[Any, Path]]:
    """The application, and where its owner's socket is."""
    path = folder / "owner.sock"
    server = SocketServer(service, path)
    yield server.app, path
    server.close()


@pytest.fixture(scope="session")
def url(owner: tuple[Any, Path]) -> Iterator[str]:
    """The service over TCP, on a free port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        server = uvicorn_server(LoopbackOnly(owner[0]))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()
