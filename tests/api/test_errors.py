"""Bad input over HTTP: every refusal has the contract's shape, a fitting code and a message that helps."""

from __future__ import annotations

import errno
import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from latewood.embedder.types import InputError, ModelNotFoundError
from latewood.engine.errors import ApiError, describe, job_error
from latewood.engine.library import Service
from latewood.ingest.jobs import JobError
from latewood.ingest.sources.scan import SourceError
from latewood.search.types import (
    DiskFullError,
    FingerprintError,
    QueryError,
    StoreDamagedError,
    StoreError,
    StoreUnavailableError,
)

NOBODY = "00000000-0000-0000-0000-000000000000"
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def http(shared_http: TestClient, hand_in: Any) -> TestClient:
    """With a collection to ask, so that nothing is refused for the lack of one."""
    hand_in(shared_http, "The last ferry leaves at nine.", uri="upload:ferry")
    return shared_http


def refused(http: TestClient, method: str, path: str, **request: Any) -> tuple[int, str, str]:
    """Status, code and message of a refusal, once its shape and id are checked."""
    headers = {"X-Request-ID": "question-7", **request.pop("headers", {})}
    answer = http.request(method, path, headers=headers, **request)
    assert answer.headers["X-Request-ID"] == "question-7"
    shape = answer.json()
    assert set(shape) == {"error"}
    assert set(shape["error"]) == {"code", "message", "request_id"}
    assert shape["error"]["request_id"] == "question-7"
    return answer.status_code, shape["error"]["code"], shape["error"]["message"]


def deep(levels: int) -> dict[str, Any]:
    where: dict[str, Any] = {"type": "eq", "key": "lang", "value": "en"}
    for _ in range(levels - 1):
        where = {"type": "and", "filters": [where]}
    return where


def compare(kind: str, key: str, value: Any) -> dict[str, Any]:
    return {"filters": {"type": kind, "key": key, "value": value}}


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ({"query": ""}, "invalid_query", "query is empty"),
        ({"query": " \t\n"}, "invalid_query", "query is empty"),
        ({"query": "x" * 8193}, "invalid_query", "8193 characters; at most 8192"),
        ({"query": 7}, "invalid_request", "query: Input should be a valid string (got 7)"),
        ({"query": None}, "invalid_request", "query"),
        ({"limit": 0}, "invalid_query", "limit is 0; it must be from 1 to 1000"),
        ({"limit": -1}, "invalid_query", "limit is -1"),
        ({"limit": 10**6}, "invalid_query", "limit is 1000000; it must be from 1 to 1000"),
        ({"limit": "ten"}, "invalid_request", "limit: Input should be a valid integer (got 'ten')"),
        ({"limit": True}, "invalid_request", "limit"),
        ({"limit": 1.5}, "invalid_request", "limit"),
        ({"offset": -1}, "invalid_query", "offset is -1"),
        ({"offset": 991}, "invalid_query", "offset + limit is 1001; at most 1000"),
        ({"offset": 10**30}, "invalid_query", "at most 1000"),
        ({"mode": "magic"}, "invalid_request", "'hybrid', 'dense' or 'bm25' (got 'magic')"),
        ({"filter": {}}, "invalid_request", "unknown field filter; known: query, collection, limit, offset"),
        ({"fusion": {"kk": 3}}, "invalid_request", "unknown field kk; known: method, k, weights"),
        ({"fusion": {"method": "sum"}}, "invalid_request", "fusion.method"),
        ({"fusion": {"k": 0}}, "invalid_request", "fusion.k: Input should be greater than 0 (got 0)"),
        ({"fusion": {"k": 10**400}}, "invalid_request", "fusion.k"),
        ({"fusion": {"k": 10}}, "invalid_request", "k is of method 'rrf' and no method is named"),
        ({"fusion": {"weights": {"sparse": 1}}}, "invalid_query", "leg 'sparse'; one of: dense, bm25"),
        ({"fusion": {"weights": {"dense": -1}}}, "invalid_request", "fusion.weights.dense"),
        ({"fusion": {"weights": {"dense": 1e308}}}, "invalid_request", "less than or equal to 1000000"),
        ({"fusion": {"weights": {"dense": 0, "bm25": 0}}}, "invalid_query", "every fusion weight is 0"),
        ({"min_score": {"splade": 0.1}}, "invalid_query", "leg 'splade'; one of: dense, bm25"),
        ({"filters": {"type": "x"}}, "invalid_query", "one of: eq, ne, gt, gte, lt, lte, in, nin, and, or"),
        ({"filters": []}, "invalid_request", "filters"),
        ({"filters": {"type": "and", "filters": [[]]}}, "invalid_query", "a filter must be an object"),
        ({"filters": {"type": "eq", "key": "a"}}, "invalid_query", "lacks 'value'"),
        ({"filters": {"type": "and", "key": "a"}}, "invalid_query", "has no field 'key'"),
        ({"filters": {"type": "and", "filters": {}}}, "invalid_query", "must be a list"),
        ({"filters": deep(9)}, "invalid_query", "nested deeper than 8 levels"),
        (
            {"filters": {"type": "or", "filters": [deep(1)] * 65}},
            "invalid_query",
            "65 conditions; at most 64",
        ),
        (compare("like", "a", "b"), "invalid_query", "filter type 'like' is not known; one of: eq, ne"),
        (compare("eq", "", 1), "invalid_query", "filter key ''"),
        (compare("eq", 'a"b', 1), "invalid_query", "no quotes"),
        (compare("eq", 5, 1), "invalid_query", "key must be a string, not 5"),
        (compare("eq", "a", None), "invalid_query", "value must be a string, number, boolean or a list"),
        (compare("eq", "a", {"b": 1}), "invalid_query", "value must be a string"),
        (compare("eq", "a", 2**63), "invalid_query", "within 64 bits"),
        (compare("eq", "a", ["b"]), "invalid_query", "takes one value, not a list"),
        (compare("in", "a", "b"), "invalid_query", "takes a list of values"),
        (compare("in", "a", ["b"] * 1001), "invalid_query", "1001 values; at most 1000"),
        (compare("eq", "kind", 3), "invalid_query", "'kind' takes a string"),
        (compare("gt", "kind", "a"), "invalid_query", "'gt' does not apply to 'kind'"),
        (compare("eq", "page", "two"), "invalid_query", "whole number, not 'two'"),
        (compare("eq", "page", 1.5), "invalid_query", "whole number"),
        (compare("gt", "modified", "soon"), "invalid_query", "a date such as '2026-01-31'"),
        (compare("gt", "year", "many"), "invalid_query", "takes a date such as"),
        (compare("gt", "year", True), "invalid_query", "takes a number or a date, not True"),
        ({"collection": "No Such"}, "invalid_query", "use 1 to 63 of a-z, 0-9"),
        ({"collection": "../../etc"}, "invalid_query", "use 1 to 63 of a-z, 0-9"),
        ({"collection": "a" * 64}, "invalid_query", "use 1 to 63 of a-z, 0-9"),
        ({"collection": ""}, "invalid_query", "use 1 to 63 of a-z, 0-9"),
    ],
    ids=lambda value: f"{value!r:.60}" if isinstance(value, dict) else "",
)
def test_a_bad_question_is_a_422_that_says_why(
    http: TestClient, body: dict[str, Any], code: str, words: str
) -> None:
    status, given, message = refused(http, "POST", "/search", json={"query": "ferry", **body})
    assert (status, given) == (422, code)
    assert words in message


