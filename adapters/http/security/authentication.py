"""Authenticates requests by an API key in `Authorization: Bearer` (RFC 6750) or in `X-API-Key`."""

import re

from starlette.requests import Request
from starlette.types import Scope as AsgiScope

from adapters.http.dependencies import get_use_cases
from adapters.http.middleware.request_context import request_context
from application.authorization import Principal, UnauthenticatedError

_BEARER = re.compile(rb"bearer +([\x21-\x7e]+)", re.IGNORECASE)


async def authenticate(request: Request, *, allow_stale: bool = False) -> Principal:
    """Return the principal, and store it in the request context. Raises UnauthenticatedError.

    `allow_stale` is the parameter of `Authenticator.authenticate`.
    """
    principal = await get_use_cases(request).authenticator.authenticate(
        extract_api_key(request.scope), allow_stale=allow_stale
    )
    request_context(request).principal = principal
    return principal


def extract_api_key(scope: AsgiScope) -> str:
    """Return the API key in the headers. Raises UnauthenticatedError unless the request has exactly one."""
    found = []
    for name, value in scope["headers"]:
        if name == b"authorization":
            bearer = _BEARER.fullmatch(value)
            found.append(bearer[1] if bearer else b"")
        elif name == b"x-api-key":
            found.append(value)
    if len(found) != 1:
        raise UnauthenticatedError
    return str(found[0], "latin-1")
