"""Models given as a folder: the index that is made with one finds it again, by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from latewood.api.http.app import Admin, create_app
from latewood.embedder.models.sources import LOCAL
from latewood.embedder.serving import engine
from latewood.embedder.types import Embedder, ModelNotFoundError
from latewood.engine import places
from latewood.engine.library import Service
from latewood.engine.settings import Settings
from latewood.ingest.jobs import FINAL, Job
from latewood.search.searcher import SearchRequest
from latewood.search.stores.base import Store
from latewood.search.stores.generations import folder as succession
from latewood.search.stores.memory import MemoryStore
from latewood.search.types import IndexConfig

WEIGHTS = {"model": "tiny", "weights": "w1"}


def test_a_folder_is_remembered_by_the_weights_in_it_and_a_name_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    assert places.model_of(tmp_path, WEIGHTS) == "tiny"
    places.note(tmp_path, "tiny", WEIGHTS)
    assert not (tmp_path / "models.json").exists()
    folder.mkdir()
    places.note(tmp_path, str(folder), WEIGHTS)
    places.note(tmp_path, str(tmp_path / "other"), {"model": "tiny", "weights": "w2"})
    assert places.model_of(tmp_path, WEIGHTS) == str(folder)
    assert places.model_of(tmp_path, {"model": "tiny", "weights": "w2"}) == "tiny"  # it is not there


def test_a_note_that_cannot_be_read_is_said_and_the_name_counts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for content in ("{", "[]"):
        (tmp_path / "models.json").write_text(content, encoding="utf-8")
        assert places.model_of(tmp_path, WEIGHTS) == "tiny"
    assert caplog.text.count("cannot be read") == 2


def test_a_folder_is_the_same_from_everywhere_and_a_name_stays_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny").mkdir()
    monkeypatch.chdir(tmp_path)
    assert places.absolute("tiny", LOCAL) == str(tmp_path / "tiny")
    assert places.absolute("sentence-transformers/all-MiniLM-L6-v2", LOCAL).startswith("sentence-")


class Kept(MemoryStore):
    """A store whose content is there when it is opened again."""

    def close(self) -> None:
        """Nothing."""


@pytest.fixture
def two_folders(
    open_service: Callable[..., Service], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[Path]:
    """Two folders of one model's name, each with weights of its own, and a loader that can load no names."""
    words = type(open_service().embedder(None))

    def load(name: str, **_: object) -> Embedder:
        weights = Path(name) / "weights"
        if not weights.is_file():
            raise ModelNotFoundError(f"no weights of {name} on this machine")
        embedder: Any = words()
        embedder.fingerprint = {"model": "tiny", "weights": weights.read_text(encoding="utf-8")}
        return embedder

    monkeypatch.setattr(engine, "load_embedder", load)
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        (folder / "weights").write_text(f"of {folder.name}", encoding="utf-8")
    return folders


@pytest.fixture
def reopen(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Opens a service on this test's data, again after the last one was closed; stores are in memory."""
    opened: list[Service] = []
    disk: dict[Path, Kept] = {}
    data = tmp_path / "data"
    data.mkdir()

    class InMemory(Service):
        def open_store(self, generation: Path, config: IndexConfig) -> Store:
            return disk.setdefault(generation, Kept(config))

    def open_one(**settings: Any) -> Service:
        for before in opened:
            before.close()
        opened.append(InMemory(Settings(data=data, chunk_tokens=24, jobs="memory", **settings)))
        return opened[-1]

    yield open_one
    for service in opened:
        service.close()


def ended(service: Service, job: Job) -> Job:
    for _ in service.jobs.events(job, every=0, beat=60):
        pass
    assert job.status in FINAL
    assert job.status == "completed", job.error
    return job


def weights(service: Service) -> str:
    return service.open("default", "default").store.config.fingerprint["weights"]


def best(service: Service) -> str:
    searcher = service.open("default", "default").searcher
    found = searcher.search(SearchRequest("ferry cars", mode="dense"))
    return found.hits[0].passage.chunk.text


def filled(service: Service) -> Service:
    http = TestClient(Admin(create_app(service)), raise_server_exceptions=False)
    answer = http.post("/documents", json={"text": "The ferry carries forty cars.", "uri": "upload:a"})
    job = service.jobs.get("default", answer.json()["job_id"])
    assert job is not None
    ended(service, job)
    return service


def test_an_index_answers_from_the_folders_its_models_were_given_by(
    reopen: Callable[..., Service], two_folders: list[Path]
) -> None:
    """Made with one, migrated to the other, and back, by services whose `MODEL` is `auto`."""
    one, two = map(str, two_folders)
    assert weights(filled(reopen(model=one))) == "of one"

    service = reopen()
    assert best(service) == "The ferry carries forty cars."
    ended(service, service.rebuilds.migrate("default", "default", two))
    assert weights(service) == "of two"

    service = reopen()
    assert best(service) == "The ferry carries forty cars."
    ended(service, service.rebuilds.migrate("default", "default", None))
    assert weights(service) == "of one"
    assert best(reopen()) == "The ferry carries forty cars."


def test_a_migration_to_a_folder_is_gone_on_with_by_the_next_service(
    reopen: Callable[..., Service], two_folders: list[Path]
) -> None:
    one, two = map(str, two_folders)
    service = filled(reopen(model=one))
    home = service.data / "indexes" / "default" / "default"
    succession.plan(home, succession.MIGRATE, service.config(service.model(two)))
    service.close()

    service = reopen()
    service.warm_up()
    assert service.warm_up_error == ""
    (job,) = service.jobs.all("default")
    ended(service, job)
    assert weights(service) == "of two"
    assert best(reopen()) == "The ferry carries forty cars."
