"""Request headers, straight from the ASGI scope."""

from starlette.types import Scope


def header_lines(scope: Scope, name: bytes) -> list[bytes]:
    """Return the values of all lines of the header with this name, which is in lower case."""
    return [value for found, value in scope["headers"] if found == name]
