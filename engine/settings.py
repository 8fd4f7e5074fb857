"""Settings: `LATEWOOD_*` in the environment over `latewood.toml` over defaults. Read once, here."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from latewood.embedder.models.sources import Source
from latewood.engine.addresses import EMBEDDED, check_place, check_queue, masked
from latewood.engine.described import DescribedModel, source_of
from latewood.ingest.sources.path_templates import read_templates
from latewood.search.analysis.bm25_parameters import K1, B
from latewood.search.analysis.languages import AUTO, check_language
from latewood.search.index_config import HNSW, Dtype, Quantization, check_plan
from latewood.search.stores.generations.layout import check_names
from latewood.search.stores.server.options import ServerOptions

PREFIX = "LATEWOOD_"
FILE = "latewood.toml"
RATE = re.compile(r"[1-9][0-9]{0,8}/(second|minute|hour|day)")  # how a rate is written, e.g. 60/minute


class SettingsError(Exception):
    """A setting that cannot be used; the message names it, its value and what is allowed."""


class Settings(BaseSettings):
    """Every setting with its default. Sizes are bytes unless the name says otherwise."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix=PREFIX, toml_file=FILE, extra="forbid", frozen=True
    )

    data: Path = Field(Path("latewood-data"), description="everything the embedded mode keeps")
    store: str = Field(EMBEDDED, description="where vectors live: `embedded`, or a Qdrant server's URL")
    store_api_key: SecretStr = Field(
        SecretStr(""), description="key of the Qdrant server; shown nowhere", repr=False
    )
    store_grpc: bool = Field(False, description="ask the server by gRPC where the client can")
    store_grpc_port: int = Field(6334, ge=1, le=65535, description="the server's port for gRPC")
    store_certificate: Path | None = Field(
        None, description="file of the authority that signed the server's certificate; else the system's"
    )
    store_timeout: int = Field(10, ge=1, description="seconds the server has for one request")
    question_seconds: float = Field(
        15.0,
        gt=0,
        allow_inf_nan=False,
        description="a question waits so long for the embedded index; a process of it that hangs is replaced "
        "then",
    )
    store_retries: int = Field(2, ge=0, le=20, description="times a request that failed is made again")
    store_shards: int = Field(0, ge=0, description="shards of a new collection; 0 leaves it to the server")
    store_replicas: int = Field(1, ge=1, description="copies of each shard of a new collection")
    store_write_ordering: Literal["weak", "medium", "strong"] = Field(
        "strong", description="of writes to replicas; below `strong` a commit may be taken twice"
    )
    store_read_consistency: str = Field(
        "majority",
        description="replicas that must agree on what is read: `all`, `majority`, `quorum` or a number",
    )
    store_prefix: str = Field(
        "latewood", description="first part of every name on the server; one for each installation"
    )
    model: str = Field(
        "auto",
        description="a known name or a folder; `auto`: the index's own model, else Jina v3 where its "
        "weights are local and CUDA is there, else MiniLM",
    )
    models: tuple[DescribedModel, ...] = Field(
        (), description="encoders of one's own, tables `[[models]]` in `latewood.toml`"
    )
    fetch: bool = Field(
        False, description="fetch a named model's weights from the hub when they are not on this machine"
    )
    reranker: str = Field("", description="cross-encoder that a search may ask for; a name or a folder")
    rerank_seconds: float = Field(
        2.0, gt=0, allow_inf_nan=False, description="time for a rerank; the fused order is answered after it"
    )
    device: str = Field("auto", description="`auto`, `cpu` or `cuda`")
    dtype: str = Field("auto", description="`auto`, `float32`, `bfloat16` or `int8`")
    context: float | None = Field(
        None, ge=0, le=1, description="0 each chunk alone, 1 late chunking; by model"
    )
    window: int | None = Field(None, ge=64, description="tokens seen at once; by model")
    lead: bool = Field(
        False, description="put title and heading path before each window of a document as it is embedded"
    )
    dimensions: Annotated[tuple[int, ...], NoDecode] = Field(
        (), description="stored Matryoshka sizes, e.g. `1024,256`; by model"
    )
    plan: Annotated[str, AfterValidator(check_plan)] = Field(
        HNSW,
        description="how the dense leg searches: `hnsw`, `flat` (every vector), or stored sizes, one after "
        "the other, e.g. `256-1024`",
    )
    vector_dtype: Dtype = Field("float32", description="of stored vectors: `float32` or `float16`")
    quantization: Quantization = Field(
        "int8", description="of the vectors that are searched: `none`, `int8`, `turbo` (4 bits) or `binary`"
    )
    oversampling: float = Field(
        3.0,
        ge=1,
        le=100,
        allow_inf_nan=False,
        description="how many times more are found by quantised or shorter vectors, for whole ones to rank",
    )
    on_disk: bool = Field(False, description="leave whole vectors on disk until they are wanted")
    hnsw_m: int = Field(16, ge=2, le=512, description="edges of a passage in the graph")
    hnsw_ef_construct: int = Field(100, ge=4, le=4096, description="candidates as the graph is built")
    hnsw_ef: int = Field(100, ge=1, le=10_000, description="candidates as the graph is searched, at least")
    chunk_tokens: int = Field(256, ge=16, le=4096, description="tokens a passage may have at most")
    language: str = Field(
        AUTO,
        description="what BM25 analyses words in: `auto`, each document's own language; a code such as `de`; "
        "`none`, as they stand",
    )
    k1: float = Field(K1, ge=0, le=1000, description="of BM25: how fast repeated words stop counting")
    b: float = Field(B, ge=0, le=1, description="of BM25: how much long passages are held back")
    optimise_after: int = Field(
        20_000, ge=0, description="passages written before an index is optimised in the background; 0 never"
    )
    metadata_from_path: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="templates that make metadata of paths, e.g. `{team}/{year:int}/**`"
    )
    jobs: str = Field(
        "sqlite",
        description="where jobs are kept: `sqlite`, in `DATA`; a PostgreSQL url, for `latewood worker`s; "
        "`memory`, nowhere",
    )
    worker_seconds: float = Field(
        30.0,
        ge=1,
        le=3600,
        description="after so long without a sign a worker counts as dead, and others take over its jobs",
    )
    roots: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="folders and uris that `POST /jobs` over TCP may ingest from; none by default"
    )
    host: str = Field("127.0.0.1", description="address of `serve`; any other than loopback needs a key")
    hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="names others reach the service by, as a proxy passes them on; keys are needed then",
    )
    origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="sites whose pages may call the service, as `https://app.example` (CORS)"
    )
    proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="addresses or networks of proxies whose `X-Forwarded-For` and `-Proto` are believed",
    )
    rate: str = Field("1200/minute", description="requests of a key that has no rate of its own; `none`")
    port: int = Field(8000, ge=0, le=65535, description="port of `serve`; 0 takes a free one")
    query_characters: int = Field(8192, ge=1, description="longest query")
    limit: int = Field(1000, ge=1, description="largest `offset + limit` of a search")
    filter_depth: int = Field(8, ge=1, description="deepest nesting of a filter")
    filter_conditions: int = Field(64, ge=1, description="most conditions in a filter")
    rerank_passages: int = Field(100, ge=1, description="most passages a search may have reranked")
    expand: int = Field(10, ge=0, description="most neighbouring passages on each side of a result")
    log: str = Field("text", description="how `serve` logs: `text` or `json`, a line each")
    concurrency: int = Field(64, ge=1, description="most requests that are answered at a time")
    key_concurrency: int = Field(32, ge=1, description="most requests of one key that are answered at a time")
    head_seconds: float = Field(
        10.0, gt=0, allow_inf_nan=False, description="time for request line and headers to arrive"
    )
    body_seconds: float = Field(
        20.0,
        gt=0,
        allow_inf_nan=False,
        description="time for a body to arrive; each 1,000 bytes of it add a second",
    )
    batch: int = Field(2048, ge=1, description="most texts in one request to embed or rerank")
    body_bytes: int = Field(10_000_000, ge=1, description="largest JSON body")
    upload_bytes: int = Field(200_000_000, ge=1, description="largest upload")
    file_bytes: int = Field(500_000_000, ge=1, description="largest file of a folder")
    metadata_keys: int = Field(64, ge=0, description="most metadata keys of a document")
    parse_seconds: float = Field(60.0, gt=0, allow_inf_nan=False, description="deadline for reading one file")
    parse_bytes: int = Field(2 * 2**30, ge=2**28, description="memory one reader process may use")

    def server(self, url: str) -> ServerOptions:
        """How to reach the Qdrant server at `url`."""
        return ServerOptions(
            url=url,
            api_key=self.store_api_key.get_secret_value(),
            grpc=self.store_grpc,
            grpc_port=self.store_grpc_port,
            certificate=self.store_certificate,
            timeout=self.store_timeout,
            retries=self.store_retries,
            shards=self.store_shards,
            replicas=self.store_replicas,
            ordering=self.store_write_ordering,
            consistency=self.store_read_consistency,
            prefix=self.store_prefix,
        )

    @property
    def source(self) -> Source:
        """Where models may come from beyond what is known and installed."""
        return source_of(self.models, fetch=self.fetch)

    @field_validator(
        "dimensions", "metadata_from_path", "roots", "hosts", "origins", "proxies", mode="before"
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(part.strip() for part in value.split(",") if part.strip())

    @field_validator("metadata_from_path")
    @classmethod
    def _templates(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        read_templates(value)  # a template that cannot be read is refused here
        return value

    @field_validator("log")
    @classmethod
    def _log(cls, value: str) -> str:
        if value not in {"text", "json"}:
            raise ValueError("must be text or json")
        return value

    @field_validator("rate")
    @classmethod
    def _rate(cls, value: str) -> str:
        if value and value != "none" and not RATE.fullmatch(value):
            raise ValueError("must look like 1200/minute (second, minute, hour or day), or be none")
        return "" if value == "none" else value

    @field_validator("origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if not re.fullmatch(r"https?://[^/*?#\s]+", origin):
                raise ValueError(f"{origin!r} must be a scheme and a host, such as https://app.example")
        return value

    @field_validator("proxies")
    @classmethod
    def _proxies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in value:
            try:
                ipaddress.ip_network(proxy)
            except ValueError as error:
                raise ValueError(
                    f"{proxy!r} must be an address such as 10.0.0.5, or a network such as 10.0.0.0/8"
                ) from error
        return value

    @field_validator("store")
    @classmethod
    def _place(cls, value: str) -> str:
        check_place(value)
        return value

    @field_validator("store_read_consistency")
    @classmethod
    def _consistency(cls, value: str) -> str:
        if value not in {"all", "majority", "quorum"} and not (value.isdecimal() and int(value) >= 1):
            raise ValueError("must be all, majority, quorum or a number of replicas")
        return value

    @field_validator("store_prefix")
    @classmethod
    def _prefix(cls, value: str) -> str:
        check_names(value)
        return value

    @field_validator("jobs")
    @classmethod
    def _queue(cls, value: str) -> str:
        check_queue(value)
        return value

    @field_validator("language")
    @classmethod
    def _language(cls, value: str) -> str:
        check_language(value)
        return value

    @field_validator("device")
    @classmethod
    def _device(cls, value: str) -> str:
        if value not in {"auto", "cpu", "cuda"}:
            raise ValueError("must be auto, cpu or cuda")
        return value

    @field_validator("dtype")
    @classmethod
    def _dtype(cls, value: str) -> str:
        if value not in {"auto", "float32", "bfloat16", "int8"}:
            raise ValueError("must be auto, float32, bfloat16 or int8")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        *args: PydanticBaseSettingsSource,
        **sources: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then environment, then the file."""
        named = dict(zip(("init_settings", "env_settings"), args, strict=False)) | sources
        return named["init_settings"], named["env_settings"], TomlConfigSettingsSource(settings_cls)


@dataclass(frozen=True, slots=True)
class Origin:
    """A setting, its value, and where that came from."""

    name: str
    value: str
    origin: str


def load(**given: Any) -> Settings:
    """Read the settings; `given` (command-line options that were used) stand above everything.

    Raises:
        SettingsError: an unknown name, or a value that is not allowed.
    """
    known = set(Settings.model_fields)
    unknown = sorted(
        name
        for name in os.environ
        if name.startswith(PREFIX) and name.removeprefix(PREFIX).lower() not in known
    )
    if unknown:
        raise SettingsError(f"unknown setting {', '.join(unknown)}; known: {', '.join(_environment_names())}")
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(part) for part in error.errors())) from error
    except ValueError as error:  # a latewood.toml that is not TOML
        raise SettingsError(f"{FILE} cannot be read: {error}") from error


def origins(settings: Settings, **given: Any) -> list[Origin]:
    """Every setting with its value and where it came from, for `doctor`."""
    in_file = TomlConfigSettingsSource(Settings)()
    found = []
    for name in Settings.model_fields:
        variable = PREFIX + name.upper()
        if given.get(name) is not None:
            origin = "option"
        elif variable in os.environ:
            origin = variable
        else:
            origin = FILE if name in in_file else "default"
        found.append(Origin(name.upper(), masked(str(getattr(settings, name))), origin))
    return found


def _environment_names() -> list[str]:
    return [PREFIX + name.upper() for name in Settings.model_fields]


def _explain(error: Any) -> str:
    name = ".".join(str(part) for part in error["loc"]) or "settings"
    if error["type"] == "extra_forbidden" and error["loc"][0] == "models":
        return f"unknown name {name.upper()} in {FILE}; known: {', '.join(DescribedModel.model_fields)}"
    if error["type"] == "extra_forbidden":
        return f"unknown setting {name} in {FILE}; known: {', '.join(Settings.model_fields)}"
    return f"setting {name.upper()} = {masked(repr(error['input']))}: {error['msg']}"
