"""The limits of a request, and the validation of its request line and headers (RFC 9112)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from adapters.http.problems.catalog import MALFORMED_REQUEST, REQUEST_HEADER_FIELDS_TOO_LARGE
from adapters.http.problems.responses import ProblemError

Header = tuple[bytes, bytes]

# uri-host [ ":" port ] (RFC 9110 section 7.2), with a non-empty host, as in every http URI
_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+;=-]++|%[0-9A-Fa-f]{2})++(?::[0-9]*)?|\[[0-9A-Fa-f:.]+\](?::[0-9]*)?")
_LINE_OVERHEAD_BYTES = len(b": \r\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """The limits of the body and of the response. Times are in seconds."""

    max_body_bytes: int = 65_536
    max_json_depth: int = 32
    body_timeout: float = 10.0
    """From the end of the headers to the end of the body."""
    request_timeout: float = 10.0
    """From the end of the body to the response."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderLimits:
    """The limits of the request line and headers."""

    max_headers: int = 100
    max_header_bytes: int = 32_768
    timeout: float = 10.0
    """Seconds from the start of the connection, or from the first byte of a later request."""

    def too_large(self) -> ProblemError:
        """Return the error for a request line and headers that are too large."""
        detail = f"The request line and headers exceed {self.max_header_bytes} bytes."
        return ProblemError(REQUEST_HEADER_FIELDS_TOO_LARGE, detail=detail)

    def validate_size(self, url: bytes, headers: Sequence[Header]) -> None:
        """Raise ProblemError if the request line and headers are too large."""
        lines = sum(len(name) + len(value) + _LINE_OVERHEAD_BYTES for name, value in headers)
        if len(url) + lines > self.max_header_bytes:
            raise self.too_large()

    def validate(self, version: str, method: bytes, headers: Sequence[Header]) -> None:
        """Raise ProblemError for too many headers, and for headers that make the request ambiguous.

        The parser rejects a Content-Length that is repeated, not a number, or combined with Transfer-Encoding.
        """
        if len(headers) > self.max_headers:
            detail = f"The request has more than {self.max_headers} headers."
            raise ProblemError(REQUEST_HEADER_FIELDS_TOO_LARGE, detail=detail)
        if version not in {"1.1", "1.0"} or method == b"CONNECT":
            raise _malformed("The request is not an HTTP/1.1 request to an origin server.")
        host = None
        for name, value in headers:
            if name == b"host":
                if host is not None or not _HOST.fullmatch(value):
                    raise _malformed("The Host header is malformed or repeated.")
                host = value
            elif name == b"transfer-encoding" and (value.lower() != b"chunked" or version == "1.0"):
                raise _malformed("The Transfer-Encoding header must be chunked, and requires HTTP/1.1.")
        if host is None and version == "1.1":
            raise _malformed("The Host header is missing.")


def _malformed(detail: str) -> ProblemError:
    return ProblemError(MALFORMED_REQUEST, detail=detail)
