"""Shared components of the OpenAPI document: headers and header parameters."""

from typing import Any

from adapters.http.conditional import MAX_TAGS_LENGTH, TAGS_PATTERN
from adapters.http.idempotency import IDEMPOTENCY_KEY_PATTERN, MAX_KEY_LENGTH
from adapters.http.problems.responses import EXAMPLE_REQUEST_ID, REQUEST_ID_PATTERN

Json = dict[str, Any]

_SECONDS: Json = {"type": "integer", "format": "int32", "minimum": 1, "maximum": 3600}


def _header(description: str, example: str | int, schema: Json, *, required: bool = True) -> Json:
    return {"description": description, "required": required, "schema": schema, "example": example}


def _text(max_length: int, pattern: str) -> Json:
    return {"type": "string", "minLength": 1, "maxLength": max_length, "pattern": pattern}


def _constant(value: str) -> Json:
    return {"type": "string", "const": value}


_MEDIA_TYPES = _text(100, r"^[a-z]+/[a-z+.-]+(, [a-z]+/[a-z+.-]+)*$")

HEADERS: Json = {
    "X-Request-ID": _header(
        "Echoes your X-Request-ID if it is valid, otherwise a generated one.",
        EXAMPLE_REQUEST_ID,
        _text(128, REQUEST_ID_PATTERN),
    ),
    "Cache-Control": _header(
        "Caching rules of the response (RFC 9111).", "no-store", _text(100, "^[a-z0-9=-]+(, [a-z0-9=-]+)*$")
    ),
    "X-Content-Type-Options": _header("Disables MIME sniffing.", "nosniff", _constant("nosniff")),
    "ETag": _header(
        "Version of the resource in double quotes, for If-Match and If-None-Match.", '"1"', _text(12, '^"[1-9][0-9]*"$')
    ),
    "Location": _header(
        "Path of the new resource.",
        "/api/v1/users/0198a3c4-6f2b-7d31-a6f0-c2b9e4d81357",
        {"type": "string", "format": "uri-reference", "maxLength": 300},
    ),
    "Link": _header(
        "Next page (RFC 8288). Absent on the last page.",
        '</api/v1/users?limit=20&cursor=AQGYo8R_KzF9MabwwrnkgTVX2cUe8Zt7mQhXk0b1Vw4>; rel="next"',
        _text(2000, '^<[^<>"]+>; rel="next"$'),
        required=False,
    ),
    "Retry-After": _header("Seconds to wait before a retry.", 1, _SECONDS),
    "Retry-After-In-Flight": _header(
        "Seconds to wait before a retry, if the same request is in progress.", 1, _SECONDS, required=False
    ),
    "WWW-Authenticate": _header(
        "Authentication challenge (RFC 6750 section 3).",
        'Bearer realm="hexapost"',
        _text(200, '^Bearer realm="hexapost"(, [a-z]+="[a-z_:]+")*$'),
    ),
    "RateLimit": _header(
        "Remaining requests (r) and seconds until the reset (t), if rates are limited "
        "(draft-ietf-httpapi-ratelimit-headers-10).",
        '"requests";r=5999;t=60',
        _text(60, '^"requests";r=[0-9]+;t=[0-9]+$'),
        required=False,
    ),
    "RateLimit-Policy": _header(
        "Request quota (q) of an API key per window of w seconds, if rates are limited.",
        '"requests";q=6000;w=60',
        _text(60, '^"requests";q=[0-9]+;w=[0-9]+$'),
        required=False,
    ),
    "Idempotency-Replayed": _header(
        "`true` if this is the stored result of an earlier request.", "true", _constant("true"), required=False
    ),
    "Allow": _header("Methods that this path supports.", "DELETE, GET, HEAD, PATCH", _text(100, "^[A-Z]+(, [A-Z]+)*$")),
    "Accept-Post": _header("Media types that POST accepts.", "application/json", _MEDIA_TYPES, required=False),
    "Accept-Patch": _header(
        "Media types that PATCH accepts.",
        "application/merge-patch+json, application/json",
        _MEDIA_TYPES,
        required=False,
    ),
    "Accept-Encoding": _header("Bodies must not be compressed.", "identity", _constant("identity"), required=False),
}


def _parameter(name: str, example: str, schema: Json, description: str) -> Json:
    """Return a header parameter. Swagger UI would prefill an example beside the schema, and calls would fail."""
    schema = {**schema, "examples": [example]}
    return {"name": name, "in": "header", "description": description, "required": False, "schema": schema}


_TAGS: Json = {"type": "string", "maxLength": MAX_TAGS_LENGTH, "pattern": TAGS_PATTERN}
PARAMETERS: Json = {
    "If-Match": _parameter(
        "If-Match",
        '"1"',
        _TAGS,
        "Returns 412 unless the resource has one of these versions (RFC 9110 section 13.1.1). "
        "Weak tags never match; `*` matches any version.",
    ),
    "If-None-Match": _parameter(
        "If-None-Match",
        '"1"',
        _TAGS,
        "Returns 304 for `GET` and `HEAD`, and 412 for changes, if the resource has one of these versions "
        "(RFC 9110 section 13.1.2).",
    ),
    "Idempotency-Key": _parameter(
        "Idempotency-Key",
        "8e03978e-40d5-43dd-bc93-6894a57f9324",
        _text(MAX_KEY_LENGTH + 2, IDEMPOTENCY_KEY_PATTERN),
        "Unique name of this request, such as a UUID. The request is executed once, and each retry with this key gets "
        "the same result (draft-ietf-httpapi-idempotency-key-header-07). The key belongs to one API key and its "
        "successors by rotation. Retries must have the identical path and body, byte by byte: the same JSON in another "
        "order or spacing is a different request. Keys expire after 24 hours by default.",
    ),
}
