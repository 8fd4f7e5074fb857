"""Agents through the official client: over HTTP with and without keys, and over stdin and stdout."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from starlette.testclient import TestClient

from latewood import LatewoodError
from latewood.api.cli.mcp import OwnerLibrary
from latewood.api.http.api_keys import KeyStore, Wish
from latewood.api.http.app import LoopbackOnly, create_app
from latewood.api.owner import SocketServer, take_over
from latewood.engine.library import Service
from latewood.engine.owner.lock import private_socket, try_lock
from latewood.engine.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ["search", "get_document", "list_documents"]
SECRET = "xylophone"


Work = Callable[[Client], Coroutine[Any, Any, Any]]


def ask(url: str, work: Work, key: str = "", mode: str = "auto") -> Any:
    """Connect with the official client, do the work, leave."""

    async def run() -> Any:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        http = httpx2.AsyncClient(headers=headers, timeout=60)
        transport = streamable_http_client(f"{url}/mcp", http_client=http)
        async with http, Client(transport, mode=mode) as client:
            return await work(client)

    return asyncio.run(run())


def call(name: str, **arguments: Any) -> Callable[[Client], Coroutine[Any, Any, Any]]:
    async def work(client: Client) -> Any:
        return await client.call_tool(name, arguments)

    return work


@pytest.fixture(scope="module")
def url(shared_http: TestClient, hand_in: Any, serve: Any) -> Any:
    for number in range(3):
        hand_in(
            shared_http,
            f"The ferry number {number} leaves at nine. " * 5,
            collection="agents",
            uri=f"upload:{number}",
            title=f"Ferry {number}",
        )
    with serve(LoopbackOnly(shared_http.app)) as address:
        yield address


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_an_agent_finds_lists_and_reads(url: str, mode: str) -> None:
    async def work(client: Client) -> Any:
        tools = (await client.list_tools()).tools
        query = {"query": "ferry number 1", "collection": "agents", "limit": 2}
        found = await client.call_tool("search", query)
        listed = await client.call_tool("list_documents", {"collection": "agents", "limit": 2})
        first = found.structured_content["results"][0]
        read = await client.call_tool(
            "get_document",
            {"document_id": first["document_id"], "collection": "agents", "start": 4, "characters": 5},
        )
        return tools, found, listed, read

    tools, found, listed, read = ask(url, work, mode=mode)
    assert [tool.name for tool in tools] == TOOLS
    assert all(tool.annotations.read_only_hint and tool.description for tool in tools)
    results = found.structured_content["results"]
    assert len(results) == 2
    assert (results[0]["title"], results[0]["uri"]) == ("Ferry 1", "upload:1")
    assert {"document_id", "score", "text", "start", "end"} <= set(results[0])
    assert json.loads(found.content[0].text) == found.structured_content
    page = listed.structured_content
    assert (len(page["documents"]), bool(page["next_cursor"])) == (2, True)
    part = read.structured_content
    assert (part["text"], part["start"], part["end"]) == ("ferry", 4, 9)
    assert part["characters"] > 100


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("search", {"query": ""}, "the query is empty"),
        (
            "search",
            {"query": "x", "collection": "nothing"},
            r"'nothing'.*\[collection_not_found\]",
        ),
        ("search", {"query": "x", "collection": "agents", "filters": {"type": "like"}}, "filter type 'like'"),
        ("search", {"query": "x", "limit": 51}, "limit"),
        ("search", {}, "query"),
        ("get_document", {"document_id": "none", "collection": "agents"}, "no document 'none'"),
        ("list_documents", {"collection": "agents", "cursor": "none"}, "cursor"),
    ],
)
def test_what_is_refused_is_told_in_words(url: str, name: str, arguments: Any, words: str) -> None:
    answer = ask(url, call(name, **{"collection": "agents", **arguments}))
    assert answer.is_error
    (content,) = answer.content
    assert re.search(words, content.text, re.S), content.text


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("search", {"query": "ferry", "limit": None, "mode": None, "filters": None}),
        ("list_documents", {"limit": None, "cursor": None}),
    ],
)
def test_null_is_an_absent_argument(url: str, name: str, arguments: Any) -> None:
    given = {key: value for key, value in arguments.items() if value is not None}
    with_null, without = (ask(url, call(name, collection="agents", **one)) for one in (arguments, given))
    assert not with_null.is_error
    assert with_null.structured_content == without.structured_content


def test_a_tool_nobody_has_is_refused(url: str) -> None:
    answer = ask(url, call("delete_everything"))
    assert answer.is_error
    assert "delete_everything" in answer.content[0].text


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_there_is_no_session_to_open_or_end(shared_http: TestClient, method: str) -> None:
    answer = shared_http.request(method, "/mcp")
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"jsonrpc": "2.0"}', b"null", b'"x"'])
def test_what_is_no_message_is_a_client_error(shared_http: TestClient, body: bytes) -> None:
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    assert 400 <= shared_http.post("/mcp", content=body, headers=headers).status_code < 500


def test_keys_and_tenants_hold_for_agents_too(
    open_service: Callable[..., Service], finish: Any, serve: Any
) -> None:
    service = open_service(host="0.0.0.0")
    keys = KeyStore(service.data)
    own, rival = (keys.create(Wish(tenant, ("write",)))[1] for tenant in ("acme", "rival"))
    http = TestClient(create_app(service), headers={"Authorization": f"Bearer {rival}"})
    handed = http.post("/documents", json={"text": f"The {SECRET} of the rival.", "title": SECRET})
    assert finish(http, handed.json()["job_id"])["status"] == "completed"
    (document,) = http.get("/documents").json()["documents"]
    calls = [
        call("search", query=SECRET[:3]),
        call("list_documents"),
        call("get_document", document_id=document["id"]),
    ]
    with serve(create_app(service)) as address:
        seen = [ask(address, one, rival) for one in calls]
        assert all(SECRET in answer.content[0].text for answer in seen)
        blind = [ask(address, one, own) for one in calls]
        assert all(answer.is_error and SECRET not in answer.content[0].text for answer in blind)
        for wrong in ("", "lw_none"):
            with pytest.raises(ExceptionGroup) as refused:
                ask(address, calls[0], wrong)
            assert "Server returned an error" in "".join(traceback.format_exception(refused.value))


def test_over_stdin_an_agent_is_a_client_of_whoever_owns_the_data(
    open_service: Callable[..., Service], hand_in: Any, fast_folder: Path
) -> None:
    """The owner here is a service with the tests' own model: what answers must be that one."""
    data = Path(tempfile.mkdtemp(dir=fast_folder))
    handle = try_lock(data)
    assert handle is not None
    with closing(open_service(data)) as service:
        server = SocketServer(service, private_socket(data))
        try:
            hand_in(TestClient(server.app), "The ferry leaves at nine.", collection="papers", title="Ferry")
            environment = {**os.environ, "LATEWOOD_DATA": str(data), "PYTHONPATH": str(ROOT)}
            command = StdioServerParameters(
                command=sys.executable,
                args=["-m", "latewood.api.cli.main", "mcp", "--collection", "papers"],
                env=environment,
                cwd=str(ROOT),
            )

            async def run() -> Any:
                async with Client(stdio_client(command)) as client:
                    tools = [tool.name for tool in (await client.list_tools()).tools]
                    found = await client.call_tool("search", {"query": "ferry"})
                    gone = await client.call_tool("search", {"query": "ferry", "collection": "nothing"})
                    return tools, found, gone

            tools, found, gone = asyncio.run(run())
        finally:
            server.close()
            os.close(handle)
    assert tools == TOOLS
    assert found.structured_content["results"][0]["title"] == "Ferry"
    assert gone.is_error
    assert "collection_not_found" in gone.content[0].text


# httpcore leaves a socket that found nobody to the collector, and the owner may not listen yet.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
def test_the_command_owns_data_that_nobody_owns_and_makes_room_when_it_is_asked(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)

    def asks() -> None:
        with pytest.raises(LatewoodError, match="no collection 'default'"):
            library.documents("default", None, 1)

    with closing(OwnerLibrary(settings, "default", "default")) as library:
        asks()
        assert try_lock(tmp_path) is None
        os.close(take_over(settings))  # as `latewood serve` does
        asks()
        assert try_lock(tmp_path) is None
    handle = try_lock(tmp_path)
    assert handle is not None
    os.close(handle)
