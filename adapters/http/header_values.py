"""Access to request headers in the ASGI scope."""

from starlette.types import Scope


def header_values(scope: Scope, name: bytes) -> list[bytes]:
    """Return all values of a header, whose name is in lower case."""
    return [value for found, value in scope["headers"] if found == name]
