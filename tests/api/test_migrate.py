from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from latewood.api.cli.main import app
from latewood.api.http.app import Admin, create_app
from latewood.embedder.types import Floats, ModelDescription, ModelNotFoundError
from latewood.engine import rebuild, stores
from latewood.engine.errors import ApiError
from latewood.engine.library import Service
from latewood.engine.settings import Settings
from latewood.ingest.jobs import FINAL, Job
from latewood.search.request import SearchRequest
from latewood.search.stores.base import Store
from latewood.search.stores.generations import folder, layout
from latewood.search.stores.memory import MemoryStore
from latewood.search.types import DiskFullError, FingerprintError, IndexConfig, StoreUnavailableError

NOTES = {"ferry": "The ferry carries forty cars.", "seals": "Seals rest on the sand bank."}
Open = Callable[..., Service]


class Kept(MemoryStore):
    """A store whose content is there when it is opened again."""

    def close(self) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def two_models(open_service: Open) -> type[Service]:
    """A service that knows two models: `words`, the default, and `backwards`. Its stores are in memory."""
    words = type(open_service().embedder(None))

    class Backwards(words):  # type: ignore[misc, valid-type]
        description = ModelDescription("backwards", "1", "mean", 512, (16, 8), "none", "any", 1.0)
        fingerprint = {"model": "backwards"}  # noqa: RUF012 - as the one it is made from

        def _vector(self, text: str) -> Floats:
            return np.ascontiguousarray(super()._vector(text)[::-1])

    known = {"words": words, "backwards": Backwards}
    disk: dict[Path, Kept] = {}

    class TwoModels(Service):
        def open_store(self, generation: Path, config: IndexConfig) -> Store:
            return disk.setdefault(generation, Kept(config))

        def embedder(self, index_model: str | None) -> Any:
            name = self.settings.model
            return self.model((index_model or "words") if name == "auto" else name)

        def model(self, name: str) -> Any:
            if name not in known:
                raise ModelNotFoundError(f"no model {name!r}")
            return self._embedders.setdefault(name, known[name]())

    return TwoModels


@pytest.fixture
def reopen(two_models: type[Service], fast_folder: Path, tmp_path: Path) -> Iterator[Open]:
    """Opens a service on this test's data, again after the last one was closed."""
    opened: list[Service] = []

    def open_one(**settings: Any) -> Service:
        for before in opened:
            before.close()
        data = fast_folder / tmp_path.name
        opened.append(two_models(Settings(data=data, chunk_tokens=24, jobs="memory", **settings)))
        return opened[-1]

    yield open_one
    for service in opened:
        service.close()


@pytest.fixture
def service(reopen: Open) -> Service:
    made = reopen()
    for name, text in NOTES.items():
        add(made, name, text)
    return made


def admin(service: Service) -> TestClient:
    return TestClient(Admin(create_app(service)), raise_server_exceptions=False)


def ended(service: Service, job: Job) -> Job:
    for _ in service.jobs.events(job, every=0, beat=60):
        pass
    assert job.status in FINAL
    return job


def add(service: Service, name: str, text: str, *, status: str = "completed") -> None:
    answer = admin(service).post("/documents", json={"text": text, "uri": f"upload:{name}", "title": name})
    job = service.jobs.get("default", answer.json()["job_id"])
    assert job is not None
    assert ended(service, job).status == status, job.error


def titles(service: Service, query: str) -> list[str]:
    hits = service.open("default", "default").searcher.search(SearchRequest(query, mode="dense")).hits
    return [hit.passage.document.title for hit in hits]


def home(service: Service) -> Path:
    return layout.home_of(service.data, "default", "default")


def model(service: Service) -> str:
    return service.open("default", "default").store.config.fingerprint["model"]


def test_another_model_answers_and_the_one_before_can_come_back(service: Service) -> None:
    job = ended(service, service.rebuilds.migrate("default", "default", "backwards"))
    assert job.status == "completed", job.error
    assert job.result is not None
    told = {key: job.result[key] for key in ("model", "previous", "moved", "documents", "chunks")}
    assert told == {"model": "backwards", "previous": "words", "moved": 2, "documents": 2, "chunks": 2}
    assert model(service) == "backwards"
    assert titles(service, "ferry cars")[0] == "ferry"
    add(service, "ferry", "The ferry is out of service.")
    add(service, "tides", "High water is later each day.")
    job = ended(service, service.rebuilds.migrate("default", "default", None))
    assert job.status == "completed", job.error
    assert job.result is not None
    assert (job.result["model"], job.result["moved"]) == ("words", 2)
    assert titles(service, "High water is later each day.")[0] == "tides"
    assert titles(service, "The ferry is out of service.")[0] == "ferry"


def test_a_searcher_from_before_the_switch_answers_from_before_it(service: Service) -> None:
    """It keeps its generation open, and its vectors are compared with those of its own model."""
    before = service.open("default", "default").searcher
    wanted = before.search(SearchRequest(NOTES["ferry"], mode="dense")).hits
    ended(service, service.rebuilds.migrate("default", "default", "backwards"))
    ended(service, service.rebuilds.optimise("default", "default"))
    again = before.search(SearchRequest(NOTES["ferry"], mode="dense")).hits
    assert [(one.passage.chunk.id, one.score) for one in again] == [
        (one.passage.chunk.id, one.score) for one in wanted
    ]
    assert again[0].score == pytest.approx(1.0)


