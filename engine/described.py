"""Models described in the settings: `[[models]]` in latewood.toml."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from latewood.embedder.models.sources import Source
from latewood.embedder.types import ModelDescription, Task
from latewood.search.analysis.languages import LANGUAGES


def _code(language: str) -> str:
    if language not in LANGUAGES:
        raise ValueError(f"{language!r} is not one of {', '.join(LANGUAGES)}; leave `knows` out")
    return language


class DescribedModel(BaseModel):
    """An encoder of one's own; what is left out is as most encoders have it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, description="what `MODEL` calls it; a hub name unless `folder` is given")
    folder: str | None = Field(None, description="where its files lie")
    revision: str = Field("main", description="the hub's commit or branch")
    pooling: Literal["mean", "cls", "last"] = "mean"
    max_tokens: int = Field(512, ge=1, description="positions, special tokens included")
    dimensions: tuple[int, ...] = Field((), description="Matryoshka sizes it was trained for")
    context: float | None = Field(
        None, ge=0, le=1, description="default of the late-chunking dial: 0.5 with pooling mean, else 0"
    )
    prompts: dict[Task, str] = Field(default={}, description="text put before the input, by task")
    include_prompt: bool = Field(True, description="whether the prompt is pooled with a text by itself")
    lowercase: bool = Field(False, description="whether texts are lowercased first")
    licence: str = "unknown"
    languages: str = "unknown"
    knows: tuple[Annotated[str, AfterValidator(_code)], ...] = Field(
        (), description="ISO 639-1 codes, where it knows these languages only"
    )

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        """Refuse what no encoder can have where the settings are read, with the name of the model."""
        self.described()
        return self

    def described(self) -> ModelDescription:
        """As the embedder takes it."""
        context = (0.5 if self.pooling == "mean" else 0.0) if self.context is None else self.context
        return ModelDescription(**(self.model_dump() | {"context": context}))


def source_of(models: tuple[DescribedModel, ...], *, fetch: bool) -> Source:
    """Where models may come from, as the settings say."""
    return Source({model.name: model.described() for model in models}, fetch)
