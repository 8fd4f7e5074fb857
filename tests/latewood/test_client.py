"""The client against the real service: every method, every kind of error."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import latewood
from latewood import Client, LatewoodError, UnreachableError
from latewood.client.client import DocumentDetail, DocumentSummary, JobState, Result, SearchResponse

AROUND = {"before", "after", "highlights", "sentence"}
ROOT = Path(__file__).resolve().parents[2]
NOBODY = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as made:
        yield made


@pytest.fixture
def admin(owner: tuple[Any, Path]) -> Iterator[Client]:
    with Client(socket=owner[1]) as made:
        yield made


def add(client: Client, text: str, **fields: Any) -> JobState:
    *_, last = client.follow(client.add_text(text, **fields))
    assert last["status"] == "completed"
    return last


def keys(kind: type) -> set[str]:
    return set(get_type_hints(kind))


def test_a_text_goes_in_and_a_cited_answer_comes_out(client: Client) -> None:
    state = add(client, "The ferry leaves at nine.", collection="ferry", uri="upload:ferry", title="Ferry")
    assert set(state) == keys(JobState) - {"result"}  # that of a job other than an ingest
    assert state["counts"]["added"] == 1
    answer = client.search("ferry", collection="ferry", limit=3, explain=True)
    assert set(answer) == keys(SearchResponse) - {"rerank"}
    (result,) = answer["results"]
    assert set(result) == keys(Result) - AROUND
    assert (result["uri"], result["text"]) == ("upload:ferry", "The ferry leaves at nine.")
    assert result["explain"]["fused"] == result["score"]
    (plain,) = client.search("ferry", collection="ferry", mode="bm25")["results"]
    assert set(plain) == keys(Result) - {"explain"} - AROUND


def test_a_document_is_listed_shown_and_removed(client: Client) -> None:
    add(client, "Soon gone.", collection="texts", uri="upload:a b/ü", metadata={"year": 2026})
    (listed,) = [one for one in client.documents("texts") if one["uri"] == "upload:a b/ü"]
    assert set(listed) == keys(DocumentSummary)
    shown = client.document(listed["id"], "texts")
    assert set(shown) == keys(DocumentDetail)
    assert (shown["uri"], shown["text"], shown["metadata"]) == ("upload:a b/ü", "Soon gone.", {"year": 2026})
    client.delete(listed["id"], "texts")
    assert listed["id"] not in {one["id"] for one in client.documents("texts")}


def test_every_page_of_documents_is_read(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        add(client, f"Document {number}.", collection="pages")
    call = client.call

    def small(method: str, path: str, **options: Any) -> dict[str, Any]:
        return call(method, path, params={**options["params"], "limit": "2"})

    monkeypatch.setattr(client, "call", small)
    listed = [document["id"] for document in client.documents("pages")]
    assert len(listed) == 5
    assert listed == sorted(set(listed))


def test_a_job_can_be_looked_at(client: Client) -> None:
    job_id = client.add_text("Look.", collection="texts")
    *_, last = client.follow(job_id)
    assert client.job(job_id) == last


def test_the_owners_socket_may_do_what_a_visitor_may_not(
    client: Client, admin: Client, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("From a folder.")
    body = {"source": str(tmp_path), "collection": "folder"}
    with pytest.raises(LatewoodError, match="ROOTS is empty") as refused:
        client.call("POST", "/jobs", json=body)
    assert (refused.value.status, refused.value.code) == (403, "source_not_allowed")
    *_, last = admin.follow(admin.call("POST", "/jobs", json=body)["id"])
    assert (last["status"], last["counts"]["added"]) == ("completed", 1)
    (document,) = client.documents("folder")
    assert document["uri"] == (tmp_path / "a.txt").as_uri()


def test_headers_go_with_every_request(owner: tuple[Any, Path]) -> None:
    with Client(socket=owner[1], headers={"X-Latewood-Tenant": "guest"}) as guest:
        add(guest, "A guest's own.", collection="private")
        assert len(list(guest.documents("private"))) == 1
    with Client(socket=owner[1]) as admin, pytest.raises(LatewoodError) as refused:
        list(admin.documents("private"))
    assert refused.value.code == "collection_not_found"


@pytest.fixture(scope="module")
def asked(url: str) -> Iterator[Client]:
    """A client with a collection to ask."""
    with Client(url) as made:
        add(made, "Something to find.", collection="texts")
        yield made


@pytest.mark.parametrize(
    ("ask", "status", "code"),
    [
        (lambda client: client.search("", collection="texts"), 422, "invalid_query"),
        (lambda client: client.search("x", collection="nothing"), 404, "collection_not_found"),
        (lambda client: client.search("x", colour="red"), 422, "invalid_request"),
        (lambda client: list(client.documents("nothing")), 404, "collection_not_found"),
        (lambda client: client.document("../search"), 404, "not_found"),
        (lambda client: client.document("no-uuid", "texts"), 404, "document_not_found"),
        (lambda client: client.delete(NOBODY, "nothing"), 404, "collection_not_found"),
        (lambda client: client.add_text(""), 422, "empty_text"),
        (lambda client: client.add_text("x", uri="file:///x"), 422, "invalid_uri"),
        (lambda client: client.add_text("x", colour="red"), 422, "invalid_request"),
        (lambda client: client.job("no-job"), 404, "job_not_found"),
        (lambda client: list(client.follow("no-job")), 404, "job_not_found"),
    ],
)
def test_an_error_answer_is_raised_with_its_code(
    asked: Client, ask: Callable[[Client], object], status: int, code: str
) -> None:
    with pytest.raises(LatewoodError) as raised:
        ask(asked)
    assert (raised.value.status, raised.value.code) == (status, code)
    assert raised.value.message == str(raised.value) != ""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_where_nobody_listens_is_unreachable() -> None:
    with Client(f"http://127.0.0.1:{free_port()}") as client:
        with pytest.raises(UnreachableError, match="no answer to POST /search"):
            client.search("anyone?")
        with pytest.raises(UnreachableError, match="while following job 7"):
            list(client.follow("7"))


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # httpcore leaves it to the collector
def test_a_socket_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    with Client(socket=tmp_path / "nobody.sock") as client, pytest.raises(UnreachableError):
        client.job("7")


def test_an_address_that_is_none_is_unreachable() -> None:
    with Client("ftp://example") as client, pytest.raises(UnreachableError):
        client.search("anyone?")


@pytest.fixture
def answering() -> Iterator[Callable[[bytes], str]]:
    """Starts servers that give one answer, whatever is asked, and hang up."""
    threads = []

    def start(answer: bytes) -> str:
        listener = socket.create_server(("127.0.0.1", 0))

        def serve() -> None:
            with closing(listener), closing(listener.accept()[0]) as connection:
                connection.recv(65536)
                connection.sendall(answer)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for thread in threads:
        thread.join()


def http(status: str, body: bytes, kind: str = "text/html") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (http("502 Bad Gateway", b"<html>proxy</html>"), 502),
        (http("500 Oops", b'{"detail": "other shape"}'), 500),
        (http("500 Oops", b'{"error": "a string"}'), 500),
        (http("500 Oops", b"[]"), 500),
        (http("200 OK", b"<html>someone else</html>"), 200),
        (http("200 OK", b"[1, 2]"), 200),
        (http("302 Found", b"moved"), 302),
    ],
)
def test_an_answer_of_someone_else_is_named_as_such(answering: Any, answer: bytes, status: int) -> None:
    with Client(answering(answer)) as client, pytest.raises(LatewoodError) as raised:
        client.job("7")
    assert (raised.value.status, raised.value.code) == (status, "unexpected_answer")


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", b"SSH-2.0-OpenSSH_9.2\r\n"]
)
def test_a_connection_that_breaks_is_unreachable(answering: Any, answer: bytes) -> None:
    with Client(answering(answer)) as client, pytest.raises(UnreachableError):
        client.job("7")


def test_events_that_break_off_are_told_and_then_unreachable(answering: Any) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    line = b': still here\n\ndata: {"status": "in_progress"}\n\n'
    events = answering(head + f"{len(line):x}\r\n".encode() + line + b"\r\n")
    with Client(events) as client:
        followed = client.follow("7")
        assert next(followed) == {"status": "in_progress"}
        with pytest.raises(UnreachableError, match="while following job 7"):
            next(followed)


def test_the_client_needs_nothing_of_the_service() -> None:
    heavy = ("api", "embedder", "ingest", "search", "fastapi", "torch", "numpy", "pydantic")
    script = f"import latewood, sys; print(*(name for name in {heavy!r} if name in sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.split() == []
    assert latewood.__all__ == sorted(latewood.__all__)
