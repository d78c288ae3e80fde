"""The API key of a request, in `Authorization: Bearer` (RFC 6750) or in `X-API-Key`."""

import re

from starlette.types import Scope

from application.authorization import UnauthenticatedError

_BEARER = re.compile(rb"bearer +([\x21-\x7e]+)", re.IGNORECASE)


def extract_api_key(scope: Scope) -> str:
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