@pytest.mark.parametrize(
    "text",
    [
        '{"query": "ferry",',
        '{"query": "ferry",}',
        "{query: 'ferry'}",
        '{"query": "ferry", "min_score": {"dense": NaN}}',
        '{"query": "ferry", "min_score": {"dense": -Infinity}}',
        '{"query": "ferry", "fusion": {"weights": {"bm25": Infinity}}}',
        '{"query": "ferry", "filters": {"type": "eq", "key": "a", "value": NaN}}',
        '{"query": "\\ud800"}',
        '{"query": "ferry", "\\udfff": 1}',
        '{"query": "ferry", "filters": {"type": "eq", "key": "a", "value": "\\ud800"}}',
        '{"query": "ferry", "limit": 1' + "0" * 5000 + "}",
        '{"query": "ferry", "filters": ' + "[" * 100_000,
        b'{"query": "\xff\xfe"}',
        "\x00",
    ],
    ids=lambda text: repr(text)[:60],
)
def test_what_is_not_json_is_a_400_that_says_where(http: TestClient, text: str | bytes) -> None:
    """A number that is none and half a character are not JSON, whatever some readers let through."""
    status, code, message = refused(http, "POST", "/search", content=text, headers=JSON)
    assert (status, code) == (400, "invalid_json")
    assert message.startswith("the body is not JSON: ")
    assert "line 1 column" in message


def test_a_number_too_large_for_a_float_is_refused(http: TestClient) -> None:
    text = '{"query": "ferry", "filters": {"type": "gt", "key": "a", "value": 1e400}}'
    status, code, message = refused(http, "POST", "/search", content=text, headers=JSON)
    assert (status, code) == (422, "invalid_query")
    assert "finite" in message


@pytest.mark.parametrize("text", ["[]", '"ferry"', "null", "7", ""])
def test_a_body_that_is_no_object_is_refused(http: TestClient, text: str) -> None:
    status, code, message = refused(http, "POST", "/search", content=text, headers=JSON)
    assert (status, code) == (422, "invalid_request")
    assert "must be a JSON object" in message


