"""Request and response bodies of the contract. Unknown fields are refused with the list of known ones."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from latewood.ingest.metadata import LONGEST_KEY, LONGEST_VALUE, excess_of
from latewood.search.types import MetadataValue


def shown(**body: Any) -> ConfigDict:
    """The settings of a `Strict` body with an example for the interface's description."""
    return ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [body]})


class Strict(BaseModel):
    """A body that says which fields it knows. An explicit null means that an optional field is absent."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        if isinstance(value, dict):
            unknown = sorted(str(key) for key in value if key not in cls.model_fields)
            if unknown:
                raise PydanticCustomError(
                    "unknown_field",
                    "unknown field {unknown}; known: {known}",
                    {"unknown": ", ".join(unknown), "known": ", ".join(cls.model_fields)},
                )
            return {
                key: entry
                for key, entry in value.items()
                if entry is not None or cls.model_fields[key].is_required()
            }
        return value


def without_nulls(value: Any) -> Any:
    """Return an object without the keys whose value is null."""
    if isinstance(value, dict):
        return {key: entry for key, entry in value.items() if entry is not None}
    return value


def _checked_metadata(value: Any) -> Any:
    """Refuse here what the index could not keep or filter by, in one sentence; null leaves a key out."""
    value = without_nulls(value)
    if not isinstance(value, dict):
        raise _metadata_error("metadata must be an object, not {value}", value)
    for key, entry in value.items():
        if not key or '"' in key or "\\" in key:
            raise _metadata_error(
                "metadata key {value} must not be empty and have no quotes or backslashes", key
            )
        if key == "language" and not isinstance(entry, str):
            raise _metadata_error("metadata 'language' must be a string such as 'en', not {value}", entry)
        if not _is_plain(entry):
            raise _metadata_error(
                "metadata {key} is {value}; it must be a string, a boolean, a finite number within 64 bits, "
                "or a list of strings or of such numbers",
                entry,
                key,
            )
        if len(key) > LONGEST_KEY:
            raise _metadata_error(f"metadata key {{value}} is over {LONGEST_KEY} characters; shorten it", key)
        if excess := excess_of(key, entry):
            raise PydanticCustomError("metadata", "metadata {excess}", {"excess": excess})
    return value


def _checked_amendment(value: Any) -> Any:
    """As metadata, where null takes a key out; at least one key is named."""
    if value == {}:
        raise _metadata_error(
            "metadata {value} names no key; name those to set, or null to take one out", value
        )
    if isinstance(value, dict):
        removed = [key for key, entry in value.items() if entry is None]
        _checked_metadata({key: "" if key in removed else entry for key, entry in value.items()})
        return value
    return _checked_metadata(value)


def _metadata_error(template: str, value: object, key: str = "") -> PydanticCustomError:
    return PydanticCustomError("metadata", template, {"value": f"{value!r:.80}", "key": f"{key!r:.80}"})


def _is_plain(entry: Any) -> bool:
    entries = entry if isinstance(entry, list) else [entry]
    kinds = {type(one) for one in entries}
    if kinds <= {int, float}:
        return all(math.isfinite(one) if isinstance(one, float) else _fits(one) for one in entries)
    return kinds == {str} or isinstance(entry, bool)


def _fits(number: int) -> bool:
    return -(2**63) <= number < 2**63


class TextBody(Strict):
    """A document handed in as text."""

    text: str
    uri: str | None = Field(
        None, description="`upload:NAME`; a fresh one when absent", max_length=LONGEST_VALUE
    )
    title: str = Field(
        "",
        max_length=LONGEST_VALUE,
        description="absent: the title that the document has already, else its uri's name",
    )
    metadata: Annotated[dict[str, MetadataValue], BeforeValidator(_checked_metadata)] | None = Field(
        None,
        description="replaces the metadata that were handed in before; absent: they stay. Null as a value "
        "leaves the key out",
    )

    model_config = shown(
        uri="upload:kettle", title="The kettle", text="The kettle is broken.", metadata={"team": "deck"}
    )


class AmendBody(Strict):
    """Metadata to set on a document; null takes a key out."""

    metadata: Annotated[dict[str, MetadataValue | None], BeforeValidator(_checked_amendment)]

    model_config = shown(metadata={"team": "office", "draft": None})


class Accepted(BaseModel):
    """The jobs that will ingest what was handed in; it is on disk already."""

    job_id: str
    job_ids: list[str]
    uris: list[str]


class DocumentOut(BaseModel):
    """A document in a list."""

    id: str
    uri: str
    title: str
    chunks: int
    version: str
    metadata: dict[str, MetadataValue]


class DocumentsOut(BaseModel):
    """A page of documents; `next_cursor` is null on the last one."""

    documents: list[DocumentOut]
    next_cursor: str | None


class DocumentDetailOut(DocumentOut):
    """A document with its text."""

    source: str
    kind: str
    modified: str
    ingested: str
    notes: list[str]
    failure: dict[str, str] | None
    text: str


class JobBody(Strict):
    """An ingest of a folder or file on the service's machine."""

    source: str
    collection: str = "default"
    dry_run: bool = False
    keep_deleted: bool = False
    allow_empty: bool = False
    include: list[str] = []
    exclude: list[str] = []
    hidden: bool = False

    model_config = shown(source="/srv/papers", exclude=["drafts/"])


class ErrorDetail(BaseModel):
    """What, the value, the limit, the remedy."""

    code: str
    message: str
    request_id: str


class ErrorOut(BaseModel):
    """The one shape of every error."""

    error: ErrorDetail
    detail: str | None = Field(
        None, description="the message once more, where clients of Jina's and Cohere's read it"
    )
