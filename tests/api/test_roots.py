"""Over TCP only what lies in `ROOTS` can be ingested."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from latewood.api.http.allowed_sources import check_source
from latewood.api.http.app import create_app
from latewood.engine.errors import ApiError
from latewood.engine.library import Service


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root, a folder beside it whose name begins alike, and a link out."""
    root = tmp_path / "docs"
    (root / "team").mkdir(parents=True)
    (tmp_path / "docs-private").mkdir()
    (root / "way-out").symlink_to(tmp_path / "docs-private")
    return root


@pytest.mark.parametrize(
    "place", ["{}", "{}/", "{}/team", "{}/team/new.txt", "file://{}/team", "{}/team/../"]
)
def test_what_lies_in_a_root_is_allowed(root: Path, place: str) -> None:
    check_source([str(root)], place.format(root))
    check_source(["/nowhere", root.as_uri()], place.format(root))


@pytest.mark.parametrize(
    "place",
    [
        "{}-private",
        "{}/..",
        "{}/../docs-private/a.txt",
        "{}/way-out",
        "{}/way-out/a.txt",
        "file://{}/%2e%2e/docs-private",
        "/etc/passwd",
        "team",
        "",
        "{}\0",
        "s3://bucket{}",
    ],
)
def test_everything_else_is_refused(root: Path, place: str) -> None:
    with pytest.raises(ApiError, match="may not be ingested over TCP") as refused:
        check_source([str(root)], place.format(root))
    assert (refused.value.status, refused.value.code) == (403, "source_not_allowed")


@pytest.mark.parametrize(
    ("source", "allowed"),
    [
        ("s3://bucket/docs", True),
        ("s3://bucket/docs/", True),
        ("s3://BUCKET/do%63s/a.txt", True),
        ("s3://bucket:443/docs/", False),
        ("s3://bucket/docs/a%20b.txt", True),
        ("s3://bucket/docs-private/", False),
        ("s3://bucket/docs/../secret", False),
        ("s3://bucket/docs/%2e%2e/secret", False),
        ("s3://bucket/docs/..%2fsecret", False),
        ("s3://other/docs/", False),
        ("https://bucket/docs/", False),
        ("s3://key:secret@bucket/docs/", False),
        ("/bucket/docs/", False),
    ],
)
def test_a_root_may_be_a_bucket(source: str, allowed: bool) -> None:
    if allowed:
        check_source(["s3://bucket/docs/"], source)
        return
    with pytest.raises(ApiError):
        check_source(["s3://bucket/docs/"], source)


def test_over_tcp_a_root_is_ingested_and_nothing_else(
    open_service: Callable[..., Service], finish: Any, root: Path, tmp_path: Path
) -> None:
    (root / "a.txt").write_text("Seals rest on the skerries.")
    (tmp_path / "docs-private" / "b.txt").write_text("A secret.")
    service = open_service(roots=(str(root),))
    http = TestClient(create_app(service), raise_server_exceptions=False)
    job = finish(http, http.post("/jobs", json={"source": str(root)}).json()["id"])
    assert (job["status"], job["counts"]["added"]) == ("completed", 1)
    refused = http.post("/jobs", json={"source": f"{root}-private"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "source_not_allowed")


def test_without_roots_nothing_is_ingested_over_tcp(shared_http: TestClient) -> None:
    refused = shared_http.post("/jobs", json={"source": "/etc"})
    assert refused.status_code == 403
    assert "ROOTS is empty" in refused.json()["error"]["message"]
