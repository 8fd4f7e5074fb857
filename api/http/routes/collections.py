"""`/collections`: names, a new one, one that goes."""

from __future__ import annotations

from fastapi import APIRouter, Response

from latewood.api.http.authorization import ServiceOf, TenantOf
from latewood.api.http.schemas.documents import ErrorOut, Strict, shown
from latewood.api.http.strict_json import StrictRoute
from latewood.engine import collections

router = APIRouter(
    prefix="/collections",
    tags=["collections"],
    responses={"4XX": {"model": ErrorOut}},
    route_class=StrictRoute,
)


class CollectionBody(Strict):
    """A collection to make."""

    name: str

    model_config = shown(name="handbook")


@router.get("")
def names(service: ServiceOf, tenant: TenantOf) -> dict[str, list[str]]:
    """Names of the collections."""
    return {"collections": service.collections(tenant)}


@router.post("", status_code=201)
def create(body: CollectionBody, service: ServiceOf, tenant: TenantOf) -> dict[str, str]:
    """Make an empty collection, for the model in use; the first document handed in would do so, too."""
    collections.create(service, tenant, body.name)
    return {"name": body.name}


@router.delete("/{name}", status_code=204)
def delete(name: str, service: ServiceOf, tenant: TenantOf) -> Response:
    """Remove a collection with everything in it, for good; 409 while a job of it waits or runs."""
    collections.delete(service, tenant, name)
    return Response(status_code=204)
