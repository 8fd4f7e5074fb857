"""Collections come and go: an empty one is made, or one is taken out with everything in it."""

from __future__ import annotations

from latewood.engine.errors import ApiError
from latewood.engine.library import Service
from latewood.search.stores.generations import layout


def create(service: Service, tenant: str, collection: str) -> None:
    """Make an empty collection for the model in use.

    Raises:
        ApiError: 409, there is one of that name.
        QueryError: a name that is not allowed.
    """
    layout.check_names(tenant, collection)
    if service.exists(tenant, collection):
        raise ApiError(
            409, "collection_exists", f"collection {collection!r} is there already; delete it first"
        )
    service.open(tenant, collection, create=True)


def delete(service: Service, tenant: str, collection: str) -> None:
    """Take a collection out: one rename, and nobody finds it any more; then its files are removed.

    Searches that are under way are answered or told to ask again. What was handed in for it and could not be
    read is forgotten, too.

    Raises:
        ApiError: 404, there is none; 409, a job of it waits or runs.
        QueryError: a name that is not allowed.
    """
    layout.check_names(tenant, collection)
    if not service.exists(tenant, collection):
        raise ApiError(404, "collection_not_found", f"no collection {collection!r} here")
    with service.rebuilds.dropping(tenant, collection), service.taken_out(tenant, collection):
        service.catalog.delete(tenant, collection)
        service.spool.remove_collection(tenant, collection)
        service.spool.sync()
