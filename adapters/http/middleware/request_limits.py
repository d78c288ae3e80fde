"""The limits of one request: sizes, counts and times."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderLimits:
    """The limits of the request line and headers."""

    max_headers: int = 100
    max_header_bytes: int = 32_768
    timeout: float = 10.0
    """Seconds from the start of the connection, or from the first byte of a later request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """The limits of the body and of the response. Times are in seconds."""

    max_body_bytes: int = 65_536
    max_json_depth: int = 32
    body_timeout: float = 10.0
    """From the end of the headers to the end of the body."""
    request_timeout: float = 10.0
    """From the end of the body to the response."""
