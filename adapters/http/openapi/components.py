"""Shared components of the OpenAPI document: headers, parameters, and the schemas of problems."""

from typing import Any

from adapters.http.conditional import MAX_TAGS_LENGTH, TAGS_PATTERN
from adapters.http.idempotency import IDEMPOTENCY_KEY_PATTERN, MAX_KEY_LENGTH
from adapters.http.openapi.problem_examples import EXAMPLE_ERRORS, EXAMPLE_REQUEST_ID
from adapters.http.problems.catalog import PROBLEMS
from adapters.http.problems.responses import problem_body
from adapters.http.problems.validation import ERROR_CODES, MAX_ERRORS

Json = dict[str, Any]

_REQUEST_ID: Json = {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[A-Za-z0-9._-]{1,128}$"}


def _header(description: str, example: str | int, schema: Json, *, required: bool = True) -> Json:
    return {"description": description, "required": required, "schema": schema, "example": example}


def _text(max_length: int, pattern: str) -> Json:
    return {"type": "string", "minLength": 1, "maxLength": max_length, "pattern": pattern}


_MEDIA_TYPES = _text(100, r"^[a-z]+/[a-z+.-]+(, [a-z]+/[a-z+.-]+)*$")

HEADERS: Json = {
    "X-Request-ID": _header(
        "Echoes your X-Request-ID if it is valid, otherwise a generated one.", EXAMPLE_REQUEST_ID, _REQUEST_ID
    ),
    "Cache-Control": _header(
        "Caching rules of the response (RFC 9111).", "no-store", _text(100, "^[a-z0-9=-]+(, [a-z0-9=-]+)*$")
    ),
    "X-Content-Type-Options": _header("Disables MIME sniffing.", "nosniff", {"type": "string", "const": "nosniff"}),
    "ETag": _header(
        "Version of the resource in double quotes, for If-Match and If-None-Match.", '"1"', _text(12, '^"[1-9][0-9]*"$')
    ),
    "Location": _header(
        "Path of the new resource.",
        "/api/v1/users/0198a3c4-6f2b-7d31-a6f0-c2b9e4d81357",
        {"type": "string", "format": "uri-reference", "maxLength": 100},
    ),
    "Link": _header(
        "Next page (RFC 8288). Absent on the last page.",
        '</api/v1/users?limit=20&cursor=AQGYo8R_KzF9MabwwrnkgTVX2cUe8Zt7mQhXk0b1Vw4>; rel="next"',
        _text(2000, '^<[^<>"]+>; rel="next"$'),
        required=False,
    ),
    "Retry-After": _header(
        "Seconds to wait before a retry.", 1, {"type": "integer", "format": "int32", "minimum": 1, "maximum": 3600}
    ),
    "Retry-After-In-Flight": _header(
        "Seconds to wait before a retry, if the same request is in progress.",
        1,
        {"type": "integer", "format": "int32", "minimum": 1, "maximum": 3600},
        required=False,
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
        "`true` if this is the stored result of an earlier request.",
        "true",
        {"type": "string", "const": "true"},
        required=False,
    ),
    "Allow": _header("Methods that this path supports.", "DELETE, GET, HEAD, PATCH", _text(100, "^[A-Z]+(, [A-Z]+)*$")),
    "Accept-Post": _header("Media types that POST accepts.", "application/json", _MEDIA_TYPES, required=False),
    "Accept-Patch": _header(
        "Media types that PATCH accepts.",
        "application/merge-patch+json, application/json",
        _MEDIA_TYPES,
        required=False,
    ),
    "Accept-Encoding": _header(
        "Bodies must not be compressed.", "identity", {"type": "string", "const": "identity"}, required=False
    ),
}

_TAGS: Json = {
    "anyOf": [
        {"type": "string", "const": "*"},
        {"type": "string", "maxLength": MAX_TAGS_LENGTH, "pattern": TAGS_PATTERN},
    ]
}
PARAMETERS: Json = {
    "If-Match": {
        "name": "If-Match",
        "in": "header",
        "required": False,
        "description": "Changes the resource only if it has one of these versions (RFC 9110 section 13.1.1). "
        "Weak tags never match; `*` matches any version.",
        "schema": _TAGS,
        "example": '"1"',
    },
    "If-None-Match": {
        "name": "If-None-Match",
        "in": "header",
        "required": False,
        "description": "Returns 304 if the resource has one of these versions (RFC 9110 section 13.1.2).",
        "schema": _TAGS,
        "example": '"1"',
    },
    "Idempotency-Key": {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "description": "Unique name of this request, such as a UUID. The request is executed once, and each retry with "
        "this key gets the same result (draft-ietf-httpapi-idempotency-key-header-07). The key belongs to one API key. "
        "Retries must be identical, byte by byte. Keys expire after 24 hours by default.",
        "schema": {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_KEY_LENGTH + 2,
            "pattern": IDEMPOTENCY_KEY_PATTERN,
        },
        "example": "8e03978e-40d5-43dd-bc93-6894a57f9324",
    },
}

FIELD_ERROR: Json = {
    "type": "object",
    "description": "An error of one field of the body or of one parameter.",
    "required": ["code", "detail"],
    "properties": {
        "pointer": {
            "type": "string",
            "format": "json-pointer",
            "maxLength": 200,
            "description": "JSON Pointer to the invalid field (RFC 6901).",
        },
        "parameter": {
            "type": "string",
            "maxLength": 64,
            "pattern": "^[A-Za-z0-9_-]+$",
            "description": "Name of the path parameter, query parameter or header.",
        },
        "code": {
            "type": "string",
            "maxLength": 40,
            "pattern": "^[a-z_]+$",
            "description": "Violated rule: " + ", ".join(f"`{code}`" for code in ERROR_CODES) + ".",
        },
        "detail": {"type": "string", "maxLength": 500, "description": "Description of the rule."},
    },
}

PROBLEM: Json = {
    "type": "object",
    "description": "A problem document (RFC 9457).",
    "required": ["type", "title", "status", "detail", "instance", "request_id"],
    "properties": {
        "type": {
            "type": "string",
            "format": "uri-reference",
            "maxLength": 100,
            "pattern": "^/problems/[a-z-]+$",
            "description": "Problem type, and path of its documentation.",
        },
        "title": {"type": "string", "maxLength": 100, "description": "Short name of the problem type."},
        "status": {
            "type": "integer",
            "format": "int32",
            "minimum": 400,
            "maximum": 599,
            "description": "HTTP status code.",
        },
        "detail": {"type": "string", "maxLength": 500, "description": "Explanation of this occurrence."},
        "instance": {
            "type": "string",
            "format": "uri",
            "maxLength": 200,
            "description": "URN of this occurrence; contains the request ID.",
        },
        "request_id": {**_REQUEST_ID, "description": "The request ID, as in X-Request-ID."},
        "errors": {
            "type": "array",
            "maxItems": MAX_ERRORS,
            "items": {"$ref": "#/components/schemas/FieldError"},
            "description": "Invalid fields and parameters.",
        },
    },
}


def problem_examples() -> Json:
    """Return an example of each problem in the catalog."""
    return {
        code: {
            "summary": problem.title,
            "value": problem_body(problem, EXAMPLE_REQUEST_ID, errors=EXAMPLE_ERRORS.get(code, ())),
        }
        for code, problem in sorted(PROBLEMS.items(), key=lambda item: (item[1].status, item[0]))
    }
