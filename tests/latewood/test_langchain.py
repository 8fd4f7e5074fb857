"""The retriever in a real chain of LangChain's, over the real service."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda

from latewood import AsyncClient, Client, LatewoodError
from latewood.api.http.schemas.search import SearchBody
from latewood.client.protocol import SEARCH_OPTIONS
from latewood.integrations.langchain import LatewoodRetriever


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[Client]:
    with Client(url) as made:
        for name, year in (("ferry", 2024), ("kiosk", 2025)):
            fields = {"uri": f"upload:{name}", "title": name.title(), "metadata": {"year": year}}
            job = made.add_text(f"All about the {name}.", collection="chain", **fields)
            assert list(made.follow(job))[-1]["status"] == "completed"
        yield made


def test_passages_come_as_documents_with_what_a_citation_needs(client: Client) -> None:
    retriever = LatewoodRetriever(client=client, collection="chain", limit=2)
    found = retriever.invoke("about the ferry")
    wanted = client.search("about the ferry", collection="chain", limit=2)["results"]
    assert all(isinstance(one, Document) for one in found)
    assert [one.id for one in found] == [one["id"] for one in wanted]
    assert [one.page_content for one in found] == [one["text"] for one in wanted]
    first, told = found[0].metadata, wanted[0]
    assert first["year"] in {2024, 2025}
    for name in ("document_id", "uri", "title", "start", "end", "page_start", "score"):
        assert first[name] == told[name]


def test_it_is_a_link_of_a_chain(client: Client) -> None:
    retriever = LatewoodRetriever(
        client=client,
        collection="chain",
        options={"mode": "bm25", "filters": {"type": "eq", "key": "year", "value": 2025}},
    )
    chain = retriever | RunnableLambda(lambda documents: [one.metadata["uri"] for one in documents])
    assert chain.invoke("about the kiosk") == ["upload:kiosk"]
    assert chain.batch(["kiosk", "zeppelin"]) == [["upload:kiosk"], []]


@pytest.mark.parametrize("ask", ["invoke", "batch", "ainvoke", "async_client"])
def test_options_of_one_call_are_honoured(client: Client, url: str, ask: str) -> None:
    retriever = LatewoodRetriever(client=client, collection="chain", limit=5)
    options: dict[str, Any] = {"filters": {"type": "eq", "key": "year", "value": 2025}, "limit": 1}

    async def waiting() -> list[Document]:
        if ask == "ainvoke":
            return await retriever.ainvoke("all about", **options)
        async with AsyncClient(url) as asynchronous:
            own = LatewoodRetriever(async_client=asynchronous, collection="chain", limit=5)
            return await own.ainvoke("all about", **options)

    if ask == "invoke":
        found = retriever.invoke("all about", **options)
    elif ask == "batch":
        (found,) = retriever.batch(["all about"], **options)
    else:
        found = asyncio.run(waiting())
    assert [one.metadata["uri"] for one in found] == ["upload:kiosk"]
    assert len(retriever.invoke("all about")) == 2


def test_an_unknown_option_is_refused_and_none_keeps_the_retrievers_own(client: Client) -> None:
    own = {"filters": {"type": "eq", "key": "year", "value": 2024}}
    retriever = LatewoodRetriever(client=client, collection="chain", options=own)
    assert [one.metadata["uri"] for one in retriever.invoke("all about", filters=None)] == ["upload:ferry"]
    with pytest.raises(TypeError, match="unknown option filter; a search has: collection, expand"):
        retriever.invoke("all about", filter={})


def test_a_filter_given_to_the_constructor_is_refused_with_its_name(client: Client) -> None:
    with pytest.raises(ValueError, match="filters"):
        LatewoodRetriever(client=client, filters={"type": "eq", "key": "year", "value": 2024})


def test_the_options_are_the_fields_of_a_search() -> None:
    assert SEARCH_OPTIONS | {"query"} == set(SearchBody.model_fields)


def test_it_waits_with_either_client(client: Client, url: str) -> None:
    async def ask(own: bool) -> Any:
        async with AsyncClient(url) as waiting:
            given = {"async_client": waiting} if own else {"client": client}
            return await LatewoodRetriever(collection="chain", **given).ainvoke("about the ferry")

    assert asyncio.run(ask(own=True)) == asyncio.run(ask(own=False))


def test_it_needs_a_client_and_passes_on_what_is_refused(client: Client) -> None:
    with pytest.raises(ValueError, match="give a client"):
        LatewoodRetriever()
    with pytest.raises(LatewoodError, match="nothing"):
        LatewoodRetriever(client=client, collection="nothing").invoke("x")
    with pytest.raises(TypeError, match="ainvoke"):
        LatewoodRetriever(async_client=AsyncClient()).invoke("x")
