"""`/documents`: hand in, list, show, remove."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from latewood.api.http.app import create_app
from latewood.embedder.types import EmbedderError
from latewood.engine.library import Service
from latewood.ingest.index.writer import StoreWriter
from latewood.ingest.report import Report
from latewood.ingest.sync import Work
from latewood.ingest.types import document_id
from latewood.ingest.uploads import Upload, discard, ingest_upload
from latewood.search.types import DiskFullError

JSON = {"content-type": "application/json"}


def upload(http: TestClient, collection: str, *files: tuple[str, bytes], **data: str) -> Any:
    parts = [("files", (name, content)) for name, content in files]
    return http.post("/documents", params={"collection": collection}, files=parts, data=data)


def error_of(answer: Any) -> tuple[int, str, str]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["message"]


def test_a_text_is_accepted_and_then_shown_whole(shared_http: TestClient, finish: Any) -> None:
    text = "Grüße vom Hafen 🦭.\n\nDie Fähre legt um neun ab.\n"
    body = {"uri": "upload:hafen", "title": "Hafen", "text": text, "metadata": {"year": 2026}}
    answer = shared_http.post("/documents", params={"collection": "texts"}, json=body)
    assert answer.status_code == 202
    accepted = answer.json()
    assert set(accepted) == {"job_id", "job_ids", "uris"}
    assert accepted["uris"] == ["upload:hafen"]
    assert finish(shared_http, accepted["job_id"])["status"] == "completed"

    key = document_id("default", "texts", "upload:hafen")
    shown = shared_http.get(f"/documents/{key}", params={"collection": "texts"}).json()
    assert {name: shown[name] for name in ("id", "uri", "title", "text", "metadata", "source")} == {
        "id": key,
        "uri": "upload:hafen",
        "title": "Hafen",
        "text": text,
        "metadata": {"year": 2026},
        "source": "uploads:",
    }
    assert shown["failure"] is None
    assert uuid.UUID(shown["version"])


def test_a_text_without_a_name_gets_one_of_its_own(shared_http: TestClient, finish: Any) -> None:
    uris = set()
    for _ in range(2):
        answer = shared_http.post("/documents?collection=texts", json={"text": "Twice the same."}).json()
        assert finish(shared_http, answer["job_id"])["counts"]["added"] == 1
        uris |= set(answer["uris"])
    assert len(uris) == 2
    assert all(uri.startswith("upload:") for uri in uris)


def test_files_are_read_by_their_endings(shared_http: TestClient, finish: Any) -> None:
    files = [("a b ü.md", b"# Tides\n\nHigh at noon.\n"), ("list.csv", b"pier,boats\nnorth,3\n")]
    answer = upload(shared_http, "texts", *files, metadata='{"from": "post"}')
    assert answer.status_code == 202
    assert answer.json()["uris"] == ["upload:a%20b%20%C3%BC.md", "upload:list.csv"]
    assert answer.json()["job_id"] == answer.json()["job_ids"][0]
    for job_id in answer.json()["job_ids"]:
        assert finish(shared_http, job_id)["status"] == "completed"
    keys = [document_id("default", "texts", uri) for uri in answer.json()["uris"]]
    shown = [shared_http.get(f"/documents/{key}?collection=texts").json() for key in keys]
    assert [one["kind"] for one in shown] == ["markdown", "csv"]
    assert [one["metadata"]["from"] for one in shown] == ["post", "post"]


def test_only_the_last_part_of_a_file_name_counts(shared_http: TestClient) -> None:
    answer = upload(shared_http, "texts", ("../../etc/passwd.txt", b"words"))
    assert answer.json()["uris"] == ["upload:passwd.txt"]


@pytest.mark.parametrize(
    ("name", "content", "place", "code"),
    [
        ("photo.jpg", b"\xff\xd8\xff", "skipped", "unsupported_kind"),
        ("empty.txt", b"", "skipped", "empty_file"),
        ("broken.pdf", b"%PDF-1.7 garbage", "errors", "corrupt"),
    ],
)
def test_a_file_that_gives_no_text_is_named_by_its_job(
    shared_http: TestClient, finish: Any, name: str, content: bytes, place: str, code: str
) -> None:
    job = finish(shared_http, upload(shared_http, "texts", (name, content)).json()["job_id"])
    assert job["status"] == ("failed" if place == "errors" else "completed")
    (problem,) = job[place]
    assert (problem["uri"], problem["code"]) == (f"upload:{name}", code)
    assert problem["message"]
    told = {"code": code, "message": problem["message"]}
    assert job["error"] == (told if place == "errors" else None)


def test_two_files_of_one_name_are_refused_by_name(service: Service) -> None:
    http = TestClient(create_app(service))
    files = [("a/notes.txt", b"one"), ("list.csv", b"a,b"), ("b/notes.txt", b"two"), ("c.txt", b"three")]
    status, code, message = error_of(upload(http, "default", *files))
    assert (status, code) == (422, "invalid_request")
    assert "'notes.txt'" in message
    assert "list.csv" not in message
    assert service.spool.waiting() == []


def long_one(fields: dict[str, Any]) -> str:
    """What every passage would carry, and is longer than that is worth."""
    return json.dumps({"text": "a", **fields})


@pytest.mark.parametrize(
    ("text", "status", "code", "words"),
    [
        ('{"text": "a"', 400, "invalid_json", "line 1 column"),
        ('{"text": "\\ud800"}', 400, "invalid_json", "line 1 column"),
        ('{"text": "a", "metadata": {"a": NaN}}', 400, "invalid_json", "line 1 column"),
        ("", 400, "invalid_json", "the body is not JSON"),
        ("[]", 422, "invalid_request", "JSON object"),
        ("{}", 422, "invalid_request", "text: Field required"),
        ('{"text": 3}', 422, "invalid_request", "text: Input should be a valid string (got 3)"),
        ('{"text": "a", "body": "b"}', 422, "invalid_request", "known: text, uri, title, metadata"),
        ('{"text": ""}', 422, "empty_text", "blank"),
        ('{"text": " \\n"}', 422, "empty_text", "blank"),
        ('{"text": "a", "uri": "notes.txt"}', 422, "invalid_uri", "must begin with `upload:`"),
        ('{"text": "a", "uri": "file:///etc/passwd"}', 422, "invalid_uri", "must begin with `upload:`"),
        ('{"text": "a", "uri": "upload:"}', 422, "invalid_uri", "have a name"),
        ('{"text": "a", "metadata": []}', 422, "invalid_request", "metadata must be an object, not []"),
        ('{"text": "a", "metadata": {"a": {}}}', 422, "invalid_request", "metadata 'a' is {}"),
        ('{"text": "a", "metadata": {"a": [1, "b"]}}', 422, "invalid_request", "list of strings or"),
        ('{"text": "a", "metadata": {"a": [true]}}', 422, "invalid_request", "list of strings or"),
        ('{"text": "a", "metadata": {"a": 1e400}}', 422, "invalid_request", "finite number within 64 bits"),
        (
            '{"text": "a", "metadata": {"a": 9223372036854775808}}',
            422,
            "invalid_request",
            "finite number within 64 bits",
        ),
        ('{"text": "a", "metadata": {"": 1}}', 422, "invalid_request", "must not be empty"),
        ('{"text": "a", "metadata": {"a\\"b": 1}}', 422, "invalid_request", "no quotes or backslashes"),
        ('{"text": "a", "metadata": {"a\\\\b": 1}}', 422, "invalid_request", "no quotes or backslashes"),
        ('{"text": "a", "metadata": {"language": 3}}', 422, "invalid_request", "a string such as 'en'"),
        (
            long_one({"metadata": {"a": "x" * 4001}}),
            422,
            "invalid_request",
            "4001 characters; the limit is 4000",
        ),
        (long_one({"metadata": {"a": ["x"] * 257}}), 422, "invalid_request", "257 entries; the limit is 256"),
        (long_one({"metadata": {"a" * 201: 1}}), 422, "invalid_request", "over 200 characters; shorten it"),
        (long_one({"title": "x" * 4001}), 422, "invalid_request", "at most 4000 characters"),
        (long_one({"uri": "upload:" + "x" * 4000}), 422, "invalid_request", "at most 4000 characters"),
    ],
)
def test_a_bad_text_is_refused_before_anything_is_kept(
    shared_http: TestClient, text: str, status: int, code: str, words: str
) -> None:
    answer = shared_http.post("/documents", params={"collection": "refused"}, content=text, headers=JSON)
    assert error_of(answer)[:2] == (status, code)
    assert words in error_of(answer)[2]
    assert "refused" not in shared_http.get("/collections").json()["collections"]


def test_metadata_may_have_so_many_keys_and_no_more(shared_http: TestClient) -> None:
    def add(keys: int) -> Any:
        metadata = {f"key{number}": number for number in range(keys)}
        return shared_http.post("/documents?collection=texts", json={"text": "a", "metadata": metadata})

    assert add(64).status_code == 202
    assert error_of(add(65)) == (
        422,
        "invalid_metadata",
        "65 metadata keys, the limit is 64 (METADATA_KEYS)",
    )


@pytest.mark.parametrize(
    ("files", "data", "status", "code", "words"),
    [
        ([("metadata", (None, "{}"))], {}, 422, "invalid_request", "files (one or more"),
        ([("files", ("a.txt", b"a")), ("extra", ("b.txt", b"b"))], {}, 422, "invalid_request", "extra"),
        ([("files", ("", b"a"))], {}, 422, "invalid_request", "each with a file name"),
        ([("files", ("..", b"a"))], {}, 422, "invalid_request", "'..'"),
        ([("files", ("a.txt", b"a"))], {"metadata": "{"}, 400, "invalid_json", "metadata is not JSON"),
        ([("files", ("a.txt", b"a"))], {"metadata": '{"a": NaN}'}, 400, "invalid_json", "metadata is not"),
        ([("files", ("a.txt", b"a"))], {"metadata": '{"a": {}}'}, 422, "invalid_request", "metadata 'a' is"),
        ([("files", ("a.txt", b"a")), ("metadata", ("m", b"{}"))], {}, 422, "invalid_request", "plain field"),
    ],
)
def test_a_bad_form_is_refused(
    shared_http: TestClient, files: Any, data: dict[str, str], status: int, code: str, words: str
) -> None:
    answer = shared_http.post("/documents?collection=texts", files=files, data=data)
    assert error_of(answer)[:2] == (status, code)
    assert words in error_of(answer)[2]


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "multipart/form-data"])
def test_a_broken_form_is_a_400(shared_http: TestClient, kind: str) -> None:
    answer = shared_http.post("/documents", content=b"garbage", headers={"content-type": kind})
    assert error_of(answer)[:2] == (400, "invalid_body")


def test_a_document_of_a_folder_cannot_be_replaced_by_an_upload(
    shared_admin: TestClient, tmp_path: Path, finish: Any
) -> None:
    (tmp_path / "rules.txt").write_text("No bicycles on the pier.")
    job = shared_admin.post("/jobs", json={"source": str(tmp_path), "collection": "texts"})
    assert finish(shared_admin, job.json()["id"])["counts"]["added"] == 1
    body = {"uri": (tmp_path / "rules.txt").as_uri(), "text": "Bicycles everywhere."}
    answer = shared_admin.post("/documents?collection=texts", json=body)
    assert error_of(answer)[:2] == (409, "owned_by_source")
    assert "ingest the folder again" in error_of(answer)[2]
    key = document_id("default", "texts", body["uri"])
    shown = shared_admin.get(f"/documents/{key}?collection=texts").json()
    assert shown["text"] == "No bicycles on the pier."


def test_the_list_is_paged_without_repeating_or_skipping(
    shared_admin: TestClient, tmp_path: Path, finish: Any
) -> None:
    for number in range(7):
        (tmp_path / f"{number}.txt").write_text(f"Document {number}.")
    (tmp_path / "bad.pdf").write_bytes(b"%PDF-1.7 garbage")  # failed: has a manifest, is no document
    job = shared_admin.post("/jobs", json={"source": str(tmp_path), "collection": "paged"}).json()
    assert finish(shared_admin, job["id"])["counts"]["added"] == 7
    for limit in (1, 2, 3, 7, 8):
        seen: list[str] = []
        cursor: str | None = None
        for _ in range(9):
            query = {"collection": "paged", "limit": str(limit)} | ({"cursor": cursor} if cursor else {})
            page = shared_admin.get("/documents", params=query).json()
            assert set(page) == {"documents", "next_cursor"}
            assert len(page["documents"]) <= limit
            seen += [document["id"] for document in page["documents"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert len(seen) == 7
        assert seen == sorted(set(seen))


def test_documents_are_listed_newest_first(shared_admin: TestClient, tmp_path: Path, finish: Any) -> None:
    for number in range(5):
        (tmp_path / f"{number}.txt").write_text(f"Document {number}.")
        job = shared_admin.post("/jobs", json={"source": str(tmp_path), "collection": "newest"}).json()
        assert finish(shared_admin, job["id"])["counts"]["added"] == 1
    query = {"collection": "newest", "order": "newest"}
    whole = shared_admin.get("/documents", params=query).json()
    moments = [
        shared_admin.get(f"/documents/{one['id']}", params={"collection": "newest"}).json()["ingested"]
        for one in whole["documents"]
    ]
    assert (len(moments), whole["next_cursor"]) == (5, None)
    assert moments == sorted(moments, reverse=True)
    pages: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        page = shared_admin.get("/documents", params={**query, "limit": "2", **cursor}).json()
        pages += page["documents"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert pages == whole["documents"]
    refused = shared_admin.get("/documents", params={**query, "cursor": "nonsense"})
    assert error_of(refused)[:2] == (422, "invalid_query")
    assert "no ISO 8601 moment" in error_of(refused)[2]


def test_a_listed_document_has_the_fields_of_the_contract(shared_http: TestClient, hand_in: Any) -> None:
    hand_in(shared_http, "One line.", collection="texts", uri="upload:line", title="Line")
    listed = shared_http.get("/documents?collection=texts").json()["documents"]
    assert all(set(one) == {"id", "uri", "title", "chunks", "version", "metadata"} for one in listed)
    (line,) = [one for one in listed if one["uri"] == "upload:line"]
    assert (line["title"], line["chunks"], line["metadata"]) == ("Line", 1, {})


def test_a_document_can_be_removed_once(shared_http: TestClient, hand_in: Any) -> None:
    hand_in(shared_http, "Soon gone.", collection="texts", uri="upload:soon")
    key = document_id("default", "texts", "upload:soon")
    path = f"/documents/{key}?collection=texts"
    first = shared_http.delete(path)
    assert (first.status_code, first.content) == (204, b"")
    assert error_of(shared_http.delete(path))[:2] == (404, "document_not_found")
    listed = shared_http.get("/documents?collection=texts").json()["documents"]
    assert key not in [document["id"] for document in listed]


NOTE = document_id("default", "default", "upload:note")


def test_a_removed_document_does_not_come_back_with_an_upload_that_failed(
    service: Service, http: TestClient, hand_in: Any, finish: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise EmbedderError("the model is out of memory")

    hand_in(http, "The first.", uri="upload:note")
    hand_in(http, "Another.", uri="upload:other")
    with monkeypatch.context() as patched:
        patched.setattr(type(service.embedder(None)), "embed_documents", broken)
        for uri in ("upload:note", "upload:other"):
            job = http.post("/documents", json={"text": "The second.", "uri": uri}).json()["job_id"]
            assert finish(http, job)["error"]["code"] == "model_unavailable"
    service.settling.settle()
    assert len(service.spool.waiting()) == 2
    assert http.delete(f"/documents/{NOTE}").status_code == 204
    assert [one.upload.uri for one in service.spool.waiting()] == ["upload:other"]


def test_a_removal_that_fails_loses_no_upload_that_waits(
    service: Service, http: TestClient, hand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise DiskFullError("12 MiB are free, 256 MiB must stay free; free some space")

    hand_in(http, "The first.", uri="upload:note")
    service.settling.settle()
    upload = Upload("default", "default", "upload:note", "text.txt", "", {})
    service.spool.add(upload, lambda path: path.write_text("The second.") and None)
    with monkeypatch.context() as patched:
        patched.setattr(StoreWriter, "remove", full)
        assert error_of(http.delete(f"/documents/{NOTE}"))[:2] == (507, "disk_full")
    assert [one.file.read_text() for one in service.spool.waiting()] == ["The second."]
    assert http.delete(f"/documents/{NOTE}").status_code == 204
    assert service.spool.waiting() == []
    assert http.get(f"/documents/{NOTE}").status_code == 404


def test_an_upload_that_is_taken_in_while_its_document_is_removed_does_not_bring_it_back(
    service: Service, http: TestClient, hand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was accepted before the removal was asked for, and is committed between two of its steps."""
    hand_in(http, "The first.", uri="upload:note")
    remove = StoreWriter.remove
    texts = ["The second."]

    def and_then(*given: Any) -> int:
        removed = remove(*given)
        if texts:
            hand_in(http, texts.pop(), uri="upload:note")
        return removed

    monkeypatch.setattr(StoreWriter, "remove", and_then)
    assert http.delete(f"/documents/{NOTE}").status_code == 204
    assert http.get(f"/documents/{NOTE}").status_code == 404
    assert service.spool.waiting() == []


