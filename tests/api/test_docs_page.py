"""`/docs` in real Chromium, over the real application, and the schema that it shows."""

from __future__ import annotations

import ast
import hashlib
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from latewood.api.http.api_keys import KeyStore, Wish
from latewood.api.http.app import create_app
from latewood.api.http.reference import operation_id
from latewood.engine.library import Service

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
TIMEOUT_MS = 60_000
SWAGGER = Path(__file__).parents[2] / "api" / "web" / "swagger"
PUBLISHED = {
    "swagger-ui-bundle.js": "e6a898692f2d768e",
    "swagger-ui.css": "5ed08757e53da3e0",
}


@pytest.fixture(scope="module")
def schema(shared: Service) -> dict[str, Any]:
    return create_app(shared).openapi()


def operations(schema: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): told
        for path, methods in schema["paths"].items()
        for method, told in methods.items()
    }


# --- the schema ---------------------------------------------------------------------------------------------


def test_every_operation_has_a_readable_name_of_its_own(schema: dict[str, Any]) -> None:
    """Generated clients make a method of each: a verb, and what it is done to."""
    names = [told["operationId"] for told in operations(schema).values()]
    assert [name for name, times in Counter(names).items() if times > 1] == []
    for name in names:
        assert re.fullmatch(r"[a-z]+(_[a-z0-9]+){0,3}", name), name
        assert isinstance(ast.parse(f"client.{name}()").body[0], ast.Expr)
    assert {"search", "add_documents", "get_document", "list_jobs", "start_ingest", "cancel_job"} <= set(
        names
    )


def test_a_route_that_nobody_named_gets_a_name_from_its_path(shared: Service) -> None:
    app = create_app(shared)
    app.add_api_route("/v9/harbour-fees/{id}", lambda: None, methods=["PUT"])
    assert operation_id(app.routes[-1]) == "replace_v9_harbour_fees"


def test_the_schema_says_which_routes_need_a_key(open_service: Callable[..., Service]) -> None:
    schema = create_app(open_service(hosts=("search.example",))).openapi()
    (name, scheme), *others = schema["components"]["securitySchemes"].items()
    assert others == []
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    assert all({name: []} in told["security"] for told in operations(schema).values())
    without = {path for (_, path), told in operations(schema).items() if {} in told["security"]}
    assert without == {"/healthz", "/readyz"}


def test_on_loopback_the_schema_says_that_a_key_is_optional(schema: dict[str, Any]) -> None:
    for told in operations(schema).values():
        assert {} in told["security"]
        assert len(told["security"]) == 2


# --- the page -----------------------------------------------------------------------------------------------


def test_the_page_and_its_files_come_from_the_package(shared_http: TestClient) -> None:
    page = shared_http.get("/docs")
    assert page.headers["Content-Type"].startswith("text/html")
    assert re.findall(r"""(?:src|href)="([^"]+)""", page.text) == [
        "data:,",
        "docs/swagger-ui.css",
        "docs/swagger-ui-bundle.js",
    ]
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "http" not in policy
    for name in ("swagger-ui.css", "swagger-ui-bundle.js"):
        assert shared_http.get(f"/docs/{name}").content == (SWAGGER / name).read_bytes()
    for name in ("LICENSE", "oauth2-redirect", "..%2Findex.html", "%2e%2e%2f%2e%2e%2fapp.py"):
        assert shared_http.get(f"/docs/{name}").status_code == 404
    assert shared_http.get("/redoc").status_code == 404


def test_swagger_ui_is_the_published_one_with_its_licence() -> None:
    """Of npm's swagger-ui-dist 5.35.0."""
    assert "5.35.0" in (SWAGGER / "README.md").read_text(encoding="utf-8")
    assert "Apache License" in (SWAGGER / "LICENSE").read_text(encoding="utf-8")
    found = {name: hashlib.sha256((SWAGGER / name).read_bytes()).hexdigest()[:16] for name in PUBLISHED}
    assert found == PUBLISHED


@pytest.fixture(scope="module")
def address(open_service: Any, serve: Any) -> Iterator[tuple[str, str]]:
    """A service that needs keys, and a key."""
    service = open_service(host="0.0.0.0")
    _, secret = KeyStore(service.data).create(Wish("acme"))
    with serve(create_app(service)) as url:
        yield url, secret


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")
def test_the_page_asks_nothing_elsewhere_and_calls_with_the_key_it_is_given(address: tuple[str, str]) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="the page is tested through playwright")
    url, secret = address
    problems: list[str] = []
    with playwright.sync_playwright() as running:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        chromium = running.chromium.launch(executable_path=CHROMIUM, args=arguments)
        tab = chromium.new_page()
        tab.set_default_timeout(TIMEOUT_MS)
        tab.on("pageerror", lambda error: problems.append(f"script: {error}"))
        tab.on(
            "console", lambda message: message.type in {"error", "warning"} and problems.append(message.text)
        )
        tab.on("request", lambda one: one.url.startswith((f"{url}/", "data:")) or problems.append(one.url))
        tab.goto(f"{url}/docs")
        tab.locator("#operations-collections-list_collections").click()
        tab.get_by_role("button", name="Authorize").first.click()
        tab.get_by_label("auth-bearer-value").fill(secret)
        tab.locator(".auth-btn-wrapper").get_by_role("button", name="Apply credentials").click()
        tab.get_by_role("button", name="Close").last.click()
        tab.get_by_role("button", name="Try it out").click()
        with tab.expect_response(f"{url}/collections") as answered:
            tab.get_by_role("button", name="Execute").click()
        assert answered.value.status == 200
        playwright.expect(tab.locator(".live-responses-table .response-col_status").last).to_contain_text(
            "200"
        )
        assert tab.evaluate("Object.keys(localStorage).length + Object.keys(sessionStorage).length") == 0
        chromium.close()
    assert problems == []
