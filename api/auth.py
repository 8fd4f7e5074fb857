"""Who is asking: the tenant of a request, and whether it may administer."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Header, Request

from api.build import Service
from api.errors import ApiError
from api.owner import TENANT_HEADER
from search.stores import catalog


def service_of(request: Request) -> Service:
    """The service behind the application."""
    found: Service = request.app.state.service
    return found


def is_admin(request: Request) -> bool:
    """Whether the request came over the owner's socket."""
    return bool(getattr(request.state, "admin", False))


def admin_only(request: Request) -> None:
    """Refuse what did not come over the owner's socket."""
    if not is_admin(request):
        raise ApiError(403, "admin_only", "only the command line on the service's own machine may do this")


def tenant_of(
    request: Request,
    tenant: Annotated[str | None, Header(alias=TENANT_HEADER, include_in_schema=False)] = None,
) -> str:
    """The tenant of a request: `default`, or over the owner's socket the one it names."""
    if tenant is None or not is_admin(request):
        return "default"
    catalog.check_names(tenant)
    return tenant


ServiceOf = Annotated[Service, Depends(service_of)]
TenantOf = Annotated[str, Depends(tenant_of)]