def test_an_upload_that_is_read_while_its_document_is_removed_does_not_bring_it_back(
    service: Service, http: TestClient, hand_in: Any, finish: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_in(http, "The first.", uri="upload:note")
    words = type(service.embedder(None))
    embed = words.embed_documents

    def removed_meanwhile(self: Any, *documents: Any, **_: Any) -> Any:
        assert http.delete(f"/documents/{NOTE}").status_code == 204
        return embed(self, *documents)

    monkeypatch.setattr(words, "embed_documents", removed_meanwhile)
    job = http.post("/documents", json={"text": "The second.", "uri": "upload:note"}).json()["job_id"]
    assert finish(http, job)["status"] == "failed"
    assert http.get(f"/documents/{NOTE}").status_code == 404
    assert service.spool.waiting() == []


class Between:
    """A store where something happens once between the two questions of a reader."""

    def __init__(self, store: Any, happens: Callable[[], object]) -> None:
        self._store = store
        self._left = [happens]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def get_manifests(self, ids: Any) -> Any:
        found = self._store.get_manifests(ids)
        if self._left:
            self._left.pop()()
        return found


def between(service: Service, happens: Callable[[], object]) -> Any:
    """`service.open` for a reader whose store changes under it."""
    opened = service.open("default", "default")
    changing = replace(opened, store=Between(opened.store, happens))
    return lambda *_, **__: changing


def test_a_document_that_is_replaced_while_it_is_read_is_shown_as_one_version(
    service: Service, http: TestClient, hand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_in(http, "The first.", uri="upload:note", title="First")
    opened = service.open("default", "default")

    def change() -> None:
        upload = Upload("default", "default", "upload:note", "text.txt", "Second", {})
        spooled = service.spool.add(upload, lambda path: path.write_text("The second.") and None)
        ingest_upload(opened.index, spooled, Work(service._pool, lambda report: None, lambda: False))

    monkeypatch.setattr(service, "open", between(service, change))
    shown = http.get(f"/documents/{NOTE}").json()
    assert (shown["title"], shown["text"]) == ("Second", "The second.")
    assert shown["version"] == opened.store.get_manifests([NOTE])[0].live


def test_a_document_that_is_removed_while_it_is_read_is_not_shown_empty(
    service: Service, http: TestClient, hand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_in(http, "Soon gone.", uri="upload:note")
    opened = service.open("default", "default")
    monkeypatch.setattr(service, "open", between(service, lambda: discard(opened.index, [NOTE])))
    assert error_of(http.get(f"/documents/{NOTE}"))[:2] == (404, "document_not_found")


def test_a_document_that_never_stands_still_is_a_503(
    service: Service, http: TestClient, hand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_in(http, "Ever new.", uri="upload:note")
    opened = service.open("default", "default")
    monkeypatch.setattr(opened.store, "chunks_of", lambda key: [])
    monkeypatch.setattr("latewood.api.http.routes.documents._READ_PAUSE", 0)
    answer = http.get(f"/documents/{NOTE}")
    assert error_of(answer)[:2] == (503, "document_changing")
    assert answer.headers["Retry-After"] == "1"


def test_what_is_acknowledged_is_on_disk(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs do not run here: what the spool holds at the answer is what a kill would leave."""
    waiting: list[Any] = []
    submit = service.jobs.submit
    monkeypatch.setattr(
        service.jobs, "submit", lambda *job, **_: waiting.append(job) or submit(*job[:3], lambda *_: Report())
    )
    http = TestClient(create_app(service))
    assert http.post("/documents", json={"text": "Keep me.", "uri": "upload:me"}).status_code == 202
    assert upload(http, "default", ("a.txt", b"Me too.")).status_code == 202
    kept = service.spool.waiting()
    assert [(one.upload.uri, one.file.read_bytes()) for one in kept] == [
        ("upload:me", b"Keep me."),
        ("upload:a.txt", b"Me too."),
    ]
    assert len(waiting) == 2


def test_what_is_refused_because_the_process_closes_is_not_kept(service: Service) -> None:
    service.jobs.close()
    http = TestClient(create_app(service))
    answer = http.post("/documents", json={"text": "Too late."})
    assert error_of(answer)[:2] == (503, "owner_closing")
    assert answer.headers["Retry-After"] == "1"
    assert service.spool.waiting() == []


def test_a_full_disk_is_said_and_leaves_nothing(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "/data/uploads")

    monkeypatch.setattr("latewood.api.http.routes.documents._write", full)
    http = TestClient(create_app(service), raise_server_exceptions=False)
    answer = http.post("/documents", json={"text": "Too much."})
    assert error_of(answer)[:2] == (507, "disk_full")
    assert list((service.data / "uploads").iterdir()) == []


def test_the_schema_of_a_text_is_the_one_that_is_held(shared_http: TestClient) -> None:
    """The body is read by hand, so the document of the interface must be told of it."""
    operation = shared_http.get("/openapi.json").json()["paths"]["/documents"]["post"]
    content = operation["requestBody"]["content"]
    assert set(content) == {"application/json", "multipart/form-data"}
    assert set(content["application/json"]["schema"]["properties"]) == {"text", "uri", "title", "metadata"}
    assert json.dumps(content)