def test_an_index_held_through_a_change_of_model_takes_nothing_in(service: Service) -> None:
    before = service.open("default", "default").index
    ended(service, service.rebuilds.migrate("default", "default", "backwards"))
    with pytest.raises(StoreUnavailableError, match="given another model meanwhile"):
        before.embedder()


def test_what_was_replaced_is_closed_and_removed_when_the_last_reader_is_done(service: Service) -> None:
    old = layout.current(home(service))
    reader = service.open("default", "default").searcher
    ended(service, service.rebuilds.optimise("default", "default"))
    assert old.is_dir()
    assert reader.search(SearchRequest("ferry")).hits
    del reader
    gone = threading.Event()
    while old.is_dir():
        assert not gone.wait(0.05)
    assert [one.name for one in home(service).glob("generation-*")] == [layout.current(home(service)).name]


def test_migrating_to_the_model_it_has_does_nothing(service: Service) -> None:
    before = layout.current(home(service))
    job = ended(service, service.rebuilds.migrate("default", "default", "words"))
    assert job.result is not None
    assert (job.result["model"], job.result["moved"]) == ("words", 0)
    assert layout.current(home(service)) == before


def test_migrating_to_the_model_that_is_kept_goes_back_to_it(service: Service) -> None:
    first = layout.current(home(service))
    ended(service, service.rebuilds.migrate("default", "default", "backwards"))
    ended(service, service.rebuilds.migrate("default", "default", "words"))
    assert layout.current(home(service)) == first


def test_a_setting_that_names_another_model_is_refused_before_anything_is_done(reopen: Open) -> None:
    service = reopen(model="words")
    add(service, "ferry", NOTES["ferry"])
    with pytest.raises(ApiError, match=r"MODEL is set to words.*set MODEL to auto"):
        service.rebuilds.migrate("default", "default", "backwards")
    service = reopen(model="backwards")
    with pytest.raises(FingerprintError, match="`latewood migrate --model backwards`"):
        titles(service, "ferry")
    ended(service, service.rebuilds.migrate("default", "default", "backwards"))
    assert titles(service, "ferry cars")[0] == "ferry"


def test_an_index_of_another_analyser_is_refused_in_every_mode_and_made_anew_by_its_own_model(
    reopen: Open,
) -> None:
    service = reopen(language="en")
    add(service, "timetable", "The ferries are running.")
    service = reopen(language="none")
    for mode in ("bm25", "dense", "hybrid"):
        with pytest.raises(FingerprintError, match=r"set LANGUAGE.*`latewood migrate --model words`"):
            service.open("default", "default").searcher.search(SearchRequest("ferry", mode=mode))
    assert ended(service, service.rebuilds.migrate("default", "default", "words")).status == "completed"
    found = {
        query: service.open("default", "default").searcher.search(SearchRequest(query, mode="bm25")).hits
        for query in ("ferry", "ferries")
    }
    assert not found["ferry"]  # no stems any more
    assert [hit.passage.document.title for hit in found["ferries"]] == ["timetable"]


def test_a_model_that_is_not_there_leaves_everything_as_it_is(service: Service) -> None:
    job = ended(service, service.rebuilds.migrate("default", "default", "nosuch"))
    assert job.status == "failed"
    assert model(service) == "words"
    assert folder.planned(home(service)) is None


def test_there_is_nothing_to_go_back_to_at_first(service: Service) -> None:
    answer = admin(service).post("/migrate", json={"rollback": True})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "nothing_kept")


def test_the_route_wants_one_of_both_and_an_owner(service: Service) -> None:
    for body in ({}, {"model": "words", "rollback": True}):
        assert admin(service).post("/migrate", json=body).status_code == 422
    assert TestClient(create_app(service)).post("/migrate", json={"model": "words"}).status_code == 403
    assert TestClient(create_app(service)).post("/optimise", json={}).status_code == 403
    assert admin(service).post("/optimise", json={"collection": "none"}).status_code == 404
    assert admin(service).post("/migrate", json={"collection": "none", "model": "words"}).status_code == 404


@pytest.fixture
def slow_embedding(service: Service, monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, list[str]]:
    """Embedding with `backwards` waits for the event; what was asked for is listed."""
    go_on, asked = threading.Event(), list[str]()
    kind = type(service.model("backwards"))
    embed = kind.embed_documents

    def slow(self: Any, documents: Any, stop: Callable[[], bool] = lambda: False) -> Any:
        asked.extend(one.text for one in documents)
        assert go_on.wait(60)
        return embed(self, documents, stop)

    monkeypatch.setattr(kind, "embed_documents", slow)
    return go_on, asked


def wait_for(condition: Callable[[], object]) -> None:
    pause = threading.Event()
    for _ in range(1200):
        if condition():
            return
        pause.wait(0.05)
    raise AssertionError("it did not come")


