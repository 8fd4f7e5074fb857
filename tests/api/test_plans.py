"""The dense leg's plan: set, shown, built with the next generation; sizes of vectors must agree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from latewood.api.cli import doctor
from latewood.api.cli.render import render_status
from latewood.api.http.app import Admin, create_app
from latewood.engine.library import Service
from latewood.ingest.jobs import FINAL, Job
from latewood.search.index_config import DensePlan
from latewood.search.request import SearchRequest
from latewood.search.stores.generations import layout
from latewood.search.types import FingerprintError

Open = Callable[..., Service]


@pytest.fixture
def reopen(open_service: Open) -> Iterator[Open]:
    """Opens a service on this test's data, again after the last one was closed."""
    opened: list[Service] = []

    def open_one(**settings: Any) -> Service:
        data: Path | None = None
        if opened:
            opened[-1].close()
            data = opened[-1].data
        opened.append(open_service(data, **settings))
        return opened[-1]

    yield open_one
    opened[-1].close()


def admin(service: Service) -> TestClient:
    return TestClient(Admin(create_app(service)), raise_server_exceptions=False)


def ended(service: Service, job_id: str) -> Job:
    job = service.jobs.get("default", job_id)
    assert job is not None
    for _ in service.jobs.events(job, every=0, beat=60):
        pass
    assert job.status in FINAL
    return job


def add(service: Service, name: str, text: str) -> Job:
    answer = admin(service).post("/documents", json={"text": text, "uri": f"upload:{name}", "title": name})
    return ended(service, answer.json()["job_id"])


def ask(service: Service, mode: str = "dense") -> list[str]:
    hits = service.open("default", "default").searcher.search(SearchRequest("seals on sand", mode=mode)).hits
    return [hit.passage.document.title for hit in hits]


def status(service: Service) -> dict[str, Any]:
    found: dict[str, Any] = admin(service).get("/status").json()
    return found


def test_an_index_is_made_by_the_plan_that_is_set_and_says_so(reopen: Open) -> None:
    service = reopen(
        dimensions="16,8", plan="8-16", quantization="turbo", vector_dtype="float16", on_disk=True
    )
    add(service, "seals", "Seals rest on the sand bank.")
    wanted = DensePlan(stages=(8, 16), quantization="turbo", dtype="float16", on_disk=True)
    assert layout.read_config(layout.path_of(service.data, "default", "default")).plan == wanted
    told = status(service)
    assert (told["plan"], told["plan_set"]) == (str(wanted), "")
    assert told["plan"].startswith("8→16 (m 16, ef_construct 100, ef 100), turbo quantised")
    assert ask(service) == ["seals"]


def test_another_plan_is_built_by_optimising_while_the_old_one_answers(
    reopen: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    service = reopen(quantization="none")
    add(service, "seals", "Seals rest on the sand bank.")
    service = reopen(plan="flat", quantization="int8", vector_dtype="float16")
    told = status(service)
    assert told["plan"] == "hnsw (m 16, ef_construct 100, ef 100), float32 in memory"
    assert told["plan_set"] == "flat, int8 quantised, 3 times oversampled, rescored, float16 in memory"
    render_status(told)
    assert "for `latewood optimise` to build: flat, int8 quantised" in capsys.readouterr().out
    add(service, "ferry", "The ferry carries forty cars.")
    before = ask(service)
    answer = admin(service).post("/optimise", json={"collection": "default"})
    assert ended(service, answer.json()["job_id"]).result["plan"] == told["plan_set"]
    assert (status(service)["plan"], status(service)["plan_set"]) == (told["plan_set"], "")
    assert ask(service) == before == ["seals", "ferry"]


def test_how_the_index_is_asked_changes_with_the_setting_alone(reopen: Open) -> None:
    add(reopen(), "seals", "Seals rest on the sand bank.")
    service = reopen(hnsw_ef=321, oversampling=1.5)
    plan = service.open("default", "default").store.config.plan
    assert (plan.ef, plan.oversampling) == (321, 1.5)
    assert status(service)["plan_set"] == ""
    assert ask(service) == ["seals"]


def test_other_dimensions_than_the_indexs_are_refused_until_it_is_migrated(reopen: Open) -> None:
    add(reopen(dimensions="16,8"), "seals", "Seals rest on the sand bank.")
    service = reopen(dimensions="8")
    with pytest.raises(FingerprintError, match=r"16,8 dimensions, and DIMENSIONS is set to 8.*--model words"):
        ask(service)
    assert add(service, "ferry", "The ferry carries forty cars.").status == "failed"
    assert ask(service, "bm25") == ["seals"]
    embedder: Any = service.embedder(None)

    def refuse(*_: Any) -> None:
        raise AssertionError("embedded though the numbers are there")

    embedder.embed_documents = refuse
    answer = admin(service).post("/migrate", json={"collection": "default", "model": "words"})
    result = ended(service, answer.json()["job_id"]).result
    assert (result["changed"], result["dimensions"], result["model"]) == (True, [8], "words")
    assert ask(service) == ["seals"]
    again = admin(service).post("/migrate", json={"collection": "default", "model": "words"})
    assert ended(service, again.json()["job_id"]).result["changed"] is False


def test_a_stage_that_is_not_stored_is_refused_with_what_to_set(reopen: Open) -> None:
    service = reopen(plan="8-16")
    failed = add(service, "seals", "Seals rest on the sand bank.")
    assert failed.status == "failed"
    assert not service.exists("default", "default")
    add(reopen(), "seals", "Seals rest on the sand bank.")
    service = reopen(plan="8-16")
    assert "PLAN is set to 8-16" in status(service)["plan_set"]
    answer = admin(service).post("/optimise", json={"collection": "default"})
    job = ended(service, answer.json()["job_id"])
    assert job.status == "failed"
    assert "set PLAN to hnsw, or DIMENSIONS" in str(job.error)
    assert ask(service) == ["seals"]


def test_the_doctor_holds_an_index_against_the_settings(reopen: Open) -> None:
    service = reopen()
    assert doctor._plan(service.settings, "default", "default")[0] == "ok"
    add(service, "seals", "Seals rest on the sand bank.")
    assert doctor._plan(service.settings, "default", "default") == (
        "ok",
        f"the index is as it is set: {service.open('default', 'default').store.config.plan}",
    )
    for settings, state, message in (
        ({"quantization": "binary"}, "warn", "`latewood optimise` builds what is set now: hnsw"),
        ({"hnsw_ef": 200}, "ok", "ef 200"),
        ({"dimensions": "8"}, "error", "DIMENSIONS is set to 8"),
        ({"plan": "8-16"}, "error", "PLAN is set to 8-16"),
    ):
        found = doctor._plan(reopen(**settings).settings, "default", "default")
        assert found[0] == state
        assert message in found[1]
