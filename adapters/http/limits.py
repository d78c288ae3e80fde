"""How much a client may send, and how long it may take: the bounds of one request."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadLimits:
    """The bounds of a request line with its headers, and of the time in which they have to be complete."""

    max_headers: int = 100
    max_header_bytes: int = 32_768
    timeout: float = 10.0
    """In seconds, from the start of the connection or the first octet of a later request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """The bounds of what follows the head. Times are in seconds."""

    max_body_bytes: int = 65_536
    max_json_depth: int = 32
    body_timeout: float = 10.0
    """From the end of the head to the end of the body."""
    request_timeout: float = 10.0
    """From the end of the body to the response."""