def test_a_cancelled_migration_leaves_the_old_model_and_no_trace(
    service: Service, slow_embedding: tuple[threading.Event, list[str]]
) -> None:
    go_on, asked = slow_embedding
    job = service.rebuilds.migrate("default", "default", "backwards")
    wait_for(lambda: asked)
    assert titles(service, "ferry cars")[0] == "ferry"  # meanwhile
    service.jobs.cancel(job)
    go_on.set()
    assert ended(service, job).status == "cancelled"
    assert model(service) == "words"
    wait_for(lambda: len(list(home(service).glob("generation-*"))) == 1)
    assert not (home(service) / "NEXT").exists()


def test_a_migration_that_its_process_left_is_gone_on_with_by_one_that_stays(
    reopen: Open, service: Service, slow_embedding: tuple[threading.Event, list[str]]
) -> None:
    go_on, asked = slow_embedding
    service.rebuilds.migrate("default", "default", "backwards")
    wait_for(lambda: asked)
    closing = threading.Thread(target=service.close)
    closing.start()
    wait_for(lambda: service.jobs._closing)
    go_on.set()
    closing.join(60)
    assert folder.planned(home(service)) is not None
    later = reopen()
    assert model(later) == "words"
    later.warm_up()
    wait_for(lambda: model(later) == "backwards")
    wait_for(lambda: not (home(later) / "NEXT").exists())
    assert titles(later, "ferry cars")[0] == "ferry"


def test_much_that_was_written_is_optimised_in_the_background(reopen: Open) -> None:
    service = reopen(optimise_after=3)
    add(service, "ferry", NOTES["ferry"])
    first = layout.current(home(service))
    add(service, "seals", NOTES["seals"])
    assert layout.current(home(service)) == first
    add(service, "tides", "High water is later each day.")
    wait_for(lambda: layout.current(home(service)) != first)
    wait_for(lambda: not (home(service) / "NEXT").exists())
    second = layout.current(home(service))
    add(service, "gulls", "Gulls follow the ferry.")
    assert layout.current(home(service)) == second
    assert service.open("default", "default").store.stats().documents == 4


def test_the_count_of_what_was_written_outlives_the_process(reopen: Open) -> None:
    for name, text in NOTES.items():
        add(reopen(optimise_after=3), name, text)
    service = reopen(optimise_after=3)
    first = layout.current(home(service))
    add(service, "tides", "High water is later each day.")
    wait_for(lambda: layout.current(home(service)) != first)


def test_optimising_that_has_no_room_waits_until_much_more_was_written(
    reopen: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def full(*_: Any) -> None:
        tried.append(1)
        raise DiskFullError("no room")

    monkeypatch.setattr(rebuild, "rebuild", full)
    service = reopen(optimise_after=2)
    for number in range(3):
        add(service, f"n{number}", f"Note number {number}.")
    wait_for(lambda: tried)
    wait_for(lambda: service.rebuilds._put_off)
    add(service, "n3", "Note number 3.")
    service.rebuilds.close()
    assert 1 <= len(tried) <= 2


def test_closing_does_not_wait_for_an_optimise(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store would optimise for ever; only being killed ends it."""
    begun, killed = threading.Event(), threading.Event()

    def forever(store: Kept) -> None:
        begun.set()
        assert killed.wait(60)
        raise StoreUnavailableError("it was killed")

    monkeypatch.setattr(Kept, "optimise", forever)
    monkeypatch.setattr(stores, "kill", lambda store: killed.set())
    job = service.rebuilds.optimise("default", "default")
    assert begun.wait(60)
    service.close()
    assert job.status == "cancelled"
    assert folder.planned(home(service)) is not None


def test_the_commands_say_what_they_did(
    two_models: type[Service], tmp_path: Path, fast_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over real stores."""
    for name in ("embedder", "model"):
        monkeypatch.setattr(Service, name, getattr(two_models, name))
    for name, text in NOTES.items():
        (tmp_path / f"{name}.txt").write_text(text)
    data = fast_folder / f"{tmp_path.name}-commands"

    def run(*args: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, [*args, "--data", str(data)])
        assert done.exit_code == code, done.output + done.stderr
        return done.stdout

    run("ingest", str(tmp_path))
    told = json.loads(run("migrate", "--model", "backwards", "--json"))
    assert (told["model"], told["previous"], told["moved"]) == ("backwards", "words", 2)
    assert "words (16 dimensions) answers now" in run("migrate", "--rollback")
    assert json.loads(run("optimise", "--json"))["documents"] == 2
    run("migrate", "--model", "nosuch", code=3)


def test_a_command_that_asks_for_what_is_not_there_is_refused(tmp_path: Path) -> None:
    for words, code in (
        (["--store", "http://localhost:6333", "--model", "words"], 2),
        (["--store", "http://localhost:6333"], 3),
        ([], 2),
        (["--model", "words", "--rollback"], 2),
        (["--model", "words"], 3),
    ):
        done = CliRunner().invoke(app, ["migrate", *words, "--data", str(tmp_path / "none")])
        assert done.exit_code == code, done.output + done.stderr
