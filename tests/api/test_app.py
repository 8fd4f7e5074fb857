"""Around every route: request ids, limits of bodies, where a request comes from, how it is described."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import pytest
from starlette.testclient import TestClient

from latewood.api.http.app import LoopbackOnly, create_app
from latewood.engine.library import Service
from latewood.search.fusion import SHIPPED

LONGEST_ID = "x" * 128


@pytest.mark.parametrize("given", ["question-7", LONGEST_ID, "web-1:a.B_2"])
def test_a_request_id_is_echoed(shared_http: TestClient, given: str) -> None:
    answer = shared_http.get("/healthz", headers={"X-Request-ID": given})
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert answer.headers["X-Request-ID"] == given


@pytest.mark.parametrize("given", [None, "", LONGEST_ID + "x", "bell\x07", "a b", "1 status=204", "1,2"])
def test_a_request_without_a_usable_id_gets_one(shared_http: TestClient, given: str | None) -> None:
    headers = {} if given is None else {"X-Request-ID": given}
    first, second = (shared_http.get("/nowhere", headers=headers) for _ in range(2))
    assert len(first.headers["X-Request-ID"]) == 32
    assert first.json()["error"]["request_id"] == first.headers["X-Request-ID"]
    assert first.headers["X-Request-ID"] != second.headers["X-Request-ID"]


@pytest.mark.parametrize("path", ["/healthz", "/nowhere", "/", "/openapi.json"])
def test_every_answer_tells_browsers_to_be_careful(shared_http: TestClient, path: str) -> None:
    headers = shared_http.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Frame-Options"] == "DENY"


@pytest.fixture(scope="module")
def small(open_service: Callable[..., Service]) -> TestClient:
    service = open_service(body_bytes=100, upload_bytes=1000)
    return TestClient(create_app(service), raise_server_exceptions=False)


def pieces(size: int) -> Iterator[bytes]:
    """A body whose length is not announced."""
    for _ in range(size // 10):
        yield b" " * 10


@pytest.mark.parametrize("path", ["/search", "/documents"])
@pytest.mark.parametrize("announced", [True, False])
def test_a_body_over_the_limit_is_a_413(small: TestClient, path: str, announced: bool) -> None:
    headers = {"content-type": "application/json", "X-Request-ID": "large"}
    answer = small.post(path, content=b" " * 110 if announced else pieces(110), headers=headers)
    assert answer.status_code == 413
    assert answer.json() == {
        "error": {
            "code": "too_large",
            "message": "the body is over 100 bytes; send less, or raise the setting BODY_BYTES",
            "request_id": "large",
        }
    }
    assert answer.headers["X-Request-ID"] == "large"


def test_a_body_within_the_limit_is_read(small: TestClient) -> None:
    text = b'{"query": "ferry"}'.ljust(100)
    answer = small.post("/search", content=text, headers={"content-type": "application/json"})
    assert answer.json()["error"]["code"] == "collection_not_found"


@pytest.mark.parametrize("kind", ["multipart/form-data", "Multipart/Form-Data"])
def test_an_upload_has_its_own_limit(small: TestClient, kind: str) -> None:
    def send(size: int, *, announced: bool) -> Any:
        head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        body = head + b"x" * (size - len(head) - 9) + b"\r\n--b--\r\n"
        headers = {"content-type": f"{kind}; boundary=b"}
        return small.post("/documents", content=body if announced else iter([body]), headers=headers)

    assert send(900, announced=True).status_code == 202
    for announced in (True, False):
        answer = send(1001, announced=announced)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
        assert "1000 bytes" in answer.json()["error"]["message"]
        assert "UPLOAD_BYTES" in answer.json()["error"]["message"]


@pytest.mark.parametrize(("method", "path"), [("POST", "/search"), ("PUT", "/documents"), ("POST", "/jobs")])
def test_where_no_files_are_taken_the_limit_of_a_body_holds_for_them(
    small: TestClient, method: str, path: str
) -> None:
    headers = {"content-type": "multipart/form-data; boundary=b"}
    answer = small.request(method, path, content=b" " * 110, headers=headers)
    assert answer.status_code == 413
    assert "BODY_BYTES" in answer.json()["error"]["message"]


@pytest.fixture(scope="module")
def guarded(shared: Service) -> TestClient:
    return TestClient(LoopbackOnly(create_app(shared)), raise_server_exceptions=False)


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "127.0.0.1:8000", "127.0.0.2", "[::1]", "[::1]:80", "LOCALHOST"]
)
def test_names_of_this_machine_are_served(guarded: TestClient, host: str) -> None:
    assert guarded.get("/healthz", headers={"Host": host}).status_code == 200
    same = {"Host": host, "Origin": f"http://{host}"}
    assert guarded.get("/healthz", headers=same).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "192.168.1.7:8000", "0.0.0.0", "[", "[::1", "", "@", "::1"],
)
def test_another_name_in_the_host_header_is_refused(guarded: TestClient, host: str) -> None:
    """A page elsewhere may have its own name resolve to this machine: the name gives it away."""
    answer = guarded.get("/healthz", headers={"Host": host, "X-Request-ID": "rebound"})
    assert answer.status_code == 403
    error = answer.json()["error"]
    assert (error["code"], error["request_id"]) == ("forbidden_host", "rebound")
    assert "does not name this machine" in error["message"]
    assert answer.headers["X-Request-ID"] == "rebound"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "",
        "http://localhost:3000",
        "http://localhost:8000.evil.example",
        "http://[",
    ],
)
def test_a_page_of_another_site_is_refused(guarded: TestClient, origin: str) -> None:
    headers = {"Host": "localhost:8000", "Origin": origin}
    answer = guarded.post("/search", json={"query": "ferry"}, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden_host")
    assert "another site" in answer.json()["error"]["message"]


def test_readyz_says_whether_a_search_would_be_answered(service: Service, http: TestClient) -> None:
    loading = http.get("/readyz")
    assert (loading.status_code, loading.json()["ready"], loading.json()["model"]) == (503, False, "loading")
    assert loading.json()["error"]["code"] == "not_ready"
    assert loading.json()["error"]["request_id"] == loading.headers["X-Request-ID"]
    service.warm_up()
    ready = http.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "model": "loaded", "store": "empty"})
    service.warm_up_error = "the index was made with another model"
    failed = http.get("/readyz")
    assert (failed.status_code, failed.json()["model"]) == (503, "failed")
    assert failed.json()["error"]["message"] == "the index was made with another model"


def test_status_tells_what_a_collection_holds(shared_http: TestClient, hand_in: Any) -> None:
    hand_in(shared_http, "One line.", collection="counted")
    status = shared_http.get("/status", params={"collection": "counted"}).json()
    held = {name: status[name] for name in ("documents", "chunks", "in_flight_chunks", "model", "dimensions")}
    assert held == {"documents": 1, "chunks": 1, "in_flight_chunks": 0, "model": "words", "dimensions": [16]}
    assert status["fingerprint"]["model"] == "words"
    assert status["bytes"] > 0
    assert "counted" in shared_http.get("/collections").json()["collections"]


CONTRACT = {
    ("post", "/search"),
    ("get", "/documents"),
    ("post", "/documents"),
    ("get", "/documents/{id}"),
    ("patch", "/documents/{id}"),
    ("delete", "/documents/{id}"),
    ("get", "/jobs"),
    ("post", "/jobs"),
    ("get", "/jobs/{id}"),
    ("post", "/jobs/{id}/cancel"),
    ("post", "/jobs/{id}/retry"),
    ("get", "/jobs/{id}/events"),
    ("post", "/verify"),
    ("get", "/collections"),
    ("post", "/collections"),
    ("delete", "/collections/{name}"),
    ("get", "/facets"),
    ("post", "/v1/embeddings"),
    ("post", "/v1/rerank"),
    ("post", "/v2/rerank"),
    ("post", "/rerank"),
    ("get", "/v1/models"),
    ("get", "/v1/models/{model}"),
    ("post", "/v1/vector_stores/{collection}/search"),
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/metrics"),
    ("get", "/status"),
}


@pytest.fixture(scope="module")
def openapi(shared_http: TestClient) -> dict[str, Any]:
    document: dict[str, Any] = shared_http.get("/openapi.json").json()
    return document


def test_the_interface_has_the_routes_of_the_contract_and_no_others(openapi: dict[str, Any]) -> None:
    routes = {(method, path) for path, methods in openapi["paths"].items() for method in methods}
    assert routes == CONTRACT


def test_every_error_is_described_in_the_one_shape(openapi: dict[str, Any]) -> None:
    shape = {"$ref": "#/components/schemas/ErrorOut"}
    assert "HTTPValidationError" not in openapi["components"]["schemas"]
    detail = openapi["components"]["schemas"]["ErrorDetail"]
    assert set(detail["required"]) == {"code", "message", "request_id"}
    operations = [one for methods in openapi["paths"].values() for one in methods.values()]
    for operation in operations:
        described = operation["responses"]["4XX"]["content"]["application/json"]["schema"]
        assert described == shape


def bodies(openapi: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Every JSON body that a route takes, by route."""
    found = []
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {})
            if "application/json" in content:
                shape = content["application/json"]["schema"]
                name = shape.get("$ref", "").rsplit("/", 1)[-1]
                found.append((f"{method} {path}", openapi["components"]["schemas"].get(name, shape)))
    return found


