"""The asynchronous client does what the other does, request by request."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from latewood import AsyncClient, Client, LatewoodError, UnreachableError

Work = Callable[[AsyncClient], Coroutine[Any, Any, Any]]


def using(url: str, work: Work) -> Any:
    async def run() -> Any:
        async with AsyncClient(url) as client:
            return await work(client)

    return asyncio.run(run())


def test_it_has_the_methods_of_the_other_with_the_same_parameters() -> None:
    public = [name for name in vars(Client) if not name.startswith("_")]
    assert public == [name for name in vars(AsyncClient) if not name.startswith("_")]
    for name in public:
        one, other = (inspect.signature(getattr(client, name)) for client in (Client, AsyncClient))
        assert list(one.parameters.values()) == list(other.parameters.values()), name


def test_everything_goes_in_is_found_amended_listed_and_removed(url: str, tmp_path: Path) -> None:
    file = tmp_path / "boats.txt"
    file.write_text("The fleet has three boats.")

    async def work(client: AsyncClient) -> None:
        job = await client.add_text("The ferry leaves at nine.", collection="asked", uri="upload:ferry")
        *_, last = [state async for state in client.follow(job)]
        assert last == await client.job(job)
        (handed,) = await client.add_files([file], collection="asked", metadata={"team": "deck"})
        *_, last = [state async for state in client.follow(handed)]
        assert last["counts"]["added"] == 1
        answer = await client.search("ferry", collection="asked", limit=1)
        with Client(url) as other:
            same = other.search("ferry", collection="asked", limit=1)
        assert answer["results"] == same["results"]
        listed = [one async for one in client.documents("asked")]
        assert {one["uri"] for one in listed} == {"upload:ferry", "upload:boats.txt"}
        (boats,) = [one for one in listed if one["uri"] == "upload:boats.txt"]
        assert boats["metadata"]["team"] == "deck"
        assert (await client.amend(boats["id"], {"team": None}, "asked"))["metadata"].get("team") is None
        assert (await client.document(boats["id"], "asked"))["text"] == "The fleet has three boats."
        found = await client.facets("kind", collection="asked", filters={"type": "and", "filters": []})
        assert found["documents"] == 2
        await client.delete(boats["id"], "asked")
        assert len([one async for one in client.documents("asked")]) == 1

    using(url, work)


@pytest.mark.parametrize("ask", ["search", "follow"])
def test_errors_are_those_of_the_other(url: str, ask: str) -> None:
    async def work(client: AsyncClient) -> None:
        if ask == "search":
            await client.search("x", collection="nothing")
        else:
            [state async for state in client.follow("no-job")]

    with pytest.raises(LatewoodError, match="no") as refused:
        using(url, work)
    assert refused.value.status == 404
    with pytest.raises(UnreachableError):
        using("http://127.0.0.1:9", work)


def test_many_questions_are_asked_at_once(url: str) -> None:
    with Client(url) as client:
        *_, _ = client.follow(client.add_text("The ferry leaves.", collection="many"))

    async def work(client: AsyncClient) -> Any:
        return await asyncio.gather(*(client.search("ferry", collection="many") for _ in range(8)))

    assert [len(answer["results"]) for answer in using(url, work)] == [1] * 8


def test_files_are_handed_in_by_the_other_too(url: str, tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(f"Of {name}.")
    with Client(url) as client:
        jobs = client.add_files([tmp_path / "a.txt", str(tmp_path / "b.txt")], collection="filed")
        ended = [list(client.follow(job))[-1] for job in jobs]
        assert [state["source"] for state in ended] == ["upload:a.txt", "upload:b.txt"]
        with pytest.raises(FileNotFoundError):
            client.add_files([tmp_path / "none.txt"])
