"""The parts of the OpenAPI document that operations refer to: headers, parameters, the schema of a problem."""

from typing import Any

from adapters.http.conditional import LONGEST_TAGS, TAGS_PATTERN
from adapters.http.examples import EXAMPLE_ERRORS, EXAMPLE_REQUEST_ID
from adapters.http.idempotency import KEY_PATTERN, LONGEST_KEY
from adapters.http.problem_responses import problem_body
from adapters.http.problems import PROBLEMS
from adapters.http.validation import CODES, MOST_ERRORS

Json = dict[str, Any]

_REQUEST_ID: Json = {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[A-Za-z0-9._-]{1,128}$"}


def _header(description: str, example: str | int, schema: Json, *, required: bool = True) -> Json:
    return {"description": description, "required": required, "schema": schema, "example": example}


def _text(longest: int, pattern: str) -> Json:
    return {"type": "string", "minLength": 1, "maxLength": longest, "pattern": pattern}


_MEDIA_TYPES = _text(100, r"^[a-z]+/[a-z+.-]+(, [a-z]+/[a-z+.-]+)*$")

HEADERS: Json = {
    "X-Request-ID": _header(
        "The id of this request: yours if you sent a sound one, else a new one.", EXAMPLE_REQUEST_ID, _REQUEST_ID
    ),
    "Cache-Control": _header(
        "How the response may be cached (RFC 9111).", "no-store", _text(100, "^[a-z0-9=-]+(, [a-z0-9=-]+)*$")
    ),
    "X-Content-Type-Options": _header(
        "The media type is what it says.", "nosniff", {"type": "string", "const": "nosniff"}
    ),
    "ETag": _header(
        "The version in double quotes, for If-Match and If-None-Match.", '"1"', _text(12, '^"[1-9][0-9]*"$')
    ),
    "Location": _header(
        "Where the new resource is.",
        "/api/v1/users/0198a3c4-6f2b-7d31-a6f0-c2b9e4d81357",
        {"type": "string", "format": "uri-reference", "maxLength": 100},
    ),
    "Link": _header(
        "The next page (RFC 8288), if there is one.",
        '</api/v1/users?limit=20&cursor=AQGYo8R_KzF9MabwwrnkgTVX2cUe8Zt7mQhXk0b1Vw4>; rel="next"',
        _text(2000, '^<[^<>"]+>; rel="next"$'),
        required=False,
    ),
    "Retry-After": _header(
        "After how many seconds to try again.", 1, {"type": "integer", "format": "int32", "minimum": 1, "maximum": 3600}
    ),
    "Retry-After-In-Flight": _header(
        "After how many seconds to try again, when the same request is still being worked on.",
        1,
        {"type": "integer", "format": "int32", "minimum": 1, "maximum": 3600},
        required=False,
    ),
    "WWW-Authenticate": _header(
        "How to say who makes the request (RFC 6750 section 3).",
        'Bearer realm="hexapost"',
        _text(200, '^Bearer realm="hexapost"(, [a-z]+="[a-z_:]+")*$'),
    ),
    "RateLimit": _header(
        "How many requests are left (r), and for how many seconds (t), where rates are limited "
        "(draft-ietf-httpapi-ratelimit-headers-10).",
        '"requests";r=5999;t=60',
        _text(60, '^"requests";r=[0-9]+;t=[0-9]+$'),
        required=False,
    ),
    "RateLimit-Policy": _header(
        "How many requests (q) a key may make in how many seconds (w), where rates are limited.",
        '"requests";q=6000;w=60',
        _text(60, '^"requests";q=[0-9]+;w=[0-9]+$'),
        required=False,
    ),
    "Idempotency-Replayed": _header(
        "That this is the response which the request had when it was carried out.",
        "true",
        {"type": "string", "const": "true"},
        required=False,
    ),
    "Allow": _header(
        "The methods that this path knows.", "DELETE, GET, HEAD, PATCH", _text(100, "^[A-Z]+(, [A-Z]+)*$")
    ),
    "Accept-Post": _header("The media types that POST reads here.", "application/json", _MEDIA_TYPES, required=False),
    "Accept-Patch": _header(
        "The media types that PATCH reads here.",
        "application/merge-patch+json, application/json",
        _MEDIA_TYPES,
        required=False,
    ),
    "Accept-Encoding": _header(
        "That bodies must not be compressed.", "identity", {"type": "string", "const": "identity"}, required=False
    ),
}

_TAGS: Json = {
    "anyOf": [
        {"type": "string", "const": "*"},
        {"type": "string", "maxLength": LONGEST_TAGS, "pattern": TAGS_PATTERN},
    ]
}
PARAMETERS: Json = {
    "If-Match": {
        "name": "If-Match",
        "in": "header",
        "required": False,
        "description": "Go on only if the resource still has one of these versions (RFC 9110 section 13.1.1); "
        "weak tags never match, `*` matches any version.",
        "schema": _TAGS,
        "example": '"1"',
    },
    "If-None-Match": {
        "name": "If-None-Match",
        "in": "header",
        "required": False,
        "description": "Send the resource only if it has none of these versions (RFC 9110 section 13.1.2).",
        "schema": _TAGS,
        "example": '"1"',
    },
    "Idempotency-Key": {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "description": "A name of your own for this request, such as a UUID: however often you send the request with "
        "it, it is carried out once, and answered as it was then (draft-ietf-httpapi-idempotency-key-header-07). It is "
        "known for 24 hours, unless those who run the service chose another time.",
        "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY + 2, "pattern": KEY_PATTERN},
        "example": "8e03978e-40d5-43dd-bc93-6894a57f9324",
    },
}

FIELD_ERROR: Json = {
    "type": "object",
    "description": "What is wrong with a field of the body or with a parameter.",
    "required": ["code", "detail"],
    "properties": {
        "pointer": {
            "type": "string",
            "format": "json-pointer",
            "maxLength": 200,
            "description": "The place in the body (RFC 6901).",
        },
        "parameter": {
            "type": "string",
            "maxLength": 64,
            "pattern": "^[A-Za-z0-9_-]+$",
            "description": "The name of a path or query parameter, or of a header.",
        },
        "code": {
            "type": "string",
            "maxLength": 40,
            "pattern": "^[a-z_]+$",
            "description": "The rule: " + ", ".join(f"`{code}`" for code in CODES) + ".",
        },
        "detail": {"type": "string", "maxLength": 500, "description": "The rule in a sentence."},
    },
}

PROBLEM: Json = {
    "type": "object",
    "description": "A problem (RFC 9457).",
    "required": ["type", "title", "status", "detail", "instance", "request_id"],
    "properties": {
        "type": {
            "type": "string",
            "format": "uri-reference",
            "maxLength": 100,
            "pattern": "^/problems/[a-z-]+$",
            "description": "The kind of problem, and the address of a page about it.",
        },
        "title": {"type": "string", "maxLength": 100, "description": "The kind of problem in a few words."},
        "status": {
            "type": "integer",
            "format": "int32",
            "minimum": 400,
            "maximum": 599,
            "description": "The status of the response.",
        },
        "detail": {"type": "string", "maxLength": 500, "description": "What went wrong this time."},
        "instance": {
            "type": "string",
            "format": "uri",
            "maxLength": 200,
            "description": "The name of this occurrence.",
        },
        "request_id": {**_REQUEST_ID, "description": "As in X-Request-ID."},
        "errors": {
            "type": "array",
            "maxItems": MOST_ERRORS,
            "items": {"$ref": "#/components/schemas/FieldError"},
            "description": "The fields and parameters that are wrong.",
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