def test_every_body_has_an_example_that_its_schema_accepts(openapi: dict[str, Any]) -> None:
    validator = jsonschema.Draft202012Validator
    shapes = bodies(openapi)
    assert len(shapes) >= 9
    for route, shape in shapes:
        assert shape.get("examples"), route
        for example in shape["examples"]:
            whole = {**shape, "components": openapi["components"]}
            validator(whole).validate(example)


def test_a_search_is_described_with_the_fields_of_the_contract(openapi: dict[str, Any]) -> None:
    body = openapi["components"]["schemas"]["SearchBody"]
    assert body["required"] == ["query"]
    assert body["additionalProperties"] is False
    defaults = {name: field.get("default") for name, field in body["properties"].items()}
    assert (defaults["collection"], defaults["limit"], defaults["offset"]) == ("default", 10, 0)
    assert defaults["mode"] == "hybrid"
    assert body["properties"]["mode"]["enum"] == ["hybrid", "dense", "bm25"]
    fusion = openapi["components"]["schemas"]["FusionBody"]["properties"]
    assert fusion["method"]["enum"] == ["rrf", "dbsf", "convex"]
    assert (fusion["method"]["default"], fusion["k"]["default"]) == (SHIPPED.method, 60)


def test_the_pages_for_people_are_there(shared_http: TestClient) -> None:
    for path in ("/", "/docs"):
        answer = shared_http.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in shared_http.get("/").headers["Content-Security-Policy"]
