"""What a request line and headers must be like before anything is done about them (RFC 9112)."""

import re
from collections.abc import Sequence
from typing import NoReturn

from adapters.http.errors import ProblemError
from adapters.http.limits import HeadLimits
from adapters.http.problems import MALFORMED_REQUEST, REQUEST_HEADER_FIELDS_TOO_LARGE

Header = tuple[bytes, bytes]

# uri-host [ ":" port ] (RFC 9110 section 7.2), with a host, as every http URI has one
_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+;=-]++|%[0-9A-Fa-f]{2})++(?::[0-9]*)?|\[[0-9A-Fa-f:.]+\](?::[0-9]*)?")
_LINE = len(b": \r\n")


def check_size(url: bytes, headers: Sequence[Header], limits: HeadLimits) -> None:
    """Raise ProblemError when the request line and the headers are larger than they may be."""
    if len(url) + sum(len(name) + len(value) + _LINE for name, value in headers) > limits.max_header_bytes:
        raise ProblemError(REQUEST_HEADER_FIELDS_TOO_LARGE)


def check_head(version: str, method: bytes, headers: Sequence[Header], most_headers: int) -> None:
    """Raise ProblemError for a head with too many headers, or one after which nobody can tell what was asked of whom.

    The parser has refused a Content-Length that repeats, is no number, or stands beside a Transfer-Encoding.
    """
    if len(headers) > most_headers:
        raise ProblemError(REQUEST_HEADER_FIELDS_TOO_LARGE, detail=f"There are more than {most_headers} headers.")
    if version not in {"1.1", "1.0"} or method == b"CONNECT":
        _refuse("The request is not one of HTTP/1.1 to an origin server.")
    host = None
    for name, value in headers:
        if name == b"host":
            if host is not None or not _HOST.fullmatch(value):
                _refuse("The header Host is malformed or repeated.")
            host = value
        elif name == b"transfer-encoding" and (value.lower() != b"chunked" or version == "1.0"):
            _refuse("The header Transfer-Encoding is not the one this service reads, which is chunked in HTTP/1.1.")
    if host is None and version == "1.1":
        _refuse("The header Host is missing.")


def _refuse(detail: str) -> NoReturn:
    raise ProblemError(MALFORMED_REQUEST, detail=detail)
