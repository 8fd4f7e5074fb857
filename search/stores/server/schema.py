"""What the collections on a Qdrant server are made of, from the same plan as the embedded index."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from qdrant_client import QdrantClient, models

from latewood.search.stores.qdrant.payload import INDEXED
from latewood.search.stores.qdrant.payload_indexes import Field, indexed_fields, to_index
from latewood.search.stores.qdrant.requests import SPARSE, vector_params
from latewood.search.stores.server.client import Calls
from latewood.search.stores.server.records import FIELDS
from latewood.search.stores.server.snapshot import head_point
from latewood.search.types import IndexConfig, MetadataValue

_TYPES = {
    "keyword": models.PayloadSchemaType.KEYWORD,
    "integer": models.PayloadSchemaType.INTEGER,
    "float": models.PayloadSchemaType.FLOAT,
    "datetime": models.PayloadSchemaType.DATETIME,
}


def records_name(name: str) -> str:
    """The collection that holds the records of `name`."""
    return f"{name}.records"


def make(calls: Calls, name: str, config: IndexConfig) -> None:
    """Make an empty collection and the one of its records; what was half made before is made whole.

    The head comes last: a collection with a head is whole.

    Raises:
        StoreError: see `Calls.ask`.
    """
    # Of vectors of length 1 the product is the cosine; and the engine leaves them as they were written.
    vectors = {
        vector: params.model_copy(update={"distance": models.Distance.DOT})
        for vector, params in vector_params(config).items()
    }
    sparse = {SPARSE: models.SparseVectorParams(modifier=models.Modifier.IDF)}
    _make(calls, records_name(name), {}, {}, [("keyword", field) for field in FIELDS])
    indexed = [(kind, field) for kind, fields in INDEXED.items() for field in fields]
    _make(calls, name, vectors, sparse, [*indexed, ("keyword", "revision"), ("integer", "ordinal")])
    ordering = calls.ordering
    head = head_point(config)
    calls.write(
        f"making {name}",
        lambda client: client.upsert(
            name, [head], wait=True, ordering=ordering, update_mode=models.UpdateMode.INSERT_ONLY
        ),
    )


def _make(
    calls: Calls,
    name: str,
    vectors: Mapping[str, models.VectorParams],
    sparse: Mapping[str, models.SparseVectorParams],
    fields: Iterable[tuple[str, str]],
) -> None:
    options = calls.options

    def create(client: QdrantClient) -> None:
        if client.collection_exists(name):
            return
        client.create_collection(
            name,
            vectors_config=vectors,
            sparse_vectors_config=sparse,
            shard_number=options.shards or None,
            replication_factor=options.replicas,
            # As many as a reader asks: what was acknowledged is what a majority says.
            write_consistency_factor=options.replicas // 2 + 1,
        )

    calls.ask(f"making {name}", create)
    for kind, field in fields:
        index(calls, name, field, kind)


def index(calls: Calls, name: str, field: str, kind: str = "keyword") -> None:
    """Index a payload field."""
    calls.write(
        f"indexing {field}",
        lambda client: client.create_payload_index(
            name, field, _TYPES[kind], wait=True, ordering=calls.ordering
        ),
    )


class ServerFields:
    """Which fields of a collection's metadata have an index; see `fields`."""

    def __init__(self, calls: Calls, name: str, apart: bool) -> None:
        self._calls = calls
        self._name = name
        self._apart = apart
        self._known: set[Field] | None = None

    def cover(self, written: Iterable[Mapping[str, MetadataValue]]) -> None:
        """Index the fields about to be written that are not yet."""
        told = list(written)
        if self._known is None and to_index(told, set(), self._apart):
            self._known = self._read()
        for field in to_index(told, self._known or set(), self._apart):
            index(self._calls, self._name, field.path, field.kind)
            self._known = {*(self._known or ()), field}

    def _read(self) -> set[Field]:
        found = self._calls.ask(f"reading {self._name}", lambda client: client.get_collection(self._name))
        return indexed_fields(found.payload_schema)
