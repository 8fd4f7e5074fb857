"""Strict reading of requests: JSON to the letter, known query parameters only, empty ones as absent ones."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json

from latewood.engine.cancellation import watching
from latewood.engine.errors import ApiError


def parse_json(text: bytes | str, what: str) -> Any:
    """The value of a JSON text. NaN, Infinity, lone surrogates and endless nesting are not JSON.

    Args:
        text: UTF-8.
        what: what it is, for the error.

    Raises:
        ApiError: 400, with the reason and where in the text.
    """
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise ApiError(400, "invalid_json", f"{what} is not JSON: {error}") from error


class StrictRequest(Request):
    """A request whose JSON is read by `parse_json`."""

    async def json(self) -> Any:
        """The body's value."""
        return parse_json(await self.body(), "the body")


class StrictRoute(APIRoute):
    """A route whose handler gets a `StrictRequest`, without the query parameters that mean null.

    Clients write an absent parameter as an empty one (`?cursor=`), for a query string has no null.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See `APIRoute.get_route_handler`."""
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            scope = request.scope
            query = _without_empty(self, scope["query_string"])
            if query != scope["query_string"]:
                scope = {**scope, "query_string": query}
            return await handle(StrictRequest(scope, request.receive))

        return strict


def _without_empty(route: APIRoute, query: bytes) -> bytes:
    """Return a query string without its empty optional parameters."""
    if not query:
        return query
    parameters = route.dependant.query_params
    optional = {one.alias.encode() for one in parameters if not one.field_info.is_required()}
    pairs = [(pair, *pair.partition(b"=")) for pair in query.split(b"&")]
    return b"&".join(pair for pair, name, _, value in pairs if value or name not in optional)


class WatchedRoute(StrictRoute):
    """A strict route whose work can know, by `nobody_waits`, that nobody waits for it any more."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See `APIRoute.get_route_handler`."""
        handle = super().get_route_handler()

        async def watched(request: Request) -> Response:
            async with watching(request) as listened:
                return await handle(listened)

        return watched


async def known_parameters(request: Request) -> None:
    """Refuse query parameters that the route does not have: a misspelt `collection` would ask another one.

    Raises:
        ApiError: 422, with the parameters that there are.
    """
    known = [parameter.alias for parameter in request.scope["route"].dependant.query_params]
    unknown = sorted(set(request.query_params) - set(known))
    if unknown:
        raise ApiError(
            422,
            "invalid_request",
            f"unknown parameter {', '.join(unknown)}; known: {', '.join(known) or 'none'}",
        )
