"""Declares the required scope of a route, for its documentation."""

from collections.abc import Mapping
from typing import Any

from domain.api_keys import Scope

REQUIRED_SCOPE = "x-required-scope"
"""The OpenAPI member with the scope of an operation. Linters allow scopes in `security` for OAuth only."""

SCHEMES: dict[str, Any] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "hexa_<id>_<secret>",
        "description": "The API key (RFC 6750).",
    },
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The API key."},
}
"""The two ways to send an API key."""


def requires_scope(scope: Scope) -> dict[str, Any]:
    """Return the OpenAPI members of an operation that requires a scope."""
    return {REQUIRED_SCOPE: str(scope), "security": [{name: []} for name in SCHEMES]}


def required_scope(openapi_extra: Mapping[str, Any] | None) -> Scope:
    """Return the scope that `requires_scope` declared. Raises ValueError if it was not used."""
    scope = (openapi_extra or {}).get(REQUIRED_SCOPE)
    if scope is None:
        raise ValueError("a route must declare its scope: openapi_extra=requires_scope(Scope.…)")
    return Scope(scope)
