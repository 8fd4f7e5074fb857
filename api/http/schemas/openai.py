"""`/v1`: the shapes that clients of OpenAI, Jina and Cohere send and understand."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from latewood.api.http.schemas.documents import Strict, shown
from latewood.search.types import MetadataValue

QUERIES = 16
"""Questions in one search of a vector store."""

Vector = list[float] | str


def _texts(value: Any) -> Any:
    """Refuse arrays of token ids by name: ids of another tokenizer decode to other words, unnoticed."""
    first = value[0] if isinstance(value, list) and value else None
    if isinstance(first, list):
        first = first[0] if first else None
    if isinstance(first, int) and not isinstance(first, bool):
        raise PydanticCustomError(
            "token_ids",
            "arrays of token ids are not read, as nothing tells whose tokenizer made them; send strings. "
            "LangChain's OpenAIEmbeddings sends strings with check_embedding_ctx_length=False",
        )
    return value


class EmbeddingsBody(Strict):
    """Texts to embed, as strings: arrays of token ids belong to another tokenizer."""

    input: Annotated[str | list[str], BeforeValidator(_texts)]
    model: str = Field("default", description="`default`, or the name of the model that is served")
    task: Literal["retrieval.query", "retrieval.passage", "separation", "classification", "text-matching"] = (
        Field(
            "retrieval.passage",
            description="what the vectors are for; questions to passages are `retrieval.query`",
        )
    )
    dimensions: int | None = Field(None, ge=1, description="a Matryoshka size of the model")
    late_chunking: bool = Field(
        False,
        description="the inputs are one document, joined as given (a space only where neither side has one): "
        "each vector has seen the others' text. Of `retrieval.passage` only",
    )
    encoding_format: Literal["float", "base64"] | None = Field(
        None, description="`base64`: little-endian float32"
    )
    embedding_type: Literal["float", "base64"] | None = Field(None, description="Jina's `encoding_format`")
    encoding_type: Literal["float", "base64"] | None = Field(
        None, description="`encoding_format`, as some clients call it"
    )
    normalized: Literal[True] = Field(True, description="vectors have length 1")
    truncate: bool = Field(False, description="has no effect: nothing is cut, whatever its length")
    user: str | None = Field(None, description="OpenAI's; has no effect")

    model_config = shown(
        model="default",
        input=["Berlin is the capital of Germany.", "It has more than 3.85 million inhabitants."],
        task="retrieval.passage",
        late_chunking=True,
    )


class EmbeddingOut(BaseModel):
    """One vector: floats, or little-endian float32 in base64."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: Vector


class UsageOut(BaseModel):
    """Tokens that were read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsOut(BaseModel):
    """A vector for each input, in its order."""

    object: Literal["list"] = "list"
    data: list[EmbeddingOut]
    model: str
    usage: UsageOut


class TextPart(Strict):
    """A document to rerank, as an object."""

    text: str


class RerankAskBody(Strict):
    """Documents to put in the order in which they answer a question."""

    query: str
    documents: Annotated[list[str | TextPart], Field(min_length=1)]
    model: str = Field("default", description="`default`, or the name in RERANKER")
    top_n: int | None = Field(None, ge=1, description="the best so many; all when absent")
    return_documents: bool = Field(
        True, description="give each document's text, too; false by default at `/v2/rerank`"
    )
    rank_fields: list[str] | None = Field(
        None, description="Cohere's; has no effect: of a document only `text` is read"
    )
    max_chunks_per_doc: int | None = Field(
        None, description="Cohere's; has no effect: nothing is cut, whatever its length"
    )
    max_tokens_per_doc: int | None = Field(None, description="Cohere's; has no effect")
    priority: int | None = Field(None, description="Cohere's; has no effect")
    truncation: bool | None = Field(None, description="Jina's; has no effect")
    user: str | None = Field(None, description="OpenAI's; has no effect")

    model_config = shown(
        model="default",
        query="Who may bring a bicycle?",
        documents=["Bicycles travel free on the evening boat.", "The kiosk sells tea."],
        top_n=1,
    )


class RankedOut(BaseModel):
    """A document by its place in the request; the score lies between 0 and 1."""

    index: int
    relevance_score: float
    document: dict[str, str] | None = None


class RerankedOut(BaseModel):
    """Documents, best first."""

    id: str
    object: Literal["list"] = "list"
    model: str
    usage: UsageOut
    results: list[RankedOut]


class ModelOut(BaseModel):
    """A model that is served, by the name that requests and answers give it."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: Literal["latewood"] = "latewood"


class ModelsOut(BaseModel):
    """The models that are served."""

    object: Literal["list"] = "list"
    data: list[ModelOut]


class RankingOptions(Strict):
    """Whether to rerank (where a reranker is set), and the least score of a result."""

    ranker: Literal["none", "auto", "default-2024-11-15"] = "none"
    score_threshold: float = Field(0.0, ge=0, le=1)


class VectorStoreSearchBody(Strict):
    """A question to a collection, as the `openai` package asks it."""

    query: str | Annotated[list[str], Field(min_length=1, max_length=QUERIES)]
    filters: dict[str, Any] | None = None
    max_num_results: int = Field(10, ge=1, le=50)
    ranking_options: RankingOptions = RankingOptions()
    rewrite_query: Literal[False] = Field(False, description="questions are asked as they stand")

    model_config = shown(query="What does error E-4071 mean?", max_num_results=5)


class ContentOut(BaseModel):
    """A passage's text."""

    type: Literal["text"] = "text"
    text: str


class StoreHitOut(BaseModel):
    """A passage.

    `score` is from 0 to 1, 1 being first in every leg; `attributes` are the document's metadata, lists as
    text, and `uri`, `title`, `start`, `end`, `page_start`, `page_end` to cite it by.
    """

    file_id: str
    filename: str
    score: float
    attributes: dict[str, MetadataValue]
    content: list[ContentOut]


class StoreSearchOut(BaseModel):
    """Results, best first."""

    object: Literal["vector_store.search_results.page"] = "vector_store.search_results.page"
    search_query: list[str]
    data: list[StoreHitOut]
    has_more: Literal[False] = False
    next_page: None = None
