"""An open collection: what reads it and what writes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from latewood.embedder.models.registry import languages_known
from latewood.embedder.types import Embedder
from latewood.engine.models import QueryEmbedder, fingerprint
from latewood.engine.settings import Settings
from latewood.ingest.pipeline import Index
from latewood.search.filters import Limits
from latewood.search.searcher import Searcher
from latewood.search.stores.generations import layout
from latewood.search.stores.generations.switch import SwitchStore
from latewood.search.types import StoreUnavailableError

if TYPE_CHECKING:
    from latewood.engine.library import Service


@dataclass(frozen=True, slots=True)
class Opened:
    """An open index: the store, what answers queries, what ingests.

    The store is that of whichever generation is current, for good; the searcher is bound to one generation
    and its model, and keeps that open. So a searcher is to be asked for anew with each request.
    """

    store: SwitchStore
    searcher: Searcher
    index: Index


def assemble(service: Service, tenant: str, collection: str, live: SwitchStore) -> Opened:
    """What reads and writes the generation that is current in `live`."""
    held = live.held()
    config = held.store.config
    settings = service.settings

    def query_embedder() -> Embedder:
        found = service.embedder(service.model_of(config))
        layout.check_fingerprint(config, fingerprint(found, service.analyzer))
        layout.check_dimensions(config, settings.dimensions)
        return found

    def check() -> None:
        analyzer = {"analyzer": service.analyzer.fingerprint}
        layout.check_fingerprint(config, {**config.fingerprint, **analyzer})

    def embedder() -> Embedder:
        if not live.config.same_vectors(config):
            raise StoreUnavailableError("the index was given another model meanwhile; start again")
        return query_embedder()

    to_vector = QueryEmbedder(held, query_embedder, config.dimensions[0])
    knows = languages_known(config.fingerprint.get("model", ""), settings.source.described)
    searcher = Searcher(
        held.store, to_vector, service.analyzer, limits_of(settings), service.reranker, check, knows
    )
    index = Index(tenant, collection, live, embedder, service.analyzer, settings.chunk_tokens)
    return Opened(live, searcher, index)


def limits_of(settings: Settings) -> Limits:
    """The most that one query may ask for."""
    return Limits(
        query_characters=settings.query_characters,
        limit=settings.limit,
        filter_depth=settings.filter_depth,
        filter_conditions=settings.filter_conditions,
        expand=settings.expand,
        rerank_passages=settings.rerank_passages,
    )
