"""`PATCH /documents/{id}`: metadata by hand, without embedding anything again."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from latewood.api.http.authorization import ServiceOf, TenantOf
from latewood.api.http.routes.documents import checked_id, existing, summary
from latewood.api.http.schemas.documents import AmendBody, DocumentOut, ErrorOut
from latewood.api.http.strict_json import StrictRoute
from latewood.engine.errors import ApiError
from latewood.ingest.index import metadata_overrides

router = APIRouter(
    prefix="/documents", tags=["documents"], responses={"4XX": {"model": ErrorOut}}, route_class=StrictRoute
)


@router.patch("/{id}")
def amend(
    id: str,
    body: AmendBody,
    service: ServiceOf,
    tenant: TenantOf,
    collection: Annotated[str, Query(description="the collection")] = "default",
) -> DocumentOut:
    """Set keys of one document's metadata; null takes a key out, keys that are not named stay.

    What is set stays when the document's file changes. The key `language` is the document's language. On the
    answer the change survives a power cut.
    """
    store = service.open(tenant, collection).index.store
    manifest = existing(store.get_manifests([checked_id(id)]), id)
    keys = metadata_overrides.told(manifest.document, {**manifest.amended, **body.metadata}).metadata
    most = service.settings.metadata_keys
    if len(keys) > most:
        raise ApiError(
            422,
            "invalid_metadata",
            f"the document would have {len(keys)} metadata keys, the limit is {most} (METADATA_KEYS); "
            "take some out with null",
        )
    amended = metadata_overrides.amend(store, manifest.id, body.metadata)
    store.sync()
    return summary(existing([] if amended is None else [amended], id))
