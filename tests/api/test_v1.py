"""`/v1` through the real packages of those whose shape it has, over a real server."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any

import cohere
import numpy as np
import openai
import pytest
from starlette.testclient import TestClient

from latewood.api.http.app import LoopbackOnly, create_app
from latewood.api.http.routes.embeddings import joined
from latewood.embedder.serving.engine import load_embedder
from latewood.embedder.types import Span, SpannedText, Task
from latewood.engine.library import Service
from latewood.engine.settings import Settings

DOCUMENT = (
    "Berlin is the capital of Germany.",
    " It has more than 3.85 million inhabitants.\n",
    "A big city.",
)
WHOLE = "Berlin is the capital of Germany. It has more than 3.85 million inhabitants.\nA big city."


def cosines(found: Any, wanted: Any) -> Any:
    one, other = np.array(found, dtype=np.float64), np.array(wanted, dtype=np.float64)
    return (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


@pytest.fixture(scope="module")
def jina(jina_folder: Any, fast_folder: Any) -> Iterator[TestClient]:
    service = Service(Settings(data=fast_folder / "v1", model=str(jina_folder), batch=4))
    yield TestClient(create_app(service), raise_server_exceptions=False)
    service.close()


@pytest.fixture(scope="module")
def client(jina: TestClient, serve: Any) -> Iterator[openai.OpenAI]:
    with serve(LoopbackOnly(jina.app)) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="none") as made:
        yield made


@pytest.fixture(scope="module")
def library(jina_folder: Any) -> Iterator[Any]:
    embedder = load_embedder(str(jina_folder))
    yield embedder
    embedder.close()


@pytest.mark.parametrize("task", list(Task))
def test_openais_package_gets_the_librarys_vectors_for_each_task(
    client: Any, library: Any, task: Task
) -> None:
    answer = client.embeddings.create(model="default", input=list(DOCUMENT), extra_body={"task": str(task)})
    found = [one.embedding for one in answer.data]
    assert cosines(found, library.embed_texts(DOCUMENT, task)).min() > 0.9999
    assert [one.index for one in answer.data] == [0, 1, 2]
    assert answer.usage.prompt_tokens == sum(len(library.token_offsets(text)) for text in DOCUMENT)


def test_late_chunking_equals_the_library_on_the_joined_document(client: Any, library: Any) -> None:
    spans = (Span(0, 33), Span(33, 77), Span(77, 88))
    assert joined(DOCUMENT) == SpannedText(WHOLE, spans)
    answer = client.embeddings.create(
        model="default", input=list(DOCUMENT), extra_body={"late_chunking": True}
    )
    found = [one.embedding for one in answer.data]
    (late,) = library.embed_documents([SpannedText(WHOLE, spans)], context=1.0)
    assert cosines(found, late).min() > 0.9999
    assert cosines(found, library.embed_texts(DOCUMENT, Task.PASSAGE)).max() < 0.9999


def test_inputs_are_joined_by_a_space_only_where_neither_side_has_one() -> None:
    texts = ["a", "b", " c", "d\n", "e"]
    document = joined(texts)
    assert document.text == "a b cd\ne".replace("cd", "c d")
    assert [document.text[span.start : span.end] for span in document.spans] == texts


def test_a_smaller_dimension_is_cut_and_normalised_again(client: Any, library: Any) -> None:
    answer = client.embeddings.create(model="default", input=DOCUMENT[0], dimensions=32)
    (found,) = [one.embedding for one in answer.data]
    whole = library.embed_texts(DOCUMENT[:1], Task.PASSAGE)
    assert len(found) == 32
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)
    assert cosines([found], whole[:, :32]).min() > 0.9999


def test_base64_is_little_endian_float32(jina: TestClient) -> None:
    """The package asks for it by itself and unpacks it; here it is seen as it is sent."""
    plain, *packed = (
        jina.post("/v1/embeddings", json={"input": DOCUMENT[0], **fields}).json()["data"][0]["embedding"]
        for fields in ({}, {"encoding_format": "base64"}, {"embedding_type": "base64"})
    )
    assert packed[0] == packed[1]
    np.testing.assert_allclose(np.frombuffer(base64.b64decode(packed[0]), "<f4"), plain, rtol=1e-6)


@pytest.mark.parametrize(
    ("body", "status", "code", "words"),
    [
        ({"input": []}, 422, "invalid_request", "input has 0 texts; it must have 1 to 4 (BATCH)"),
        ({"input": ["x"] * 5}, 422, "invalid_request", "input has 5 texts; it must have 1 to 4"),
        ({"input": ["x", " "]}, 422, "empty_text", "input 1 is blank"),
        ({"input": [1, 2]}, 422, "invalid_request", "check_embedding_ctx_length=False"),
        ({"input": [[9906, 1917], [15339]]}, 422, "invalid_request", "check_embedding_ctx_length=False"),
        ({"input": "x", "dimensions": 63}, 422, "invalid_dimensions", "dimensions is 63"),
        ({"input": "x", "model": "ada"}, 404, "model_not_found", "'ada' is not served here"),
        ({"input": "x", "task": "chat"}, 422, "invalid_request", "task"),
        ({"input": "x", "task": "separation", "late_chunking": True}, 422, "invalid_request", "leave one"),
        ({"input": "x", "colour": 1}, 422, "invalid_request", "unknown field colour; known: input, model"),
        ({"input": "x", "normalized": False}, 422, "invalid_request", "normalized"),
    ],
)
def test_what_cannot_be_embedded_is_refused(
    jina: TestClient, body: Any, status: int, code: str, words: str
) -> None:
    answer = jina.post("/v1/embeddings", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert words in answer.json()["error"]["message"]


def test_a_batch_as_large_as_allowed_is_embedded(jina: TestClient) -> None:
    assert len(jina.post("/v1/embeddings", json={"input": ["x"] * 4}).json()["data"]) == 4


# --- vector stores ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(shared_http: TestClient, hand_in: Any, serve: Any) -> Iterator[openai.OpenAI]:
    for name, text, year in (
        ("boats.md", "The last ferry leaves at nine.", 2024),
        ("tea.md", "The kiosk sells tea to the crew of the ferry.", 2025),
        ("seals.md", "Seals sleep near the pier.", 2026),
    ):
        hand_in(
            shared_http,
            text,
            collection="papers",
            uri=f"upload:{name}",
            title=name[:-3],
            metadata={"year": year, "tags": ["a", "b"]},
        )
    app = LoopbackOnly(shared_http.app)
    with serve(app) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="none") as made:
        yield made


def test_openais_package_searches_a_collection_as_a_vector_store(store: Any, shared_http: TestClient) -> None:
    page = store.vector_stores.search(
        "papers", query="the last ferry leaves at nine boats", max_num_results=2
    )
    found = list(page)
    answer = shared_http.post(
        "/search", json={"query": "the last ferry leaves at nine boats", "collection": "papers", "limit": 2}
    )
    wanted = answer.json()["results"]
    assert [one.content[0].text for one in found] == [one["text"] for one in wanted]
    assert [one.file_id for one in found] == [one["document_id"] for one in wanted]
    assert [one.score for one in found] == [pytest.approx(one["score"]) for one in wanted]
    first = found[0]
    assert (first.filename, first.attributes["uri"]) == ("boats.md", "upload:boats.md")
    assert (first.attributes["year"], first.attributes["tags"]) == (2024, "a, b")
    assert (first.attributes["start"], first.attributes["end"]) == (0, 30)
    assert first.score == 1.0


def test_filters_and_a_threshold_narrow_it(store: Any) -> None:
    where = {"type": "gte", "key": "year", "value": 2025}
    found = list(store.vector_stores.search("papers", query="ferry", filters=where))
    assert {one.filename for one in found} == {"tea.md", "seals.md"}
    best = list(
        store.vector_stores.search(
            "papers", query="the last ferry leaves at nine boats", ranking_options={"score_threshold": 1.0}
        )
    )
    assert [one.filename for one in best] == ["boats.md"]


def test_of_several_questions_each_passage_has_its_best_score(store: Any) -> None:
    questions = ["boats the last ferry leaves at nine", "seals sleep near the pier"]
    page = store.vector_stores.search("papers", query=questions, max_num_results=2)
    assert {(one.filename, one.score) for one in page} == {("boats.md", 1.0), ("seals.md", 1.0)}


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        ({"max_num_results": 51}, 422, "max_num_results"),
        ({"query": ["x"] * 17}, 422, "query"),
        ({"query": " "}, 422, "query is empty"),
        ({"rewrite_query": True}, 422, "rewrite_query"),
        ({"vector_store_id": "nothing"}, 404, "no collection 'nothing'"),
        ({"ranking_options": {"score_threshold": 1.1}}, 422, "score_threshold"),
    ],
)
def test_the_package_raises_what_the_service_refuses(
    store: Any, options: Any, status: int, words: str
) -> None:
    asked = {"vector_store_id": "papers", "query": "ferry", **options}
    with pytest.raises(openai.APIStatusError, match=words) as refused:
        store.vector_stores.search(**asked)
    assert refused.value.status_code == status


def test_limits_of_a_store_search_are_met_at_their_edge(store: Any) -> None:
    assert len(list(store.vector_stores.search("papers", query=["ferry"] * 16, max_num_results=50))) == 3


# --- rerank -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ranking(open_service: Callable[..., Service], cross_encoder: str) -> Iterator[TestClient]:
    # No rerank of a search is ever done in so little time: this route does not go by it.
    service = open_service(reranker=cross_encoder, rerank_seconds=1e-9, batch=3)
    yield TestClient(create_app(service), raise_server_exceptions=False)
    service.close()


def test_coheres_package_has_documents_reranked(ranking: TestClient, serve: Any, cross_encoder: str) -> None:
    from latewood.embedder.rerank.reranker import load_reranker

    reranker = load_reranker(cross_encoder)
    wanted = reranker.score("capital city", DOCUMENT)
    reranker.close()
    order = [int(place) for place in np.argsort(-wanted)]
    with serve(LoopbackOnly(ranking.app)) as url, cohere.Client(api_key="none", base_url=url) as client:
        answer = client.rerank(model="default", query="capital city", documents=list(DOCUMENT), top_n=2)
        with pytest.raises(cohere.NotFoundError):
            client.rerank(model="other", query="capital", documents=["x"])
    assert [one.index for one in answer.results] == order[:2]
    assert [one.relevance_score for one in answer.results] == pytest.approx([wanted[at] for at in order[:2]])


def test_coheres_second_version_is_served(ranking: TestClient, serve: Any, cross_encoder: str) -> None:
    with (
        serve(LoopbackOnly(ranking.app)) as url,
        cohere.Client(api_key="none", base_url=url) as first,
        cohere.ClientV2(api_key="none", base_url=url) as second,
    ):
        asked: dict[str, Any] = {"model": "default", "query": "capital city", "documents": list(DOCUMENT)}
        one = first.rerank(**asked, max_chunks_per_doc=10, rank_fields=["text"])
        two = second.rerank(**asked, max_tokens_per_doc=4096)
    assert [each.index for each in two.results] == [each.index for each in one.results]


def test_the_bare_path_answers_as_the_first_version(ranking: TestClient) -> None:
    body = {"query": "capital", "documents": ["Berlin", "city"]}
    bare, first = (ranking.post(path, json=body).json() for path in ("/rerank", "/v1/rerank"))
    assert bare["results"] == first["results"]


def test_an_answer_counts_tokens_and_its_model_is_no_path(ranking: TestClient, cross_encoder: str) -> None:
    answer = ranking.post("/v1/rerank", json={"query": "capital", "documents": ["Berlin", "city"]}).json()
    assert answer["usage"]["total_tokens"] > 2
    assert "/" not in answer["model"]
    assert cross_encoder.endswith(answer["model"])
    again = {"model": answer["model"], "query": "capital", "documents": ["Berlin"]}
    assert ranking.post("/v1/rerank", json=again).status_code == 200


def test_a_document_without_words_comes_last(ranking: TestClient) -> None:
    answer = ranking.post("/v1/rerank", json={"query": "capital", "documents": ["", "Berlin", " "]})
    assert [one["index"] for one in answer.json()["results"]] == [1, 0, 2]


def test_jinas_clients_find_the_message_of_an_error(ranking: TestClient) -> None:
    answer = ranking.post("/v1/rerank", json={"model": "nope", "query": "a", "documents": ["a"]}).json()
    assert answer["detail"] == answer["error"]["message"]
    assert "detail" not in ranking.post("/search", json={}).json()


def test_the_models_are_listed(ranking: TestClient, client: Any) -> None:
    (listed,) = client.models.list().data
    assert client.models.retrieve(listed.id).id == listed.id
    assert len(ranking.get("/v1/models").json()["data"]) == 2
    missing = ranking.get("/v1/models/nope")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


def test_by_default_a_batch_takes_what_openais_clients_send() -> None:
    assert Settings(data="x").batch >= 2048


def test_documents_may_be_objects_and_need_not_come_back(ranking: TestClient) -> None:
    body = {"query": "capital", "documents": [{"text": "Berlin"}, "city"]}
    told = ranking.post("/v1/rerank", json=body).json()["results"]
    assert {one["index"]: one["document"]["text"] for one in told} == {0: "Berlin", 1: "city"}
    bare = ranking.post("/v1/rerank", json={**body, "return_documents": False}).json()["results"]
    assert bare == [{key: one[key] for key in ("index", "relevance_score")} for one in told]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"documents": ["x"] * 4}, 422, "documents has 4 texts; it must have 1 to 3 (BATCH)"),
        ({"documents": []}, 422, "documents"),
        ({"query": ""}, 422, "the query has 0 characters"),
        ({"query": "x" * 8193}, 422, "at most 8192 characters (QUERY_CHARACTERS)"),
        ({"top_n": 0}, 422, "top_n"),
        ({"colour": 1}, 422, "unknown field colour"),
    ],
)
def test_what_cannot_be_reranked_is_refused(ranking: TestClient, body: Any, status: int, words: str) -> None:
    answer = ranking.post("/v1/rerank", json={"query": "capital", "documents": ["x"], **body})
    assert answer.status_code == status
    assert words in answer.json()["error"]["message"]


def test_without_a_reranker_it_says_which_setting_names_one(shared_http: TestClient) -> None:
    answer = shared_http.post("/v1/rerank", json={"query": "x", "documents": ["x"]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    assert "RERANKER" in answer.json()["error"]["message"]
