"""`GET /facets`: how many documents have each value of a key, as a filter on it would leave them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from latewood.api.http.authorization import ServiceOf, TenantOf
from latewood.api.http.schemas.documents import ErrorOut
from latewood.api.http.schemas.search import FacetOut, FacetsOut
from latewood.api.http.strict_json import StrictRoute, parse_json
from latewood.engine.collection import limits_of
from latewood.search.filters import parse_filter

router = APIRouter(tags=["search"], responses={"4XX": {"model": ErrorOut}}, route_class=StrictRoute)


@router.get("/facets")
def facets(
    service: ServiceOf,
    tenant: TenantOf,
    key: Annotated[str, Query(description="`kind`, `language`, …, or a key of the metadata")],
    collection: Annotated[str, Query(description="the collection")] = "default",
    filters: Annotated[str | None, Query(description="JSON, as in `POST /search`")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="most values in the answer")] = 20,
) -> FacetsOut:
    """Values of a key among the documents that match, most documents first."""
    store = service.open(tenant, collection).store
    where = None
    if filters is not None:
        where = parse_filter(parse_json(filters, "filters"), limits_of(service.settings))
    found = store.facets(key, where)
    return FacetsOut(
        key=found.key,
        documents=found.documents,
        values=[FacetOut(value=one.value, documents=one.documents) for one in found.values[:limit]],
        distinct=len(found.values),
    )
