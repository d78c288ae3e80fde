"""The OpenAPI document and Swagger UI. The page works offline."""

import hashlib
from functools import cache
from importlib.resources import files

from fastapi import APIRouter, Request, Response

from adapters.http.conditional import if_none_match_matches
from adapters.http.problems.catalog import NOT_FOUND
from adapters.http.problems.responses import ProblemError

_PAGE = b"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Hexapost API</title>
<link rel="icon" href="/docs/assets/favicon.png">
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
<link rel="stylesheet" href="/docs/assets/docs.css">
</head>
<body>
<nav><a href="/">Hexapost</a> <a href="/problems">Problems</a> <a href="/openapi.json">OpenAPI document</a></nav>
<div id="swagger-ui"></div>
<noscript>This page needs JavaScript. The document it shows is <a href="/openapi.json">/openapi.json</a>.</noscript>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/assets/docs.js"></script>
</body>
</html>
"""
_SWAGGER_UI = files("fastapi_offline") / "static"
_STATIC = files("adapters.http") / "static"
_ASSETS = {
    "swagger-ui-bundle.js": (_SWAGGER_UI, "text/javascript; charset=utf-8"),
    "swagger-ui.css": (_SWAGGER_UI, "text/css; charset=utf-8"),
    "favicon.png": (_SWAGGER_UI, "image/png"),
    "docs.js": (_STATIC, "text/javascript; charset=utf-8"),
    "docs.css": (_STATIC, "text/css; charset=utf-8"),
}
# Swagger UI uses inline styles, and its style sheet contains images.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_REVALIDATE = "public, no-cache"

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def docs() -> Response:
    """Serve the documentation page."""
    headers = {"cache-control": _REVALIDATE, "content-security-policy": _POLICY, "referrer-policy": "no-referrer"}
    return Response(_PAGE, headers=headers, media_type="text/html; charset=utf-8")


@router.get("/docs/assets/{name}")
async def asset(request: Request, name: str) -> Response:
    """Serve an asset of the documentation page."""
    if name not in _ASSETS:
        raise ProblemError(NOT_FOUND)
    return _cached(request, _asset(name), _ASSETS[name][1])


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """Serve the OpenAPI document."""
    return _cached(request, request.app.document, "application/json")


def _cached(request: Request, content: bytes, media_type: str) -> Response:
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"etag": tag, "cache-control": _REVALIDATE}
    if_none_match = [value for name, value in request.scope["headers"] if name == b"if-none-match"]
    if if_none_match and if_none_match_matches(if_none_match, tag.encode()):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=media_type)


@cache
def _asset(name: str) -> bytes:
    directory, _ = _ASSETS[name]
    return (directory / name).read_bytes()
