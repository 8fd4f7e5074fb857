"""What a service tells of itself: metrics, logs, whether it is ready, and when it has too much to do."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from latewood.api.http.api_keys import KeyStore, Wish
from latewood.api.http.app import create_app
from latewood.api.http.request_logging import REQUEST, JsonLines, Lines
from latewood.embedder.serving.engine import load_embedder
from latewood.embedder.types import BATCH_ROWS, Span, SpannedText, Task
from latewood.engine.library import Service
from latewood.search.types import StoreUnavailableError

SECRET = "xylophone"


def samples(http: TestClient, **headers: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    answer = http.get("/metrics", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_requests_stages_errors_and_indexes_are_counted(
    service: Service, http: TestClient, hand_in: Any
) -> None:
    hand_in(http, "The ferry leaves. It is late.", collection="papers")
    for _ in range(3):
        assert http.post("/search", json={"query": "ferry", "collection": "papers"}).status_code == 200
    http.post("/search", json={"query": ""})
    http.get("/nowhere/at/all")
    found = samples(http)
    route = ("method", "POST"), ("route", "/search")
    assert found["latewood_requests_total", (*route, ("status", "200"))] == 3
    assert found["latewood_requests_total", (*route, ("status", "404"))] == 1
    assert found["latewood_errors_total", (("code", "collection_not_found"),)] == 1
    assert found["latewood_errors_total", (("code", "not_found"),)] == 1
    assert found["latewood_request_seconds_count", (("route", "/search"),)] == 4
    for stage in ("embed", "search"):
        assert found["latewood_stage_seconds_count", (("stage", stage),)] == 3
    assert ("latewood_stage_seconds_count", (("stage", "rerank"),)) not in found
    assert found["latewood_requests_in_flight", ()] == 1  # this very one
    assert found["latewood_jobs_waiting", ()] == 0
    index = (("collection", "papers"), ("tenant", "default"))
    assert found["latewood_index_up", index] == 1
    assert found["latewood_index_documents", index] == 1
    assert found["latewood_index_chunks", index] >= 1
    assert found["latewood_index_bytes", index] > 0


def test_an_address_nobody_knows_makes_no_label_of_its_own(http: TestClient) -> None:
    for number in range(5):
        http.request(f"X{number}", f"/random/{number}")
    routes = {
        dict(labels).get("route") for name, labels in samples(http) if name == "latewood_requests_total"
    }
    assert routes == {"none"}


def test_a_key_sees_the_sizes_of_its_own_tenants_indexes_only(
    service: Service, admin: TestClient, hand_in: Any
) -> None:
    for tenant in ("acme", "rival"):
        hand_in(TestClient(admin.app, headers={"X-Latewood-Tenant": tenant}), "A text.")
    http = TestClient(create_app(service))
    secret = KeyStore(service.data).create(Wish("acme", ("admin",)))[1]
    seen = samples(http, Authorization=f"Bearer {secret}")
    assert {dict(labels).get("tenant") for _, labels in seen} == {None, "acme"}
    assert {dict(labels).get("tenant") for _, labels in samples(http)} == {None, "acme", "rival"}


def test_an_index_that_does_not_answer_is_told_as_down(
    service: Service, http: TestClient, hand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_in(http, "A text.")
    service.warm_up()
    assert http.get("/readyz").json() == {"ready": True, "model": "loaded", "store": "open"}

    def fail(self: Any) -> None:
        raise StoreUnavailableError("the store's process is gone")

    monkeypatch.setattr(type(service.open("default", "default").store), "stats", fail)
    index = (("collection", "default"), ("tenant", "default"))
    found = samples(http)
    assert found["latewood_index_up", index] == 0
    assert ("latewood_index_documents", index) not in found
    refused = http.get("/readyz")
    assert (refused.status_code, refused.json()["store"], refused.json()["ready"]) == (503, "failed", False)
    assert refused.json()["error"]["message"] == "the store's process is gone"
    assert refused.headers["Retry-After"] == "1"


def test_what_the_model_read_is_counted_by_batch(jina_folder: Any) -> None:
    embedder = load_embedder(str(jina_folder))
    try:
        assert embedder.load.batches == (0,) * (len(BATCH_ROWS) + 1)
        embedder.embed_texts(["Berlin is the capital."] * 3, Task.QUERY)
        first = embedder.load
        assert (first.waiting, first.rows, sum(first.batches)) == (0, 3, 1)
        assert first.batches[2] == 1  # more than 2 rows, at most 4
        assert first.tokens > 3 * len(embedder.token_offsets("Berlin is the capital."))
        embedder.embed_documents([SpannedText("Berlin", (Span(0, 6),))], context=1.0)
        assert embedder.load.rows == 4
    finally:
        embedder.close()


# --- logs ---------------------------------------------------------------------------------------------------


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """Every log record as a JSON line, as it is said."""
    told: list[str] = []

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if not record.name.startswith("httpx"):  # the tests' own client
                told.append(self.format(record))

    handler = Listening()
    handler.setFormatter(JsonLines())
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield told
    root.removeHandler(handler)
    root.setLevel(level)


def test_a_request_is_one_line_with_its_id_and_no_word_of_anyones_text(
    http: TestClient, hand_in: Any, lines: list[str]
) -> None:
    hand_in(http, f"The {SECRET} stands.", title=SECRET, uri=f"upload:{SECRET}", metadata={SECRET: SECRET})
    body = {"query": SECRET, "filters": {"type": "eq", "key": SECRET, "value": SECRET}}
    assert http.post("/search", json=body, headers={"X-Request-ID": "question-7"}).status_code == 200
    http.post("/search", json={**body, "limit": 0})
    http.post("/v1/embeddings", json={"input": SECRET})
    http.get("/facets", params={"key": SECRET})
    told = [json.loads(line) for line in lines]
    (asked,) = [one for one in told if one.get("request_id") == "question-7" and one["message"] == "request"]
    assert (asked["method"], asked["route"], asked["status"]) == ("POST", "/search", 200)
    assert (asked["tenant"], asked["level"]) == ("default", "info")
    assert asked["ms"] > 0
    (refused,) = [one for one in told if one.get("code") == "invalid_query"]
    assert refused["status"] == 422
    assert not [line for line in lines if SECRET in line]


def test_what_goes_wrong_is_told_with_the_request_it_happened_in(
    http: TestClient, service: Service, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(service, "open", fail)
    answer = http.post("/search", json={"query": SECRET}, headers={"X-Request-ID": "broken"})
    assert answer.status_code == 500
    (told,) = [json.loads(line) for line in lines if "ZeroDivisionError" in line]
    assert (told["request_id"], told["level"]) == ("broken", "error")
    assert not [line for line in lines if SECRET in line]


def test_lines_for_people_have_the_same_fields() -> None:
    record = logging.makeLogRecord({"msg": "request", "levelname": "INFO", "fields": {"status": 200}})
    token = REQUEST.set("r-1")
    try:
        assert Lines().format(record).endswith(" INFO request request_id=r-1 status=200")
    finally:
        REQUEST.reset(token)


@pytest.mark.parametrize("form", [Lines(), JsonLines()])
def test_no_value_can_look_like_a_line_or_a_field_of_its_own(form: logging.Formatter) -> None:
    """Line ends of all kinds, control characters of terminals, spaces and `=`."""
    nasty = 'a\n2026-01-01 INFO forged\r\x1b[2K\x85\u2028 status=204 key="admin"'
    try:
        raise ValueError(nasty)
    except ValueError:
        record = logging.makeLogRecord(
            {
                "msg": "could not read %s",
                "args": (nasty,),
                "levelname": "INFO",
                "fields": {"route": "/jobs/{id}", "code": nasty},
                "exc_info": sys.exc_info(),
            }
        )
    first, *rest = form.format(record).splitlines()
    assert all(line.isprintable() for line in (first, *rest))
    if isinstance(form, JsonLines):
        assert rest == []
        assert json.loads(first)["code"] == nasty
        return
    assert "could not read a\\n2026-01-01 INFO forged\\r\\u001b" in first
    quoted = first.partition(" route=/jobs/{id} code=")[2]
    assert json.loads(quoted) == nasty
    assert rest
    assert all(line.startswith("    ") for line in rest)


# --- too much to do -----------------------------------------------------------------------------------------


def test_more_requests_at_a_time_than_allowed_are_told_to_come_back(
    open_service: Callable[..., Service], hand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = open_service(concurrency=2)
    app = create_app(service)
    http = TestClient(app, raise_server_exceptions=False)
    hand_in(http, "The ferry leaves.")
    running, go_on = threading.Semaphore(0), threading.Event()
    answer = service.open("default", "default").searcher.search

    def slow(request: Any) -> Any:
        running.release()
        assert go_on.wait(60)
        return answer(request)

    monkeypatch.setattr(
        type(service.open("default", "default").searcher), "search", lambda self, one: slow(one)
    )
    codes: list[int] = []

    def ask() -> None:
        with TestClient(app) as own:
            codes.append(own.post("/search", json={"query": "ferry"}).status_code)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert running.acquire(timeout=60)
    refused = http.post("/search", json={"query": "ferry"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "busy")
    assert "2 requests are being answered (CONCURRENCY)" in refused.json()["error"]["message"]
    assert refused.headers["Retry-After"] == "1"
    assert http.get("/healthz").status_code == 200
    assert samples(http)["latewood_requests_in_flight", ()] == 3
    go_on.set()
    for thread in threads:
        thread.join()
    assert codes == [200, 200]
    assert http.get("/collections").status_code == 200
