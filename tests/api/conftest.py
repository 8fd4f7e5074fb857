"""The real service over a temporary data directory; only the model is a stand-in whose vectors are words."""

from __future__ import annotations

import json
import logging
import re
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from latewood.api.http.app import Admin, create_app
from latewood.api.owner import uvicorn_server
from latewood.embedder.types import Embedder, Floats, ModelDescription, Offsets, SpannedText, Task
from latewood.engine.library import Service
from latewood.engine.settings import Settings

DIMENSION = 16
CHUNK_TOKENS = 24


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A command that ran in this process logs to a stream that is closed after it."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    for handler in [one for one in root.handlers if one not in before]:
        root.removeHandler(handler)
    root.setLevel(level)


class WordEmbedder:
    """Words are tokens; a text's vector is the normalised sum of one fixed vector per word."""

    description = ModelDescription("words", "1", "mean", 512, (DIMENSION, 8), "none", "any", 1.0)
    fingerprint: Mapping[str, str] = {"model": "words"}
    recorded: Mapping[str, str] = {"context": "1.0"}
    dimension = DIMENSION

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
            np.stack([self._vector(document.text[span.start : span.end]) for span in document.spans])
            for document in documents
        ]

    def embed_texts(
        self, texts: Sequence[str], task: Task, stop: Callable[[], bool] = lambda: False
    ) -> Floats:
        return np.stack([self._vector(text) for text in texts])

    def close(self) -> None:
        """Nothing is held."""

    def _vector(self, text: str) -> Floats:
        total = np.full(DIMENSION, 1e-3, dtype=np.float32)
        for word in re.findall(r"\w+", text.lower()):
            seed = int.from_bytes(word.encode()[:8].ljust(8, b"\0"), "big")
            total += np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)
        return total / np.linalg.norm(total)


class WordService(Service):
    """A service whose model is known words."""

    def embedder(self, index_model: str | None) -> Embedder:
        return self._embedders.setdefault("words", WordEmbedder())


@pytest.fixture(scope="session")
def fast_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in memory where the machine has room: making an index waits for the disk a dozen times."""
    memory = Path("/dev/shm")
    if memory.is_dir() and shutil.disk_usage(memory).free > 4 * 2**30:
        with tempfile.TemporaryDirectory(dir=memory, prefix="latewood-api-") as folder:
            yield Path(folder)
    else:
        yield tmp_path_factory.mktemp("api")


@pytest.fixture(scope="session")
def open_service(fast_folder: Path) -> Iterator[Callable[..., Service]]:
    """Opens services, each on a fresh data directory if none is given, and closes what is left open."""
    opened: list[Service] = []

    def open_one(data: Path | None = None, **settings: Any) -> Service:
        folder = data or Path(tempfile.mkdtemp(dir=fast_folder))
        chosen = Settings(data=folder, chunk_tokens=CHUNK_TOKENS, **({"jobs": "memory"} | settings))
        opened.append(WordService(chosen))
        return opened[-1]

    yield open_one
    for service in opened:
        service.close()


@pytest.fixture(scope="session")
def shared(open_service: Callable[..., Service]) -> Service:
    """One service for the tests that only read, or that keep to a collection of their own."""
    return open_service()


@pytest.fixture
def service(open_service: Callable[..., Service]) -> Iterator[Service]:
    """A service of its own, empty."""
    fresh = open_service()
    yield fresh
    fresh.close()
    shutil.rmtree(fresh.data)  # a hundred indexes would fill the memory they stand in


def client(app: Any) -> TestClient:
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture
def http(service: Service) -> TestClient:
    """What a TCP user sees of `service`."""
    return client(create_app(service))


@pytest.fixture
def admin(service: Service) -> TestClient:
    """What the command line sees of `service`, over the owner's socket."""
    return client(Admin(create_app(service)))


@pytest.fixture(scope="session")
def shared_http(shared: Service) -> TestClient:
    return client(create_app(shared))


@pytest.fixture(scope="session")
def shared_admin(shared: Service) -> TestClient:
    return client(Admin(create_app(shared)))


@pytest.fixture(scope="session")
def finish() -> Callable[[TestClient, str], dict[str, Any]]:
    """Wait for a job to end; how it ended."""

    def wait(http: TestClient, job_id: str) -> dict[str, Any]:
        for _ in range(3000):
            job: dict[str, Any] = http.get(f"/jobs/{job_id}").json()
            if job["status"] in {"completed", "failed", "cancelled"}:
                return job
            time.sleep(0.02)
        raise AssertionError(f"the job did not end: {job}")

    return wait


@pytest.fixture(scope="session")
def hand_in(finish: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Hand in a text and wait until it answers; the job."""

    def add(http: TestClient, text: str, *, collection: str = "default", **fields: Any) -> dict[str, Any]:
        answer = http.post("/documents", params={"collection": collection}, json={"text": text, **fields})
        assert answer.status_code == 202, answer.text
        job = finish(http, answer.json()["job_id"])
        assert (job["status"], job["errors"], job["skipped"]) == ("completed", [], [])
        return job

    return add


@contextmanager
def served(app: Any, **options: Any) -> Iterator[str]:
    """The application behind a real server on a free loopback port; its address."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        server = uvicorn_server(app, **options)
        thread = threading.Thread(target=server.run, args=([listener],), name="served")
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="session")
def serve() -> Callable[..., Any]:
    return served


@pytest.fixture(scope="session")
def cross_encoder(jina_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a random cross-encoder in the published layout."""
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

    folder = tmp_path_factory.mktemp("cross") / "encoder"
    folder.mkdir()
    content = json.loads((jina_folder / "tokenizer.json").read_text(encoding="utf-8"))
    first, second = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}
    start, end = ({"SpecialToken": {"id": name, "type_id": 0}} for name in ("<s>", "</s>"))
    content["post_processor"]["pair"] = [start, first, end, end, second, end]
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    torch.manual_seed(13)
    config = XLMRobertaConfig(
        vocab_size=Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=98,
        type_vocab_size=1,
        num_labels=1,
        initializer_range=0.5,
    )
    model = XLMRobertaForSequenceClassification(config).eval()
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    shape = config.to_dict() | {"architectures": ["XLMRobertaForSequenceClassification"]}
    (folder / "config.json").write_text(json.dumps(shape), encoding="utf-8")
    return str(folder)
