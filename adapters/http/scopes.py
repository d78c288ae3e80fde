"""The scope that a route takes: declared with it, seen to by it, and written in its documentation."""

from collections.abc import Mapping
from typing import Any

from adapters.http.components import Json
from domain.keys import Scope

REQUIRED_SCOPE = "x-required-scope"
"""The member of an operation that names its scope; linters allow scopes in `security` to OAuth only."""

SCHEMES: Json = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "hexa_<id>_<secret>",
        "description": "The API key (RFC 6750).",
    },
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The API key."},
}
"""The ways in which a key can be sent. Each operation names one scope that the key must have."""


def secured(scope: Scope) -> Json:
    """Return the part of an operation that says, and has `StrictRoute` see to it, that its caller has the scope."""
    return {REQUIRED_SCOPE: str(scope), "security": [{name: []} for name in SCHEMES]}


def required_scope(openapi_extra: Mapping[str, Any] | None) -> Scope:
    """Return the scope that `secured` put into an operation. Raises ValueError when it did not."""
    scope = (openapi_extra or {}).get(REQUIRED_SCOPE)
    if scope is None:
        raise ValueError("a route must say which scope it takes: openapi_extra=secured(Scope.…)")
    return Scope(scope)
