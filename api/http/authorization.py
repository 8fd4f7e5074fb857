"""Who is asking: the tenant of a request, and what it may do.

What routes depend on is async though it waits for nothing: else each would go through a thread of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request

from latewood.api.http.api_keys import SCOPES
from latewood.api.owner import TENANT_HEADER
from latewood.engine.errors import ApiError
from latewood.engine.library import Service
from latewood.search.stores.generations import layout


@dataclass(frozen=True, slots=True)
class Access:
    """What a request may see and do.

    Attributes:
        scope: the widest of `api.keys.SCOPES`; it includes those before it.
        key: the id of the key that was shown; empty where none was.
        local: whether it came over the owner's socket: then it may name any tenant.
    """

    tenant: str
    scope: str
    key: str = ""
    local: bool = False


ANYONE = Access("default", "admin")
"""Who asks over loopback without a key: whoever can run a program on this machine."""

OWNER = Access("default", "admin", local=True)

NEEDED = {
    ("POST", "/search"): "read",
    ("GET", "/facets"): "read",
    ("GET", "/documents"): "read",
    ("GET", "/documents/{id}"): "read",
    ("POST", "/documents"): "write",
    ("PATCH", "/documents/{id}"): "write",
    ("DELETE", "/documents/{id}"): "write",
    ("GET", "/jobs"): "read",
    ("GET", "/jobs/{id}"): "read",
    ("GET", "/jobs/{id}/events"): "read",
    ("POST", "/jobs/{id}/cancel"): "write",
    ("POST", "/jobs/{id}/retry"): "write",
    ("GET", "/status"): "read",
    ("GET", "/collections"): "read",
    ("POST", "/collections"): "write",
    ("POST", "/v1/embeddings"): "read",
    ("GET", "/v1/models"): "read",
    ("GET", "/v1/models/{model:path}"): "read",
    ("POST", "/v1/rerank"): "read",
    ("POST", "/v2/rerank"): "read",
    ("POST", "/rerank"): "read",
    ("POST", "/v1/vector_stores/{collection}/search"): "read",
    ("GET", "/healthz"): "read",
    ("GET", "/readyz"): "read",
}
"""What each route asks for; `admin` where a route is not named."""


async def service_of(request: Request) -> Service:
    """The service behind the application."""
    found: Service = request.app.state.service
    return found


def access_of(request: Request) -> Access:
    """What the request may do, as the gate found out."""
    found: Access = request.state.access
    return found


def is_admin(request: Request) -> bool:
    """Whether the request came over the owner's socket."""
    return access_of(request).local


async def admin_only(request: Request) -> None:
    """Refuse what did not come over the owner's socket."""
    if not is_admin(request):
        raise ApiError(403, "admin_only", "only the command line on the service's own machine may do this")


async def scope_needed(request: Request) -> None:
    """Refuse a key whose scopes do not reach as far as the route.

    Raises:
        ApiError: 403, naming what the route needs.
    """
    check_scope(access_of(request), NEEDED.get((request.method, request.scope["route"].path), "admin"))


def check_scope(access: Access, needed: str) -> None:
    """Hold an access against the scope that something needs.

    Raises:
        ApiError: 403.
    """
    if SCOPES.index(access.scope) < SCOPES.index(needed):
        raise ApiError(
            403,
            "scope_missing",
            f"this key has the scope {access.scope!r}, and {needed!r} is needed; "
            f"`latewood keys create --tenant {access.tenant} --scopes {needed}` makes one",
        )


async def tenant_of(
    request: Request,
    tenant: Annotated[str | None, Header(alias=TENANT_HEADER, include_in_schema=False)] = None,
) -> str:
    """The tenant of a request: its key's, or over the owner's socket the one it names."""
    access = access_of(request)
    if tenant is None or not access.local:
        return access.tenant
    layout.check_names(tenant)
    return tenant


ServiceOf = Annotated[Service, Depends(service_of)]
TenantOf = Annotated[str, Depends(tenant_of)]
