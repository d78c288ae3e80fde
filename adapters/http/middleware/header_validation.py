"""Validation of the request line and headers (RFC 9112), before the request is processed."""

import re
from collections.abc import Sequence
from typing import NoReturn

from adapters.http.middleware.request_limits import HeaderLimits
from adapters.http.problems.catalog import MALFORMED_REQUEST, REQUEST_HEADER_FIELDS_TOO_LARGE
from adapters.http.problems.responses import ProblemError

Header = tuple[bytes, bytes]

# uri-host [ ":" port ] (RFC 9110 section 7.2), with a non-empty host, as in every http URI
_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+;=-]++|%[0-9A-Fa-f]{2})++(?::[0-9]*)?|\[[0-9A-Fa-f:.]+\](?::[0-9]*)?")
_LINE_OVERHEAD_BYTES = len(b": \r\n")


def too_large(limits: HeaderLimits) -> ProblemError:
    """Return the error for a request line and headers that are too large."""
    detail = f"The request line and headers exceed {limits.max_header_bytes} bytes."
    return ProblemError(REQUEST_HEADER_FIELDS_TOO_LARGE, detail=detail)


def validate_size(url: bytes, headers: Sequence[Header], limits: HeaderLimits) -> None:
    """Raise ProblemError if the request line and headers are too large."""
    if (
        len(url) + sum(len(name) + len(value) + _LINE_OVERHEAD_BYTES for name, value in headers)
        > limits.max_header_bytes
    ):
        raise too_large(limits)


def validate_headers(version: str, method: bytes, headers: Sequence[Header], max_headers: int) -> None:
    """Raise ProblemError for too many headers, and for headers that make the request ambiguous.

    The parser rejects a Content-Length that is repeated, not a number, or combined with Transfer-Encoding.
    """
    if len(headers) > max_headers:
        detail = f"The request has more than {max_headers} headers."
        raise ProblemError(REQUEST_HEADER_FIELDS_TOO_LARGE, detail=detail)
    if version not in {"1.1", "1.0"} or method == b"CONNECT":
        _reject("The request is not an HTTP/1.1 request to an origin server.")
    host = None
    for name, value in headers:
        if name == b"host":
            if host is not None or not _HOST.fullmatch(value):
                _reject("The Host header is malformed or repeated.")
            host = value
        elif name == b"transfer-encoding" and (value.lower() != b"chunked" or version == "1.0"):
            _reject("The Transfer-Encoding header must be chunked, and requires HTTP/1.1.")
    if host is None and version == "1.1":
        _reject("The Host header is missing.")


def _reject(detail: str) -> NoReturn:
    raise ProblemError(MALFORMED_REQUEST, detail=detail)
