"""The whole service with its collections on a server: Qdrant's REST paths on a port of this machine."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from latewood.api.cli import doctor
from latewood.api.http.app import Admin, create_app
from latewood.embedder.types import Embedder, Floats, ModelDescription
from latewood.engine import stores
from latewood.engine.library import Service
from latewood.engine.settings import Settings, origins
from latewood.ingest.jobs import FINAL, Job
from latewood.search.stores.edge.store import EdgeStore
from latewood.search.stores.server.store import ServerStore

sys.path.append(str(Path(__file__).parents[1] / "qdrant_server"))  # helpers; no test package

from faulty_proxy import Fault, FaultyProxy
from qdrant_http import QdrantHTTP

NOTES = {f"n{number}": f"Note {number}: the ferry carries {number} cars and a van." for number in range(6)}
Open = Callable[..., Service]


@pytest.fixture
def qdrant() -> Iterator[QdrantHTTP]:
    server = QdrantHTTP().start()
    yield server
    server.close()


@pytest.fixture
def start(qdrant: QdrantHTTP, open_service: Open, fast_folder: Path, tmp_path: Path) -> Iterator[Open]:
    """Starts a service as another process would, with a data directory of its own unless it is named."""
    as_tested = open_service()
    words = type(as_tested.embedder(None))

    class Backwards(words):  # type: ignore[misc, valid-type]
        description = ModelDescription("backwards", "1", "mean", 512, (16, 8), "none", "any", 1.0)
        fingerprint = {"model": "backwards"}  # noqa: RUF012 - as the one it is made from

        def _vector(self, text: str) -> Floats:
            return np.ascontiguousarray(super()._vector(text)[::-1])

    class TwoModels(Service):
        def embedder(self, index_model: str | None) -> Embedder:
            return self.model(index_model or "words")

        def model(self, name: str) -> Any:
            known = {"words": words, "backwards": Backwards}
            return self._embedders.setdefault(name, known[name]())

    opened: list[Service] = []

    def one(name: str = "", **settings: Any) -> Service:
        data = fast_folder / tmp_path.name / (name or f"process-{len(opened)}")
        data.mkdir(parents=True, exist_ok=True)
        given = {"store": qdrant.url, "store_timeout": 5, "chunk_tokens": 24, "jobs": as_tested.settings.jobs}
        opened.append(TwoModels(Settings(data=data, **{**given, **settings})))
        return opened[-1]

    yield one
    for service in opened:
        service.close()


def until(true: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def client(service: Service) -> TestClient:
    return TestClient(Admin(create_app(service)), raise_server_exceptions=False)


def ended(service: Service, job: Job | None) -> Job:
    assert job is not None
    for _ in service.jobs.events(job, every=0, beat=60):
        pass
    assert job.status in FINAL
    return job


def add(service: Service, name: str, text: str, status: str = "completed") -> None:
    body = {"text": text, "uri": f"upload:{name}", "title": name}
    answer = client(service).post("/documents", json=body)
    assert answer.status_code == 202, answer.text
    job = ended(service, service.jobs.get("default", answer.json()["job_id"]))
    assert job.status == status, job.error


def filled(service: Service) -> Service:
    for name, text in NOTES.items():
        add(service, name, text)
    return service


def ask(service: Service, query: str, **body: Any) -> list[dict[str, Any]]:
    answer = client(service).post("/search", json={"query": query, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


def migrate(service: Service, **body: Any) -> Job:
    answer = client(service).post("/migrate", json=body)
    assert answer.status_code == 202, answer.text
    return ended(service, service.jobs.get("default", answer.json()["job_id"]))


def everything(service: Service) -> dict[str, Any]:
    store = service.open("default", "default").store
    return {one.id: (one, store.chunks_of(one.id)) for one in store.list_manifests()}


def test_a_document_that_one_process_takes_another_answers_with(start: Open) -> None:
    first, second = start(), start()
    add(first, "ferry", "The ferry carries forty cars.")
    assert isinstance(second.open("default", "default").store.held().store, ServerStore)
    assert [one["title"] for one in ask(second, "Who carries cars?")] == ["ferry"]
    (found,) = client(second).get("/documents").json()["documents"]
    assert client(first).delete(f"/documents/{found['id']}").status_code == 204
    assert ask(second, "Who carries cars?") == []
    assert client(second).get("/facets", params={"key": "kind"}).status_code == 200


def test_a_dead_server_is_a_503_with_retry_after_and_no_data_is_made(start: Open, qdrant: QdrantHTTP) -> None:
    service = start(store_retries=0)
    filled(service)
    qdrant.close()
    answer = client(service).post("/search", json={"query": "cars"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    error = answer.json()["error"]
    assert error["code"] == "store_unavailable"
    assert "cannot be reached" in error["message"]
    assert not (service.data / "indexes").exists()


def test_a_slow_or_half_broken_server_is_a_503_and_then_answers_again(
    start: Open, qdrant: QdrantHTTP
) -> None:
    filled(start())
    proxy = FaultyProxy(qdrant.url).start()
    service = start(store=proxy.url, store_retries=0, store_timeout=5)
    whole = ask(service, "ferry", limit=20)
    assert len(whole) == len(NOTES)
    for fault in (Fault("delay", 8), Fault("half"), Fault("reset"), Fault("status", 502)):
        proxy.fail("/points/query/batch", fault)
        answer = client(service).post("/search", json={"query": "ferry", "limit": 20})
        assert (answer.status_code, "Retry-After" in answer.headers) == (503, True), fault
        assert ask(service, "ferry", limit=20) == whole
    proxy.close()


def test_another_model_takes_over_under_load_in_every_process_and_goes_back(start: Open) -> None:
    worker, reader = filled(start()), start()
    before = _answers(worker)
    stop, wrong = threading.Event(), []
    seen: list[str] = []

    def load() -> None:
        http = client(reader)
        while not stop.is_set():
            answer = http.post("/search", json={"query": "ferry with 4 cars", "mode": "dense", "limit": 12})
            if answer.status_code != 200 or len(answer.json()["results"]) != len(NOTES):
                wrong.append(answer.text)
            seen.append(_shown(answer.json()["results"]))

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: seen or wrong, "the model from before answers")
        assert migrate(worker, model="backwards").status == "completed"
        until(
            lambda: reader.open("default", "default").store.config.fingerprint["model"] == "backwards",
            "the model takes over in the other process",
        )
        asked = len(seen) + len(threads)  # with those on their way
        until(lambda: len(seen) > asked or wrong, "the model that took over answers")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert before in seen
    assert set(seen) <= {before, _answers(worker)}
    add(reader, "late", "A late note about 99 cars.")  # the other process writes to what answers now
    assert ask(worker, "late note 99")[0]["title"] == "late"
    assert migrate(worker, rollback=True).status == "completed"
    assert ask(worker, "late note 99")[0]["title"] == "late"
    assert worker.open("default", "default").store.config.fingerprint["model"] == "words"


def _answers(service: Service) -> str:
    return _shown(ask(service, "ferry with 4 cars", mode="dense", limit=12))


def _shown(found: list[dict[str, Any]]) -> str:
    return json.dumps([[one["title"], round(one["score"], 5)] for one in found])


def test_an_index_goes_to_a_server_and_back_and_loses_nothing(start: Open, qdrant: QdrantHTTP) -> None:
    here = filled(start("here", store="embedded"))
    before = everything(here)
    asked = ask(here, "ferry with 4 cars", limit=12)
    job = migrate(here, store=qdrant.url)
    assert job.status == "completed", job.error
    assert {key: job.result[key] for key in ("documents", "chunks", "moved")} == {
        "documents": 6,
        "chunks": 6,
        "moved": 6,
    }
    add(here, "after", "Written here after the copy.")
    here.close()
    there = start("there")
    assert everything(there) == before
    moved = ask(there, "ferry with 4 cars", limit=12)
    assert [one["id"] for one in moved] == [one["id"] for one in asked]
    assert [one["score"] for one in moved] == pytest.approx([one["score"] for one in asked], abs=1e-5)
    add(there, "more", "Written on the server.")
    grown = everything(there)
    assert migrate(there, store="embedded").status == "completed"
    there.close()
    back = start("there", store="embedded")
    assert isinstance(back.open("default", "default").store.held().store, EdgeStore)
    assert everything(back) == grown
    kept = start("here", store="embedded")
    assert len(everything(kept)) == 7


def test_a_move_that_was_stopped_goes_on_where_it_was(start: Open, qdrant: QdrantHTTP) -> None:
    here = filled(start("here", store="embedded"))
    catalog = stores.catalog_of(here.settings, here.data, qdrant.url)
    proxy = FaultyProxy(qdrant.url).start()
    written = 0

    def dying(method: str, path: str) -> Fault | None:
        nonlocal written
        written += urlsplit(path).path.endswith("/points/batch")
        return Fault("reset") if written > 2 else None

    proxy.plan = dying
    job = migrate(here, store=proxy.url)
    assert (job.status, job.error and job.error[0]) == ("failed", "store_unavailable")
    home = catalog.home("default", "default")
    planned = home.planned()
    assert planned is not None
    assert catalog.names() == []
    assert migrate(here, store=qdrant.url).status == "completed"
    assert home.current() == planned.generation
    there = start("there")
    assert everything(there) == everything(here)
    proxy.close()
    stores.close(catalog)


def test_a_collection_that_is_there_already_is_kept_to_go_back_to(start: Open, qdrant: QdrantHTTP) -> None:
    there = start("there")
    add(there, "old", "What the server had before.")
    here = filled(start("here", store="embedded"))
    assert migrate(here, store=qdrant.url).status == "completed"
    catalog = stores.catalog_of(here.settings, here.data, qdrant.url)
    kept = catalog.home("default", "default").previous()
    assert kept is not None
    store = stores.open_remote(catalog.home("default", "default"), kept, here.settings)
    assert [one.document.title for one in store.list_manifests()] == ["old"]
    store.close()
    stores.close(catalog)


def test_what_can_be_no_store_is_refused(start: Open, qdrant: QdrantHTTP) -> None:
    service = filled(start())
    for body, status, code in [
        ({"store": "ftp://x"}, 422, "invalid_store"),
        ({"store": "http://user:secret@host"}, 422, "invalid_store"),
        ({"store": qdrant.url}, 409, "same_store"),
        ({"store": "embedded", "model": "words"}, 422, "invalid_request"),
    ]:
        answer = client(service).post("/migrate", json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    answer = client(service).post("/optimise", json={})
    assert answer.json()["error"]["code"] == "server_optimises"


def test_another_plan_is_built_aside_on_the_server_and_takes_over(start: Open, qdrant: QdrantHTTP) -> None:
    service = filled(start("data", quantization="none"))
    before = [hit["uri"] for hit in ask(service, "Which ferry carries 3 cars?", mode="dense")]
    service.close()
    service = start("data", quantization="int8", hnsw_m=24)
    assert str(service.open("default", "default").store.config.plan).endswith("float32 in memory")
    answer = client(service).post("/optimise", json={"collection": "default"})
    job = ended(service, service.jobs.get("default", answer.json()["job_id"]))
    assert (job.status, job.result["documents"]) == ("completed", len(NOTES)), job.error
    plan = service.open("default", "default").store.config.plan
    assert (plan.quantization, plan.m) == ("int8", 24)
    assert [hit["uri"] for hit in ask(service, "Which ferry carries 3 cars?", mode="dense")] == before
    again = client(service).post("/optimise", json={"collection": "default"})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "server_optimises")


def test_two_processes_that_take_documents_at_once_lose_none_and_double_none(start: Open) -> None:
    first, second = start(), start()
    add(first, "first", "The first of all notes.")

    def work(service: Service, name: str) -> None:
        for number in range(4):
            add(service, f"{name}{number}", f"Note {number} of {name} about the ferry.")
            add(service, "both", f"What {name} says of the ferry, for the {number}th time.")

    threads = [
        threading.Thread(target=work, args=(service, name)) for service, name in ((first, "a"), (second, "b"))
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        titles = [one["title"] for one in ask(second, "ferry", mode="bm25", limit=50)]
        assert len(titles) == len(set(titles))
    for thread in threads:
        thread.join()
    wanted = {"first", "both", *(f"{name}{number}" for name in "ab" for number in range(4))}
    for service in (first, second):
        store = service.open("default", "default").store
        manifests = store.list_manifests()
        assert {one.document.title for one in manifests} == wanted
        assert store.in_flight() == []
        live = {one.live for one in manifests}
        assert {one.version for one in store.list_chunks()} == live
        assert store.stats().chunks == len(wanted)


def test_doctor_says_what_it_finds_on_the_server_and_never_the_key(start: Open, qdrant: QdrantHTTP) -> None:
    qdrant.api_key = "a secret"
    right = Settings(store=qdrant.url, store_api_key="a secret", store_retries=0)
    status, message = doctor._server(right)
    assert (status, message) == ("ok", "Qdrant 1.20.0 answers; it holds 0 collection(s) of 'latewood'")
    wrong = right.model_copy(update={"store_api_key": SecretStr("another secret")})
    assert doctor._server(wrong)[0] == "error"
    assert "set STORE_API_KEY" in doctor._server(wrong)[1]
    told = {one.name: one.value for one in origins(right)}
    assert told["STORE_API_KEY"] == "**********"
    assert "secret" not in f"{right!r} {right} {told} {message} {doctor._server(wrong)}"
    qdrant.close()
    status, message = doctor._server(right)
    assert (status, "cannot be reached" in message) == ("error", True)