def test_a_body_without_its_type_is_refused_with_the_remedy(http: TestClient) -> None:
    status, code, message = refused(http, "POST", "/search", content=json.dumps({"query": "ferry"}))
    assert (status, code) == (422, "invalid_request")
    assert "Content-Type: application/json" in message


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/search", 405, "method_not_allowed"),
        ("PUT", f"/documents/{NOBODY}", 405, "method_not_allowed"),
        ("GET", f"/documents/{NOBODY}", 404, "document_not_found"),
        ("DELETE", f"/documents/{NOBODY}", 404, "document_not_found"),
        ("GET", "/documents/not-a-uuid", 404, "document_not_found"),
        ("DELETE", "/documents/not-a-uuid", 404, "document_not_found"),
        ("GET", "/documents?collection=nothing", 404, "collection_not_found"),
        ("GET", f"/documents/{NOBODY}?collection=nothing", 404, "collection_not_found"),
        ("GET", "/documents?collection=UPPER", 422, "invalid_query"),
        ("GET", "/documents?cursor=not-a-uuid", 422, "invalid_query"),
        ("GET", "/documents?limit=0", 422, "invalid_request"),
        ("GET", "/documents?limit=1001", 422, "invalid_request"),
        ("GET", "/documents?colection=typo", 422, "invalid_request"),
        ("DELETE", f"/documents/{NOBODY}?tenant=x", 422, "invalid_request"),
        ("GET", "/status?collection=nothing", 404, "collection_not_found"),
        ("GET", "/jobs/nobody", 404, "job_not_found"),
        ("GET", "/jobs/nobody/events", 404, "job_not_found"),
        ("POST", "/jobs/nobody/cancel", 404, "job_not_found"),
        ("POST", "/owner/yield", 403, "admin_only"),
    ],
)
def test_a_wrong_address_is_answered_in_the_same_shape(
    http: TestClient, method: str, path: str, status: int, code: str
) -> None:
    assert refused(http, method, path)[:2] == (status, code)


def test_an_unknown_parameter_is_refused_with_the_known_ones(http: TestClient) -> None:
    _, _, message = refused(http, "GET", "/documents?colection=typo")
    assert message == "unknown parameter colection; known: collection, cursor, limit, order"


def test_a_wrong_method_names_the_right_one(http: TestClient) -> None:
    assert http.get("/search").headers["Allow"] == "POST"


def test_an_unknown_collection_is_a_404_with_the_remedy(http: TestClient) -> None:
    body = {"query": "ferry", "collection": "nothing"}
    status, code, message = refused(http, "POST", "/search", json=body)
    assert (status, code) == (404, "collection_not_found")
    assert "latewood ingest" in message


def test_only_the_owners_socket_may_start_an_ingest(http: TestClient) -> None:
    assert refused(http, "POST", "/jobs", json={"source": "/etc"})[:2] == (403, "source_not_allowed")


@pytest.mark.parametrize("tenant", ["Bad Tenant", "../x", "", "a" * 64])
def test_a_bad_tenant_is_refused(shared_admin: TestClient, tenant: str) -> None:
    header = {"X-Latewood-Tenant": tenant}
    status, code, message = refused(shared_admin, "GET", "/documents", headers=header)
    assert (status, code) == (422, "invalid_query")
    assert message.startswith("tenant name")


FORESEEN = [
    (ApiError(418, "teapot", "short and stout"), 418, "teapot"),
    (QueryError("no"), 422, "invalid_query"),
    (InputError("no"), 422, "invalid_input"),
    (SourceError("source_missing", "no"), 422, "source_missing"),
    (FingerprintError("no"), 409, "model_mismatch"),
    (DiskFullError("no"), 507, "disk_full"),
    (OSError(errno.ENOSPC, "No space left on device", "/data"), 507, "disk_full"),
    (StoreDamagedError("no"), 500, "index_damaged"),
    (StoreUnavailableError("no"), 503, "store_unavailable"),
    (StoreError("no"), 500, "store_failed"),
    (ModelNotFoundError("no"), 503, "model_unavailable"),
    (JobError("owner_closing", "no"), 503, "owner_closing"),
    (PermissionError(errno.EACCES, "Permission denied", "/data"), 500, "io_error"),
    (ZeroDivisionError("secret"), 500, "internal"),
]


@pytest.mark.parametrize(("error", "status", "code"), FORESEEN, ids=[code for *_, code in FORESEEN])
def test_every_failure_behind_a_route_has_its_status_and_code(
    http: TestClient,
    shared: Service,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: int,
    code: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(shared, "open", fail)
    found = refused(http, "POST", "/search", json={"query": "ferry"})
    assert found[:2] == (status, code) == describe(error)[:2]
    assert job_error(error)[0] == code
    assert "secret" not in found[2]


def test_who_meets_a_service_that_is_busy_is_told_when_to_come_back(
    http: TestClient, shared: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise StoreUnavailableError("in a moment")

    monkeypatch.setattr(shared, "open", fail)
    assert http.get("/documents").headers["Retry-After"] == "1"
